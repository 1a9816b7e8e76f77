//! Sessions: their ids, their hooks, their listener, and which processes may send to them.

use std::collections::BTreeSet;
use std::time::Duration;

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Wire, eventually, happens_within};

fn probe(workers: u16, listener: &str) -> String {
    format!(
        "[workers]\ncount = {workers}\n{LENGTH_LISTENER}{listener}\n[app]\njournal = \"{{folder}}/journal\"\n"
    )
}

/// A client for each of two workers.
fn one_on_each_worker(engine: &Engine) -> [Client; 2] {
    let mut one = Client::connect(engine, 0, Wire::LENGTH);
    let slot = one.ask("slot");
    let others = (0..100).map(|_| Client::connect(engine, 0, Wire::LENGTH));
    let other = { others }.find_map(|mut other| (other.ask("slot") != slot).then_some(other));
    [one, other.expect("sessions are spread over two workers")]
}

#[test]
fn ids_are_never_used_again() {
    let engine = Engine::start("probe", &probe(2, ""));
    let mut ids = BTreeSet::new();
    for _ in 0..500 {
        let mut client = Client::connect(&engine, 0, Wire::LENGTH);
        assert!(ids.insert(client.ask("id")), "an id came twice");
    }
    engine.reload().expect_success();
    let first = ids.first().expect("there were sessions").clone();
    let mut clients: Vec<Client> = (0..20)
        .map(|_| Client::connect(&engine, 0, Wire::LENGTH))
        .collect();
    for client in &mut clients {
        assert!(ids.insert(client.ask("id")), "an id came twice");
    }
    // A place that has been given to another connection since does not answer to its old id.
    let outcome = clients[0].ask(format!("tell {first} nobody must hear this"));
    assert!(
        ["NoSuchSession", "Closed", "ok"].contains(&outcome.as_str()),
        "telling an old session: {outcome}"
    );
    for client in &mut clients {
        assert_eq!(
            client.ask("build"),
            "first",
            "the message has reached another session"
        );
    }
    eventually("sends to ended sessions are counted", || {
        outcome != "ok" || engine.status().discarded > 0
    });
}

#[test]
fn any_worker_sends_to_and_closes_any_session() {
    let engine = Engine::start("probe", &probe(2, ""));
    let [mut one, mut other] = one_on_each_worker(&engine);
    let (one_id, other_id) = (one.ask("id"), other.ask("id"));
    assert_eq!(one.ask(format!("tell {other_id} from one")), "ok");
    assert_eq!(other.receive(), b"from one");
    assert_eq!(other.ask(format!("tell {one_id} from other")), "ok");
    assert_eq!(one.receive(), b"from other");

    assert_eq!(one.ask(format!("end {other_id}")), "ok");
    assert_eq!(other.receive_to_end(), Vec::<Vec<u8>>::new());
    engine.journaled(&format!("close {other_id} server"));

    // A worker that has not had a session learns from the gateway, after a first try, that it has ended.
    for gone in ["1", &other_id] {
        assert_eq!(
            one.ask(format!("tell-until-refused {gone}")),
            "NoSuchSession"
        );
    }
}

/// A send that may not wait is refused, in every process. There is room again when the peer has read.
#[test]
fn a_full_session_refuses_sends_of_other_processes() {
    let engine = Engine::start("probe", &probe(2, ""));
    let [mut one, mut other] = one_on_each_worker(&engine);
    let id = one.ask("id");
    one.send("fill");
    engine.journaled(&format!("refused {id} Full"));
    let answer = other.ask(format!("fill-other {id}"));
    let (told, refusal) = answer.split_once(' ').expect("it is a count and a reason");
    assert_eq!(refusal, "Full");
    let told: usize = told.parse().expect("it is a count");
    // What was taken before arrives, and there is room when the peer has read.
    let mut arrived = 0;
    while arrived < told {
        arrived += usize::from(one.receive() == b"more");
    }
    assert_eq!(other.ask(format!("tell {id} again")), "ok");
    while one.receive() != b"again" {}
}

/// A peer that does not read delays a close, but not a forced one, in whichever process it is asked for.
#[test]
fn a_forced_close_works_on_a_closing_session() {
    let engine = Engine::start("probe", &probe(2, ""));
    let [mut one, mut other] = one_on_each_worker(&engine);
    let id = one.ask("id");
    one.send("fill");
    engine.journaled(&format!("refused {id} Full"));
    // In between the session is closing, for as long as nobody forces it.
    other.send(format!("end-twice-then-now {id} 300"));
    assert!(other.is_quiet_for(Duration::from_millis(150)));
    assert!(engine.journal_of(&format!("close {id} ")).is_empty());
    assert_eq!(other.receive(), b"Err(Closing) Ok(())");
    engine.journaled(&format!("close {id} server"));

    let mut own = Client::connect(&engine, 0, Wire::LENGTH);
    let id = own.ask("id");
    own.send("fill");
    engine.journaled(&format!("refused {id} Full"));
    own.send("close-then-now");
    engine.journaled("forced close Ok(())");
    engine.journaled(&format!("close {id} server"));
    assert_eq!(engine.journal_of("close ").len(), 2);
}

