//! Processes that die: sessions stay, and `on_crash` decides about the messages in progress.

use std::process::Command;
use std::time::{Duration, Instant};

use moorline_tests::{
    Client, Engine, Finish, LENGTH_LISTENER, Load, Lost, Plan, Process, Report, Status, Troubles,
    Wire, eventually, kill,
};
use nix::sys::signal::Signal;

fn probe(workers: u16, listener: &str, app: &str) -> String {
    format!(
        "[workers]\ncount = {workers}\nmax_wait = \"5s\"\n{LENGTH_LISTENER}{listener}\n[app]\n{app}\n"
    )
}

/// Kills a worker every second for twenty, one slot after the other, under load.
fn twenty_seconds_of_kills(on_crash: &str, plan: Plan) -> (Report, Status) {
    let config = format!(
        "[workers]\ncount = 2\n{LENGTH_LISTENER}on_crash = \"{on_crash}\"\n[app]\ndelay = \"5ms\"\n"
    );
    let engine = Engine::start("echo", &config);
    let load = Load::start(&engine, 0, plan);
    for kills in 1..=20 {
        let until = Instant::now() + Duration::from_secs(1);
        engine.kill_worker(kills % 2, Signal::SIGKILL);
        // The second is the test's subject, not a wait for something.
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
    }
    let report = load.finish();
    eventually("every session has ended", || {
        engine.status().gateway.sessions == 0
    });
    let status = engine.settled();
    println!("{on_crash}: {report:?}, {:?}", status.lost);
    assert_eq!(status.errors.worker_exits, 20);
    (report, status)
}

#[test]
fn under_redeliver_a_worker_killed_every_second_loses_nothing() {
    let (report, status) = twenty_seconds_of_kills("redeliver", Plan::default());
    assert_eq!(report.troubles, Troubles::default());
    assert!(
        status.lost.redelivered > 0,
        "no kill found a message in progress"
    );
    assert_eq!(
        status.lost,
        Lost {
            redelivered: status.lost.redelivered,
            ..Lost::default()
        }
    );
    assert_eq!(status.gateway.accepted, 500);
}

#[test]
fn under_close_a_killed_worker_closes_its_sessions_with_messages_in_progress_and_counts_them() {
    let (report, status) = twenty_seconds_of_kills("close", Plan::default());
    let closed = report.troubles.closed;
    assert!(closed > 0, "no kill found a message in progress");
    assert_eq!(
        report.troubles,
        Troubles {
            closed,
            ..Troubles::default()
        }
    );
    assert_eq!(
        status.lost,
        Lost {
            closed_by_crash: closed,
            ..Lost::default()
        }
    );
    assert_eq!(status.closed("crash"), closed);
}

#[test]
fn under_drop_a_killed_worker_loses_its_messages_in_progress_and_counts_them() {
    // Long enough that an answer which comes at all comes before.
    let plan = Plan {
        patience: Duration::from_secs(4),
        ..Plan::default()
    };
    let (report, status) = twenty_seconds_of_kills("drop", plan);
    let unanswered = report.troubles.unanswered;
    assert!(unanswered > 0, "no kill found a message in progress");
    assert_eq!(
        report.troubles,
        Troubles {
            unanswered,
            ..Troubles::default()
        }
    );
    assert_eq!(
        status.lost,
        Lost {
            dropped: unanswered,
            ..Lost::default()
        }
    );
    assert_eq!(status.gateway.accepted, 500);
}

