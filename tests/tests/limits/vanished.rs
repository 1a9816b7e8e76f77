//! Peers that have vanished without a word are found out, and those that live are not taken for them.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use moorline_tests::{Client, Engine, Network, PATIENCE, Site, Stream, Wire, eventually};

const PING: (u8, Vec<u8>) = (0x9, Vec::new());

fn websocket(keys: &str) -> String {
    format!(
        "[workers]\ncount = 1\n[[listen]]\nname = \"web\"\naddress = \"http://127.0.0.1:0\"\nwebsocket = \"/ws\"\n\
         {keys}\n[app]\njournal = \"{{folder}}/journal\"\n"
    )
}

#[test]
fn a_websocket_peer_that_answers_no_ping_is_closed_as_vanished() {
    let keys = "ping_interval = \"1s\"\npong_timeout = \"1s\"";
    let engine = Engine::start("probe", &websocket(keys));
    let mut client = Client::connect(&engine, 0, Wire::WebSocket);
    client.send("id");
    let (_, id) = client.receive_frame();
    let id = String::from_utf8(id).expect("the probe answers in text");
    let begun = Instant::now();
    assert_eq!(client.receive_frame(), PING);
    let pinged = begun.elapsed();
    assert!(pinged > Duration::from_millis(900), "{pinged:?}");
    engine.journaled(&format!("close {id} vanished"));
    // The two times, and what a busy machine adds.
    let closed = begun.elapsed();
    assert!(
        closed > Duration::from_millis(1900) && closed < Duration::from_secs(10),
        "{closed:?}"
    );
    engine.logged(&["session closed", &id, "vanished"]);
    assert_eq!(engine.status().closed("vanished"), 1);
}

