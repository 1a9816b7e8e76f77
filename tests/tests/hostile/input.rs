//! Bad input closes its own session, and the log names the reason. Other sessions notice nothing.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use moorline_tests::{Client, Engine, Load, Plan, Process, Random, Troubles, Wire, eventually};

const LENGTH: usize = 0;
const LONG: usize = 1;
const DELIMITER: usize = 2;
const LINE: usize = 3;
const HTTP: usize = 4;
const UNIX: usize = 5;
const RAW: usize = 6;
const LISTENERS: usize = 7;

const CONFIG: &str = r#"
[engine]
gateway_loops = 2
[workers]
count = 2

[[listen]]
name = "length"
address = "tcp://127.0.0.1:0"
framing = { kind = "length", width = 4, counts = "payload", max = "64KiB" }

[[listen]]
name = "long"
address = "tcp://127.0.0.1:0"
framing = { kind = "length", width = 8, endian = "little", counts = "message", max = "64KiB" }

[[listen]]
name = "delimiter"
address = "tcp://127.0.0.1:0"
framing = { kind = "delimiter", delimiter = "\r\n", max = "64KiB" }

[[listen]]
name = "line"
address = "tcp://127.0.0.1:0"
framing = { kind = "line", max = "1KiB" }

[[listen]]
name = "web"
address = "http://127.0.0.1:0"
websocket = "/ws"
static = "{folder}"
max_message = "64KiB"

[[listen]]
name = "local"
address = "unix://{folder}/local.sock"
framing = { kind = "length", width = 2, counts = "payload" }

[[listen]]
name = "raw"
address = "tcp://127.0.0.1:0"
framing = { kind = "raw" }

[app]
journal = "{folder}/journal"
"#;

/// An engine with a session on it that goes on exchanging messages for as long as this lives.
struct Watched {
    engine: Engine,
    good: Option<std::thread::JoinHandle<u64>>,
    over: std::sync::Arc<AtomicBool>,
    exchanged: std::sync::Arc<AtomicU64>,
    workers: Vec<i32>,
}

impl Watched {
    fn start() -> Self {
        let engine = Engine::start("probe", CONFIG);
        let over = std::sync::Arc::new(AtomicBool::new(false));
        let exchanged = std::sync::Arc::new(AtomicU64::new(0));
        let mut client = Client::connect(&engine, LENGTH, Wire::LENGTH);
        let good = std::thread::spawn({
            let (over, exchanged) = (over.clone(), exchanged.clone());
            move || {
                let id = client.ask("id");
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(client.ask("id"), id);
                    exchanged.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(1));
                }
                exchanged.load(Ordering::Relaxed)
            }
        });
        let workers = engine.status().worker_pids();
        Watched {
            engine,
            good: Some(good),
            over,
            exchanged,
            workers,
        }
    }

    /// The good session has gone on, and every process is the one it was.
    fn expect_unharmed(mut self) {
        let before = self.exchanged.load(Ordering::Relaxed);
        eventually("the good session goes on", || {
            self.exchanged.load(Ordering::Relaxed) > before + 10
        });
        self.over.store(true, Ordering::Relaxed);
        let good = self.good.take().expect("it is taken once");
        assert!(good.join().is_ok(), "the good session was harmed");
        let status = self.engine.settled();
        assert_eq!(status.worker_pids(), self.workers);
        assert_eq!(status.gateway.incarnation, 1);
        assert_eq!((status.errors.handlers, status.errors.worker_exits), (0, 0));
        assert!(
            !self.engine.log().contains("panicked"),
            "something panicked: {}",
            self.engine.log()
        );
    }
}

