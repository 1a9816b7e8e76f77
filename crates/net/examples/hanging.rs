//! Dials that come to nothing: ten thousand at once against each kind of peer that does not answer.
//!
//! `cargo run --release -p moorline-net --example hanging [DIALS [DEADLINE_MS]]`
//!
//! Printed for each kind: by how much the ends missed the deadline (or, where the peer answers, how long the
//! dials took), what they added to this process's memory, and how long echoes over another connection on the
//! same loop took meanwhile, beside the same without any dials. An echo is due every 2 ms and timed from when
//! it was due, so a loop that was busy shows. The dials begin at once, or `paced`, over a second.

use std::future::pending;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moorline_net::resolve::{Families, Lookups};
use moorline_net::tls::{TlsOptions, Verification};
use moorline_net::{
    Address, ConnectCause, DialOptions, Dialer, ResolveError, Resolver, listen, local_address,
    reserve_descriptors,
};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const ECHO_EVERY: Duration = Duration::from_millis(2);
/// How many dials begin each millisecond when paced.
const PACE: usize = 10;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| {
        text.parse::<u64>()
            .expect("the arguments are numbers: dials, milliseconds")
    });
    let dials = arguments.next().unwrap_or(10_000) as usize;
    let deadline = Duration::from_millis(arguments.next().unwrap_or(2_000));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    reserve_descriptors(2 * dials as u32).expect("there is memory");
    let echo = echo_server();
    runtime.block_on(async {
        let quiet = echoes(echo, tokio::time::sleep(deadline)).await.1;
        println!("echoes without dials: {}", shown(&quiet));
        let peers = Peers::new();
        for paced in [false, true] {
            for (what, dialer, to) in peers.each(deadline) {
                let memory = resident_kib();
                // The first one makes what all share.
                run(&dialer, &to, 1, paced).await;
                let started = Instant::now();
                let dialing = run(&dialer, &to, dials, paced);
                let (mut results, busy) = echoes(echo, dialing).await;
                let wall = started.elapsed();
                let added =
                    results.memory_kib.saturating_sub(memory) / (dials as u64 / 1000).max(1);
                let outcome = results.outcome.clone();
                let name = if paced { "paced" } else { "at once" };
                println!(
                    "{what}, {name}: {outcome} in {wall:.1?}; {} {}; {added} KiB a thousand dials; echoes {}",
                    if results.timed_out {
                        "after the deadline"
                    } else {
                        "took"
                    },
                    shown(&results.times(deadline)),
                    shown(&busy),
                );
            }
        }
    });
}

/// What dials came to.
struct Results {
    outcome: String,
    timed_out: bool,
    took: Vec<Duration>,
    memory_kib: u64,
}

impl Results {
    fn times(&mut self, deadline: Duration) -> Vec<Duration> {
        if self.timed_out {
            for time in &mut self.took {
                *time = time.saturating_sub(deadline);
            }
        }
        std::mem::take(&mut self.took)
    }
}

async fn run(dialer: &Dialer, to: &[Address], dials: usize, paced: bool) -> Results {
    let mut tasks = JoinSet::new();
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    for n in 0..dials {
        if paced && n % PACE == 0 {
            tick.tick().await;
        }
        let (dialer, to) = (dialer.clone(), to[n % to.len()].clone());
        tasks.spawn(async move {
            let started = Instant::now();
            let error = dialer.connect(&to).await.expect_err("it leads nowhere");
            (started.elapsed(), error)
        });
    }
    // All are under way when those that began last have had a turn.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let memory_kib = resident_kib();
    let mut results = Results {
        outcome: String::new(),
        timed_out: false,
        took: Vec::with_capacity(dials),
        memory_kib,
    };
    let mut others = 0;
    while let Some(done) = tasks.join_next().await {
        let (took, error) = done.expect("no dial panics");
        results.took.push(took);
        let step = error.step().map_or("", |step| step.as_str());
        let outcome = format!("{} ({step})", error.cause());
        if results.outcome.is_empty() {
            results.timed_out = matches!(error.cause(), ConnectCause::Timeout);
            results.outcome = outcome;
        } else if results.outcome != outcome {
            others += 1;
        }
    }
    if others > 0 {
        results.outcome += &format!(", {others} otherwise");
    }
    results
}

