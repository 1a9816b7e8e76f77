//! What belongs to a session is there after an upgrade, and what was in progress goes on.

use std::time::{Duration, Instant};

use moorline_tests::{Client, Engine, Wire, eventually};

use crate::{config, upgrade};

#[track_caller]
fn client(engine: &Engine) -> Client {
    Client::connect(engine, 0, Wire::LENGTH)
}

#[test]
fn a_session_keeps_all_that_it_has() {
    let engine = Engine::start("probe", &config("", ""));
    let (mut one, mut other) = (client(&engine), client(&engine));
    let id = one.ask("id");
    let slot = one.ask("slot");
    for asked in [
        "keep-state treasure",
        "label red",
        "bind key-7",
        "join room",
    ] {
        assert_eq!(one.ask(asked), "ok", "{asked}");
    }
    assert_eq!(other.ask("join room"), "ok");
    let pid = one.ask("pid");
    upgrade(&engine);
    assert_eq!(one.ask("id"), id);
    assert_eq!(one.ask("slot"), slot);
    assert_eq!(one.ask("pid"), pid, "its worker goes on");
    assert_eq!(one.ask("state"), "treasure");
    assert_eq!(one.ask("key"), "key-7");
    assert_eq!(other.ask("labels room").trim(), "red");
    one.send("say room hello");
    for client in [&mut one, &mut other] {
        assert_eq!(client.receive(), b"hello");
    }
    // A new session gets an id that none has had.
    assert_ne!(client(&engine).ask("id"), id);
    assert_eq!(other.ask("members-count room"), "2");
    drop(one);
    eventually("a member that leaves is gone", || {
        other.ask("members-count room") == "1"
    });
}

#[test]
fn handlers_tasks_and_half_messages_go_on() {
    let engine = Engine::start("probe", &config("", ""));
    let mut slow = client(&engine);
    slow.send("sleep 1500");
    let mut tasked = client(&engine);
    let worker = tasked.ask("task pid");
    tasked.send("task sleep 1500");
    let mut half = client(&engine);
    half.ask("id");
    let message = Wire::LENGTH.encode(b"echo me");
    half.send_bytes(&message[..6]).expect("it takes bytes");
    let mut paused = client(&engine);
    assert_eq!(paused.ask("keep"), "ok");
    upgrade(&engine);
    half.send_bytes(&message[6..]).expect("it takes bytes");
    assert!(!half.receive().is_empty());
    assert_eq!(slow.receive(), b"slept");
    tasked.receive();
    assert_eq!(tasked.ask("task pid"), worker);
    assert_eq!(paused.ask("unkeep"), "ok");
}

#[test]
fn a_slow_reader_gets_all_that_was_queued_for_it() {
    let limits = "high_watermark = \"100MiB\"\nlow_watermark = \"50MiB\"\nhard_limit = \"200MiB\"";
    let engine = Engine::start("probe", &config("", limits));
    let mut slow = client(&engine);
    slow.ask("id");
    for _ in 0..12 {
        slow.send("big 2000000");
    }
    slow.send("journal all-sent");
    engine.journaled("noted all-sent");
    eventually("most of it is queued", || {
        engine.status().gateway.buffered_bytes > 8 << 20
    });
    upgrade(&engine);
    assert!(engine.status().gateway.buffered_bytes > 8 << 20);
    for _ in 0..12 {
        let message = slow.receive();
        assert!(message.len() == 2_000_000 && message.iter().all(|byte| *byte == b'b'));
    }
    assert!(!slow.ask("id").is_empty());
    eventually("all is sent", || {
        engine.status().gateway.buffered_bytes < 1 << 20
    });
}

#[test]
fn timers_go_on() {
    let engine = Engine::start("probe", &config("", "idle_timeout = \"3s\""));
    let mut idle = client(&engine);
    idle.ask("id");
    let begun = Instant::now();
    upgrade(&engine);
    assert_eq!(idle.receive_to_end(), Vec::<Vec<u8>>::new());
    let lasted = begun.elapsed();
    assert!(lasted > Duration::from_secs(2), "{lasted:?}");
    assert_eq!(engine.status().closed("idle"), 1);
}

#[test]
fn lines_raw_bytes_and_unix_sockets_move_too() {
    let more = "[[listen]]\nname = \"lines\"\naddress = \"tcp://127.0.0.1:0\"\nframing = { kind = \"line\" }\n\
                [[listen]]\nname = \"unix\"\naddress = \"unix://{folder}/sock\"\nframing = { kind = \"length\", counts = \"payload\" }\n";
    let engine = Engine::start("probe", &config("", more));
    let mut line = Client::connect(&engine, 1, Wire::Line);
    let path = engine.address(2);
    let mut unix = Client::try_connect(path, Wire::LENGTH).expect("it listens");
    let ids = [line.ask("id"), unix.ask("id")];
    for _ in 0..3 {
        upgrade(&engine);
        assert_eq!([line.ask("id"), unix.ask("id")], ids);
        let mut more = Client::try_connect(path, Wire::LENGTH).expect("it still listens");
        assert!(!more.ask("id").is_empty());
    }
}

#[test]
fn what_was_accepted_by_no_gateway_is_by_the_next() {
    let engine = Engine::start("probe", &config("", ""));
    for _ in 0..3 {
        let mut early: Vec<_> = (0..20).map(|_| client(&engine)).collect();
        engine.run(&["upgrade"]).expect_success();
        for client in &mut early {
            assert!(!client.ask("id").is_empty());
        }
    }
}
