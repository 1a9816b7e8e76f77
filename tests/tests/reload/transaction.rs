//! A reload is a transaction: it replaces every worker and clients notice nothing, or it changes nothing.

use std::time::{Duration, Instant};

use moorline_tests::{
    Client, Engine, LENGTH_LISTENER, Load, Plan, Reloads, Troubles, Wire, eventually, kill,
};
use nix::sys::signal::Signal;

const WORKERS: &str = "[workers]\ncount = 2\nstart_timeout = \"2s\"\n";

fn probe(app: &str) -> String {
    format!("{WORKERS}{LENGTH_LISTENER}[app]\n{app}")
}

#[test]
fn ten_reloads_under_load_lose_double_and_reorder_nothing() {
    let engine = Engine::start(
        "echo",
        &format!("{WORKERS}{LENGTH_LISTENER}[app]\ndelay = \"5ms\"\n"),
    );
    let load = Load::start(&engine, 0, Plan::default());
    for _ in 0..10 {
        engine.reload().expect_success();
        load.progress(2);
    }
    let report = load.finish();
    assert_eq!(report.troubles, Troubles::default());
    let status = engine.settled();
    assert_eq!(
        status.reloads,
        Reloads {
            done: 10,
            failed: 0
        }
    );
    assert_eq!(status.lost, Default::default());
    assert_eq!(
        status.gateway.accepted, 500,
        "no session was replaced by another"
    );
    let generations: Vec<u32> = status
        .workers
        .iter()
        .map(|worker| worker.generation)
        .collect();
    assert_eq!(generations, [11, 11]);
}

#[test]
fn pipelined_messages_keep_their_order_over_reloads() {
    let engine = Engine::start(
        "echo",
        &format!("{WORKERS}{LENGTH_LISTENER}[app]\ndelay = \"1ms\"\n"),
    );
    let load = Load::start(
        &engine,
        0,
        Plan {
            sessions: 50,
            window: 40,
            size: 2_000,
            ..Plan::default()
        },
    );
    for _ in 0..3 {
        engine.reload().expect_success();
        load.progress(50);
    }
    assert_eq!(load.finish().troubles, Troubles::default());
}

#[test]
fn a_build_that_exits_at_once_changes_nothing() {
    let engine = Engine::start("probe", &probe(""));
    let load = Load::start(
        &engine,
        0,
        Plan {
            sessions: 50,
            ..Plan::default()
        },
    );
    let before = engine.status().worker_pids();

    engine.install("exits_at_once");
    engine.reload().expect_refusal(&["exit", "3"]);

    load.progress(10);
    assert_eq!(engine.settled().worker_pids(), before);
    assert_eq!(engine.status().reloads, Reloads { done: 0, failed: 1 });
    assert_eq!(load.finish().troubles, Troubles::default());
}

#[test]
fn a_build_that_never_becomes_ready_is_given_up_after_start_timeout() {
    let engine = Engine::start("probe", &probe(""));
    let load = Load::start(
        &engine,
        0,
        Plan {
            sessions: 50,
            ..Plan::default()
        },
    );
    let before = engine.status().worker_pids();

    engine.install("never_ready");
    let since = Instant::now();
    engine.reload().expect_refusal(&["ready"]);
    assert!(
        since.elapsed() >= Duration::from_secs(2),
        "it was given up before its time"
    );
    assert!(
        since.elapsed() < Duration::from_secs(10),
        "it was given up late: {:?}",
        since.elapsed()
    );

    load.progress(10);
    assert_eq!(engine.settled().worker_pids(), before);
    assert_eq!(load.finish().troubles, Troubles::default());
}

#[test]
fn a_file_that_is_no_executable_is_refused() {
    let engine = Engine::start("probe", &probe(""));
    let before = engine.status().worker_pids();
    let site = engine.site();
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);

    std::fs::remove_file(site.path("app")).expect("the executable can be removed");
    engine.reload().expect_refusal(&["app"]);
    site.write("app", "nothing that could be run");
    engine.reload().expect_refusal(&["app"]);

    assert_eq!(client.ask("build"), "first");
    site.install("probe");
    assert_eq!(engine.settled().worker_pids(), before);
    engine.reload().expect_success();
    assert_ne!(engine.settled().worker_pids(), before);
}

#[test]
fn with_one_of_two_new_workers_ready_nothing_switches() {
    for broken in ["fails_in_slot = 1", "hangs_in_slot = 1"] {
        let engine = Engine::start("probe", &probe(""));
        let load = Load::start(
            &engine,
            0,
            Plan {
                sessions: 50,
                ..Plan::default()
            },
        );
        let before = engine.status().worker_pids();

        engine.configure(&probe(broken));
        let said = engine.reload().expect_refusal(&["worker 1"]).said();
        if broken.starts_with("fails") {
            assert!(
                said.contains("asked not to start"),
                "the app's own reason is not given: {said}"
            );
        }

        load.progress(10);
        let status = engine.settled();
        assert_eq!(status.worker_pids(), before);
        let generations: Vec<u32> = status
            .workers
            .iter()
            .map(|worker| worker.generation)
            .collect();
        assert_eq!(generations, [1, 1]);
        assert_eq!(load.finish().troubles, Troubles::default());
    }
}

