//! Clients that come back get the events of their group that they missed, once and in order, or are notified of a gap.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Random, Wire, eventually, kill};
use nix::sys::signal::Signal;

/// Events of each sender.
const EVENTS: usize = 400;

const RESUME: &str = "Sec-WebSocket-Protocol: moorline.resume.v1\r\n";

/// A length-framed listener, and a web one.
pub(super) fn config(more: &str) -> String {
    format!(
        "[engine]\ngateway_loops = 2\n{more}\n[workers]\ncount = 2\nmax_wait = \"5s\"\n{LENGTH_LISTENER}\n\
         [[listen]]\nname = \"web\"\naddress = \"http://127.0.0.1:0\"\n\
         [[listen.route]]\npath = \"/events\"\nkind = \"sse\"\n\
         [[listen.route]]\npath = \"/ws\"\nkind = \"websocket\"\n"
    )
}

/// How a client speaks to the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Server-sent events.
    Events,
    /// WebSocket with `moorline.resume.v1`.
    Resumable,
}

/// What a client was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Got {
    Event { id: String, data: String },
    Gap(String),
}

impl Got {
    pub(super) fn event(id: &str, data: &str) -> Self {
        let (id, data) = (id.to_owned(), data.to_owned());
        Self::Event { id, data }
    }
}

/// A client that has the events up to `last`, and joins the group `room`.
fn connect(engine: &Engine, kind: Kind, last: &str, order: &str) -> std::io::Result<Client> {
    connect_to(engine, kind, last, &format!("{order}:room"))
}

/// A client that has the events up to `last`, and joins a group as this order of the probe's says.
pub(super) fn connect_to(
    engine: &Engine,
    kind: Kind,
    last: &str,
    order: &str,
) -> std::io::Result<Client> {
    let last = match last {
        "" => String::new(),
        last => format!("&last_event_id={last}"),
    };
    let target = format!("do=remember:x&open={order}{last}");
    match kind {
        Kind::Events => {
            let events = Wire::Delimiter(b"\n\n");
            let mut client = Client::try_connect(engine.address(1), events)?;
            // HTTP/1.0 has no chunks.
            let request = format!("GET /events?{target} HTTP/1.0\r\nHost: localhost\r\n\r\n");
            client.send_bytes(request.as_bytes())?;
            let head = client.receive_head()?;
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            Ok(client)
        }
        Kind::Resumable => {
            let path = format!("/ws?{target}");
            let (client, head) = Client::connect_websocket(engine, 1, &path, RESUME)?;
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            assert!(head.contains("moorline.resume.v1"), "{head}");
            Ok(client)
        }
    }
}

/// What a message says.
fn read(kind: Kind, message: &[u8]) -> Got {
    let text = String::from_utf8(message.to_vec()).expect("events are text");
    let (id, name, data) = match kind {
        Kind::Events => {
            let field = |name: &str| {
                let mut lines = text.lines();
                lines
                    .find_map(|line| line.strip_prefix(name))
                    .unwrap_or_default()
            };
            (
                field("id: ").to_owned(),
                field("event: "),
                field("data: ").to_owned(),
            )
        }
        Kind::Resumable => {
            let json: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
            if let Some(group) = json["gap"].as_str() {
                return Got::Gap(group.to_owned());
            }
            let field = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
            (field("id"), "", field("data"))
        }
    };
    match name {
        "gap" => Got::Gap(data),
        _ => Got::Event { id, data },
    }
}

/// The next thing that is no comment.
fn next(client: &mut Client, kind: Kind) -> std::io::Result<Option<Got>> {
    while let Some(message) = client.try_receive()? {
        if message != b":" {
            return Ok(Some(read(kind, &message)));
        }
    }
    Ok(None)
}

#[track_caller]
pub(super) fn receive(client: &mut Client, kind: Kind) -> Got {
    let got = next(client, kind).expect("something comes");
    got.expect("the connection is open")
}

fn keep(engine: &Engine, events: u32) -> Client {
    let mut sender = Client::connect(engine, 0, Wire::LENGTH);
    assert_eq!(sender.ask(format!("keep-events room {events}")), "ok");
    sender
}

/// Sends events one after the other, each as often as it takes. Its worker may die meanwhile.
fn send_all(engine: &Engine, name: &str, mut sender: Client) {
    for at in 0..EVENTS {
        loop {
            sender.send(format!("event room {name}-{at} {name} {at}"));
            match sender.try_receive() {
                Ok(Some(answer)) => {
                    assert_eq!(answer, b"ok");
                    break;
                }
                _ => sender = Client::connect(engine, 0, Wire::LENGTH),
            }
        }
    }
}

