//! The dispatch modes: which worker handles which message.

use std::collections::BTreeSet;

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Load, Plan, Troubles, Wire, eventually};

fn probe(dispatch: &str) -> String {
    format!(
        "[workers]\ncount = 2\ndispatch = \"{dispatch}\"\n{LENGTH_LISTENER}[app]\njournal = \"{{folder}}/journal\"\n"
    )
}

#[test]
fn sticky_sessions_stay_with_their_worker_and_are_spread_evenly() {
    let engine = Engine::start("probe", &probe("sticky"));
    let mut slots = [0, 0];
    let mut clients = Vec::new();
    for _ in 0..20 {
        // One after the other: gateway loops that accept in the same moment do not know of each other's.
        let mut client = Client::connect(&engine, 0, Wire::LENGTH);
        let slot = client.ask_number("slot") as usize;
        slots[slot] += 1;
        clients.push((client, slot));
    }
    for (client, slot) in &mut clients {
        assert!(
            (0..5).all(|_| client.ask_number("slot") as usize == *slot),
            "the session has wandered"
        );
    }
    assert_eq!(slots, [10, 10]);
    assert!(
        engine
            .journal()
            .iter()
            .all(|line| !line.ends_with("Adopted"))
    );
}

#[test]
fn round_robin_gives_each_message_to_the_next_worker_in_order() {
    let engine = Engine::start("probe", &probe("round-robin"));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let slots: Vec<u64> = (0..6).map(|_| client.ask_number("slot")).collect();
    assert!(slots.windows(2).all(|pair| pair[0] != pair[1]), "{slots:?}");
    let load = Load::start(
        &engine,
        0,
        Plan {
            sessions: 50,
            window: 20,
            ..Plan::default()
        },
    );
    load.progress(50);
    assert_eq!(load.finish().troubles, Troubles::default());
}

/// Short connections, as of devices that report and leave.
#[test]
fn round_robin_shares_out_the_messages_of_connections_that_bring_one_each() {
    let engine = Engine::start(
        "probe",
        &format!(
            "[engine]\ngateway_loops = 1\n[workers]\ncount = 2\ndispatch = \"round-robin\"\n{LENGTH_LISTENER}"
        ),
    );
    let slots: Vec<String> = (0..20)
        .map(|_| Client::connect(&engine, 0, Wire::LENGTH).ask("slot"))
        .collect();
    let first = slots.iter().filter(|slot| *slot == "0").count();
    assert_eq!(first, 10, "{slots:?}");
}

#[test]
fn round_robin_passes_over_a_slot_without_a_worker() {
    let broken = "fails_with = \"{folder}/broken\"\n";
    let config = probe("round-robin").replace("count = 2", "count = 3");
    let engine = Engine::start("probe", &format!("{config}{broken}"));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    engine.site().write("broken", "");
    engine.kill_worker(1, nix::sys::signal::Signal::SIGKILL);
    eventually("slot 1 is empty", || {
        engine.status().ready_workers().len() == 2
    });
    // It stays so, and nobody waits for it: neither a session that is there nor a new one.
    client.ask("slot");
    let slots: Vec<u64> = (0..12).map(|_| client.ask_number("slot")).collect();
    assert_eq!(slots.iter().filter(|slot| **slot == 1).count(), 0);
    assert!(slots.windows(2).all(|pair| pair[0] != pair[1]), "{slots:?}");
    for _ in 0..6 {
        let mut new = Client::connect(&engine, 0, Wire::LENGTH);
        assert_ne!(new.ask_number("slot"), 1);
    }
}

#[test]
fn least_busy_avoids_the_worker_that_has_work() {
    let engine = Engine::start("probe", &probe("least-busy"));
    let mut busy = Client::connect(&engine, 0, Wire::LENGTH);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    busy.send("sleep 1500");
    eventually("the message is in progress", || {
        engine
            .status()
            .workers
            .iter()
            .any(|worker| worker.in_progress == 1)
    });
    let taken = engine
        .status()
        .workers
        .iter()
        .find(|worker| worker.in_progress == 1)
        .map(|worker| worker.slot);
    let slots: BTreeSet<u64> = (0..10).map(|_| client.ask_number("slot")).collect();
    assert_eq!(
        slots.into_iter().collect::<Vec<_>>(),
        [1 - u64::from(taken.unwrap_or(0))]
    );
    assert_eq!(busy.receive(), b"slept");
}

