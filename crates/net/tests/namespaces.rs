//! Networks that fail: two network namespaces joined by a wire, made by root with iproute2.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use moorline_net::client::{CloseReason, Reconnect, StreamError};
use moorline_net::dial::{Outcome, StepKind, Target};
use moorline_net::resolve::StaticResolver;
use moorline_net::{
    Client, ClientOptions, ConnectCause, ConnectError, DialOptions, Dialer, Framing, Handler,
    SocketOptions,
};
use nix::sched::{CloneFlags, setns};
use rustix::net::sockopt::set_socket_linger;

#[path = "namespaces/lossy.rs"]
mod lossy;

use lossy::LossyWire;

/// How long anything that must happen may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Here and there, joined by a wire.
struct Networks {
    here: String,
    there: String,
}

const HERE: [&str; 2] = ["10.77.0.1/24", "2001:db8:77::1/64"];
const THERE: [&str; 2] = ["10.77.0.2/24", "2001:db8:77::2/64"];
const PEER: &str = "10.77.0.2";
/// Routed to the other side, where nobody has it: packets vanish without a word.
const HOLE: &str = "2001:db8:88::2";

impl Networks {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = |side| format!("moorline-{}-{number}-{side}", std::process::id());
        let this = Self {
            here: name("here"),
            there: name("there"),
        };
        let Self { here, there } = &this;
        ip(&format!("netns add {here}"));
        ip(&format!("netns add {there}"));
        ip(&format!(
            "link add wire netns {here} type veth peer name wire netns {there}"
        ));
        for (network, [ipv4, ipv6]) in [(here, HERE), (there, THERE)] {
            ip(&format!("-n {network} address add {ipv4} dev wire"));
            ip(&format!("-n {network} address add {ipv6} dev wire nodad"));
            ip(&format!("-n {network} link set lo up"));
            ip(&format!("-n {network} link set wire up"));
        }
        ip(&format!(
            "-n {here} route add 2001:db8:88::/64 via 2001:db8:77::2"
        ));
        this
    }

    /// Runs `work` here, in a runtime of its own.
    fn run<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> T {
        let limited = || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime")
                .block_on(async { tokio::time::timeout(PATIENCE, work()).await })
                .expect("it ends")
        };
        within(&self.here, limited)
    }

    /// A server on the other side.
    fn listen(&self) -> (TcpListener, SocketAddr) {
        self.listen_at(PEER)
    }

    /// The same at another of its addresses.
    fn listen_at(&self, address: &str) -> (TcpListener, SocketAddr) {
        let bind = || TcpListener::bind((address, 0)).expect("the address is there");
        let listener = within(&self.there, bind);
        let address = listener.local_addr().expect("it is bound");
        (listener, address)
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        for network in [&self.here, &self.there] {
            let _ = Command::new("ip")
                .args(["netns", "delete", network])
                .status();
        }
    }
}

/// Runs `work` on a thread in that network.
fn within<T: Send>(network: &str, work: impl FnOnce() -> T + Send) -> T {
    let network = File::open(format!("/run/netns/{network}")).expect("it was made");
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(network, CloneFlags::CLONE_NEWNET).expect("root may enter it");
            work()
        });
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[track_caller]
fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .expect("iproute2 is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "`ip {arguments}` (these tests need root): {said}"
    );
}

fn raw(user_timeout: Option<Duration>) -> ClientOptions {
    ClientOptions::framed(Framing::Raw)
        .dial(DialOptions::default().socket(SocketOptions::default().user_timeout(user_timeout)))
}

#[test]
fn a_path_that_swallows_ipv6_alone_costs_the_attempt_delay() {
    let networks = Networks::new();
    let (_listener, server) = networks.listen();
    let hole: IpAddr = HOLE.parse().expect("a literal");
    let hosts = format!("{hole} twofold.example\n{} twofold.example", server.ip());
    let resolver = StaticResolver::from_hosts(&hosts).expect("a hosts file");
    let options = DialOptions::default();
    let delay = options.attempt_delay;
    let began = Instant::now();
    let steps = networks.run(async || {
        let dialer = Dialer::new(options).with_resolver(Arc::new(resolver));
        let address = format!("tcp://twofold.example:{}", server.port());
        let address = address.parse().expect("an address");
        let connection = dialer.connect(&address).await.expect("IPv4 works");
        connection.timeline().steps().to_vec()
    });
    let attempts: Vec<_> = steps
        .iter()
        .filter(|step| step.kind == StepKind::Connect)
        .collect();
    let outcomes: Vec<_> = attempts
        .iter()
        .map(|step| (step.target.clone(), step.outcome.clone()))
        .collect();
    let hole = SocketAddr::new(hole, server.port());
    assert_eq!(
        outcomes,
        [
            (Target::Socket(hole), Outcome::Cancelled),
            (Target::Socket(server), Outcome::Done)
        ]
    );
    let waited = attempts[1].start - attempts[0].start;
    assert!(
        waited >= delay && waited < delay + Duration::from_secs(1),
        "{waited:?}"
    );
    assert!(began.elapsed() < delay + Duration::from_secs(1));
}

