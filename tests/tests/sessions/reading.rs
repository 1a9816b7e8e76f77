//! Sessions that are paused, exempt from idle timeouts or bound to a key, and their description.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Wire, eventually};
use nix::sys::signal::Signal;

fn probe(workers: u16, more: &str) -> String {
    format!(
        "[workers]\ncount = {workers}\n{LENGTH_LISTENER}{more}\n[app]\njournal = \"{{folder}}/journal\"\n"
    )
}

#[test]
fn a_paused_session_is_not_read_until_it_is_resumed() {
    let engine = Engine::start("probe", &probe(1, ""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let mut other = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    assert_eq!(client.ask("pause"), "ok");
    client.send("hello");
    assert!(client.is_quiet_for(Duration::from_millis(200)));
    assert_eq!(other.ask(format!("resume {id}")), "ok");
    assert_eq!(client.receive(), b"hello");
}

#[test]
fn a_label_is_seen_by_all_workers_and_the_operator_and_survives_reload_and_crash() {
    let engine = Engine::start("probe", &probe(2, ""));
    let mut clients: Vec<Client> = (0..2)
        .map(|_| Client::connect(&engine, 0, Wire::LENGTH))
        .collect();
    for (client, name) in clients.iter_mut().zip(["ada", "bob"]) {
        assert_eq!(client.ask(format!("label {name}")), "ok");
        assert_eq!(client.ask("join room"), "ok");
    }
    assert_ne!(clients[0].ask("slot"), clients[1].ask("slot"));
    let listed = || {
        let said = engine.run(&["sessions", "--json"]).expect_success().stdout;
        ["ada", "bob"].map(|name| said.contains(&format!("\"label\":\"{name}\"")))
    };
    assert_eq!(clients[0].ask("labels room"), "ada bob");
    assert_eq!(listed(), [true, true]);
    engine.reload().expect_success();
    engine.kill_worker(0, Signal::SIGKILL);
    engine.settled();
    for client in &mut clients {
        assert_eq!(client.ask("labels room"), "ada bob");
    }
    assert_eq!(clients[0].ask("label"), "ok");
    assert_eq!(clients[1].ask("labels room"), " bob");
    assert_eq!(listed(), [false, true]);
}

/// Nothing is lost on the way: what does not fit stays in the peer's kernel.
#[test]
fn pausing_closes_the_peers_window_and_loses_nothing() {
    let engine = Engine::start("probe", &probe(1, ""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.send("pause-for 300");
    let begun = Instant::now();
    for number in 0..2000 {
        client.send(format!("message {number} {}", "x".repeat(100)));
    }
    assert_eq!(client.receive(), b"ok");
    for number in 0..2000 {
        let message = client.receive();
        assert!(message.starts_with(format!("message {number} ").as_bytes()));
    }
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_session_stays_paused_through_reload_and_crash() {
    let engine = Engine::start("probe", &probe(1, ""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    assert_eq!(client.ask("pause"), "ok");
    client.send("hello");
    engine.reload().expect_success();
    engine.kill_worker(0, Signal::SIGKILL);
    engine.settled();
    assert!(client.is_quiet_for(Duration::from_millis(100)));
    let mut other = Client::connect(&engine, 0, Wire::LENGTH);
    assert!(other.ask(format!("info {id}")).contains("paused true"));
    assert_eq!(other.ask(format!("resume {id}")), "ok");
    assert_eq!(client.receive(), b"hello");
}

#[test]
fn a_paused_session_whose_connection_breaks_ends() {
    let engine = Engine::start("probe", &probe(1, ""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    assert_eq!(client.ask("pause"), "ok");
    client.reset();
    engine.journaled(&format!("close {id} peer"));
}

/// 201 messages, of which the first keeps the others waiting until the peer has gone without reading its answers: how
/// many of the 100 that are noted are handled, how many of all, and how much is discarded.
fn messages_handled_of_a_broken_connection(more: &str) -> (usize, u64, u64) {
    let engine = Engine::start("probe", &probe(1, more));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    let mut bytes = Wire::LENGTH.encode(b"sleep 500");
    for number in 0..100 {
        bytes.extend(Wire::LENGTH.encode(format!("journal {number}").as_bytes()));
        bytes.extend(Wire::LENGTH.encode(b"an answer"));
    }
    // In one segment: what a peer's kernel has not sent yet is lost with a reset.
    client.send_bytes(&bytes).expect("the session takes it");
    eventually("it has come", || engine.status().gateway.messages > 10);
    client.reset();
    engine.journaled(&format!("close {id} peer"));
    let status = engine.status();
    // Without the question for the id.
    let handled = status.workers[0].handled - 1;
    let noted = engine.journal_of("noted").len();
    (noted, handled, status.discarded)
}

#[test]
fn input_before_a_broken_connection_is_delivered_with_deliver_after_close() {
    let (noted, handled, discarded) = messages_handled_of_a_broken_connection("");
    assert!(noted < 20, "{noted}");
    // Beside unhandled messages, answers to the closed session are discarded.
    let answers = (handled + discarded).checked_sub(201);
    assert!(
        answers.is_some_and(|answers| answers < handled),
        "{handled}, {discarded}"
    );
    let (noted, handled, _) = messages_handled_of_a_broken_connection("deliver_after_close = true");
    assert_eq!((noted, handled), (100, 201));
}

#[test]
fn idleness_counts_neither_for_paused_nor_for_kept_sessions() {
    let engine = Engine::start("probe", &probe(1, "idle_timeout = \"300ms\""));
    let mut kept = Client::connect(&engine, 0, Wire::LENGTH);
    let mut paused = Client::connect(&engine, 0, Wire::LENGTH);
    let mut idle = Client::connect(&engine, 0, Wire::LENGTH);
    assert_eq!(kept.ask("keep"), "ok");
    assert_eq!(paused.ask("pause"), "ok");
    assert_eq!(idle.try_receive().ok().flatten(), None, "it was idle");
    assert!(kept.is_quiet_for(Duration::from_millis(700)));
    assert!(paused.is_quiet_for(Duration::from_millis(10)));
    let begun = Instant::now();
    assert_eq!(kept.ask("unkeep"), "ok");
    assert_eq!(kept.try_receive().ok().flatten(), None, "it is idle now");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(engine.status().closed("idle"), 2);
}

#[test]
fn sessions_of_one_key_are_with_one_worker() {
    let engine = Engine::start("probe", &probe(3, "dispatch = \"key\""));
    let mut clients: Vec<Client> = (0..30)
        .map(|_| Client::connect(&engine, 0, Wire::LENGTH))
        .collect();
    let slots_by_key = |clients: &mut Vec<Client>| {
        let mut slots: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for (number, client) in clients.iter_mut().enumerate() {
            slots
                .entry(number % 10)
                .or_default()
                .push(client.ask_number("slot"));
        }
        slots
    };
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.ask(format!("bind user {}", number % 10)), "ok");
    }
    let slots = slots_by_key(&mut clients);
    assert!(
        slots
            .values()
            .all(|slots| slots.iter().all(|slot| *slot == slots[0])),
        "{slots:?}"
    );
    engine.reload().expect_success();
    assert_eq!(
        slots_by_key(&mut clients),
        slots,
        "a reload changes nothing"
    );
    assert_eq!(clients[3].ask("key"), "user 3");

    // Of three slots one goes: only what was there moves.
    engine.configure(&probe(2, "dispatch = \"key\""));
    engine.reload().expect_success();
    let fewer = slots_by_key(&mut clients);
    assert!(
        fewer
            .values()
            .all(|slots| slots.iter().all(|slot| *slot == slots[0])),
        "{fewer:?}"
    );
    for (key, slots) in &slots {
        assert!(
            slots[0] == 2 || fewer[key] == *slots,
            "{key} has moved without need"
        );
    }
    engine.configure(&probe(3, "dispatch = \"key\""));
    engine.reload().expect_success();
    assert_eq!(slots_by_key(&mut clients), slots, "and back");
}

#[test]
fn a_key_has_a_limit() {
    let engine = Engine::start("probe", &probe(1, ""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let long = "k".repeat(256);
    assert_eq!(
        client.ask(format!("bind {long}")),
        "TooLarge { limit: Key, size: 256, max: 255 }"
    );
    assert_eq!(client.ask(format!("bind {}", &long[1..])), "ok");
    assert_eq!(client.ask("bind"), "ok");
    assert_eq!(client.ask("key"), "");
}

#[test]
fn a_session_is_described_in_every_process() {
    let engine = Engine::start("probe", &probe(2, "name = \"game\""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let mut other = Client::connect(&engine, 0, Wire::LENGTH);
    assert_ne!(client.ask("slot"), other.ask("slot"));
    let (id, slot) = (client.ask("id"), client.ask("slot"));
    assert_eq!(client.ask("bind ada"), "ok");
    assert_eq!(client.ask("keep"), "ok");
    let sizes: usize = ["slot", "id", "slot", "bind ada", "keep"]
        .map(|text| text.len() + 4)
        .iter()
        .sum();
    let expected = format!(
        "game 127.0.0.1:{} worker {slot} key \"ada\" messages 5 received {sizes} paused false kept true tls none",
        client.port()
    );
    assert_eq!(other.ask(format!("info {id}")), expected);
    drop(client);
    eventually("the session ends", || {
        other.ask(format!("info {id}")) == "NoSuchSession"
    });
}

/// In its close hook as well, and in that of the process which gets the close after the first has died.
#[test]
fn a_session_is_described_to_its_close_hook() {
    let engine = Engine::start("probe", &probe(1, "name = \"game\""));
    let describe = |last: &str, end: &dyn Fn(Client)| {
        let mut client = Client::connect(&engine, 0, Wire::LENGTH);
        let id = client.ask("id");
        assert_eq!(client.ask("bind ada"), "ok");
        assert_eq!(client.ask("keep"), "ok");
        let received: usize = ["id", "bind ada", "keep", last]
            .map(|text| text.len() + 4)
            .iter()
            .sum();
        let expected = format!(
            "info {id} game 127.0.0.1:{} worker 0 key \"ada\" messages 4 received {received} paused false kept true tls none",
            client.port()
        );
        client.send(last);
        end(client);
        engine.journaled(&expected);
    };
    describe("build", &|mut client| {
        assert_eq!(client.receive(), b"first")
    });
    describe("block 9000", &|client| {
        eventually("it has come", || engine.status().gateway.messages == 8);
        client.reset();
        eventually("the session has ended", || {
            engine.status().closed("peer") == 2
        });
        engine.kill_worker(0, Signal::SIGKILL);
    });
}

/// When a session was accepted, last received from and last sent to, by the clock of the machine.
#[test]
fn a_session_knows_when_it_was_last_heard_and_told() {
    let engine = Engine::start("probe", &probe(2, ""));
    let mut other = Client::connect(&engine, 0, Wire::LENGTH);
    let now = || {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.expect("it is later than 1970").as_millis() as u64
    };
    // Milliseconds are cut off, and the gateway reads its clock once a turn.
    let is_between = |(from, time, to): (u64, u64, u64)| {
        assert!(
            from <= time + 100 && time <= to + 100,
            "{time} is not in {from} to {to}"
        );
    };
    let mut times = |id: &str| -> Vec<u64> {
        let answer = other.ask(format!("times {id}"));
        let times = answer
            .split(' ')
            .map(|time| time.parse().expect("a number"));
        times.collect()
    };
    let before = now();
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    let opened = now();
    for time in times(&id) {
        is_between((before, time, opened));
    }
    std::thread::sleep(Duration::from_millis(400));
    // It is heard, and told something only later.
    let heard_from = now();
    client.send("later 400");
    let mut seen = times(&id);
    eventually("it was heard", || {
        seen = times(&id);
        seen[1] + 100 >= heard_from
    });
    assert!(seen[0] + 300 <= seen[1], "{seen:?}");
    is_between((before, seen[0], opened));
    is_between((before, seen[2], opened));
    assert_eq!(client.receive(), b"later");
    let told = times(&id);
    // A millisecond apart at the most: they are worked out anew from two clocks.
    for (told, seen) in told.iter().zip(&seen[..2]) {
        assert!(told.abs_diff(*seen) <= 2, "{told} was {seen}");
    }
    assert!(told[1] + 200 <= told[2], "{told:?}");
    is_between((heard_from, told[2], now()));
}

/// What the list says of each session, in a worker and in a task worker, which has none itself.
#[test]
fn the_list_describes_each_session_to_every_process() {
    let config = probe(2, "name = \"game\"");
    let engine = Engine::start("probe", &format!("[tasks]\ncount = 1\n{config}"));
    let mut clients: Vec<Client> = (0..5)
        .map(|_| Client::connect(&engine, 0, Wire::LENGTH))
        .collect();
    let mut expected = Vec::new();
    for (number, client) in clients.iter_mut().enumerate() {
        let (id, slot) = (client.ask("id"), client.ask("slot"));
        let key = format!("key {number}");
        assert_eq!(client.ask(format!("bind {key}")), "ok");
        let bytes: usize = ["id", "slot", "bind key 0"]
            .map(|text| text.len() + 4)
            .iter()
            .sum();
        expected.push((
            id.clone(),
            format!(
                "{id} game 127.0.0.1:{} worker {slot} key {key:?} messages 3 received {bytes} paused false kept false tls none",
                client.port()
            ),
        ));
    }
    expected.sort();
    let expected: Vec<String> = expected.into_iter().map(|(_, line)| line).collect();
    let mut asking = clients.pop().expect("there are five");
    let lines = |answer: String, left_out: &str| -> Vec<String> {
        let lines = answer.lines().filter(|line| !line.starts_with(left_out));
        lines.map(str::to_owned).collect()
    };
    // The one that asks has sent more by now.
    let asker = asking.ask("id");
    let others: Vec<String> = lines(expected.join("\n"), &asker);
    assert_eq!(lines(asking.ask("list"), &asker), others);
    assert_eq!(lines(asking.ask("task list"), &asker), others);
    let one = &others[0];
    let (id, described) = one.split_once(' ').expect("it begins with the id");
    assert_eq!(asking.ask(format!("task info {id}")), described);
}

#[test]
fn all_sessions_of_the_engine_are_listed_once() {
    let engine = Engine::start("probe", &probe(2, ""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let others: Vec<Client> = (0..499)
        .map(|_| Client::connect(&engine, 0, Wire::LENGTH))
        .collect();
    eventually("all are open", || engine.status().gateway.sessions == 500);
    assert_eq!(client.ask("sessions"), "500 500");
    drop(others);
    eventually("they have closed", || engine.status().gateway.sessions == 1);
    assert_eq!(client.ask("sessions"), "1 1");
}
