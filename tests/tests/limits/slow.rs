//! Readers that are too slow: only their own session is slowed down or closed.

use std::time::{Duration, Instant};

use moorline_tests::{Client, Engine, Process, Stopwatch, Wire, eventually, kill};
use nix::sys::signal::Signal;

const MIB: u64 = 1 << 20;

fn probe(limits: &str) -> String {
    format!(
        "[workers]\ncount = 1\n[engine]\ngateway_loops = 1\n{}{limits}\n[app]\njournal = \"{{folder}}/journal\"\n",
        moorline_tests::LENGTH_LISTENER
    )
}

#[test]
fn a_reader_that_never_reads_is_closed_as_slow_while_others_notice_nothing() {
    let engine = Engine::start("probe", &probe("hard_limit = \"8MiB\""));
    let mut good = Client::connect(&engine, 0, Wire::LENGTH);
    let slow: Vec<(Client, String)> = (0..3)
        .map(|_| {
            let mut client = Client::connect(&engine, 0, Wire::LENGTH);
            let id = client.ask("id");
            (client, id)
        })
        .collect();
    let gateway = engine.status().gateway.pid;
    let before = Process::resident_memory(gateway);

    let mut slow = slow;
    let (mut most, mut slowest) = (0, Duration::ZERO);
    for (client, _) in &mut slow {
        client.send("flood");
    }
    eventually("the slow sessions are closed", || {
        let since = Stopwatch::start();
        assert_eq!(good.ask("build"), "first");
        slowest = slowest.max(since.elapsed());
        most = most.max(Process::resident_memory(gateway));
        slow.iter()
            .all(|(_, id)| engine.journal_of(&format!("close {id} ")).len() == 1)
    });

    for (client, id) in &mut slow {
        engine.journaled(&format!("close {id} slow"));
        engine.logged(&["slow", &client.port().to_string()]);
        client.receive_bytes_to_end();
    }
    assert_eq!(engine.status().closed("slow"), 3);
    // Three queues at their limit, the rings, and what allocators keep.
    let grown = most.saturating_sub(before);
    assert!(
        grown < 3 * 8 * MIB + 16 * MIB,
        "the gateway grew by {} MiB",
        grown / MIB
    );
    assert!(
        slowest < Duration::from_secs(1),
        "another session waited for {slowest:?}"
    );
    eventually("what was queued is gone", || {
        engine.status().gateway.buffered_bytes == 0
    });
}

#[test]
fn send_waits_for_a_slow_reader_and_loses_nothing() {
    const MESSAGES: u64 = 2_000;
    let engine = Engine::start(
        "probe",
        &probe("high_watermark = \"256KiB\"\nlow_watermark = \"64KiB\""),
    );
    let mut slow = Client::connect(&engine, 0, Wire::LENGTH);
    let mut good = Client::connect(&engine, 0, Wire::LENGTH);
    let id = slow.ask("id");
    slow.send(format!("pour {MESSAGES}"));
    engine.journaled(&format!("full {id}"));

    // Once it waits, it waits: the count stands still while the reader does not read.
    let mut poured = 0;
    eventually("the sender waits", || {
        std::mem::replace(&mut poured, {
            std::thread::sleep(Duration::from_millis(100));
            good.ask_number("poured")
        }) == poured
    });
    let poured = good.ask_number("poured");
    // 31 MiB are to come; watermark, ring and the kernel's socket buffers hold less than half of them.
    assert!(
        poured < MESSAGES / 2,
        "{poured} messages were taken from the sender"
    );
    let buffered = engine.status().gateway.buffered_bytes;
    assert!(buffered < 8 * MIB, "{buffered} bytes are buffered");
    assert!(engine.journal_of(&format!("drained {id}")).is_empty());

    for _ in 0..MESSAGES {
        assert_eq!(slow.receive(), [b'p'; 16 * 1024]);
    }
    assert_eq!(good.ask_number("poured"), MESSAGES);
    engine.journaled(&format!("drained {id}"));
    assert_eq!(slow.ask("id"), id);
}