/// A client that breaks off and comes back until it has all events. Returns their ids as they came.
fn come_back(engine: &Engine, kind: Kind, seed: u64, breaks: &AtomicUsize) -> Vec<String> {
    let mut random = Random::seeded(seed);
    let mut got: Vec<String> = Vec::new();
    let begun = Instant::now();
    'connections: while got.len() < 2 * EVENTS {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{} came",
            got.len()
        );
        let last = got.last().cloned().unwrap_or_default();
        let Ok(mut client) = connect(engine, kind, &last, "after") else {
            continue;
        };
        let most = random.within(0..60);
        let enough = 2 * EVENTS - got.len();
        for _ in 0..most.min(enough) {
            match next(&mut client, kind) {
                Ok(Some(Got::Event { id, .. })) => got.push(id),
                Ok(Some(Got::Gap(_))) => panic!("a gap after {last:?}"),
                // Its worker died while it opened the session.
                Ok(None) | Err(_) => continue 'connections,
            }
        }
        breaks.fetch_add(1, Ordering::Relaxed);
    }
    got
}

#[test]
fn clients_that_come_back_get_all_that_two_workers_send_once_and_in_order() {
    let engine = Engine::start("probe", &config(""));
    let first = keep(&engine, 10_000);
    let second = Client::connect(&engine, 0, Wire::LENGTH);
    let (is_over, breaks) = (AtomicBool::new(false), AtomicUsize::new(0));
    let orders: Vec<Vec<String>> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|number| {
                let kind = [Kind::Events, Kind::Resumable][number % 2];
                let (engine, breaks) = (&engine, &breaks);
                scope.spawn(move || come_back(engine, kind, number as u64, breaks))
            })
            .collect();
        let senders = [("a", first), ("b", second)].map(|(name, sender)| {
            let engine = &engine;
            scope.spawn(move || send_all(engine, name, sender))
        });
        let disturber = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                engine.reload().expect_success();
                std::thread::sleep(Duration::from_millis(50));
                engine.kill_worker(0, Signal::SIGKILL);
                engine.settled();
            }
        });
        for sender in senders {
            sender.join().expect("all is sent");
        }
        is_over.store(true, Ordering::Relaxed);
        disturber.join().expect("reloads succeed");
        let orders = clients.into_iter().map(|it| it.join().expect("all came"));
        orders.collect()
    });
    let all = ["a", "b"]
        .iter()
        .flat_map(|name| (0..EVENTS).map(move |at| format!("{name}-{at}")));
    assert_eq!(
        orders[0].iter().cloned().collect::<BTreeSet<_>>(),
        all.collect()
    );
    assert_eq!(orders[0].len(), 2 * EVENTS, "nothing came twice");
    for order in &orders[1..] {
        assert!(*order == orders[0], "another order, or something else");
    }
    assert!(breaks.load(Ordering::Relaxed) > 12, "few clients came back");
}

#[test]
fn a_client_whose_last_event_is_not_kept_is_told_of_a_gap_and_gets_what_is() {
    for kind in [Kind::Events, Kind::Resumable] {
        let engine = Engine::start("probe", &config(""));
        let mut sender = keep(&engine, 2);
        for at in 1..=5 {
            assert_eq!(sender.ask(format!("event room {at} number {at}")), "ok");
        }
        let mut late = connect(&engine, kind, "1", "after").expect("it is open");
        let mut new = connect(&engine, kind, "", "history").expect("it is open");
        let mut near = connect(&engine, kind, "3", "after").expect("it is open");
        let mut newest = connect(&engine, kind, "5", "after").expect("it is open");
        assert_eq!(receive(&mut late, kind), Got::Gap("room".to_owned()));
        for client in [&mut late, &mut new, &mut near] {
            assert_eq!(receive(client, kind), Got::event("4", "number 4"));
            assert_eq!(receive(client, kind), Got::event("5", "number 5"));
        }
        eventually("all four are members", || {
            sender.ask("members-count room") == "4"
        });
        // Nothing came between.
        assert_eq!(sender.ask("event room 6 more"), "ok");
        for client in [&mut late, &mut new, &mut near, &mut newest] {
            assert_eq!(receive(client, kind), Got::event("6", "more"));
        }
        assert_eq!(sender.ask("keep-events room 0"), "ok");
        let mut after = connect(&engine, kind, "6", "after").expect("it is open");
        assert_eq!(receive(&mut after, kind), Got::Gap("room".to_owned()));
    }
}