#[test]
fn messages_over_the_framings_maximum_are_refused_with_both_sizes() {
    let engine = Engine::start("probe", &probe(1, "on_crash = \"drop\""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.send(format!("big {}", (2 << 20) + 1));
    engine.logged(&[&((2 << 20) + 1).to_string(), "over the limit"]);
    client.send(format!("big {}", (2 << 20) - 4));
    assert_eq!(client.receive().len(), (2 << 20) - 4);
}

/// A worker knows the limits of its own sessions, and of others only the largest there is.
#[test]
fn a_message_too_large_for_a_session_of_another_worker_is_discarded_and_ends_nothing() {
    let raw = "[[listen]]\nname = \"raw\"\naddress = \"tcp://127.0.0.1:0\"\n";
    let engine = Engine::start("probe", &probe(2, raw));
    let [mut one, mut other] = one_on_each_worker(&engine);
    let (id, size) = (other.ask("id"), 3 << 20);
    assert_eq!(one.ask(format!("spray {id} 1 {size} x")), "sprayed");
    engine.logged(&["cannot be sent", &size.to_string()]);
    assert_eq!(other.ask("build"), "first");
    assert_eq!(engine.status().errors.worker_exits, 0);
}

#[test]
fn the_close_hook_runs_once_with_the_reason() {
    let engine = Engine::start("probe", &probe(2, "idle_timeout = \"400ms\""));
    let mut closed = Vec::new();

    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    closed.push((client.ask("id"), "peer"));
    drop(client);

    for command in ["close", "close-now", "close-twice"] {
        let mut client = Client::connect(&engine, 0, Wire::LENGTH);
        closed.push((client.ask("id"), "server"));
        client.send(command);
        assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new());
    }

    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    closed.push((client.ask("id"), "idle"));
    assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new());

    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    closed.push((client.ask("id"), "framing"));
    client
        .send_bytes(&[0xff; 8])
        .expect("the session takes what is sent");
    client.receive_bytes_to_end();

    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    closed.push((client.ask("id"), "error"));
    client.send("fail");
    assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new());

    for (id, reason) in &closed {
        engine.journaled(&format!("close {id} {reason}"));
        engine.journaled(&format!("closed-on {id} tcp://127.0.0.1:0"));
    }
    engine.journaled("second close Err(Closing)");
    assert_eq!(
        engine.journal_of("close ").len(),
        closed.len(),
        "each session was closed once"
    );
    let status = engine.status();
    for (reason, count) in [
        ("peer", 1),
        ("server", 3),
        ("idle", 1),
        ("framing", 1),
        ("error", 1),
    ] {
        assert_eq!(status.closed(reason), count, "sessions closed as {reason}");
    }
    assert_eq!(status.gateway.accepted, 7);
    eventually("nothing is kept of them", || {
        engine.status().gateway.sessions == 0
    });
}

