//! Limits of a listener: too many peers, too fast ones and too slow ones.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use moorline_tests::{
    Client, Engine, Issuer, LENGTH_LISTENER, PATIENCE, Process, Site, Wire, eventually,
};

fn config(limits: &str) -> String {
    format!(
        "[engine]\ngateway_loops = 2\n[workers]\ncount = 1\n{LENGTH_LISTENER}{limits}\n\
         [app]\njournal = \"{{folder}}/journal\"\n"
    )
}

/// Whether a connection is a session: it answers. One that is refused is closed at once.
fn is_let_in(engine: &Engine) -> Option<Client> {
    let mut client = Client::try_connect(engine.address(0), Wire::LENGTH).ok()?;
    client.send_bytes(b"\0\0\0\x02id").ok()?;
    client.try_receive().ok().flatten().map(|_| client)
}

#[test]
fn one_address_has_no_more_than_its_share_and_its_neighbours_keep_theirs() {
    let engine = Engine::start("probe", &config("max_sessions_per_address = 3"));
    let mut clients: Vec<Client> = (0..3).filter_map(|_| is_let_in(&engine)).collect();
    assert_eq!(clients.len(), 3);
    assert!(is_let_in(&engine).is_none(), "one too many");
    engine.logged(&["connection refused: max_sessions_per_address", "limit"]);
    let status = engine.status();
    assert_eq!(
        (
            status.closed("limit"),
            status.limit("max_sessions_per_address"),
            status.limit("max_sessions")
        ),
        (1, 1, 0)
    );

    let port = engine.socket_address(0).port();
    let from = std::net::SocketAddr::from(([127, 0, 0, 9], 0));
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )
    .expect("a socket");
    rustix::net::bind(&socket, &from).expect("all of 127.0.0.0/8 is ours");
    let to = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    rustix::net::connect(&socket, &to).expect("it accepts");
    let stream = moorline_tests::Stream::Tcp(TcpStream::from(socket));
    let mut neighbour = Client::over(stream, Wire::LENGTH).expect("a connected stream");
    assert_eq!(neighbour.ask("build"), "first");

    // A closed connection makes room.
    clients.pop();
    eventually("there is room again", || match is_let_in(&engine) {
        Some(client) => {
            clients.push(client);
            true
        }
        None => false,
    });
}

#[test]
fn connections_over_the_accept_rate_wait_and_are_not_lost() {
    let engine = Engine::start("probe", &config("accept_rate = 20"));
    let began = Instant::now();
    let mut clients: Vec<Client> = (0..50)
        .map(|_| Client::connect(&engine, 0, Wire::LENGTH))
        .collect();
    for client in &mut clients {
        assert_eq!(client.ask("build"), "first");
    }
    // Twenty at once, thirty at twenty a second.
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1400), "{took:?}");
    let status = engine.status();
    assert_eq!(status.gateway.accepted, 50);
    // Each of the thirty waited; few of them may have come together after a slow turn.
    let waits = status.limit("accept_rate");
    assert!((10..=51).contains(&waits), "{waits}");
}

#[test]
fn a_message_that_arrives_too_slowly_closes_its_session_and_no_other() {
    let engine = Engine::start("probe", &config("min_receive_rate = \"100B\""));
    let mut idle = Client::connect(&engine, 0, Wire::LENGTH);
    let idle_id = idle.ask("id");
    let mut busy = Client::connect(&engine, 0, Wire::LENGTH);
    let mut slow = Client::connect(&engine, 0, Wire::LENGTH);
    let id = slow.ask("id");
    // A message of a thousand bytes: the slow one sends ten a second of it, the busy one ten times as much as it must.
    let header = 1000_u32.to_be_bytes();
    slow.send_bytes(&header).expect("it is open");
    let began = Instant::now();
    while slow.send_bytes(b"x").is_ok() && !engine.journal().contains(&format!("close {id} slow")) {
        assert!(began.elapsed() < PATIENCE, "it is never closed");
        busy.send_bytes(&header).expect("it is open");
        for _ in 0..10 {
            busy.send_bytes(&[b'y'; 100]).expect("it is open");
        }
        assert_eq!(busy.receive(), [b'y'; 1000]);
        std::thread::sleep(Duration::from_millis(100));
    }
    let took = began.elapsed();
    assert!(
        took >= Duration::from_millis(2500),
        "a measurement takes 3 s: {took:?}"
    );
    engine.logged(&["slower than min_receive_rate", "slow"]);
    let status = engine.status();
    assert_eq!(
        (status.closed("slow"), status.limit("min_receive_rate")),
        (1, 1)
    );
    assert_eq!(idle.ask("id"), idle_id);
}