#[test]
fn input_that_breaks_a_framing_closes_its_session_with_a_reason_in_the_log() {
    let watched = Watched::start();
    let engine = &watched.engine;
    let megabyte = vec![b'x'; 1 << 20];
    let cases: [(&str, usize, &[u8], &[&str]); 7] = [
        (
            "a length of 4 GiB",
            LENGTH,
            &[0xff; 4],
            &["4294967299", "65536"],
        ),
        (
            "a length just over the maximum",
            LENGTH,
            &[0, 0, 0xff, 0xfd],
            &["65537", "65536"],
        ),
        ("a length of 16 EiB", LONG, &[0xff; 8], &["65536"]),
        (
            "a length smaller than the header it counts",
            LONG,
            &[7, 0, 0, 0, 0, 0, 0, 0],
            &["7", "8"],
        ),
        (
            "a delimiter that never comes",
            DELIMITER,
            &megabyte,
            &["65536"],
        ),
        ("a line that never ends", LINE, &megabyte, &["1024"]),
        (
            "half a delimiter for ever",
            DELIMITER,
            &b"\r".repeat(100_000),
            &["65536"],
        ),
    ];
    for (number, (case, listener, bytes, words)) in cases.iter().enumerate() {
        println!("{case}");
        let mut client = Client::connect(engine, *listener, Wire::Raw);
        let port = client.port().to_string();
        // The engine may close before it has all.
        let _ = client.send_bytes(bytes);
        client.receive_bytes_to_end();
        let words: Vec<&str> = [&["framing", &port], *words].concat();
        engine.logged(&words);
        let framing = number as u64 + 1;
        eventually("it is counted", || {
            engine.status().closed("framing") == framing
        });
    }
    assert_eq!(
        engine
            .journal_of("close ")
            .iter()
            .filter(|line| line.ends_with(" framing"))
            .count(),
        7
    );
    watched.expect_unharmed();
}

#[test]
fn input_that_breaks_a_framing_is_logged_with_its_first_bytes_and_a_guess() {
    let watched = Watched::start();
    let engine = &watched.engine;
    let cases: [(usize, &[u8], &[&str]); 6] = [
        (
            LENGTH,
            b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
            &["GET / HTTP/1.1\\r\\n", "looks like an HTTP request"],
        ),
        (
            LENGTH,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            &["\\x16\\x03\\x01", "looks like a TLS hello"],
        ),
        (
            LENGTH,
            b"\x05\0\0\0hello",
            &["\\x05\\x00\\x00\\x00hello", "endian = \"little\""],
        ),
        (
            LENGTH,
            b"\0\0\0\x09hello\0\0\0\x09hello",
            &["counts the other way", "counts = \"message\""],
        ),
        (
            LONG,
            b"\x0c\0\0\0\0\0\0\0twelve bytes\x02\0\0\0\0\0\0\0hi",
            &["counts the other way", "counts = \"payload\""],
        ),
        (LENGTH, b"hello\r\n", &["hello\\r\\n", "looks like text"]),
    ];
    for (listener, bytes, words) in cases {
        let mut client = Client::connect(engine, listener, Wire::Raw);
        let port = client.port().to_string();
        client.send_bytes(bytes).expect("it is taken");
        client.receive_bytes_to_end();
        engine.logged(&[&["breaks the framing", &port], words].concat());
    }
    // One message that counts itself is never whole: its client waits for an answer, and leaves.
    let mut client = Client::connect(engine, LENGTH, Wire::Raw);
    let port = client.port().to_string();
    client.send_bytes(b"\0\0\0\x09hello").expect("it is taken");
    drop(client);
    engine.logged(&[
        "before its first message was complete",
        &port,
        "counts = \"message\"",
    ]);
    watched.expect_unharmed();
}