#[test]
fn a_crash_while_a_broken_build_lies_in_place_is_mended_with_the_good_one() {
    let engine = Engine::start("probe", &probe("greeting = \"good\""));
    for broken in ["exits_at_once", "never_ready"] {
        engine.install(broken);
        engine.configure(&probe("greeting = \"broken\"\nfails_in_slot = 0"));
        engine.reload().expect_refusal(&[]);
        for slot in [0, 1] {
            let killed = engine.kill_worker(slot, Signal::SIGKILL);
            eventually("the worker is replaced", || {
                let pids = engine.status().worker_pids();
                pids.len() == 2 && !pids.contains(&killed)
            });
        }
        let mut clients = [(); 4].map(|()| Client::connect(&engine, 0, Wire::LENGTH));
        for client in &mut clients {
            assert_eq!(client.ask("build"), "first");
            assert_eq!(
                client.ask("greeting"),
                "good",
                "an uncommitted configuration is not used either"
            );
        }
    }
}

#[test]
fn a_good_build_after_broken_ones_serves() {
    let engine = Engine::start("probe", &probe(""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    engine.install("exits_at_once");
    engine.reload().expect_refusal(&[]);
    assert_eq!(client.ask("build"), "first");

    engine.install("probe_next");
    assert_eq!(client.ask("build"), "first", "only reload deploys");
    engine.reload().expect_success();
    assert_eq!(client.ask("build"), "next");
    assert_eq!(client.ask("id"), id, "the session is the same one");

    engine.kill_worker(0, Signal::SIGKILL);
    engine.kill_worker(1, Signal::SIGKILL);
    eventually("both are replaced", || {
        engine.status().worker_pids().len() == 2
    });
    assert_eq!(
        client.ask("build"),
        "next",
        "what was committed last is what crashes are mended with"
    );
}

#[test]
fn settings_of_the_app_follow_a_reload() {
    let engine = Engine::start("probe", &probe("greeting = \"ahoy\""));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    assert_eq!(client.ask("greeting"), "ahoy");
    engine.configure(&probe("greeting = \"hello\""));
    engine.reload().expect_success();
    assert_eq!(client.ask("greeting"), "hello");
    assert_eq!(client.ask("generation"), "2");
}

#[test]
fn a_mistake_in_the_configuration_is_reported_by_reload() {
    let engine = Engine::start("probe", &probe(""));
    let before = engine.status().worker_pids();
    engine.configure(&probe("greeting = ").replace("count = 2", "count = \"two\""));
    engine.reload().expect_refusal(&["moorline.toml"]);
    assert_eq!(engine.status().worker_pids(), before);
}

/// A handler that waits for a slow reader goes on when the reader does, although its worker is to be replaced.
#[test]
fn a_handler_that_waits_to_send_during_a_reload_is_woken() {
    const MESSAGES: usize = 2_000;
    let config = format!(
        "[workers]\ncount = 1\nmax_wait = \"20s\"\n{LENGTH_LISTENER}high_watermark = \"256KiB\"\nlow_watermark = \"64KiB\"\n[app]\njournal = \"{{folder}}/journal\"\n"
    );
    let engine = Engine::start("probe", &config);
    let mut slow = Client::connect(&engine, 0, Wire::LENGTH);
    let id = slow.ask("id");
    slow.send(format!("pour {MESSAGES}"));
    engine.journaled(&format!("full {id}"));
    engine.reload().expect_success();
    for _ in 0..MESSAGES {
        assert_eq!(slow.receive().len(), 16 * 1024);
    }
    assert_eq!(slow.ask("generation"), "2");
    assert_eq!(engine.settled().lost, Default::default());
}

#[test]
fn the_number_of_workers_follows_a_reload() {
    let engine = Engine::start("probe", &probe(""));
    let load = Load::start(
        &engine,
        0,
        Plan {
            sessions: 100,
            ..Plan::default()
        },
    );
    for count in [4, 1, 3] {
        engine.configure(&probe("").replace("count = 2", &format!("count = {count}")));
        engine.reload().expect_success();
        load.progress(5);
        assert_eq!(engine.settled().worker_pids().len(), count);
    }
    assert_eq!(load.finish().troubles, Troubles::default());
}

/// A reload during a reload is not lost, and several of them become one.
#[test]
fn reloads_asked_for_during_a_reload_wait_and_join() {
    let engine = Engine::start(
        "probe",
        &format!("{}journal = \"{{folder}}/journal\"", probe("")),
    );
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    // In progress, so that the old worker cannot end and the second reload must wait.
    client.send("sleep 1500");
    eventually("the message is in progress", || {
        engine
            .status()
            .workers
            .iter()
            .any(|worker| worker.in_progress == 1)
    });
    engine.reload().expect_success();

    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| engine.reload().expect_success()))
            .collect();
        assert_eq!(client.receive(), b"slept");
        waiting.into_iter().for_each(|reload| drop(reload.join()));
    });
    assert_eq!(engine.settled().reloads, Reloads { done: 2, failed: 0 });
    assert_eq!(client.ask("generation"), "3");
    eventually("each old process has run its stop hook once", || {
        engine.journal_of("stop ").len() == 4
    });
}