#[test]
fn without_a_route_a_dial_fails_at_once() {
    let networks = Networks::new();
    let error = networks.run(async || {
        let address = "tcp://192.0.2.1:80".parse().expect("an address");
        Dialer::new(DialOptions::default())
            .connect(&address)
            .await
            .expect_err("nothing leads there")
    });
    assert!(
        matches!(error.cause(), ConnectCause::Unreachable(_)),
        "{error}"
    );
    assert_eq!(error.errno(), Some(nix::libc::ENETUNREACH));
    assert!(error.timeline().total() < Some(Duration::from_secs(1)));
}

#[test]
fn a_path_that_swallows_everything_is_given_up_at_the_deadline() {
    let networks = Networks::new();
    let deadline = Duration::from_millis(300);
    let error = networks.run(async || {
        let address = format!("tcp://[{HOLE}]:80").parse().expect("an address");
        let options = DialOptions::default().deadline(deadline);
        let dialed = Dialer::new(options).connect(&address).await;
        dialed.expect_err("nobody answers")
    });
    assert!(matches!(error.cause(), ConnectCause::Timeout), "{error}");
    assert_eq!(error.step(), Some(StepKind::Connect));
    let total = error.timeline().total().expect("it has ended");
    assert!(
        total >= deadline && total < deadline + Duration::from_secs(1),
        "{total:?}"
    );
}

#[test]
fn a_path_that_the_system_gives_up_keeps_its_error_number() {
    let networks = Networks::new();
    // Nobody has this link address: not even an error message comes back.
    ip(&format!(
        "-n {} neighbour add 10.77.0.3 lladdr 02:00:00:00:00:99 dev wire",
        networks.here
    ));
    let error = networks.run(async || {
        let address = "tcp://10.77.0.3:80".parse().expect("an address");
        let options = DialOptions::default()
            .deadline(PATIENCE)
            .socket(SocketOptions::default().user_timeout(Some(Duration::from_millis(100))));
        let dialed = Dialer::new(options).connect(&address).await;
        dialed.expect_err("nobody answers")
    });
    assert!(
        matches!(error.cause(), ConnectCause::TimedOut(_)),
        "{error}"
    );
    assert_eq!(error.errno(), Some(nix::libc::ETIMEDOUT));
    let outcomes: Vec<_> = error
        .timeline()
        .steps()
        .iter()
        .map(|step| (step.outcome.clone(), step.errno))
        .collect();
    assert_eq!(outcomes, [(Outcome::TimedOut, Some(nix::libc::ETIMEDOUT))]);
    assert!(error.timeline().total() < Some(PATIENCE / 2));
}

#[test]
fn a_route_that_disappears_ends_the_connection_after_the_user_timeout() {
    let networks = Networks::new();
    let (listener, server) = networks.listen();
    let timeout = Duration::from_millis(500);
    let (ended, after) = networks.run(async || {
        let address = format!("tcp://{server}").parse().expect("an address");
        let mut client = Client::new(address, raw(Some(timeout)));
        client.connect().await.expect("it listens");
        ip(&format!("-n {} route delete 10.77.0.0/24", networks.here));
        let began = Instant::now();
        client
            .send(b"into the void")
            .await
            .expect("the system takes it");
        (client.receive_message().await, began.elapsed())
    });
    // What the system met last on the way counts: that nothing leads there, or only that nobody answers.
    let is_told = match &ended {
        Err(StreamError::TimedOut(_)) => true,
        Err(StreamError::Io(error)) => matches!(
            error.raw_os_error(),
            Some(nix::libc::EHOSTUNREACH | nix::libc::ENETUNREACH)
        ),
        _ => false,
    };
    assert!(is_told, "{ended:?}");
    assert!(after >= timeout, "{after:?}");
    drop(listener);
}

