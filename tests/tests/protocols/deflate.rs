//! permessage-deflate (RFC 7692): messages are compressed on the wire and plain for the app.

use std::time::Duration;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use moorline_tests::{Client, Engine, Process, Random, Wire, eventually};

const CONFIG: &str = r#"
[engine]
gateway_loops = 1
[workers]
count = 1
[[listen]]
name = "web"
address = "http://127.0.0.1:0"
websocket = "/ws"
max_message = "1MiB"
compression = { min_message = "16B" }
"#;

const FIN: u8 = 0x80;
const DEFLATED: u8 = 0x40;
const TEXT: u8 = 1;
const BINARY: u8 = 2;

/// A client that compresses, with contexts of its own.
struct Deflating {
    client: Client,
    out: Compress,
    into: Decompress,
    keeps_out: bool,
    is_compressed: bool,
}

impl Deflating {
    /// Offers these parameters, and expects this answer.
    fn connect(engine: &Engine, offer: &str, expected: &str) -> Self {
        let mut client = Client::connect(engine, 0, Wire::Raw);
        let head =
            client.shake_hands_with("/ws", &format!("Sec-WebSocket-Extensions: {offer}\r\n"));
        let head = head.expect("the handshake is answered");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let answered = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("sec-websocket-extensions")
                .then_some(value)
        });
        assert_eq!(answered.unwrap_or_default(), expected);
        Self {
            client,
            out: Compress::new(Compression::default(), false),
            into: Decompress::new(false),
            keeps_out: !expected.contains("client_no_context_takeover"),
            is_compressed: !expected.is_empty(),
        }
    }

    fn deflate(&mut self, message: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(message.len() + 1024);
        if !self.keeps_out {
            self.out.reset();
        }
        self.out
            .compress_vec(message, &mut out, FlushCompress::Sync)
            .expect("it can be compressed");
        assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
        out.truncate(out.len() - 4);
        out
    }

    fn send(&mut self, opcode: u8, message: &[u8]) {
        if !self.is_compressed {
            let frame = moorline_tests::frame(FIN | opcode, message);
            return self.client.send_bytes(&frame).expect("it is taken");
        }
        let payload = self.deflate(message);
        let frame = moorline_tests::frame(FIN | DEFLATED | opcode, &payload);
        self.client.send_bytes(&frame).expect("it is taken");
    }

    /// The next message, and how long its payload was on the wire.
    fn receive(&mut self) -> (u8, Vec<u8>, usize) {
        let (first, payload) = self.client.receive_frame();
        if first & DEFLATED == 0 {
            let length = payload.len();
            return (first & 0x0f, payload, length);
        }
        let mut message = Vec::with_capacity(2 << 20);
        for part in [&payload[..], &[0, 0, 0xff, 0xff]] {
            self.into
                .decompress_vec(part, &mut message, FlushDecompress::Sync)
                .expect("it is compressed");
        }
        (first & 0x0f, message, payload.len())
    }
}

const BOTH_FORGET: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

#[test]
fn messages_are_compressed_on_the_wire_and_plain_for_the_app() {
    let engine = Engine::start("echo", CONFIG);
    let mut client = Deflating::connect(&engine, "permessage-deflate", BOTH_FORGET);
    let long = "the same again and again, ".repeat(2_000);
    for (opcode, message) in [(TEXT, long.as_bytes()), (BINARY, &[7; 300_000][..])] {
        client.send(opcode, message);
        let (answered, answer, length) = client.receive();
        assert_eq!(answered, opcode);
        assert!(answer == message, "another message came back");
        assert!(length < message.len() / 20, "{length} bytes");
    }
    // Too short to gain anything, and compressed by the client all the same.
    client.send(TEXT, b"short");
    assert_eq!(client.receive(), (TEXT, b"short".to_vec(), 5));
}

#[test]
fn a_client_that_offers_nothing_is_sent_plain_messages() {
    let engine = Engine::start("echo", CONFIG);
    let mut client = Client::connect(&engine, 0, Wire::WebSocket);
    client.send("a".repeat(10_000));
    assert_eq!(client.receive(), "a".repeat(10_000).as_bytes());
}

#[test]
fn a_listener_without_compression_agrees_on_none() {
    let config = CONFIG.replace("compression = { min_message = \"16B\" }\n", "");
    let engine = Engine::start("echo", &config);
    let mut client = Deflating::connect(&engine, "permessage-deflate", "");
    let frame = moorline_tests::frame(FIN | DEFLATED | TEXT, b"\xf2\x48\xcd\xc9\xc9\x07\x00");
    client.client.send_bytes(&frame).expect("it is taken");
    let (first, payload) = client.client.receive_frame();
    assert_eq!((first, &payload[..2]), (0x08, &1002_u16.to_be_bytes()[..]));
}