#[test]
fn input_that_breaks_rfc_6455_closes_its_session_with_the_prescribed_code() {
    let watched = Watched::start();
    let engine = &watched.engine;
    let masked = |bytes: &[u8]| [bytes, &[0; 4]].concat();
    let oversized = [&[0x82, 0xff][..], &(1_u64 << 40).to_be_bytes(), &[0; 4]].concat();
    let cases: [(&str, Vec<u8>, u16); 13] = [
        ("an unmasked frame", b"\x82\x02hi".to_vec(), 1002),
        ("a reserved bit", masked(&[0xc2, 0x80]), 1002),
        ("another reserved bit", masked(&[0x92, 0x80]), 1002),
        ("an unknown opcode", masked(&[0x83, 0x80]), 1002),
        ("an unknown control opcode", masked(&[0x8b, 0x80]), 1002),
        ("a fragmented ping", masked(&[0x09, 0x80]), 1002),
        ("a ping over 125 bytes", masked(&[0x89, 0xfe, 0, 126]), 1002),
        ("a continuation of nothing", masked(&[0x80, 0x80]), 1002),
        (
            "a second first fragment",
            [masked(&[0x02, 0x80]), masked(&[0x02, 0x80])].concat(),
            1002,
        ),
        (
            "a close frame of one byte",
            [masked(&[0x88, 0x81]), vec![0]].concat(),
            1002,
        ),
        (
            "a close code that may not be sent",
            [masked(&[0x88, 0x82]), 1005_u16.to_be_bytes().to_vec()].concat(),
            1002,
        ),
        (
            "text that is not UTF-8",
            [masked(&[0x81, 0x82]), vec![0xc3, 0x28]].concat(),
            1007,
        ),
        ("a message over the maximum", oversized, 1009),
    ];
    for (case, bytes, code) in cases {
        println!("{case}");
        let mut client = Client::connect(engine, HTTP, Wire::WebSocket);
        let port = client.port().to_string();
        client
            .send_bytes(&bytes)
            .expect("the session takes what is sent");
        let (opcode, payload) = client.receive_frame();
        assert_eq!(
            (opcode, &payload[..2]),
            (8, &code.to_be_bytes()[..]),
            "{case}"
        );
        client.receive_bytes_to_end();
        engine.logged(&["framing", &port]);
    }
    watched.expect_unharmed();
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn broken_handshakes_are_answered_with_an_error() {
    let watched = Watched::start();
    let engine = &watched.engine;
    let good = "Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let version = "Sec-WebSocket-Version: 13\r\n";
    for (case, request, status) in [
        (
            "no upgrade",
            format!("GET /ws HTTP/1.1\r\nHost: x\r\n{key}{version}\r\n"),
            "4",
        ),
        (
            "no key",
            format!("GET /ws HTTP/1.1\r\n{good}{version}\r\n"),
            "400",
        ),
        (
            "a short key",
            format!("GET /ws HTTP/1.1\r\n{good}Sec-WebSocket-Key: YQ==\r\n{version}\r\n"),
            "400",
        ),
        (
            "a key that is no base64",
            format!(
                "GET /ws HTTP/1.1\r\n{good}Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!==\r\n{version}\r\n"
            ),
            "400",
        ),
        (
            "no version",
            format!("GET /ws HTTP/1.1\r\n{good}{key}\r\n"),
            "4",
        ),
        (
            "an old version",
            format!("GET /ws HTTP/1.1\r\n{good}{key}Sec-WebSocket-Version: 8\r\n\r\n"),
            "426",
        ),
        (
            "a POST",
            format!("POST /ws HTTP/1.1\r\n{good}{key}{version}Content-Length: 0\r\n\r\n"),
            "4",
        ),
        (
            "HTTP/1.0",
            format!("GET /ws HTTP/1.0\r\n{good}{key}{version}\r\n"),
            "4",
        ),
    ] {
        let mut client = Client::connect(engine, HTTP, Wire::Raw);
        client
            .send_bytes(request.as_bytes())
            .expect("the listener takes a request");
        client.finish_sending();
        let answer = String::from_utf8_lossy(&client.receive_bytes_to_end()).into_owned();
        assert!(
            answer
                .split(' ')
                .nth(1)
                .is_some_and(|code| code.starts_with(status)),
            "{case} was answered with {answer:?}"
        );
        let port = client.port().to_string();
        engine.logged(&["handshake", &port]);
    }
    watched.expect_unharmed();
}

#[test]
fn random_bytes_on_every_port_harm_nobody() {
    let watched = Watched::start();
    let engine = &watched.engine;
    let mut random = Random::new();
    for round in 0..40 {
        for listener in 0..LISTENERS {
            let mut client = Client::connect(engine, listener, Wire::Raw);
            if listener == HTTP && round % 2 == 0 {
                client
                    .shake_hands("/ws")
                    .expect("the handshake is answered");
            }
            let length = random.within(1..50_000);
            let _ = client.send_bytes(&random.bytes(length));
            client.finish_sending_if_open();
            client.receive_bytes_to_end();
        }
    }
    watched.expect_unharmed();
}

#[test]
fn connections_opened_and_abandoned_leave_nothing_behind() {
    let watched = Watched::start();
    let engine = &watched.engine;
    let gateway = engine.status().gateway.pid;
    let before = Process::descriptors(gateway);
    let addresses =
        [LENGTH, DELIMITER, LINE, HTTP, RAW].map(|listener| engine.socket_address(listener));
    let path = engine
        .address(UNIX)
        .trim_start_matches("unix://")
        .to_owned();
    for round in 0..1_000 {
        for (number, address) in addresses.iter().enumerate() {
            let stream = TcpStream::connect(address).expect("the listener accepts");
            // Some end with a reset, some with unfinished input, some without a word.
            match (round + number) % 3 {
                0 => reset(&stream),
                1 => drop(std::io::Write::write(&mut &stream, &[0, 0])),
                _ => {}
            }
        }
        drop(UnixStream::connect(&path).expect("the listener accepts"));
    }
    eventually("only the good session is left", || {
        engine.status().gateway.sessions == 1
    });
    eventually("their descriptors are closed", || {
        Process::descriptors(gateway) <= before
    });
    eventually("nothing is buffered", || {
        engine.status().gateway.buffered_bytes == 0
    });
    watched.expect_unharmed();
}

#[test]
fn more_sessions_than_allowed_are_turned_away() {
    let engine = Engine::start(
        "probe",
        &format!("{}max_sessions = 3\n", moorline_tests::LENGTH_LISTENER),
    );
    let mut clients: Vec<Client> = (0..3)
        .map(|_| Client::connect(&engine, 0, Wire::LENGTH))
        .collect();
    assert!(
        clients
            .iter_mut()
            .all(|client| client.ask("build") == "first")
    );
    let mut fourth = Client::connect(&engine, 0, Wire::LENGTH);
    let port = fourth.port().to_string();
    fourth.receive_bytes_to_end();
    engine.logged(&["limit", &port]);
    let status = engine.status();
    assert_eq!(
        (status.closed("limit"), status.limit("max_sessions")),
        (1, 1)
    );

    drop(clients.pop());
    eventually("there is room again", || {
        engine.status().gateway.sessions == 2
    });
    assert_eq!(
        Client::connect(&engine, 0, Wire::LENGTH).ask("build"),
        "first"
    );
}

/// A request that is never finished is given up, and does not hold a slot for ever.
#[test]
fn a_request_that_never_ends_is_cut_off() {
    let watched = Watched::start();
    let engine = &watched.engine;
    let mut client = Client::connect(engine, HTTP, Wire::Raw);
    // The engine may answer and close before it has all of an endless head.
    let _ = client.send_bytes(b"GET /ws HTTP/1.1\r\n");
    for _ in 0..2_000 {
        if client
            .send_bytes(format!("X-Long: {}\r\n", "x".repeat(1_000)).as_bytes())
            .is_err()
        {
            break;
        }
    }
    client.receive_bytes_to_end();
    watched.expect_unharmed();
}

/// Makes the close of this stream a reset.
fn reset(stream: &TcpStream) {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))
        .expect("a socket can linger");
}