/// What is under way when the watermark is passed (a ring full, at most) is all that comes on top of it.
/// Messages of every size, with the limits as they are by default and the largest message that fits into them.
#[test]
fn an_app_that_waits_for_room_is_never_cut_off_as_slow_with_the_default_limits() {
    let config = "[workers]\ncount = 1\n[engine]\ngateway_loops = 1\n[[listen]]\naddress = \"tcp://127.0.0.1:0\"\nframing = { kind = \"length\", width = 4, endian = \"big\", offset = 0, max = \"8MiB\" }\n[app]\njournal = \"{folder}/journal\"\n";
    let engine = Engine::start("probe", config);
    for size in [
        1 << 10,
        64 << 10,
        1 << 20,
        2 << 20,
        4 << 20,
        6 << 20,
        (8 << 20) - 4,
    ] {
        let mut slow = Client::connect(&engine, 0, Wire::LENGTH);
        let id = slow.ask("id");
        let count = (64 << 20) / size;
        slow.send(format!("spray {id} {count} {size}"));
        engine.journaled(&format!("full {id}"));
        std::thread::sleep(Duration::from_millis(300));
        for _ in 0..count {
            assert_eq!(slow.receive().len(), size);
        }
        assert_eq!(slow.receive(), b"sprayed");
    }
    assert_eq!(engine.status().closed("slow"), 0);
}

#[test]
fn an_app_that_waits_for_room_is_never_cut_off_as_slow() {
    let limits = "high_watermark = \"256KiB\"\nhard_limit = \"4MiB\"";
    let engine = Engine::start("probe", &probe(limits));
    for _ in 0..10 {
        let mut slow = Client::connect(&engine, 0, Wire::LENGTH);
        let id = slow.ask("id");
        slow.send("pour 2000");
        engine.journaled(&format!("full {id}"));
        for _ in 0..2_000 {
            assert_eq!(slow.receive(), [b'p'; 16 * 1024]);
        }
    }
    assert_eq!(engine.status().closed("slow"), 0);
}

/// The news that the session is full lies behind thousands of messages, whose handlers all send to it.
#[test]
fn apps_that_wait_for_room_are_never_cut_off_however_much_lies_in_their_ring() {
    let limits = "high_watermark = \"128KiB\"\nlow_watermark = \"32KiB\"\nhard_limit = \"1MiB\"";
    let config = probe(limits).replace(
        "gateway_loops = 1\n",
        "gateway_loops = 1\nring_memory = \"1MiB\"\n",
    );
    let engine = Engine::start("probe", &config);
    let mut slow = Client::connect(&engine, 0, Wire::LENGTH);
    let id = slow.ask("id");
    let mut busy = Client::connect(&engine, 0, Wire::LENGTH);
    let mut senders: Vec<_> = (0..100)
        .map(|_| Client::connect(&engine, 0, Wire::LENGTH))
        .collect();
    for sender in &mut senders {
        sender.ask("id");
    }
    busy.send("block 500");
    eventually("it runs", || engine.worker(0).in_progress == 1);
    for sender in &mut senders {
        for _ in 0..20 {
            sender.send(format!("spray {id} 1 16000"));
        }
    }
    assert_eq!(busy.receive(), b"blocked");
    engine.journaled(&format!("full {id}"));
    for _ in 0..2_000 {
        assert_eq!(slow.receive().len(), 16_000);
    }
    for sender in &mut senders {
        for _ in 0..20 {
            assert_eq!(sender.receive(), b"sprayed");
        }
    }
    assert_eq!(engine.status().closed("slow"), 0);
}

/// Its handler hears nothing before it ends.
#[test]
fn a_loop_of_try_send_that_never_awaits_is_refused_and_not_cut_off() {
    let limits = "high_watermark = \"128KiB\"\nhard_limit = \"1MiB\"";
    let engine = Engine::start("probe", &probe(limits));
    let mut slow = Client::connect(&engine, 0, Wire::LENGTH);
    let id = slow.ask("id");
    slow.send("cram 2000");
    let start = format!("crammed {id} ");
    eventually("its time is over", || !engine.journal_of(&start).is_empty());
    let count = engine.journal_of(&start)[0][start.len()..].parse::<usize>();
    let count = count.expect("a number");
    for _ in 0..count {
        assert_eq!(slow.receive(), [b'c'; 16 * 1024]);
    }
    assert_eq!(slow.ask("id"), id);
    assert_eq!(engine.status().closed("slow"), 0);
}