#[test]
fn a_websocket_peer_that_answers_stays_although_nobody_says_anything() {
    let keys = "ping_interval = \"1s\"\npong_timeout = \"1s\"\nidle_timeout = \"3s\"";
    let engine = Engine::start("probe", &websocket(keys));
    let address = engine.socket_address(0);
    let stream = TcpStream::connect(address).expect("the listener accepts");
    let (mut socket, _) =
        tungstenite::client(format!("ws://{address}/ws"), stream).expect("the handshake succeeds");
    let timeout = Some(Duration::from_millis(100));
    socket
        .get_ref()
        .set_read_timeout(timeout)
        .expect("a non-zero timeout is legal");
    let (begun, mut pings) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(6) {
        // Reading answers pings.
        match socket.read() {
            Ok(tungstenite::Message::Ping(_)) => pings += 1,
            Ok(other) => panic!("{other:?} came"),
            Err(tungstenite::Error::Io(error)) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(pings >= 3, "{pings} pings");
    assert_eq!(engine.status().gateway.sessions, 1);
}

#[test]
fn a_websocket_peer_that_only_reads_slowly_stays_until_it_stops() {
    let keys = "ping_interval = \"1s\"\npong_timeout = \"2s\"\nmax_message = \"32MiB\"\nhard_limit = \"64MiB\"";
    let engine = Engine::start("probe", &websocket(keys));
    let mut client = Client::connect(&engine, 0, Wire::WebSocket);
    client.send("big 20000000");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(8) {
        client.fill().expect("the session stays");
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(engine.status().closed("vanished"), 0);
    eventually("a peer that takes nothing more is closed", || {
        engine.status().closed("vanished") == 1
    });
}

#[test]
fn a_reload_changes_the_pings_of_sessions_that_are_open() {
    let engine = Engine::start("probe", &websocket("ping_interval = \"off\""));
    let mut client = Client::connect(&engine, 0, Wire::WebSocket);
    client.send("id");
    client.receive_frame();
    engine.configure(&websocket("ping_interval = \"1s\"\npong_timeout = \"1s\""));
    engine.reload().expect_success();
    assert_eq!(client.receive_frame(), PING);
    eventually("it is closed", || engine.status().closed("vanished") == 1);
}

/// The timers of the connections to a port, as the kernel tells them.
fn timers(port: u16) -> String {
    let filter = format!("sport = :{port}");
    let output = Command::new("ss")
        .args(["-Htno", "state", "established", &filter])
        .output()
        .expect("iproute2 is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_kernel_probes_tcp_connections_as_the_listener_says_and_a_reload_changes_that() {
    let config = |keepalive: &str| {
        format!(
            "[workers]\ncount = 1\n{}tcp_keepalive = \"{keepalive}\"\n",
            moorline_tests::LENGTH_LISTENER
        )
    };
    let engine = Engine::start("probe", &config("1h"));
    let port = engine.socket_address(0).port();
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.ask("id");
    // Less than an hour is left.
    let shown = timers(port);
    assert!(shown.contains("timer:(keepalive,59min"), "{shown}");
    engine.configure(&config("off"));
    engine.reload().expect_success();
    eventually("a session that is open is not probed", || {
        !timers(port).contains("keepalive")
    });
    engine.configure(&config("2h"));
    engine.reload().expect_success();
    eventually("it is probed again", || {
        timers(port).contains("timer:(keepalive,119min")
    });
    let mut other = Client::connect(&engine, 0, Wire::LENGTH);
    other.ask("id");
    // The timer of an answer that is on its way is shown before that of the probes.
    eventually("the new one is probed, too", || {
        timers(port).matches("timer:(keepalive,119min").count() == 2
    });
}

/// A network for the engine and one for its clients, joined by a wire.
struct Networks {
    engine: Network,
    clients: Network,
}

const ENGINE: &str = "10.77.0.1";

impl Networks {
    fn new() -> Self {
        let this = Self {
            engine: Network::new("engine"),
            clients: Network::new("clients"),
        };
        let Self { engine, clients } = &this;
        engine.wire("wire", &["10.77.0.1/24"], clients, &["10.77.0.2/24"]);
        this
    }

    /// A client on the other side.
    fn connect(&self, address: &str, wire: Wire) -> Client {
        let connect = || Stream::connect(address).expect("the engine accepts");
        let stream = self.clients.inside(connect);
        Client::over(stream, wire).expect("the engine answers")
    }

    /// The wire is cut: what is sent vanishes without a word.
    fn cut(&self) {
        self.clients.ip("link set wire down");
    }
}

#[test]
fn peers_behind_a_wire_that_is_cut_are_closed_as_vanished() {
    let networks = Networks::new();
    let config = format!(
        "[workers]\ncount = 1\n\
         [[listen]]\nname = \"pinged\"\naddress = \"http://{ENGINE}:0\"\nwebsocket = \"/ws\"\n\
         ping_interval = \"1s\"\npong_timeout = \"1s\"\ntcp_keepalive = \"off\"\ntcp_user_timeout = \"off\"\n\
         [[listen]]\nname = \"probed\"\naddress = \"tcp://{ENGINE}:0\"\nframing = {{ kind = \"length\" }}\n\
         tcp_keepalive = \"1s\"\ntcp_user_timeout = \"2s\"\n\
         [[listen]]\nname = \"probed-alone\"\naddress = \"tcp://{ENGINE}:0\"\nframing = {{ kind = \"length\" }}\n\
         tcp_keepalive = \"2s\"\ntcp_user_timeout = \"off\"\n"
    );
    let script = networks.engine.script();
    let site = Site::new("probe", &config);
    let engine = site
        .try_start_by(&script, |_| {})
        .expect("the engine starts in its network");
    let connect = |listener, wire| networks.connect(engine.address(listener), wire);
    let mut pinged = connect(0, Wire::WebSocket);
    pinged.send("id");
    pinged.receive_frame();
    let mut probed = [connect(1, Wire::LENGTH), connect(2, Wire::LENGTH)];
    for client in &mut probed {
        client.ask("id");
    }
    // Something is under way to this one.
    let mut sent_to = connect(1, Wire::LENGTH);
    assert!(!sent_to.ask("id").is_empty());
    sent_to.send("later 500");
    thread::sleep(Duration::from_millis(100));
    networks.cut();
    let begun = Instant::now();
    eventually("all are closed", || engine.status().closed("vanished") == 4);
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
}