#[test]
fn with_context_takeover_messages_refer_to_earlier_ones() {
    let config = CONFIG.replace(
        "min_message",
        "server_context_takeover = true, client_context_takeover = true, min_message",
    );
    let engine = Engine::start("echo", &config);
    let offer = "permessage-deflate; client_max_window_bits";
    let mut client = Deflating::connect(&engine, offer, "permessage-deflate");
    let noise: Vec<u8> = (0..2_000_u32)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    for round in 0..3 {
        client.send(BINARY, &noise);
        let (_, answer, length) = client.receive();
        assert!(answer == noise, "another message came back");
        assert_eq!(length < 100, round > 0, "{length} bytes in round {round}");
    }
    let held = engine.status().gateway.held["compression"];
    assert!(held > 100_000, "{held}");
    drop(client);
    eventually("a session that has ended holds nothing", || {
        engine.status().gateway.held["compression"] == 0
    });
}

#[test]
fn a_message_that_inflates_beyond_the_maximum_closes_with_1009() {
    let engine = Engine::start("echo", CONFIG);
    let mut client = Deflating::connect(&engine, "permessage-deflate", BOTH_FORGET);
    client.send(BINARY, &vec![0; (1 << 20) + 1]);
    let (first, payload) = client.client.receive_frame();
    assert_eq!((first, &payload[..2]), (0x08, &1009_u16.to_be_bytes()[..]));
    eventually("it is counted", || engine.status().closed("framing") == 1);
}

#[test]
fn a_damaged_message_closes_its_session_and_harms_no_other() {
    let engine = Engine::start("echo", CONFIG);
    let mut good = Deflating::connect(&engine, "permessage-deflate", BOTH_FORGET);
    let mut bad = Deflating::connect(&engine, "permessage-deflate", BOTH_FORGET);
    let frame = moorline_tests::frame(FIN | DEFLATED | BINARY, &[0xff; 20]);
    bad.client.send_bytes(&frame).expect("it is taken");
    let (first, payload) = bad.client.receive_frame();
    assert_eq!((first, &payload[..2]), (0x08, &1007_u16.to_be_bytes()[..]));
    good.send(TEXT, &[b'a'; 5_000]);
    assert_eq!(good.receive().1, [b'a'; 5_000]);
}

/// One member of a group of its own, so that a message to it is compressed for it alone.
fn member(engine: &Engine, offer: &str, expected: &str, groups: &[&str]) -> Deflating {
    let mut client = Deflating::connect(engine, offer, expected);
    for group in groups {
        client.send(TEXT, format!("join {group}").as_bytes());
        assert_eq!(client.receive().1, b"ok");
    }
    client
}

#[test]
fn a_message_to_a_group_is_compressed_once_for_all_who_share_parameters() {
    // The slowest level: compressing costs much more than all the rest.
    let config = CONFIG.replace("{ min_message", "{ level = 9, min_message");
    let engine = Engine::start("probe", &config);
    let small = "permessage-deflate; server_max_window_bits=10";
    let small_answer = format!("{BOTH_FORGET}; server_max_window_bits=10");
    let mut members: Vec<_> = (0..40)
        .flat_map(|_| {
            [
                member(&engine, "permessage-deflate", BOTH_FORGET, &["crew"]),
                member(&engine, small, &small_answer, &["crew"]),
                member(&engine, "", "", &["crew"]),
            ]
        })
        .collect();
    let mut speaker = member(&engine, "permessage-deflate", BOTH_FORGET, &["alone"]);

    let mut random = Random::new();
    let text: String = (0..400_000)
        .map(|_| char::from(b'a' + (random.number() % 4) as u8))
        .collect();
    let gateway = engine.status().gateway.pid;
    let mut cost_of = |group: &str, hearers: &mut [Deflating]| {
        let before = Process::cpu_time(gateway);
        speaker.send(TEXT, format!("say {group} {text}").as_bytes());
        if hearers.is_empty() {
            assert!(speaker.receive().1 == text.as_bytes(), "it hears itself");
        }
        for hearer in hearers {
            let (_, heard, length) = hearer.receive();
            assert!(heard == text.as_bytes(), "another message came");
            assert_eq!(length < 200_000, hearer.is_compressed, "{length} bytes");
        }
        Process::cpu_time(gateway) - before
    };
    let alone: Duration = (0..3).map(|_| cost_of("alone", &mut [])).sum();
    let crew = cost_of("crew", &mut members);
    // Two ways to compress, and 120 copies. Compressing for each were 80 times the cost.
    assert!(
        crew < alone / 3 * 20,
        "{crew:?} for all, {alone:?} for one three times"
    );
}