/// Reads nothing, and closes once the system has sent again in vain.
struct Paused {
    until: Instant,
    ended: Option<CloseReason>,
}

impl Handler for Paused {
    fn connected(&mut self, client: &mut Client) {
        client.pause();
    }

    fn message(&mut self, _: &mut Client, _: &[u8]) {}

    fn closed(&mut self, _: &mut Client, reason: &CloseReason) {
        self.ended = Some(match reason {
            CloseReason::ByUs => CloseReason::ByUs,
            other => panic!("{other}"),
        });
    }

    fn error(&mut self, _: &mut Client, _: &ConnectError) {}

    fn tick(&mut self, client: &mut Client) {
        if Instant::now() >= self.until {
            client.close_now();
        }
    }
}

#[test]
fn a_route_that_is_missing_for_a_moment_does_not_end_a_paused_connection() {
    let networks = Networks::new();
    let (_listener, server) = networks.listen();
    let ended = networks.run(async || {
        let address = format!("tcp://{server}").parse().expect("an address");
        let mut client = Client::new(address, raw(None).tick(Duration::from_millis(5)));
        client.connect().await.expect("it listens");
        // Nobody has this link address: what is sent now has to be sent again.
        ip(&format!(
            "-n {} neighbour replace {PEER} lladdr 02:00:00:00:00:99 dev wire",
            networks.here
        ));
        client
            .send(b"into the void")
            .await
            .expect("the system takes it");
        ip(&format!("-n {} route delete 10.77.0.0/24", networks.here));
        // The first time that it is sent again is after some 200 ms: then the system notes that no route is there.
        let mut handler = Paused {
            until: Instant::now() + Duration::from_millis(700),
            ended: None,
        };
        client.run(&mut handler).await;
        handler.ended
    });
    assert!(matches!(ended, Some(CloseReason::ByUs)), "{ended:?}");
}

#[test]
fn a_peer_that_has_rebooted_resets_and_is_reconnected_to() {
    let networks = Networks::new();
    let (listener, server) = networks.listen();
    let serving = thread::spawn(move || {
        let (before, _) = listener.accept().expect("the client connects");
        (listener, before)
    });
    networks.run(async || {
        let address = format!("tcp://{server}").parse().expect("an address");
        let mut client = Client::new(address, raw(None).reconnect(Some(Reconnect::default())));
        client.connect().await.expect("it listens");
        let (listener, before) = serving.join().expect("it accepts");

        // It forgets its connections without a word to their peers.
        ip(&format!("-n {} link set wire down", networks.there));
        set_socket_linger(&before, Some(Duration::ZERO)).expect("an option");
        drop(before);
        ip(&format!("-n {} link set wire up", networks.there));

        client
            .send(b"still there?")
            .await
            .expect("the system takes it");
        let ended = client.receive_message().await;
        assert!(matches!(ended, Err(StreamError::Reset(_))), "{ended:?}");

        let echo = thread::spawn(move || echo(listener.accept().expect("it reconnects").0));
        client.reconnect().await.expect("it is back");
        client.send(b"welcome back").await.expect("it listens");
        let answer = client.receive_exact(12).await.expect("an answer");
        assert_eq!(answer, "welcome back");
        client.close().await.expect("it listens");
        echo.join().expect("it ends");
    });
}

#[test]
fn a_tenth_of_all_packets_may_be_lost() {
    let networks = Networks::new();
    let ends = [
        (&*networks.here, "10.78.0.1/24"),
        (&*networks.there, "10.78.0.2/24"),
    ];
    let wire = LossyWire::between(ends, 10);
    let (listener, server) = networks.listen_at("10.78.0.2");
    let echo = thread::spawn(move || echo(listener.accept().expect("the client connects").0));
    networks.run(async || {
        let address = format!("tcp://{server}").parse().expect("an address");
        let mut client = Client::new(address, raw(None));
        client
            .connect()
            .await
            .expect("one of three attempts of the system arrives");
        let payload = vec![b'a'; 64 << 10];
        client.send(&payload).await.expect("it listens");
        let answer = client
            .receive_exact(payload.len())
            .await
            .expect("all of it comes");
        assert!(answer == payload);
        client.close().await.expect("it listens");
    });
    echo.join().expect("it ends");
    assert!(wire.lost() > 0);
}

/// Gives back what comes, until the peer ends.
fn echo(mut stream: TcpStream) {
    let mut chunk = vec![0; 64 << 10];
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        if stream.write_all(&chunk[..count]).is_err() {
            return;
        }
    }
}