/// No queue of a session comes near its watermark.
#[test]
fn a_try_send_for_which_the_ring_has_no_room_is_followed_by_drained() {
    let limits = "high_watermark = \"512MiB\"\nhard_limit = \"1GiB\"";
    let engine = Engine::start("probe", &probe(limits));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    let gateway = engine.status().gateway.pid;
    client.send("cram 500");
    engine.journaled(&format!("crams {id}"));
    kill(gateway, Signal::SIGSTOP);
    let start = format!("crammed {id} ");
    eventually("its time is over", || !engine.journal_of(&start).is_empty());
    assert!(engine.journal_of("drained").is_empty());
    kill(gateway, Signal::SIGCONT);
    engine.journaled(&format!("drained {id}"));
    let count = engine.journal_of(&start)[0][start.len()..].parse::<usize>();
    for _ in 0..count.expect("a number") {
        assert_eq!(client.receive(), [b'c'; 16 * 1024]);
    }
    assert!(engine.journal_of("full").is_empty());
}

#[test]
fn try_send_refuses_over_the_high_watermark() {
    let engine = Engine::start("probe", &probe("high_watermark = \"256KiB\""));
    let mut slow = Client::connect(&engine, 0, Wire::LENGTH);
    let mut good = Client::connect(&engine, 0, Wire::LENGTH);
    let id = slow.ask("id");
    slow.send("fill");
    engine.journaled(&format!("refused {id} Full"));
    engine.journaled(&format!("full {id}"));
    let filled = good.ask_number("filled");
    for _ in 0..filled {
        assert_eq!(slow.receive(), [b'f'; 16 * 1024]);
    }
    engine.journaled(&format!("drained {id}"));
    assert_eq!(slow.ask("id"), id, "a refusal closes nothing");
}

/// The worker that adopts a session knows that it is full.
#[test]
fn a_sender_that_waits_is_redelivered_its_message_after_a_crash_without_a_torn_frame() {
    let engine = Engine::start(
        "probe",
        &probe("high_watermark = \"256KiB\"\non_crash = \"drop\""),
    );
    let mut slow = Client::connect(&engine, 0, Wire::LENGTH);
    let id = slow.ask("id");
    slow.send("pour 4000");
    engine.journaled(&format!("full {id}"));
    engine.kill_worker(0, nix::sys::signal::Signal::SIGKILL);
    engine.settled();
    // Whatever came is whole, and the session goes on behind it.
    slow.send("id");
    loop {
        let message = slow.receive();
        if message == id.as_bytes() {
            break;
        }
        assert_eq!(message, [b'p'; 16 * 1024]);
    }
}

/// A session that is not read holds up neither its own worker nor a reload.
#[test]
fn a_reload_does_not_wait_for_slow_readers_queues() {
    let engine = Engine::start("probe", &probe("high_watermark = \"256KiB\""));
    let mut slow = Client::connect(&engine, 0, Wire::LENGTH);
    let id = slow.ask("id");
    slow.send("fill");
    engine.journaled(&format!("refused {id} Full"));
    engine.reload().expect_success();
    eventually("the old worker has ended", || {
        engine.status().workers.len() == 1
    });
    assert_eq!(engine.status().lost, Default::default());
    engine.journaled(&format!("open {id} Adopted"));
}

/// A peer that floods its session is slowed by its window; the engine buffers no more than that.
#[test]
fn a_sender_faster_than_its_handlers_is_slowed_by_its_window() {
    let engine = Engine::start("probe", &probe("receive_timeout = \"60s\""));
    let mut good = Client::connect(&engine, 0, Wire::LENGTH);
    let mut fast = Client::connect(&engine, 0, Wire::LENGTH);
    let mut writer = fast.stream.try_clone().expect("a stream can be cloned");
    fast.send("sleep 1000");
    let sent = std::thread::spawn(move || {
        use std::io::Write;
        let bytes: Vec<u8> = (0..4_000)
            .flat_map(|_| Wire::LENGTH.encode(&[0; 8 * 1024]))
            .collect();
        writer
            .write_all(&bytes)
            .expect("the engine takes what is sent, in its time");
    });
    let mut most = 0;
    for _ in 0..10 {
        most = most.max(engine.status().gateway.buffered_bytes);
        assert_eq!(good.ask("build"), "first");
    }
    assert!(most < MIB, "{most} bytes are buffered for one session");
    assert_eq!(fast.receive(), b"slept");
    for _ in 0..4_000 {
        assert_eq!(fast.receive(), [0; 8 * 1024]);
    }
    sent.join().expect("everything was sent");
}