/// What was sent before a close is delivered, whatever its size.
#[test]
fn a_close_behind_a_large_answer_lets_it_through() {
    let engine = Engine::start("probe", &probe(1, ""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.send("big 2000000");
    client.send("close");
    assert_eq!(client.receive_to_end(), [vec![b'b'; 2_000_000]]);
}

/// Every session begins with one open hook in each process that serves it.
#[test]
fn open_runs_once_in_each_process_that_has_the_session() {
    let engine = Engine::start("probe", &probe(1, ""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    for _ in 0..2 {
        engine.reload().expect_success();
        assert_eq!(client.ask("id"), id);
    }
    let opens = engine.journal_of(&format!("open {id} "));
    assert_eq!(
        opens,
        [
            format!("open {id} Fresh"),
            format!("open {id} Adopted"),
            format!("open {id} Adopted")
        ]
    );
    drop(client);
    engine.journaled(&format!("close {id} peer"));
    assert_eq!(engine.journal_of("close ").len(), 1);
}

/// A session is with one process at a time, from the begin of its open hook there.
#[test]
fn a_session_does_not_change_process_before_its_open_hook_has_ended() {
    let slow = |workers, dispatch: &str| {
        let config = probe(workers, &format!("dispatch = \"{dispatch}\""));
        format!("{config}open_takes_ms = 700\n")
    };
    // A reload begins while the hook runs.
    let engine = Engine::start("probe", &slow(1, "sticky"));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    eventually("the open hook runs", || {
        !engine.journal_of("open ").is_empty()
    });
    assert_eq!(engine.journal_of("opened "), Vec::<String>::new());
    engine.reload().expect_success();
    assert_eq!(client.ask("generation"), "2");
    let order = engine.journal_of("open");
    let id = client.ask("id");
    let hooks = ["Fresh", "Adopted"];
    let hooks = hooks.map(|kind| [format!("open {id} {kind}"), format!("opened {id} {kind}")]);
    assert_eq!(order, hooks.concat());

    // Each message is for the next worker.
    let engine = Engine::start("probe", &slow(2, "round-robin"));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let slots = [client.ask("slot"), client.ask("slot")];
    assert_ne!(slots[0], slots[1]);
    let order = engine.journal_of("open");
    for hook in order.chunks(2) {
        assert_eq!(hook[1], hook[0].replace("open ", "opened "), "{order:?}");
    }
}

#[test]
fn listeners_differ_in_address_and_framing_and_share_their_workers() {
    let engine = Engine::start(
        "probe",
        r#"
[[listen]]
name = "wide"
address = "tcp://127.0.0.1:0"
framing = { kind = "length", width = 8, endian = "little", counts = "payload" }
[[listen]]
name = "lines"
address = "tcp://[::1]:0"
framing = { kind = "line" }
[[listen]]
name = "marked"
address = "unix://{folder}/marked.sock"
framing = { kind = "delimiter", delimiter = "\u0000\u0001" }
[[listen]]
name = "web"
address = "http://127.0.0.1:0"
websocket = "/ws"
"#,
    );
    let wires = [
        Wire::Length {
            width: 8,
            little_endian: true,
        },
        Wire::Line,
        Wire::Delimiter(b"\0\x01"),
        Wire::WebSocket,
    ];
    let mut clients: Vec<Client> = wires
        .into_iter()
        .enumerate()
        .map(|(listener, wire)| Client::connect(&engine, listener, wire))
        .collect();
    let names: Vec<String> = clients
        .iter_mut()
        .map(|client| client.ask("listener"))
        .collect();
    assert_eq!(names, ["wide", "lines", "marked", "web"]);
    // A session sends to one of another framing: the gateway frames it.
    let ids: Vec<String> = clients.iter_mut().map(|client| client.ask("id")).collect();
    for (receiver, id) in ids.iter().enumerate() {
        let sender = (receiver + 1) % clients.len();
        assert_eq!(clients[sender].ask(format!("tell {id} across")), "ok");
        assert_eq!(clients[receiver].receive(), b"across");
    }
    let peer = clients[0].port();
    assert_eq!(clients[0].ask("peer"), format!("127.0.0.1:{peer}"));
}

/// A header that holds more than the length is the app's to see and to send; the engine fills in the length.
#[test]
fn packets_with_headers_of_their_own_are_kept_whole() {
    let engine = Engine::start(
        "echo",
        r#"
[[listen]]
address = "tcp://127.0.0.1:0"
framing = { kind = "length", width = 2, offset = 4, body = 8 }
"#,
    );
    let mut client = Client::connect(&engine, 0, Wire::Raw);
    let packet = b"TYPE\x00\x05xxhello";
    for byte in packet {
        client
            .send_bytes(&[*byte])
            .expect("the session takes what is sent");
    }
    let mut answer = Vec::new();
    while answer.len() < packet.len() {
        answer.extend(client.receive());
    }
    assert_eq!(answer, packet);
}

#[test]
fn quiet_sessions_are_closed_and_busy_ones_are_not() {
    let engine = Engine::start("probe", &probe(1, "idle_timeout = \"500ms\""));
    let mut quiet = Client::connect(&engine, 0, Wire::LENGTH);
    let mut busy = Client::connect(&engine, 0, Wire::LENGTH);
    let id = quiet.ask("id");
    let ended = || !engine.journal_of(&format!("close {id} idle")).is_empty();
    let mut exchanges = 0;
    assert!(happens_within(Duration::from_secs(10), || {
        assert_eq!(busy.ask("build"), "first");
        exchanges += 1;
        ended()
    }));
    assert!(exchanges > 1, "the quiet one was closed at once");
    assert_eq!(quiet.receive_to_end(), Vec::<Vec<u8>>::new());
    assert_eq!(busy.ask("build"), "first");
}

/// A handler that takes longer than the timeout does not make its session idle: the engine owes the answer.
#[test]
fn each_direction_has_a_timeout_of_its_own() {
    let engine = Engine::start("probe", &probe(1, "receive_timeout = \"600ms\""));
    let mut listener = Client::connect(&engine, 0, Wire::LENGTH);
    let mut teller = Client::connect(&engine, 0, Wire::LENGTH);
    let id = listener.ask("id");
    // It is sent to all the time and sends nothing itself.
    let mut told = 0;
    eventually("it is closed all the same", || {
        told += u32::from(teller.ask(format!("tell {id} something")) == "ok");
        !engine.journal_of(&format!("close {id} idle")).is_empty()
    });
    assert!(told > 0);

    let engine = Engine::start("probe", &probe(1, "send_timeout = \"600ms\""));
    let mut talker = Client::connect(&engine, 0, Wire::LENGTH);
    let id = talker.ask("id");
    eventually("a session that is never sent to is closed", || {
        let _ = talker.send_bytes(&Wire::LENGTH.encode(b"later 100000"));
        !engine.journal_of(&format!("close {id} idle")).is_empty()
    });
}

/// Framing happens in the gateway, so messages of several workers to one session stay whole.
#[test]
fn large_messages_of_several_workers_do_not_mix() {
    const COUNT: usize = 40;
    const SIZE: usize = 400_000;
    let engine = Engine::start(
        "probe",
        &format!(
            "[engine]\nring_memory = \"1536KiB\"\ngateway_loops = 2\n{}",
            probe(2, "")
        ),
    );
    let senders = one_on_each_worker(&engine);
    let mut receiver = Client::connect(&engine, 0, Wire::LENGTH);
    let id = receiver.ask("id");
    let mut senders = senders;
    for (sender, letter) in senders.iter_mut().zip(["x", "y"]) {
        sender.send(format!("spray {id} {COUNT} {SIZE} {letter}"));
    }
    let mut counts = [0, 0];
    for _ in 0..2 * COUNT {
        let message = receiver.receive();
        let place = usize::from(message[0] == b'y');
        assert!(
            message == vec![b"xy"[place]; SIZE],
            "a message holds parts of another"
        );
        counts[place] += 1;
    }
    assert_eq!(counts, [COUNT, COUNT]);
    for sender in &mut senders {
        assert_eq!(sender.receive(), b"sprayed");
    }
}

/// A message larger than a quarter of the ring travels in parts, and others pass it.
#[test]
fn messages_larger_than_the_ring_pass_both_ways() {
    let config = format!(
        "[engine]\nring_memory = \"768KiB\"\ngateway_loops = 1\n{}",
        probe(1, "")
    );
    let engine = Engine::start(
        "echo",
        &config.replace("[app]\njournal = \"{folder}/journal\"\n", ""),
    );
    let mut large = Client::connect(&engine, 0, Wire::LENGTH);
    let mut small = Client::connect(&engine, 0, Wire::LENGTH);
    let message: Vec<u8> = (0..2_000_000_u32)
        .map(|number| (number / 7) as u8)
        .collect();
    for _ in 0..5 {
        large.send(&message);
        small.send("small");
        assert_eq!(small.receive(), b"small");
        assert!(
            large.receive() == message,
            "the large message came back as another"
        );
    }
}

/// The time a message has waited is measured from its receipt by the gateway.
#[test]
fn a_message_knows_how_long_it_has_waited() {
    let engine = Engine::start("probe", &probe(1, ""));
    let mut blocker = Client::connect(&engine, 0, Wire::LENGTH);
    let mut waiter = Client::connect(&engine, 0, Wire::LENGTH);
    assert!(
        waiter.ask_number("queued") < 200,
        "a message waited for an idle worker"
    );
    blocker.send("block 600");
    eventually("the worker is blocked", || {
        engine.status().workers[0].in_progress == 1
    });
    let waited = waiter.ask_number("queued");
    assert!((100..5_000).contains(&waited), "it waited for {waited} ms");
    assert_eq!(blocker.receive(), b"blocked");
}

/// Posts reach the worker they name, and say where they are from.
#[test]
fn workers_post_to_each_other() {
    let engine = Engine::start("probe", &probe(2, ""));
    for mut client in one_on_each_worker(&engine) {
        let slot = client.ask("slot");
        for to in ["0", "1"] {
            assert_eq!(
                client.ask(format!("post {to} hello")),
                format!("hello from {slot} in {to}")
            );
        }
        assert_eq!(client.ask("post 2 hello"), "NoSuchWorker");
    }
}

/// Handlers of different sessions run concurrently, those of one session one after the other.
#[test]
fn one_sessions_messages_are_handled_one_by_one_while_others_pass() {
    let engine = Engine::start("probe", &probe(1, ""));
    let mut slow = Client::connect(&engine, 0, Wire::LENGTH);
    let mut fast = Client::connect(&engine, 0, Wire::LENGTH);
    slow.send("sleep 300");
    slow.send("first");
    slow.send("second");
    assert_eq!(fast.ask("build"), "first");
    assert_eq!(
        [slow.receive(), slow.receive(), slow.receive()],
        [&b"slept"[..], b"first", b"second"]
    );
}

/// A message that an app sends long after the handler has ended still finds its session.
#[test]
fn messages_sent_outside_a_handler_arrive() {
    let engine = Engine::start("probe", &probe(1, ""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.send("later 50");
    assert_eq!(client.receive(), b"later");
}