#[test]
fn a_record_of_tls_that_arrives_too_slowly_closes_its_session_too() {
    let issuer = Issuer::new();
    let tls = "min_receive_rate = \"100B\"\ntls = { certificate = \"one.pem\", key = \"one.key\" }";
    let site = Site::new("probe", &config(tls));
    issuer.issue(&["one.test"]).write(&site, "one");
    let engine = site.start();
    let trust = issuer.trust();
    let mut client =
        Client::connect_tls(&engine, 0, Wire::LENGTH, &trust, "one.test").expect("a handshake");
    let id = client.ask("id");
    let moorline_tests::Stream::Tls(stream) = &mut client.stream else {
        panic!("it is encrypted");
    };
    // The header of a record of application data, and nothing of what it announces.
    stream
        .sock
        .write_all(&[0x17, 3, 3, 0x20, 0])
        .expect("it is open");
    engine.journaled(&format!("close {id} slow"));
}

/// Fragments of a WebSocket message are held too.
#[test]
fn a_websocket_message_whose_fragments_arrive_too_slowly_closes_its_session() {
    let config = r#"
[workers]
count = 1
[[listen]]
address = "http://127.0.0.1:0"
websocket = "/ws"
min_receive_rate = "100B"
[app]
journal = "{folder}/journal"
"#;
    let engine = Engine::start("probe", config);
    let mut client = Client::connect(&engine, 0, Wire::WebSocket);
    let id = client.ask("id");
    // A first fragment of one byte, and no second one.
    client
        .send_bytes(&[0x02, 0x81, 0, 0, 0, 0, b'x'])
        .expect("it is open");
    engine.journaled(&format!("close {id} slow"));
    assert_eq!(engine.status().limit("min_receive_rate"), 1);
}

