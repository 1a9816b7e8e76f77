//! A new gateway that fails changes nothing, and a death meanwhile does what it does at other times.

use std::time::Duration;

use moorline_tests::{Client, Engine, Load, Plan, Troubles, Wire, eventually, kill};
use nix::sys::signal::Signal;

use crate::{config, upgrade};

fn plan() -> Plan {
    Plan {
        sessions: 40,
        ..Plan::default()
    }
}

#[test]
fn a_new_gateway_that_fails_changes_nothing() {
    let short = config("", "").replace("count = 2\n", "count = 2\nstart_timeout = \"3s\"\n");
    let engine = Engine::start("probe", &short);
    let gateway = engine.status().gateway.pid;
    let load = Load::start(&engine, 0, plan());
    for (app, words) in [
        ("exits_at_once", "the new gateway"),
        ("hangs_as_gateway", "was not ready within"),
    ] {
        engine.install(app);
        engine.run(&["upgrade"]).expect_refusal(&[words]);
        load.progress(2);
        assert_eq!(engine.status().gateway.pid, gateway);
    }
    engine.install("probe_next");
    upgrade(&engine);
    load.progress(2);
    assert_eq!(load.finish().troubles, Troubles::default());
}

/// It fails when the present gateway stands still already, and has sent a part of what it has.
#[test]
fn a_new_gateway_that_cannot_take_everything_changes_nothing() {
    let engine = Engine::start("probe", &config("[engine]\ngateway_loops = 2\n", ""));
    let gateway = engine.status().gateway.pid;
    let plan = Plan {
        sessions: 300,
        ..Plan::default()
    };
    let load = Load::start(&engine, 0, plan);
    engine.install("short_of_descriptors");
    for _ in 0..3 {
        engine
            .run(&["upgrade"])
            .expect_refusal(&["goes on as before"]);
        load.progress(2);
    }
    assert_eq!(engine.status().gateway.pid, gateway);
    engine.install("probe");
    upgrade(&engine);
    load.progress(2);
    assert_eq!(load.finish().troubles, Troubles::default());
}

/// It fails when the present gateway has handed everything over already.
#[test]
fn a_new_gateway_that_hangs_with_everything_changes_nothing() {
    let engine = Engine::start("probe", &config("[engine]\nkill_after = \"1s\"\n", ""));
    let gateway = engine.status().gateway.pid;
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    engine.install("takes_and_hangs");
    engine.run(&["upgrade"]).expect_refusal(&["within"]);
    assert_eq!(engine.status().gateway.pid, gateway);
    assert_eq!(client.ask("id"), id);
    // It still has its log.
    let mut wrong = Client::connect(&engine, 0, Wire::LENGTH);
    wrong.send_bytes(&[0xff; 64]).expect("it takes bytes");
    engine.logged(&["session closed"]);
}

#[test]
fn a_crash_after_an_upgrade_starts_the_new_executable() {
    let engine = Engine::start("probe", &config("", ""));
    engine.install("probe_next");
    upgrade(&engine);
    engine.install("exits_at_once");
    let gateway = engine.status().gateway.pid;
    kill(gateway, Signal::SIGKILL);
    eventually("there is a gateway again", || {
        engine.status().gateway.pid != gateway
    });
    let mut client = None;
    eventually("sessions are served", || {
        client = Client::try_connect(engine.address(0), Wire::LENGTH).ok();
        client.is_some()
    });
    assert_eq!(engine.ask_once("build"), "first", "workers are as before");
}

#[test]
fn workers_that_die_meanwhile_are_replaced() {
    let engine = Engine::start(
        "probe",
        &config("", "on_crash = \"redeliver\"\nattempts = 50"),
    );
    let load = Load::start(&engine, 0, plan());
    for round in 0..6 {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(20 * round));
                engine.kill_worker((round % 2) as u16, Signal::SIGKILL);
            });
            engine.run(&["upgrade"]).expect_success();
        });
        engine.settled();
        load.progress(1);
    }
    let troubles = load.finish().troubles;
    assert_eq!(troubles.unanswered, 0, "{troubles:?}");
}

#[test]
fn a_gateway_that_dies_meanwhile_is_replaced() {
    let engine = Engine::start("probe", &config("", ""));
    for delay in [0, 30, 60, 90, 120] {
        let gateway = engine.status().gateway.pid;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(delay));
                kill(gateway, Signal::SIGKILL);
            });
            // Either is right.
            let _ = engine.run(&["upgrade"]);
        });
        eventually("there is another gateway", || {
            let status = engine.status();
            status.gateway.pid != gateway && status.gateway.pid > 0
        });
        eventually("sessions are served", || {
            let client = Client::try_connect(engine.address(0), Wire::LENGTH);
            client.is_ok_and(|mut client| {
                client.send_bytes(&Wire::LENGTH.encode(b"id")).is_ok()
                    && client.try_receive().is_ok_and(|it| it.is_some())
            })
        });
    }
}
