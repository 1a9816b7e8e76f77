//! A reload applies the limits of a listener to the sessions that are there.

use std::time::{Duration, Instant};

use moorline_tests::{Wire, eventually};

use crate::live::{Live, config};

#[test]
fn sessions_are_timed_by_new_timeouts_from_the_reload_on() {
    let live = Live::start(&config("", "idle_timeout = \"1h\""));
    let (mut idle, mut kept) = (live.client(), live.client());
    idle.ask("id");
    assert_eq!(kept.ask("keep"), "ok");
    let begun = Instant::now();
    live.change(&config("", "idle_timeout = \"300ms\""));
    assert_eq!(idle.receive_to_end(), Vec::<Vec<u8>>::new());
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(live.engine.status().closed("idle"), 1);
    assert_eq!(kept.ask("unkeep"), "ok");
    assert_eq!(kept.receive_to_end(), Vec::<Vec<u8>>::new());

    // Without the timeout the sessions that are open stay open.
    live.change(&config("", "receive_timeout = \"5s\""));
    let mut spared = live.client();
    spared.ask("id");
    live.change(&config("", ""));
    assert!(spared.is_quiet_for(Duration::from_secs(6)));
    assert!(!spared.ask("id").is_empty());
    // And another kind may come back.
    live.change(&config("", "send_timeout = \"200ms\""));
    assert_eq!(spared.receive_to_end(), Vec::<Vec<u8>>::new());
    live.finish();
}

#[test]
fn queues_are_weighed_by_new_watermarks_from_the_reload_on() {
    let marks = |high: &str, low: &str| {
        config(
            "",
            &format!(
                "high_watermark = \"{high}\"\nlow_watermark = \"{low}\"\nhard_limit = \"200MiB\""
            ),
        )
    };
    let live = Live::start(&marks("100MiB", "50MiB"));
    let mut slow = live.client();
    let id = slow.ask("id");
    // More than the kernel takes for a reader that does not read.
    for _ in 0..24 {
        slow.send("big 2000000");
    }
    // No handler may wait for room over a reload: its worker would end after `max_wait`, and the session with it.
    slow.send("journal all-sent");
    live.engine.journaled("noted all-sent");
    eventually("most of it is queued", || {
        live.engine.status().gateway.buffered_bytes > 34 << 20
    });
    assert!(live.engine.journal_of(&format!("full {id}")).is_empty());
    live.change(&marks("1MiB", "512KiB"));
    live.engine.journaled(&format!("full {id}"));
    live.change(&marks("150MiB", "140MiB"));
    live.engine.journaled(&format!("drained {id}"));
    // Over the new hard limit: closed when it grows, and not by the reload.
    live.change(&config("", "hard_limit = \"8MiB\""));
    assert_eq!(live.engine.status().closed("slow"), 0);
    slow.send("flood");
    eventually("it is closed as slow", || {
        live.engine.status().closed("slow") == 1
    });
    live.finish();
}

#[test]
fn a_reload_changes_max_sessions() {
    let live = Live::start(&config("", "max_sessions = 1"));
    let mut first = live.client();
    let id = first.ask("id");
    assert_eq!(live.client().try_receive().ok().flatten(), None);
    live.change(&config("", "max_sessions = 3"));
    let mut more = [live.client(), live.client()];
    for client in &mut more {
        assert_eq!(client.ask("build"), "first");
    }
    assert_eq!(live.client().try_receive().ok().flatten(), None);
    // Fewer than there are: those go on, and no more come.
    live.change(&config("", "max_sessions = 1"));
    assert_eq!(live.client().try_receive().ok().flatten(), None);
    assert_eq!(first.ask("id"), id);
    for client in &mut more {
        assert_eq!(client.ask("build"), "first");
    }
    live.finish();
}

/// Connections from before the limit count like later ones.
#[test]
fn a_reload_changes_max_sessions_per_address() {
    let live = Live::start(&config("", ""));
    let mut first = live.client();
    first.ask("id");
    let limited = config("", "max_sessions_per_address = 2");
    live.change(&limited);
    let mut second = live.client();
    second.ask("id");
    assert_eq!(live.client().try_receive().ok().flatten(), None);
    drop(first);
    eventually("the place of the closed connection is free", || {
        let mut client = live.client();
        let _ = client.send_bytes(&Wire::LENGTH.encode(b"build"));
        client.try_receive().ok().flatten().is_some()
    });
    // Without a limit for a while, and with it again: nobody was forgotten.
    live.change(&config("", ""));
    let mut more = [live.client(), live.client()];
    for client in &mut more {
        client.ask("id");
    }
    live.change(&limited);
    assert_eq!(live.client().try_receive().ok().flatten(), None);
    drop(more);
    eventually("there is room again", || {
        let mut client = live.client();
        let _ = client.send_bytes(&Wire::LENGTH.encode(b"build"));
        client.try_receive().ok().flatten().is_some()
    });
    second.ask("id");
    live.finish();
}

#[test]
fn connections_count_for_their_address_after_a_reload_that_has_failed_before() {
    let live = Live::start(&config("", ""));
    let mut first = live.client();
    first.ask("id");
    let limited = config("", "max_sessions_per_address = 1");
    live.engine.install("exits_at_once");
    live.engine.configure(&limited);
    live.engine.reload().expect_refusal(&["not reloaded"]);
    let mut second = live.client();
    second.ask("id");
    live.engine.install("probe");
    live.change(&limited);
    assert_eq!(live.client().try_receive().ok().flatten(), None);
    drop(second);
    assert_eq!(live.client().try_receive().ok().flatten(), None);
    drop(first);
    eventually("there is room again", || {
        let mut client = live.client();
        let _ = client.send_bytes(&Wire::LENGTH.encode(b"build"));
        client.try_receive().ok().flatten().is_some()
    });
    live.finish();
}

#[test]
fn connections_and_unfinished_messages_keep_to_the_rates_of_the_reload() {
    let live = Live::start(&config("", ""));
    let mut slow = live.client();
    slow.send_bytes(b"\0\0\x10\0half")
        .expect("the session takes it");
    live.load.progress(2);
    live.change(&config("", "accept_rate = 1\nmin_receive_rate = \"100B\""));
    let begun = Instant::now();
    for _ in 0..3 {
        assert_eq!(live.client().ask("build"), "first");
    }
    assert!(
        begun.elapsed() > Duration::from_millis(1500),
        "it is one a second"
    );
    assert_eq!(slow.receive_to_end(), Vec::<Vec<u8>>::new());
    live.engine
        .logged(&["slower than min_receive_rate", "side"]);

    let mut slow = live.client();
    slow.send_bytes(b"\0\0\x10\0half")
        .expect("the session takes it");
    live.change(&config("", ""));
    let begun = Instant::now();
    for _ in 0..5 {
        assert_eq!(live.client().ask("build"), "first");
    }
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "there is no rate any more"
    );
    assert!(slow.is_quiet_for(Duration::from_secs(7)));
    live.finish();
}