/// It comes with messages that fill the window, so that it is not looked at before they are done.
#[test]
fn the_beginning_of_a_message_behind_a_full_window_is_measured_too() {
    let engine = Engine::start("probe", &config("min_receive_rate = \"100B\""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    let message = b"\0\0\0\x08sleep 20";
    let mut bytes = message.repeat(16);
    bytes.extend_from_slice(b"\0\0\0\x08sl");
    client.send_bytes(&bytes).expect("it is open");
    for _ in 0..16 {
        assert_eq!(client.receive(), b"slept");
    }
    engine.journaled(&format!("close {id} slow"));
}

#[test]
fn a_session_that_is_not_read_owes_nothing() {
    let engine = Engine::start("probe", &config("min_receive_rate = \"1MiB\""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    // A message that fills the window for longer than a measurement takes, and the beginning of another.
    let mut long = b"sleep 4000 ".to_vec();
    long.resize(64 * 1024, b'x');
    client.send(long);
    client.send_bytes(b"\0\0\0\x02i").expect("it is open");
    assert_eq!(client.receive(), b"slept");
    client.send_bytes(b"d").expect("it is open");
    client.receive();
    assert_eq!(engine.status().limit("min_receive_rate"), 0);
}

const WEB: &str = r#"
[workers]
count = 1
[[listen]]
name = "web"
address = "http://127.0.0.1:0"
websocket = "/ws"
static = "{folder}"
handshake_timeout = "1s"
send_timeout = "1s"
"#;

/// Everything up to the end of the stream; a reset is an end too.
fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).expect("legal");
    let mut all = Vec::new();
    if let Err(error) = stream.read_to_end(&mut all) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    }
    all
}

#[test]
fn slow_websocket_handshakes_are_cut_off_at_the_handshake_timeout() {
    let engine = Engine::start("probe", WEB);
    let began = Instant::now();
    // Nothing at all, a part of a head, and a head that goes on byte by byte.
    let mut silent = TcpStream::connect(engine.socket_address(0)).expect("it accepts");
    let mut partial = TcpStream::connect(engine.socket_address(0)).expect("it accepts");
    partial
        .write_all(b"GET /ws HTTP/1.1\r\nHost: ")
        .expect("it is open");
    let mut dripping = TcpStream::connect(engine.socket_address(0)).expect("it accepts");
    let request = b"GET /ws HTTP/1.1\r\nX-Long: "
        .iter()
        .chain(std::iter::repeat(&b'x'));
    for byte in request {
        if dripping.write_all(&[*byte]).is_err() {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "it is never cut off");
        std::thread::sleep(Duration::from_millis(20));
    }
    for stream in [&mut silent, &mut partial, &mut dripping] {
        read_to_end(stream);
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(900), "{took:?}");
    engine.logged(&["longer than handshake_timeout", "web", "handshake"]);
    eventually("all are counted", || {
        let status = engine.status();
        (
            status.closed("handshake"),
            status.limit("handshake_timeout"),
        ) == (3, 3)
    });
    assert_eq!(
        Client::connect(&engine, 0, Wire::WebSocket).ask("build"),
        "first"
    );
}

/// A connection keeps the one it began with.
#[test]
fn the_handshake_timeout_follows_a_reload() {
    let engine = Engine::start("probe", &WEB.replace("\"1s\"", "\"1h\""));
    let connect = || TcpStream::connect(engine.socket_address(0)).expect("it accepts");
    let mut early = connect();
    early.write_all(b"GET /moorline").expect("it is open");
    engine.configure(WEB);
    engine.reload().expect_success();
    read_to_end(&mut connect());
    engine.logged(&["longer than handshake_timeout"]);
    let rest = b".toml HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    early.write_all(rest).expect("it is open");
    let answer = String::from_utf8(read_to_end(&mut early)).expect("text");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(engine.status().limit("handshake_timeout"), 1);
}

#[test]
fn slow_tls_handshakes_before_a_websocket_are_cut_off_too() {
    let issuer = Issuer::new();
    let tls = "tls = { certificate = \"one.pem\", key = \"one.key\" }\nhandshake_timeout";
    let site = Site::new("probe", &WEB.replace("handshake_timeout", tls));
    issuer.issue(&["one.test"]).write(&site, "one");
    let engine = site.start();
    let mut streams: Vec<TcpStream> = (0..5)
        .map(|_| TcpStream::connect(engine.socket_address(0)).expect("it accepts"))
        .collect();
    for (at, stream) in streams.iter_mut().enumerate() {
        // The beginning of a record; what follows never comes.
        stream
            .write_all(&[0x16, 3, 1, 2, 0][..at])
            .expect("it is open");
    }
    for stream in &mut streams {
        read_to_end(stream);
    }
    eventually("all are counted", || {
        let status = engine.status();
        (
            status.closed("handshake"),
            status.limit("handshake_timeout"),
        ) == (5, 5)
    });
}

#[test]
fn a_connection_that_asked_and_then_idles_is_closed_but_no_failure() {
    let engine = Engine::start("probe", WEB);
    let mut stream = TcpStream::connect(engine.socket_address(0)).expect("it accepts");
    stream
        .write_all(b"GET /moorline.toml HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("it is open");
    let answer = String::from_utf8_lossy(&read_to_end(&mut stream)).into_owned();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let status = engine.status();
    assert_eq!(
        (
            status.closed("handshake"),
            status.limit("handshake_timeout")
        ),
        (0, 0)
    );
}

#[test]
fn a_peer_that_takes_nothing_of_a_file_is_given_up() {
    let config = WEB.replace("static", "max_sessions = 1\nstatic");
    let site = Site::new("probe", &config);
    // More than the kernel holds for a connection.
    site.write("large", vec![b'x'; 32 << 20]);
    let engine = site.start();
    let mut lazy = TcpStream::connect(engine.socket_address(0)).expect("it accepts");
    lazy.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("it is open");
    eventually("its place is free again", || {
        let mut next = TcpStream::connect(engine.socket_address(0)).expect("it accepts");
        // It may be refused before it has asked.
        let _ =
            next.write_all(b"GET /moorline.toml HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        read_to_end(&mut next).starts_with(b"HTTP/1.1 200 ")
    });
    let taken = read_to_end(&mut lazy).len();
    assert!(taken < 32 << 20, "it has taken all");
}

/// CPU time that a gateway which only looks again now and then may use in two seconds: a tenth of it. A busy loop
/// uses all that the machine leaves it.
const QUIET: Duration = Duration::from_millis(200);

fn expect_quiet(gateway: i32) {
    let before = Process::cpu_time(gateway);
    std::thread::sleep(Duration::from_secs(2));
    let used = Process::cpu_time(gateway) - before;
    assert!(used < QUIET, "it spins: {used:?}");
}

#[test]
fn when_the_kernel_has_no_descriptor_left_accepting_pauses_without_spinning_and_resumes() {
    let engine = Engine::start("probe", &config(""));
    let mut old = Client::connect(&engine, 0, Wire::LENGTH);
    assert_eq!(old.ask("build"), "first");
    let gateway = engine.status().gateway.pid;
    let limit = |soft: usize| {
        let changed = Command::new("prlimit")
            .args(["--pid", &gateway.to_string()])
            .arg(format!("--nofile={soft}:"))
            .status();
        assert!(changed.expect("prlimit is part of every Debian").success());
    };
    limit(Process::descriptors(gateway) + 5);
    let mut clients: Vec<Client> = (0..20)
        .map(|_| Client::connect(&engine, 0, Wire::LENGTH))
        .collect();
    for client in &mut clients {
        client.send("build");
    }
    engine.logged(&["accepting pauses", "no descriptor is left for connections"]);
    expect_quiet(gateway);
    assert_eq!(old.ask("build"), "first");
    let status = engine.status();
    assert!((1..10).contains(&status.gateway.sessions), "{status:?}");
    assert_eq!(status.limit("descriptors"), 1);
    let warnings = engine.log().matches("accepting pauses").count();
    assert_eq!(warnings, 1, "{}", engine.log());

    limit(1024);
    for client in &mut clients {
        assert_eq!(client.receive(), b"first");
    }
    engine.logged(&["accepting again", "paused_ms"]);
    assert_eq!(engine.status().closed("limit"), 0, "nobody was refused");
}

#[test]
fn the_descriptors_of_new_processes_are_not_given_to_connections() {
    const CLIENTS: usize = 170;
    let site = Site::new("probe", &config(""));
    let engine = site
        .try_start_by("ulimit -n 200 && exec \"$0\" \"$@\"", |_| {})
        .unwrap_or_else(|finished| panic!("the engine does not start: {finished:#?}"));
    let gateway = engine.status().gateway.pid;
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|_| Client::connect(&engine, 0, Wire::LENGTH))
        .collect();
    for client in &mut clients {
        client.send("id");
    }
    engine.logged(&["accepting pauses", "no descriptor is left for connections"]);
    expect_quiet(gateway);
    let sessions = engine.status().gateway.sessions as usize;
    assert!((10..130).contains(&sessions), "{sessions}");
    // Both generations at once have what they need.
    engine.reload().expect_success();
    for client in &mut clients[..sessions] {
        client.receive();
    }

    // A closed connection makes room for one that waits.
    while !clients.is_empty() {
        let mut first = clients.remove(0);
        if clients.len() < CLIENTS - sessions {
            first.receive();
        }
    }
    engine.logged(&["accepting again"]);
    let status = engine.status();
    assert_eq!(
        (status.gateway.accepted, status.closed("limit")),
        (CLIENTS as u64, 0)
    );
}