#[test]
fn a_listener_may_differ_from_the_rest() {
    let config = format!(
        "{}\n[[listen]]\nname = \"wandering\"\naddress = \"tcp://127.0.0.1:0\"\ndispatch = \"round-robin\"\n\
         framing = {{ kind = \"line\" }}\n",
        probe("sticky").split("[app]").next().unwrap_or_default()
    );
    let engine = Engine::start("probe", &config);
    let mut sticky = Client::connect(&engine, 0, Wire::LENGTH);
    let mut wandering = Client::connect(&engine, 1, Wire::Line);
    assert_eq!(
        (0..6)
            .map(|_| sticky.ask("slot"))
            .collect::<BTreeSet<_>>()
            .len(),
        1
    );
    assert_eq!(
        (0..6)
            .map(|_| wandering.ask("slot"))
            .collect::<BTreeSet<_>>()
            .len(),
        2
    );
}

#[test]
fn ip_hash_keeps_the_sessions_of_an_address_together_and_spreads_addresses() {
    let engine = Engine::start("probe", &probe("ip-hash").replace("count = 2", "count = 3"));
    let mut seen = BTreeSet::new();
    for host in 1..=20 {
        let slots: BTreeSet<u64> = (0..3)
            .map(|_| {
                Client::connect_from(&engine, 0, Wire::LENGTH, [127, 0, 0, host]).ask_number("slot")
            })
            .collect();
        assert_eq!(slots.len(), 1, "127.0.0.{host} is with {slots:?}");
        seen.extend(slots);
    }
    assert_eq!(seen.len(), 3);
}

/// A key that sessions are bound to brings them together, on the listener that says so and on no other.
#[test]
fn a_listener_may_keep_the_sessions_of_a_key_together() {
    let config = format!(
        "{}\n[[listen]]\nname = \"keyed\"\naddress = \"tcp://127.0.0.1:0\"\ndispatch = \"key\"\n\
         framing = {{ kind = \"line\" }}\n",
        probe("sticky").split("[app]").next().unwrap_or_default()
    );
    let engine = Engine::start("probe", &config.replace("count = 2", "count = 3"));
    let mut seen = BTreeSet::new();
    for key in 0..12 {
        let mut clients = [(); 3].map(|()| Client::connect(&engine, 1, Wire::Line));
        for client in &mut clients {
            assert_eq!(client.ask(format!("bind key {key}")), "ok");
        }
        // The next message is handled where the key belongs.
        let slots: BTreeSet<u64> = clients
            .iter_mut()
            .map(|client| client.ask_number("slot"))
            .collect();
        assert_eq!(slots.len(), 1, "key {key} is with {slots:?}");
        seen.extend(slots);
    }
    assert_eq!(seen.len(), 3);
    // Elsewhere a key is only remembered.
    let mut clients = [(); 6].map(|()| Client::connect(&engine, 0, Wire::LENGTH));
    let before = clients.each_mut().map(|client| client.ask("slot"));
    for client in &mut clients {
        assert_eq!(client.ask("bind the same"), "ok");
    }
    assert_eq!(clients.each_mut().map(|client| client.ask("slot")), before);
}

/// What an address belongs to does not change with the code, and sessions from before stay with it, too.
#[test]
fn ip_hash_keeps_its_worker_over_a_reload() {
    let engine = Engine::start("probe", &probe("ip-hash").replace("count = 2", "count = 3"));
    let connect = |host| Client::connect_from(&engine, 0, Wire::LENGTH, [127, 0, 0, host]);
    let mut clients: Vec<_> = (1..=10)
        .map(|host| {
            let mut client = connect(host);
            let slot = client.ask("slot");
            (host, client, slot)
        })
        .collect();
    engine.reload().expect_success();
    for (host, client, slot) in &mut clients {
        assert_eq!(client.ask("generation"), "2");
        assert_eq!(client.ask("slot"), *slot, "127.0.0.{host}");
        assert_eq!(connect(*host).ask("slot"), *slot, "127.0.0.{host}, anew");
    }
}

/// Order and completeness hold when sessions change process with every message and processes with every reload.
#[test]
fn per_message_dispatch_survives_reloads_and_crashes() {
    for dispatch in ["round-robin", "least-busy"] {
        let engine = Engine::start(
            "echo",
            &format!(
                "[workers]\ncount = 2\ndispatch = \"{dispatch}\"\n{LENGTH_LISTENER}on_crash = \"redeliver\"\n[app]\ndelay = \"1ms\"\n"
            ),
        );
        let load = Load::start(
            &engine,
            0,
            Plan {
                sessions: 50,
                window: 8,
                ..Plan::default()
            },
        );
        for slot in [0, 1] {
            engine.reload().expect_success();
            load.progress(20);
            engine.kill_worker(slot, nix::sys::signal::Signal::SIGKILL);
            load.progress(20);
        }
        assert_eq!(load.finish().troubles, Troubles::default(), "{dispatch}");
    }
}