/// The peers that come to nothing; kept as long as this lives.
struct Peers {
    full: (Socket, Vec<TcpStream>, SocketAddr),
    refusing: (Socket, SocketAddr),
    /// Several: a backlog has at most 4096.
    silent: Vec<(OwnedFd, Address)>,
}

impl Peers {
    fn new() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let open = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            socket.bind(&any.into()).expect("a port is free");
            let at = socket.local_addr().expect("it is bound");
            (socket, at.as_socket().expect("it is IPv4"))
        };
        let (full, at) = open();
        full.listen(0).expect("it listens");
        let mut waiting = Vec::new();
        while let Ok(stream) = std::net::TcpStream::connect_timeout(&at, Duration::from_millis(100))
        {
            stream.set_nonblocking(true).expect("it is a socket");
            waiting.push(TcpStream::from_std(stream).expect("it is registered"));
        }
        let silent = || {
            let tls: Address = "tls://127.0.0.1:0".parse().expect("it is an address");
            let socket = listen(&tls).expect("a port is free");
            let at = local_address(&socket, &tls);
            (socket, at)
        };
        Self {
            full: (full, waiting, at),
            refusing: open(),
            silent: (0..8).map(|_| silent()).collect(),
        }
    }

    fn each(&self, deadline: Duration) -> Vec<(&'static str, Dialer, Vec<Address>)> {
        let dialer = |resolver: Told| {
            let options = DialOptions::default()
                .deadline(deadline)
                .tls(TlsOptions::default().verification(Verification::DangerouslyNone));
            Dialer::new(options).with_resolver(Arc::new(resolver))
        };
        let tcp = |at: &dyn std::fmt::Display| -> Vec<Address> {
            vec![format!("tcp://{at}").parse().expect("it is an address")]
        };
        let silent = self.silent.iter().map(|(_, at)| at.clone()).collect();
        vec![
            ("full backlog", dialer(Told::Never), tcp(&self.full.2)),
            ("refusing port", dialer(Told::Never), tcp(&self.refusing.1)),
            ("unknown name", dialer(Told::NotFound), tcp(&"name.test:1")),
            ("silent resolver", dialer(Told::Never), tcp(&"name.test:1")),
            ("silent TLS server", dialer(Told::Never), silent),
        ]
    }
}

#[derive(Debug)]
enum Told {
    NotFound,
    Never,
}

impl Resolver for Told {
    fn look_up(&self, name: &str, _families: Families) -> Lookups {
        let error = ResolveError::NotFound {
            name: name.to_owned(),
            ttl: None,
        };
        Lookups::Together(match self {
            Self::NotFound => Box::pin(async { Err(error) }),
            Self::Never => Box::pin(pending()),
        })
    }
}

/// How long echoes took while `meanwhile` ran.
async fn echoes<T>(at: SocketAddr, meanwhile: impl Future<Output = T>) -> (T, Vec<Duration>) {
    let mut stream = TcpStream::connect(at).await.expect("the echo answers");
    stream.set_nodelay(true).expect("it is a socket");
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let echoing = tokio::spawn(async move {
        let mut times = Vec::new();
        let mut due = Instant::now();
        while stopped.try_recv().is_err() {
            due += ECHO_EVERY;
            tokio::time::sleep_until(due.into()).await;
            stream.write_all(b"ahoy").await.expect("the echo lives");
            let mut buffer = [0; 4];
            stream
                .read_exact(&mut buffer)
                .await
                .expect("the echo lives");
            times.push(due.elapsed());
        }
        times
    });
    let result = meanwhile.await;
    // It ends by itself only if the echo is gone, which the join tells.
    let _ = stop.send(());
    (result, echoing.await.expect("the echoes end"))
}

/// Echoes in a thread of its own.
fn echo_server() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let at = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = stream.set_nodelay(true);
                std::io::copy(&mut &stream, &mut &stream)
            });
        }
    });
    at
}

/// Median, 99th percentile and maximum.
fn shown(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort();
    let at = |share: f64| {
        times
            .get((times.len() as f64 * share) as usize)
            .or(times.last())
    };
    match (at(0.5), at(0.99), times.last()) {
        (Some(median), Some(p99), Some(most)) => {
            format!("p50 {median:.1?} p99 {p99:.1?} max {most:.1?}")
        }
        _ => "none".to_owned(),
    }
}

/// This process's memory in RAM.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
    number.unwrap_or(0)
}