#[test]
fn a_crash_closes_the_session_with_a_message_in_progress_and_no_other() {
    let engine = Engine::start("probe", &probe(1, "", "journal = \"{folder}/journal\""));
    let mut clients = [(); 3].map(|()| Client::connect(&engine, 0, Wire::LENGTH));
    let ids = clients.each_mut().map(|client| client.ask("id"));
    clients[1].send("hang");
    eventually("the message is in progress", || {
        engine.status().workers[0].in_progress == 1
    });

    let killed = engine.kill_worker(0, Signal::SIGKILL);

    assert_eq!(clients[1].receive_to_end(), Vec::<Vec<u8>>::new());
    for place in [0, 2] {
        assert_eq!(clients[place].ask("id"), ids[place]);
        engine.journaled(&format!("open {} Adopted", ids[place]));
    }
    engine.journaled(&format!("close {} crash", ids[1]));
    let status = engine.settled();
    assert_eq!(
        status.lost,
        Lost {
            closed_by_crash: 1,
            ..Lost::default()
        }
    );
    assert_eq!(status.errors.worker_exits, 1);
    // Worker, process, and how it ended.
    engine.logged(&[&format!("worker 0 (pid {killed}) was killed by SIGKILL")]);
}

/// An app that calls exit(0) in a handler has not served, whatever its code says.
#[test]
fn a_worker_that_exits_without_being_told_is_reported_as_lost_although_its_code_is_zero() {
    let engine = Engine::start("probe", &probe(1, "", ""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let pid = client.ask("pid");
    client.send("exit 0");
    assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new());
    let told = format!("worker 0 (pid {pid}) exited with code 0 without being told to stop");
    let line = engine.logged(&[&told]);
    assert!(line.contains("ERROR"), "{line}");
    let status = engine.settled();
    assert_eq!(
        (status.errors.worker_exits, status.lost.closed_by_crash),
        (1, 1)
    );
}

/// One that a reload has replaced, and that still has a message in progress, was not told to stop either.
#[test]
fn a_worker_that_exits_while_it_drains_is_reported_as_lost_although_its_code_is_zero() {
    let engine = Engine::start("probe", &probe(1, "", ""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let pid = client.ask("pid");
    client.send("exit-later 0 1500");
    eventually("it is in progress", || engine.worker(0).in_progress == 1);
    engine.reload().expect_success();
    assert_ne!(engine.ask_once("pid"), pid);
    assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new());
    let told = format!("worker 0 (pid {pid}) exited with code 0 without being told to stop");
    let line = engine.logged(&[&told]);
    assert!(line.contains("ERROR"), "{line}");
    let status = engine.status();
    assert_eq!(
        (status.errors.worker_exits, status.lost.closed_by_crash),
        (1, 1)
    );
}

/// A worker or task worker that exits while it serves is reported with its code, and replaced.
#[test]
fn a_process_that_exits_while_it_serves_is_reported_with_its_code() {
    let config = probe(2, "", "");
    let engine = Engine::start(
        "probe",
        &format!("[tasks]\ncount = 1\nattempts = 1\n{config}"),
    );
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let (slot, pid) = (client.ask_number("slot"), client.ask("pid"));
    client.send("exit 7");
    assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new());
    let line = engine.logged(&["exited with code 7", &pid]);
    for word in [&format!("worker {slot}"), "code=7"] {
        assert!(line.contains(word), "{word} is not in {line}");
    }
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let task = client.ask("task pid");
    assert!(client.ask("task exit 9").starts_with("Failed"));
    let line = engine.logged(&["exited with code 9", &task]);
    for word in ["task worker 0", "code=9"] {
        assert!(line.contains(word), "{word} is not in {line}");
    }
    assert_ne!(client.ask("task pid"), task);
    let status = engine.settled();
    assert_eq!((status.workers.len(), status.errors.worker_exits), (2, 2));
}

#[test]
fn a_worker_that_cannot_start_is_tried_again_until_it_can_and_its_session_waits() {
    let engine = Engine::start("probe", &probe(1, "", "fails_with = \"{folder}/broken\""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    let broken = engine.path("broken");
    std::fs::write(&broken, "").expect("the folder takes files");
    engine.kill_worker(0, Signal::SIGKILL);
    client.send("id");
    eventually("it has been tried again and again", || {
        engine.log().matches("asked not to start yet").count() >= 3
    });
    assert!(
        engine
            .status()
            .workers
            .iter()
            .all(|worker| worker.state != "ready")
    );
    std::fs::remove_file(&broken).expect("it is there");
    assert_eq!(client.receive(), id.as_bytes());
}

/// A message that kills its worker is tried `attempts` times; all others are redelivered around it (the poison rule).
#[test]
fn a_poisonous_message_ends_its_own_session_after_three_attempts() {
    let engine = Engine::start(
        "probe",
        &probe(
            1,
            "on_crash = \"redeliver\"",
            "journal = \"{folder}/journal\"",
        ),
    );
    let load = Load::start(
        &engine,
        0,
        Plan {
            sessions: 50,
            ..Plan::default()
        },
    );
    let mut sleeper = Client::connect(&engine, 0, Wire::LENGTH);
    sleeper.send("sleep 300");
    let mut poisoner = Client::connect(&engine, 0, Wire::LENGTH);
    let id = poisoner.ask("id");

    poisoner.send("crash");

    assert_eq!(poisoner.receive_to_end(), Vec::<Vec<u8>>::new());
    assert_eq!(sleeper.receive(), b"slept");
    load.progress(5);
    assert_eq!(load.finish().troubles, Troubles::default());
    engine.journaled(&format!("close {id} crash"));
    let status = engine.settled();
    assert_eq!(status.errors.worker_exits, 3);
    assert_eq!(status.lost.closed_by_crash, 1);
}

#[test]
fn a_message_that_kills_once_is_redelivered_and_answered() {
    let engine = Engine::start("probe", &probe(2, "on_crash = \"redeliver\"", ""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.send("before");
    client.send(format!("crash-once {}", engine.path("crashed").display()));
    client.send("after");
    assert_eq!(
        [client.receive(), client.receive(), client.receive()],
        [&b"before"[..], b"survived", b"after"]
    );
    let status = engine.settled();
    assert_eq!(status.errors.worker_exits, 1);
    assert_eq!(status.lost.closed_by_crash, 0);
}

/// An error or a panic is that session's alone; the worker lives.
#[test]
fn a_handler_that_panics_is_treated_by_on_crash_of_its_session() {
    {
        let command = "panic";
        let engine = Engine::start("probe", &probe(1, "", "journal = \"{folder}/journal\""));
        let mut other = Client::connect(&engine, 0, Wire::LENGTH);
        let worker = other.ask("pid");
        let mut client = Client::connect(&engine, 0, Wire::LENGTH);
        let id = client.ask("id");
        client.send(command);
        assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new());
        engine.journaled(&format!("close {id} crash"));
        assert_eq!(other.ask("pid"), worker);
        engine.logged(&[&format!("asked to {command}"), &id, "tcp://127.0.0.1:0"]);
        let status = engine.status();
        assert_eq!((status.errors.handlers, status.errors.worker_exits), (1, 0));
        assert_eq!(status.closed("crash"), 1);
    }
}

#[test]
fn under_drop_a_session_survives_its_handlers_panics() {
    let engine = Engine::start("probe", &probe(1, "on_crash = \"drop\"", ""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    for _ in 0..2 {
        client.send("panic");
        assert_eq!(client.ask("id"), id);
    }
    assert_eq!(
        engine.status().lost,
        Lost {
            dropped: 2,
            ..Lost::default()
        }
    );
}

#[test]
fn under_redeliver_a_handler_that_always_panics_has_three_attempts() {
    let engine = Engine::start("probe", &probe(1, "on_crash = \"redeliver\"", ""));
    let mut other = Client::connect(&engine, 0, Wire::LENGTH);
    let worker = other.ask("pid");
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.send("panic");
    assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new());
    assert_eq!(other.ask("pid"), worker);
    let status = engine.status();
    assert_eq!((status.errors.handlers, status.closed("crash")), (3, 1));
}

#[test]
fn a_killed_gateway_loses_its_sessions_and_is_replaced() {
    let engine = Engine::start("probe", &probe(2, "", "journal = \"{folder}/journal\""));
    let mut clients = [(); 4].map(|()| Client::connect(&engine, 0, Wire::LENGTH));
    let ids = clients.each_mut().map(|client| client.ask("id"));
    let before = engine.status();

    kill(before.gateway.pid, Signal::SIGKILL);

    for (client, id) in clients.iter_mut().zip(&ids) {
        assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new());
        engine.journaled(&format!("close {id} gateway_lost"));
    }
    engine.logged(&[&format!(
        "the gateway (pid {}) was killed by SIGKILL: {} sessions were lost",
        before.gateway.pid,
        ids.len()
    )]);
    // The listening socket has outlived the gateway, so a client that connects now is served by the next one.
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    assert!(
        ids.iter().all(|old| serial(old) < serial(&id)),
        "{id} after {ids:?}"
    );
    let after = engine.status();
    assert_eq!(after.gateway.incarnation, 2);
    assert_ne!(after.gateway.pid, before.gateway.pid);
    assert_eq!(
        after.worker_pids(),
        before.worker_pids(),
        "the workers live on"
    );
    assert_eq!(
        after.gateway.accepted, 5,
        "what the dead gateway counted is not forgotten"
    );
    assert_eq!(after.closed("gateway_lost"), 4);
}

#[test]
fn with_the_gateway_killed_under_load_everybody_comes_back() {
    let config = format!("[workers]\ncount = 2\n{LENGTH_LISTENER}[app]\ndelay = \"5ms\"\n");
    let engine = Engine::start("echo", &config);
    let load = Load::start(
        &engine,
        0,
        Plan {
            sessions: 100,
            ..Plan::default()
        },
    );
    for killed in 1..=3 {
        kill(engine.status().gateway.pid, Signal::SIGKILL);
        load.progress(5);
        eventually("another gateway serves", || {
            engine.status().gateway.incarnation == killed + 1
        });
        engine.reload().expect_success();
        load.progress(5);
    }
    assert_eq!(load.finish().troubles.wrong, Vec::<String>::new());
    assert_eq!(engine.settled().ready_workers().len(), 2);
}

#[test]
fn after_the_supervisors_death_nothing_is_left_and_a_new_start_works() {
    let mut engine = Engine::start("probe", &probe(2, "", "journal = \"{folder}/journal\""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let mut idle = Client::connect(&engine, 0, Wire::LENGTH);
    assert_eq!(idle.ask("build"), "first");
    client.send("sleep 1000");
    eventually("the message is in progress", || {
        engine
            .status()
            .workers
            .iter()
            .any(|worker| worker.in_progress == 1)
    });

    kill(engine.supervisor(), Signal::SIGKILL);
    engine.ended();

    assert_eq!(idle.receive_to_end(), Vec::<Vec<u8>>::new());
    assert_eq!(
        client.receive_to_end(),
        [b"slept"],
        "what is in progress is answered first"
    );
    eventually("every process has ended", || engine.processes().is_empty());
    assert_eq!(
        engine.journal_of("stop ").len(),
        2,
        "each worker has run its stop hook"
    );

    let successor = engine.site().start();
    assert_eq!(
        Client::connect(&successor, 0, Wire::LENGTH).ask("build"),
        "first"
    );
}

/// Nothing outlives a dead supervisor by more than `max_wait`, whatever it is doing.
#[test]
fn after_the_supervisors_death_stuck_handlers_end_too() {
    for stuck in ["hang", "block 60000"] {
        let config = probe(1, "", "").replace("5s", "1s");
        let mut engine = Engine::start("probe", &config);
        let mut client = Client::connect(&engine, 0, Wire::LENGTH);
        client.send(stuck);
        eventually("the message is in progress", || {
            engine.status().workers[0].in_progress == 1
        });
        kill(engine.supervisor(), Signal::SIGKILL);
        engine.ended();
        eventually("every process has ended", || engine.processes().is_empty());
    }
}

/// The session's serial: what rises from gateway to gateway, without the loop.
fn serial(id: &str) -> &str {
    &id[4..]
}

/// A task whose worker dies is given to another, and fails after its attempts.
#[test]
fn tasks_survive_their_worker_and_fail_after_their_attempts() {
    let engine = Engine::start(
        "probe",
        &format!("[tasks]\ncount = 1\n{}", probe(1, "", "")),
    );
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    assert_eq!(client.ask("task shout"), "SHOUT");
    assert_eq!(
        client
            .ask(format!(
                "task crash-once {}",
                engine.path("crashed").display()
            ))
            .len(),
        format!("crash-once {}", engine.path("crashed").display()).len()
    );
    assert!(
        client.ask("task crash").starts_with("Failed"),
        "a task that always kills fails in the end"
    );
    assert!(client.ask("task fail").contains("asked to fail"));
    assert_eq!(client.ask("task again"), "AGAIN");
    assert_eq!(engine.status().errors.worker_exits, 4);
}

/// What cannot be started is tried again until it can, and until then `status` says what is missing and why.
#[test]
fn a_slot_that_waits_for_its_process_is_shown() {
    let engine = Engine::start("probe", &probe(2, "", ""));
    let (supervisor, killed) = (engine.supervisor(), engine.worker(0).pid);
    let usual = limit_descriptors(supervisor, "3");
    kill(killed, Signal::SIGKILL);
    eventually("it was tried twice", || {
        engine.log().matches("cannot be started").count() >= 2
    });
    let line = engine.logged(&["worker 0", "cannot be started"]);
    assert!(line.contains("Too many open files"), "{line}");

    // Enough for one that asks, and not for a process.
    let open = Process::descriptor_numbers(supervisor);
    let free = (0..).filter(|number| !open.contains(number)).nth(1);
    limit_descriptors(supervisor, &(free.expect("there is one") + 1).to_string());
    let said = engine.run(&["status", "--json"]).expect_success().stdout;
    let status: serde_json::Value = serde_json::from_str(&said).expect("it is JSON");
    let row = &status["workers"][0];
    assert_eq!(
        (&row["slot"], &row["pid"]),
        (&0.into(), &().into()),
        "{row}"
    );
    assert_eq!(row["state"], "waiting", "{row}");
    assert!(
        row["retry_in_ms"].as_u64().is_some_and(|ms| ms <= 5000),
        "{row}"
    );
    let reason = row["reason"].as_str().unwrap_or_default();
    assert!(
        reason.starts_with("cannot be started: ") && reason.contains("Too many open files"),
        "{row}"
    );
    assert_eq!(status["workers"][1]["state"], "ready");
    let said = engine.run(&["status"]).expect_success().stdout;
    let line = said.lines().find(|line| line.contains("waiting"));
    assert!(
        line.is_some_and(|line| line.starts_with("worker 0")),
        "{said}"
    );
    assert!(said.contains(reason), "{said}");

    limit_descriptors(supervisor, &usual);
    assert_ne!(engine.worker(0).pid, killed);
    let said = engine.run(&["status"]).expect_success().stdout;
    assert!(!said.contains("waiting"), "{said}");
}

/// From now on this process opens no descriptor of this number or a higher one. Returns what it was before.
fn limit_descriptors(pid: i32, limit: &str) -> String {
    let prlimit = |more: &[&str]| {
        let mut command = Command::new("prlimit");
        command.args(["--pid", &pid.to_string()]).args(more);
        command.finish().expect_success().stdout
    };
    let before = prlimit(&["--nofile", "--raw", "--noheadings", "--output", "SOFT"]);
    prlimit(&[&format!("--nofile={limit}:")]);
    before.trim().to_owned()
}