#[test]
fn an_id_of_a_gateway_that_has_died_is_unknown() {
    let engine = Engine::start("probe", &config(""));
    let mut sender = keep(&engine, 10);
    assert_eq!(sender.ask("event room - one"), "ok");
    let kind = Kind::Resumable;
    let mut client = connect(&engine, kind, "", "after").expect("it is open");
    let Got::Event { id, .. } = receive(&mut client, kind) else {
        panic!("an event comes first");
    };
    assert!(!id.is_empty());
    let mut again = connect(&engine, kind, &id, "after").expect("it is open");
    assert_eq!(sender.ask("event room x two"), "ok");
    assert_eq!(receive(&mut again, kind), Got::event("x", "two"));
    let gateway = engine.status().gateway.pid;
    kill(gateway, Signal::SIGKILL);
    eventually("another gateway serves", || {
        Client::try_connect(engine.address(0), Wire::LENGTH).is_ok_and(|mut client| {
            client.send_bytes(b"\0\0\0\x02id").is_ok()
                && client.try_receive().is_ok_and(|it| it.is_some())
        })
    });
    let mut sender = keep(&engine, 10);
    assert_eq!(sender.ask("event room - three"), "ok");
    let mut client = connect(&engine, kind, &id, "after").expect("it is open");
    assert_eq!(receive(&mut client, kind), Got::Gap("room".to_owned()));
    let Got::Event { id: other, data } = receive(&mut client, kind) else {
        panic!("what is kept follows");
    };
    assert_eq!(data, "three");
    assert_ne!(other, id);
}

#[test]
fn histories_end_after_their_time_and_are_counted() {
    let engine = Engine::start("probe", &config("history_timeout = \"1s\""));
    let mut sender = keep(&engine, 10);
    let held = || engine.status().gateway.held["history"];
    assert_eq!(
        sender.ask(format!("event room 1 {}", "x".repeat(10_000))),
        "ok"
    );
    eventually("an event is held", || held() > 10_000);
    let mut member = connect(&engine, Kind::Events, "1", "after").expect("it is open");
    std::thread::sleep(Duration::from_millis(2_000));
    assert!(held() > 10_000, "its group has a member");
    assert!(member.is_quiet_for(Duration::from_millis(1)));
    drop(member);
    eventually("it has ended", || held() == 0);
}

#[test]
fn a_history_that_is_larger_than_a_session_may_queue_comes_as_far_as_it_fits() {
    let engine = Engine::start("probe", &config(""));
    let mut sender = keep(&engine, 10_000);
    let data = "x".repeat(20_000);
    for at in 0..250 {
        assert_eq!(sender.ask(format!("event room {at} {data}")), "ok");
    }
    // 4 MiB are kept, and go out without closing a session that reads slowly.
    let kind = Kind::Resumable;
    let mut client = connect(&engine, kind, "0", "after").expect("it is open");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(receive(&mut client, kind), Got::Gap("room".to_owned()));
    let Got::Event { id, .. } = receive(&mut client, kind) else {
        panic!("one gap is told");
    };
    let first: u32 = id.parse().expect("a number");
    assert!((40..60).contains(&first), "{first}");
    for at in first + 1..250 {
        assert_eq!(
            receive(&mut client, kind),
            Got::event(&at.to_string(), &data)
        );
    }
}

#[test]
fn what_a_worker_sends_around_an_event_keeps_its_place() {
    let engine = Engine::start("probe", &config(""));
    let mut sender = keep(&engine, 10);
    // On either loop and either worker.
    let mut members: Vec<Client> = (0..4)
        .map(|_| Client::connect(&engine, 0, Wire::LENGTH))
        .collect();
    for member in &mut members {
        let id = member.ask("id");
        assert_eq!(member.ask("join room"), "ok");
        assert_eq!(sender.ask(format!("event-and-tell room {id}")), "told");
        for at in 0..50 {
            for what in ["before", "event", "after"] {
                assert_eq!(member.receive(), format!("{what} {at}").as_bytes());
            }
        }
        assert_eq!(member.ask("leave room"), "ok");
    }
}

#[test]
fn the_subprotocol_gives_way_to_those_that_the_listener_speaks() {
    let text = config("").replace(
        "name = \"web\"",
        "name = \"web\"\nsubprotocols = [\"chat.v2\"]",
    );
    let engine = Engine::start("probe", &text);
    for (offered, agreed) in [
        ("moorline.resume.v1, chat.v2", "chat.v2"),
        ("moorline.resume.v1", "moorline.resume.v1"),
    ] {
        let offer = format!("Sec-WebSocket-Protocol: {offered}\r\n");
        let (_, head) = Client::connect_websocket(&engine, 1, "/ws", &offer).expect("it answers");
        let line = format!("sec-websocket-protocol: {agreed}\r\n");
        assert!(head.to_ascii_lowercase().contains(&line), "{head}");
    }
    let (_, head) = Client::connect_websocket(&engine, 1, "/ws", "").expect("it answers");
    assert!(
        !head.to_ascii_lowercase().contains("sec-websocket-protocol"),
        "{head}"
    );
}
