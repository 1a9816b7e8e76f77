//! Sessions that the app has closed: how long they are held, and what they count for.

use std::time::{Duration, Instant};

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Stopwatch, Wire, eventually};

fn probe(limits: &str) -> Engine {
    let config = format!(
        "[workers]\ncount = 1\n{LENGTH_LISTENER}{limits}\n[app]\njournal = \"{{folder}}/journal\"\n"
    );
    Engine::start("probe", &config)
}

/// Its peer reads nothing of what is queued for it.
#[test]
fn a_closed_session_with_an_unread_queue_is_held_no_longer_than_its_timeouts_say() {
    for timeouts in [
        "send_timeout = \"1s\"",
        "idle_timeout = \"1s\"",
        "send_timeout = \"20s\"\nidle_timeout = \"1s\"",
    ] {
        let engine = probe(timeouts);
        let mut client = Client::connect(&engine, 0, Wire::LENGTH);
        let id = client.ask("id");
        client.send("push-then-close 12 524288");
        let begun = Instant::now();
        engine.journaled(&format!("close {id} slow"));
        let held = begun.elapsed();
        assert!(
            Duration::from_millis(500) < held && held < Duration::from_secs(8),
            "{timeouts}: {held:?}"
        );
        eventually("nothing is queued", || {
            engine.status().gateway.buffered_bytes == 0
        });
    }
}

/// Its peer does not close its own side, so the socket stays for a moment.
#[test]
fn a_closed_session_makes_room_for_another_one_at_once() {
    for limit in ["max_sessions = 1", "max_sessions_per_address = 1"] {
        let engine = probe(limit);
        let mut lingering = Vec::new();
        for _ in 0..3 {
            let mut client = Client::connect(&engine, 0, Wire::LENGTH);
            let id = client.ask("id");
            let begun = Stopwatch::start();
            client.send("close");
            engine.journaled(&format!("close {id} server"));
            assert!(begun.elapsed() < Duration::from_secs(1));
            lingering.push(client);
        }
        assert_eq!(engine.status().closed("limit"), 0);
    }
}
