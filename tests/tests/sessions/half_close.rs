//! A client that stops sending still gets everything it is owed, whatever the framing and the pace.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use moorline_tests::{Client, Engine, PATIENCE, Random, Wire};

/// What each client sends, at least.
const VOLUME: usize = 1 << 20;
/// How often each framing is tried.
const ROUNDS: usize = 8;

/// Every framing: its name, how it is configured, how it is spoken, and the largest message tried.
const FRAMINGS: [(&str, &str, Wire, usize); 9] = [
    ("raw", r#"{ kind = "raw" }"#, Wire::Raw, 100_000),
    (
        "byte",
        r#"{ kind = "length", width = 1, counts = "payload", max = "256B" }"#,
        Wire::Length {
            width: 1,
            little_endian: false,
        },
        255,
    ),
    (
        "short",
        r#"{ kind = "length", width = 2, counts = "payload", endian = "little" }"#,
        Wire::Length {
            width: 2,
            little_endian: true,
        },
        65_000,
    ),
    (
        "length",
        r#"{ kind = "length", width = 4, counts = "payload" }"#,
        Wire::LENGTH,
        500_000,
    ),
    (
        "long",
        r#"{ kind = "length", width = 8, counts = "payload", endian = "little" }"#,
        Wire::Length {
            width: 8,
            little_endian: true,
        },
        100_000,
    ),
    (
        "delimiter",
        r#"{ kind = "delimiter", delimiter = "\r\n\r\n" }"#,
        Wire::Delimiter(b"\r\n\r\n"),
        100_000,
    ),
    (
        "kept",
        r#"{ kind = "delimiter", delimiter = "END", keep = true }"#,
        Wire::Delimiter(b"END"),
        100_000,
    ),
    ("line", r#"{ kind = "line" }"#, Wire::Line, 100_000),
    ("one-line", r#"{ kind = "line" }"#, Wire::Line, 2_000_000),
];

/// The framings over a family of sockets, then WebSocket, which has its own listener.
fn config(address: impl Fn(&str) -> String) -> String {
    let mut config = "[workers]\ncount = 2\n[engine]\ngateway_loops = 2\n".to_owned();
    for (name, framing, ..) in FRAMINGS {
        let address = address(name);
        config += &format!(
            "[[listen]]\nname = \"{name}\"\naddress = \"{address}\"\nframing = {framing}\n"
        );
    }
    config + "[[listen]]\naddress = \"http://127.0.0.1:0\"\nwebsocket = \"/ws\"\n"
}

#[test]
fn over_tcp_every_byte_comes_back_after_a_half_close() {
    let engine = Engine::start("echo", &config(|_| "tcp://127.0.0.1:0".to_owned()));
    every_framing(&engine);
}

#[test]
fn over_unix_sockets_every_byte_comes_back_after_a_half_close() {
    let engine = Engine::start(
        "echo",
        &config(|name| format!("unix://{{folder}}/{name}.sock")),
    );
    every_framing(&engine);
}

fn every_framing(engine: &Engine) {
    let mut random = Random::new();
    for _ in 0..ROUNDS {
        for (listener, (name, _, wire, largest)) in FRAMINGS.into_iter().enumerate() {
            exchange(
                name,
                Client::connect(engine, listener, wire),
                wire,
                largest,
                &mut random,
            );
        }
        let client = Client::connect(engine, FRAMINGS.len(), Wire::WebSocket);
        exchange("websocket", client, Wire::WebSocket, 200_000, &mut random);
    }
}

/// Sends random messages in random pieces at a random pace, half-closes, and compares all that comes back.
fn exchange(name: &str, mut client: Client, wire: Wire, largest: usize, random: &mut Random) {
    let mut messages = Vec::new();
    let mut volume = 0;
    while volume < VOLUME {
        // Small and large ones in turn; letters, which no delimiter here can be found in.
        let size = match random.within(0..3) {
            0 => random.within(1..largest.min(100)),
            _ => random.within(1..largest),
        };
        let letter = b'a' + random.within(0..26) as u8;
        messages.push(vec![letter; size]);
        volume += size;
    }
    let bytes: Vec<u8> = messages
        .iter()
        .flat_map(|message| wire.encode(message))
        .collect();

    let mut writer = client.stream.try_clone().expect("a stream can be cloned");
    let mut pace = random.split();
    let begins_late = random.within(0..3) == 0;
    let sending = std::thread::spawn(move || {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(pace.within(1..150_000).min(rest.len()));
            writer
                .write_all(piece)
                .expect("the engine takes what is sent");
            rest = after;
            if pace.within(0..4) == 0 {
                std::thread::sleep(Duration::from_micros(pace.within(1..2_000) as u64));
            }
        }
        writer
            .shutdown(Shutdown::Write)
            .expect("an open stream can be half-closed");
    });
    if begins_late {
        // A reader that begins only now finds the engine's and the kernel's queues full.
        std::thread::sleep(Duration::from_millis(20));
    }
    let received = match wire {
        Wire::Raw => {
            let mut received = Vec::new();
            client
                .stream
                .set_read_timeout(PATIENCE)
                .expect("a non-zero timeout is legal");
            client
                .stream
                .read_to_end(&mut received)
                .expect("the engine closes the session");
            received
        }
        _ => client.receive_to_end().concat(),
    };
    sending.join().expect("everything was sent");
    let sent = messages.concat();
    assert_eq!(
        received.len(),
        sent.len(),
        "{name}: bytes are missing or too many"
    );
    assert!(received == sent, "{name}: the bytes are others");
}

#[test]
fn a_half_close_right_behind_a_slow_handlers_message_waits_for_its_answer() {
    let length = moorline_tests::LENGTH_LISTENER;
    let engine = Engine::start("probe", &format!("[workers]\ncount = 1\n{length}"));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.send("sleep 300");
    client.send("sleep 300");
    client.finish_sending();
    assert_eq!(client.receive_to_end(), [b"slept", b"slept"]);
}

#[test]
fn an_unfinished_message_before_a_half_close_is_dropped_and_the_rest_answered() {
    let length = moorline_tests::LENGTH_LISTENER;
    let engine = Engine::start("echo", &format!("[workers]\ncount = 1\n{length}"));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.send("whole");
    client
        .send_bytes(&[0, 0, 0, 9, b'c', b'u', b't'])
        .expect("the session takes what is sent");
    client.finish_sending();
    assert_eq!(client.receive_to_end(), [b"whole"]);
}
