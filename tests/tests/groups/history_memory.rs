//! What histories may hold, and for how long: the oldest give way, and their clients are notified of a gap.

use std::time::Duration;

use moorline_tests::{Client, Engine, Wire, eventually};

use super::history::{Got, Kind, config, connect_to, receive};

/// Bytes of the data of one event.
const DATA: usize = 40_000;
/// Events of one group, and groups.
const EVENTS: usize = 10;
const GROUPS: usize = 30;

/// Each group keeps events, from `0` on, one group after the other.
fn fill(engine: &Engine, groups: std::ops::Range<usize>) -> Client {
    let mut sender = Client::connect(engine, 0, Wire::LENGTH);
    for group in groups {
        assert_eq!(sender.ask(format!("keep-events room{group} 1000")), "ok");
        for at in 0..EVENTS {
            let answer = sender.ask(format!("event room{group} {at} {}", data()));
            assert_eq!(answer, "ok");
        }
    }
    sender
}

fn data() -> String {
    "d".repeat(DATA)
}

fn held(engine: &Engine) -> u64 {
    engine.status().gateway.held["history"]
}

/// A client that has the events of a group up to `last` gets those from `first` on, behind the notice of a gap if there is one.
#[track_caller]
fn expect_after(engine: &Engine, group: usize, last: usize, gap: bool, first: usize) {
    for kind in [Kind::Events, Kind::Resumable] {
        let order = format!("after:room{group}");
        let mut client = connect_to(engine, kind, &last.to_string(), &order).expect("it is open");
        if gap {
            let told = Got::Gap(format!("room{group}"));
            assert_eq!(receive(&mut client, kind), told, "room{group}");
        }
        for at in first..EVENTS {
            let event = Got::event(&at.to_string(), &data());
            assert!(receive(&mut client, kind) == event, "{at} of room{group}");
        }
        assert!(client.is_quiet_for(Duration::from_millis(20)));
    }
}

#[test]
fn the_oldest_history_gives_way_first_and_its_clients_are_told_of_a_gap() {
    // An eighth of it is for histories.
    const PART: u64 = 8 << 20;
    let engine = Engine::start("probe", &config("memory_limit = \"64MiB\""));
    let mut sender = fill(&engine, 0..GROUPS);
    // 30 groups want 12 MB.
    let bytes = held(&engine);
    assert!((PART - (1 << 20)..=PART + 4096).contains(&bytes), "{bytes}");
    expect_after(&engine, GROUPS - 1, 3, false, 4);
    expect_after(&engine, GROUPS - 10, 3, false, 4);
    expect_after(&engine, 0, 3, true, EVENTS);
    // Its last event is known, so nothing was missed.
    expect_after(&engine, 0, EVENTS - 1, false, EVENTS);
    // A group whose events went away keeps the next ones, and another gives way for them.
    assert_eq!(sender.ask("event room0 next more"), "ok");
    let kind = Kind::Resumable;
    let mut client = connect_to(&engine, kind, "9", "after:room0").expect("it is open");
    assert_eq!(receive(&mut client, kind), Got::event("next", "more"));
    assert!(held(&engine) <= PART + 4096);
}

#[test]
fn histories_give_way_near_the_memory_limit_before_sessions_are_closed() {
    const LIMIT: u64 = 64 << 20;
    let engine = Engine::start(
        "probe",
        &config("memory_limit = \"64MiB\"").replace("max = \"2MiB\"", "max = \"16MiB\""),
    );
    let mut sender = fill(&engine, 0..15);
    assert!(held(&engine) > 5 << 20);
    // Messages that are not whole are held for their sessions.
    let mut parts = vec![0; 12 << 20];
    parts[..4].copy_from_slice(&(14_u32 << 20).to_be_bytes());
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..4 {
        let client = Client::connect(&engine, 0, Wire::LENGTH);
        client
            .stream
            .set_read_timeout(Duration::from_secs(1))
            .expect("it has one");
        let mut stream = client.stream.try_clone().expect("it can be cloned");
        let parts = parts.clone();
        std::thread::spawn(move || {
            // Near the limit it is not read to its end.
            let _ = std::io::Write::write_all(&mut stream, &parts);
        });
        clients.push(client);
    }
    eventually("histories have given way", || held(&engine) < 100_000);
    let gateway = engine.status().gateway;
    assert!(gateway.buffered_bytes <= LIMIT, "{gateway:?}");
    assert_eq!(engine.status().closed("memory"), 0);
    // Groups are known to keep events all the same.
    expect_after(&engine, 3, 3, true, EVENTS);
    drop(clients);
    eventually("the messages are gone", || {
        engine.status().gateway.buffered_bytes < 1 << 20
    });
    assert_eq!(sender.ask(format!("event room3 {EVENTS} later")), "ok");
    let kind = Kind::Events;
    let mut client = connect_to(&engine, kind, "9", "after:room3").expect("it is open");
    assert_eq!(receive(&mut client, kind), Got::event("10", "later"));
}

#[test]
fn a_reload_with_less_memory_for_histories_shortens_those_that_exist() {
    let engine = Engine::start("probe", &config(""));
    let mut sender = fill(&engine, 0..5);
    assert!(held(&engine) > 5 * (EVENTS * DATA) as u64);
    engine.configure(&config("history_memory = \"2MiB\""));
    engine.reload().expect_success();
    // A sixteenth is for one group: three events.
    eventually("each is shorter", || held(&engine) < 5 * (128 << 10) + 4096);
    for group in 0..5 {
        expect_after(&engine, group, 3, true, EVENTS - 3);
        expect_after(&engine, group, EVENTS - 3, false, EVENTS - 2);
    }
    engine.configure(&config("history_memory = \"64MiB\""));
    engine.reload().expect_success();
    for at in 0..EVENTS {
        let answer = sender.ask(format!("event room0 new{at} {}", data()));
        assert_eq!(answer, "ok");
    }
    assert!(held(&engine) > (EVENTS * DATA) as u64, "as long as before");
}

#[test]
fn a_reload_with_another_time_for_histories_applies_to_those_that_exist() {
    let engine = Engine::start("probe", &config("history_timeout = \"2s\""));
    fill(&engine, 0..1);
    engine.configure(&config("history_timeout = \"1h\""));
    engine.reload().expect_success();
    std::thread::sleep(Duration::from_secs(4));
    expect_after(&engine, 0, 3, false, 4);
    engine.configure(&config("history_timeout = \"1s\""));
    engine.reload().expect_success();
    eventually("it has ended", || held(&engine) == 0);
    expect_after(&engine, 0, 3, true, EVENTS);
}