/// A handler that waits to send to another worker's slow session is woken when that session ends.
#[test]
fn a_sender_of_another_worker_is_released_when_the_slow_session_ends() {
    let config = probe("high_watermark = \"256KiB\"").replace("count = 1", "count = 2");
    let engine = Engine::start("probe", &config);
    let mut slow = Client::connect(&engine, 0, Wire::LENGTH);
    let mut sender = Client::connect(&engine, 0, Wire::LENGTH);
    assert_ne!(slow.ask("slot"), sender.ask("slot"));
    let id = slow.ask("id");
    sender.send(format!("spray {id} 100000 16384 s"));
    eventually("the slow one's queue is full", || {
        engine.status().gateway.buffered_bytes > 256 * 1024
    });
    drop(slow);
    // Its `send` has failed, which its handler returns; its own session goes on.
    assert_eq!(sender.ask("build"), "first");
    engine.logged(&["a hook stopped early", "INFO"]);
    let status = engine.status();
    assert_eq!((status.errors.handlers, status.closed("error")), (0, 0));
}

#[test]
fn a_reader_that_takes_nothing_is_closed_at_send_timeout_while_its_handler_waits_in_send() {
    let engine = Engine::start("probe", &probe("send_timeout = \"1s\""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    client.send("pour 100000");
    engine.journaled(&format!("close {id} slow"));
    engine.logged(&["takes no output", "send_timeout", &id]);
    // A client that reads is not closed, however long its handler takes.
    let mut reader = Client::connect(&engine, 0, Wire::LENGTH);
    assert_eq!(reader.ask("sleep 1500"), "slept");
}

/// How a session is closed: by its app, by a stop, by a drain.
#[test]
fn a_reader_that_takes_nothing_is_closed_at_send_timeout_while_its_session_closes() {
    for how in ["close", "stop", "drain"] {
        let config =
            probe("send_timeout = \"1s\"").replace("count = 1", "count = 1\nmax_wait = \"60s\"");
        let mut engine = Engine::start("probe", &config);
        let mut client = Client::connect(&engine, 0, Wire::LENGTH);
        let id = client.ask("id");
        client.send("fill");
        engine.journaled(&format!("refused {id} Full"));
        let since = Instant::now();
        match how {
            "close" => client.send("close"),
            "stop" => kill(engine.supervisor(), Signal::SIGTERM),
            _ => drop(engine.run(&["drain", "--over", "0s"]).expect_success()),
        }
        engine.journaled(&format!("close {id} slow"));
        engine.logged(&["takes no output while it is closing", "send_timeout", &id]);
        let took = since.elapsed();
        assert!(took < Duration::from_secs(10), "{how} took {took:?}");
        if how == "stop" {
            assert!(engine.ended().success());
        }
    }
}

#[test]
fn a_half_closed_session_that_the_app_has_paused_is_closed_too() {
    let engine = Engine::start("probe", &probe("half_close_timeout = \"1s\""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    assert_eq!(client.ask("pause"), "ok");
    client.finish_sending();
    assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new());
    engine.logged(&["half_close_timeout", &id]);
    engine.journaled(&format!("close {id} peer"));
}

#[test]
fn a_half_closed_session_whose_handler_never_ends_is_closed() {
    let engine = Engine::start("probe", &probe("half_close_timeout = \"1s\""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    client.send("hang");
    client.finish_sending();
    client.receive_bytes_to_end();
    engine.logged(&["half_close_timeout", &id]);
    assert_eq!(engine.status().closed("peer"), 1);
    // An answer that comes in time is delivered whole.
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.send("sleep 700");
    client.finish_sending();
    assert_eq!(client.receive_to_end(), [b"slept".to_vec()]);
}