/// A request that cannot be fulfilled leaves later ones possible.
#[test]
fn a_reload_of_tasks_without_tasks_is_refused_and_harms_nothing() {
    let engine = Engine::start("probe", &probe(""));
    engine.run(&["reload", "--tasks"]).expect_refusal(&["task"]);
    engine.reload().expect_success();
    engine.run(&["reload", "--tasks"]).expect_refusal(&["task"]);
    assert_eq!(engine.settled().ready_workers().len(), 2);
}

#[test]
fn task_workers_are_reloaded_alone_if_asked() {
    let engine = Engine::start("probe", &format!("[tasks]\ncount = 1\n{}", probe("")));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let (worker, task) = (client.ask("pid"), client.ask("task pid"));

    engine.install("probe_next");
    engine.run(&["reload", "--tasks"]).expect_success();
    assert_eq!(client.ask("pid"), worker);
    assert_ne!(client.ask("task pid"), task);

    engine.reload().expect_success();
    assert_ne!(client.ask("pid"), worker);
}

/// The signals do what the commands do.
#[test]
fn signals_to_the_supervisor_reload() {
    let engine = Engine::start("probe", &probe(""));
    for (signal, done) in [(Signal::SIGUSR1, 1), (Signal::SIGHUP, 2)] {
        kill(engine.supervisor(), signal);
        eventually("the reload is done", || {
            engine.settled().reloads.done == done
        });
    }
}

/// What does not end within `max_wait` is forced, treated as a crash, and counted as lost by the reload.
#[test]
fn handlers_that_outlast_max_wait_are_killed_and_counted() {
    let config = probe("").replace("count = 2", "count = 1\nmax_wait = \"500ms\"");
    let engine = Engine::start("probe", &config);
    let mut stuck = Client::connect(&engine, 0, Wire::LENGTH);
    let mut idle = Client::connect(&engine, 0, Wire::LENGTH);
    assert_eq!(idle.ask("build"), "first");
    stuck.send("hang");
    eventually("the message is in progress", || {
        engine.status().workers[0].in_progress == 1
    });

    engine.reload().expect_success();
    assert_eq!(stuck.receive_to_end(), Vec::<Vec<u8>>::new());
    assert_eq!(idle.ask("generation"), "2");
    let status = engine.settled();
    assert_eq!((status.lost.reload_forced, status.closed("crash")), (1, 1));
}

/// A worker that is asked to end by itself is replaced first.
#[test]
fn a_worker_that_gets_term_hands_its_sessions_over() {
    let engine = Engine::start("probe", &probe(""));
    let load = Load::start(
        &engine,
        0,
        Plan {
            sessions: 50,
            ..Plan::default()
        },
    );
    for slot in [0, 1] {
        let ended = engine.kill_worker(slot, Signal::SIGTERM);
        eventually("another serves the slot", || {
            engine.worker(slot).pid != ended
        });
        load.progress(5);
    }
    assert_eq!(load.finish().troubles, Troubles::default());
    assert_eq!(engine.settled().lost, Default::default());
}

#[test]
fn a_build_gets_the_start_timeout_of_the_file_that_it_is_deployed_with() {
    let engine = Engine::start("probe", &probe(""));
    engine.configure(&probe("").replace("start_timeout = \"2s\"", "start_timeout = \"4s\""));
    engine.install("never_ready");
    let since = Instant::now();
    engine.reload().expect_refusal(&["ready"]);
    assert!(
        since.elapsed() >= Duration::from_secs(4),
        "it was given up before its time"
    );
}

#[test]
fn the_number_of_a_generation_that_failed_is_not_used_again() {
    let engine = Engine::start("probe", &probe(""));
    let generations = || -> Vec<u32> {
        let workers = engine.settled().workers;
        workers.iter().map(|worker| worker.generation).collect()
    };
    assert_eq!(generations(), [1, 1]);
    engine.install("exits_at_once");
    engine.reload().expect_refusal(&["before it was ready"]);
    assert_eq!(generations(), [1, 1]);
    engine.install("probe_next");
    engine.reload().expect_success();
    assert_eq!(generations(), [3, 3]);
    assert_eq!(engine.ask_once("generation"), "3");
}