/// With two bytes of length they look like the beginning of a long message: `GE` is 18,245 bytes.
#[test]
fn a_client_of_another_protocol_that_looks_like_a_legal_length_is_logged_when_it_leaves() {
    let engine = Engine::start(
        "probe",
        "[workers]\ncount = 1\n[[listen]]\naddress = \"tcp://127.0.0.1:0\"\nidle_timeout = \"1s\"\nframing = { kind = \"length\", width = 2 }\n",
    );
    let cases: [(&[u8], &str); 2] = [
        (
            b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
            "looks like an HTTP request",
        ),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            "looks like a TLS hello",
        ),
    ];
    for (bytes, guess) in cases {
        for leaves in [true, false] {
            let mut client = Client::connect(&engine, 0, Wire::Raw);
            let port = client.port().to_string();
            client.send_bytes(bytes).expect("it is taken");
            if leaves {
                drop(client);
            } else {
                client.receive_bytes_to_end();
            }
            engine.logged(&["before its first message was complete", &port, guess]);
        }
    }
}

/// Four bytes, the highest first, that count what follows them.
#[test]
fn a_length_listener_with_no_other_setting_understands_ordinary_clients() {
    let engine = Engine::start(
        "echo",
        "[workers]\ncount = 2\n[[listen]]\naddress = \"tcp://127.0.0.1:0\"\nframing = { kind = \"length\" }\n",
    );
    let load = Load::start(&engine, 0, Plan::default());
    load.progress(5);
    assert_eq!(load.finish().troubles, Troubles::default());
    assert_eq!(engine.status().closed("framing"), 0);
}
