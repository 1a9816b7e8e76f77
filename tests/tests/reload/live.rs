//! A reload applies every key that the configuration reference marks so, while sessions talk. None of them is closed or
//! delayed.

use std::time::{Duration, Instant};

use moorline_tests::{Client, Engine, Load, Plan, Troubles, Wire, eventually, kill};
use nix::sys::signal::Signal;

const MAIN: &str = "[[listen]]\nname = \"main\"\naddress = \"tcp://127.0.0.1:0\"\nframing = { kind = \"length\", counts = \"payload\" }\n";

/// An engine, and sessions that exchange messages with its first listener without a pause.
pub(super) struct Live {
    pub(super) engine: Engine,
    pub(super) load: Load,
}

impl Live {
    /// `side` is what the second listener says beyond its name.
    pub(super) fn start(config: &str) -> Live {
        let engine = Engine::start("probe", config);
        let plan = Plan {
            sessions: 40,
            ..Plan::default()
        };
        let load = Load::start(&engine, 0, plan);
        Live { engine, load }
    }

    #[track_caller]
    pub(super) fn change(&self, config: &str) {
        self.engine.configure(config);
        self.engine.reload().expect_success();
        self.load.progress(2);
    }

    #[track_caller]
    fn refused(&self, config: &str, words: &[&str]) {
        self.engine.configure(config);
        self.engine.reload().expect_refusal(words);
        self.load.progress(2);
    }

    #[track_caller]
    pub(super) fn client(&self) -> Client {
        Client::connect(&self.engine, 1, Wire::LENGTH)
    }

    #[track_caller]
    pub(super) fn finish(self) -> Engine {
        assert_eq!(self.load.finish().troubles, Troubles::default());
        self.engine
    }
}

/// A configuration with a listener beside the one that is loaded.
pub(super) fn config(head: &str, side: &str) -> String {
    format!(
        "{head}\n[workers]\ncount = 2\nmax_wait = \"2s\"\n{MAIN}[[listen]]\nname = \"side\"\naddress = \"tcp://127.0.0.1:0\"\nframing = {{ kind = \"length\", counts = \"payload\" }}\n{side}\n[app]\njournal = \"{{folder}}/journal\"\n"
    )
}

#[test]
fn processes_helpers_and_settings_of_the_app_follow_a_reload() {
    let with = |workers: usize, tasks: usize, more: &str| {
        format!(
            "[workers]\ncount = {workers}\nmax_requests = 1000000\n[tasks]\ncount = {tasks}\n{MAIN}{more}"
        )
    };
    let live = Live::start(&with(2, 0, ""));
    let engine = &live.engine;
    let mut client = Client::connect(engine, 0, Wire::LENGTH);
    assert_eq!(client.ask("task pid"), "NoTaskWorkers");
    for (workers, tasks) in [(4, 2), (1, 1), (3, 1)] {
        live.change(&with(workers, tasks, "[app]\ngreeting = \"hello\"\n"));
        let status = engine.settled();
        assert_eq!(status.worker_pids().len(), workers);
        assert_eq!(status.tasks.len(), tasks);
        assert_eq!(client.ask("greeting"), "hello");
        assert!(client.ask_number("task pid") > 0);
    }
    let helper = |command: &str| {
        format!(
            "[[helpers]]\nname = \"feeder\"\ncommand = [\"/bin/sh\", \"-c\", \"{command}; exec sleep 1000\"]\n"
        )
    };
    let pid = || {
        engine
            .status()
            .helpers
            .first()
            .and_then(|helper| helper.pid)
    };
    live.change(&with(2, 1, &helper("echo one")));
    engine.logged(&["feeder", "one"]);
    let first = pid();
    live.change(&with(2, 1, &helper("echo one")));
    assert_eq!(pid(), first, "it has not changed");
    live.change(&with(2, 1, &helper("echo two")));
    engine.logged(&["feeder", "two"]);
    assert_ne!(pid(), first);
    live.change(&with(2, 0, ""));
    eventually("the helper is gone", || pid().is_none());
    assert_eq!(client.ask("task pid"), "NoTaskWorkers");
    live.finish();
}

#[test]
fn a_reload_changes_on_crash() {
    let live = Live::start(&config("", ""));
    live.change(&config("", "on_crash = \"redeliver\""));
    // The workers that crash serve the load, too: it has its own listener, whose sessions close by default.
    assert_eq!(live.load.finish().troubles, Troubles::default());
    let engine = &live.engine;
    let mut client = Client::connect(engine, 1, Wire::LENGTH);
    let once = engine.path("once");
    assert_eq!(
        client.ask(format!("crash-once {}", once.display())),
        "survived"
    );
    assert_eq!(engine.status().lost.redelivered, 1);
    engine.configure(&config("", "on_crash = \"redeliver\"\nattempts = 1"));
    engine.reload().expect_success();
    client.send("crash");
    assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new());
    assert_eq!(engine.settled().errors.worker_exits, 2);
    engine.configure(&config("", "on_crash = \"drop\""));
    engine.reload().expect_success();
    let mut client = Client::connect(engine, 1, Wire::LENGTH);
    client.send("panic");
    assert_eq!(client.ask("build"), "first");
    assert_eq!(engine.status().lost.dropped, 1);
}

#[test]
fn a_reload_changes_on_error() {
    let engine = Engine::start("probe", &config("", ""));
    let mut client = Client::connect(&engine, 1, Wire::LENGTH);
    client.ask("id");
    engine.configure(&config("", "on_error = \"keep\""));
    engine.reload().expect_success();
    client.send("fail");
    assert_eq!(client.ask("build"), "first");
    engine.configure(&config("", "on_error = \"close\""));
    engine.reload().expect_success();
    client.send("fail");
    assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new());
    let status = engine.settled();
    assert_eq!((status.errors.handlers, status.closed("error")), (2, 1));
    assert_eq!(status.reloads.done, 2);
}

/// A message in progress follows the rules it was delivered by: only those say whether the gateway has kept it.
#[test]
fn messages_in_progress_during_a_reload_crash_by_the_old_rules() {
    for (before, after) in [("close", "redeliver"), ("redeliver", "close")] {
        let with = |on_crash: &str| config("", &format!("on_crash = \"{on_crash}\""));
        let engine = Engine::start("probe", &with(before));
        let mut client = Client::connect(&engine, 1, Wire::LENGTH);
        client.ask("id");
        client.send("sleep 4000");
        eventually("the message is in progress", || {
            engine
                .status()
                .workers
                .iter()
                .any(|worker| worker.in_progress == 1)
        });
        engine.configure(&with(after));
        engine.reload().expect_success();
        // The old worker is killed at `max_wait`.
        match before {
            "redeliver" => assert_eq!(client.receive(), b"slept"),
            _ => assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new()),
        }
        let lost = engine.settled().lost;
        assert_eq!(lost.reload_forced, 1);
        assert_eq!(lost.redelivered, u64::from(before == "redeliver"));
    }
}

#[test]
fn dispatch_follows_a_reload() {
    let by = |dispatch: &str| config("", &format!("dispatch = \"{dispatch}\""));
    let live = Live::start(&by("sticky"));
    let mut client = live.client();
    let mut slots = || {
        let mut slots: Vec<_> = (0..8).map(|_| client.ask("slot")).collect();
        slots.sort();
        slots.dedup();
        slots.len()
    };
    assert_eq!(slots(), 1);
    live.change(&by("round-robin"));
    assert_eq!(slots(), 2);
    live.change(&by("ip-hash"));
    assert_eq!(slots(), 1);
    live.finish();
}

#[test]
fn the_memory_limit_follows_a_reload() {
    const ROOM: &str = "high_watermark = \"100MiB\"\nhard_limit = \"200MiB\"";
    let limited = |limit: &str| config(&format!("[engine]\n{limit}"), ROOM);
    let live = Live::start(&limited(""));
    let fill = || {
        let mut client = live.client();
        for _ in 0..24 {
            client.send("big 2000000");
        }
        eventually("it is queued", || {
            live.engine.status().gateway.buffered_bytes > 16 << 20
        });
        client
    };
    let hog = fill();
    live.change(&limited("memory_limit = \"8MiB\""));
    eventually("the session that holds most is closed", || {
        live.engine.status().closed("memory") == 1
    });
    drop(hog);
    live.change(&limited(""));
    let hog = fill();
    live.load.progress(5);
    assert_eq!(live.engine.status().closed("memory"), 1);
    drop(hog);
    live.finish();
}

#[test]
fn a_reload_changes_deliver_after_close() {
    let live = Live::start(&config("", ""));
    live.change(&config("", "deliver_after_close = true"));
    let mut client = live.client();
    let id = client.ask("id");
    // In one segment: what a peer's kernel has not sent yet is lost with a reset.
    let mut bytes = Wire::LENGTH.encode(b"sleep 500");
    for number in 0..100 {
        bytes.extend(Wire::LENGTH.encode(format!("journal {number}").as_bytes()));
        bytes.extend(Wire::LENGTH.encode(b"an answer"));
    }
    client.send_bytes(&bytes).expect("the session takes it");
    let has_come = || {
        let sessions = live.engine.run(&["sessions", "--json"]).expect_success();
        let rows = sessions.stdout.lines().map(serde_json::from_str);
        let mut rows = rows.map(|row: serde_json::Result<serde_json::Value>| row.expect("JSON"));
        rows.any(|row| row["id"] == id && row["messages"].as_u64() > Some(10))
    };
    eventually("it has come", has_come);
    client.reset();
    live.engine.journaled(&format!("close {id} peer"));
    assert_eq!(live.engine.journal_of("noted ").len(), 100);
    live.finish();
}

/// Where lines go, what they look like and which there are changes in every process.
#[test]
fn the_log_follows_a_reload() {
    let log = |settings: &str| config(&format!("[engine.log]\n{settings}"), "");
    let live = Live::start(&log("level = \"warn\""));
    let engine = &live.engine;
    let content = |name: &str| std::fs::read_to_string(engine.path(name)).unwrap_or_default();
    drop(live.client());
    live.change(&log(
        "format = \"json\"\nfile = \"{folder}/one.log\"\nlevel = \"info\"",
    ));
    let mut client = live.client();
    client.send("fail");
    eventually("the gateway writes there", || {
        content("one.log").contains("session closed")
    });
    eventually("a worker writes there", || {
        content("one.log").contains("a handler returned an error")
    });
    eventually("the supervisor writes there", || {
        content("one.log").contains("reload done")
    });
    for line in content("one.log").lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("it is JSON");
    }
    assert!(
        !engine.log().contains("session closed"),
        "it was not to be logged then"
    );

    live.change(&log("file = \"{folder}/two.log\""));
    let end = content("one.log");
    drop(live.client());
    eventually("the gateway writes to the other one", || {
        content("two.log").contains("session closed")
    });
    let line = content("two.log");
    let line = line.lines().find(|line| line.contains("session closed"));
    assert!(line.is_some_and(|line| serde_json::from_str::<serde_json::Value>(line).is_err()));
    assert_eq!(content("one.log").len(), end.len());

    live.change(&log("level = \"info\""));
    drop(live.client());
    engine.logged(&["session closed", "side"]);
    live.refused(
        &log("file = \"{folder}/no such folder/a.log\""),
        &["engine.log.file", "no such folder"],
    );
    live.finish();
}

#[test]
fn hooks_follow_a_reload() {
    let hook = |name: &str| {
        config(
            &format!("[engine.hooks]\nstopping = [\"/bin/sh\", \"-c\", \"echo {name} >> hooks\"]"),
            "",
        )
    };
    let live = Live::start(&hook("before"));
    live.change(&hook("after"));
    let mut engine = live.finish();
    let site = engine.site();
    site.run(&["stop"]).expect_success();
    engine.ended();
    let said = std::fs::read_to_string(site.path("hooks")).expect("it has run");
    assert_eq!(said, "after\n");
}

/// Task workers reloaded alone take their part of the file; the rest of it waits for the whole engine.
#[test]
fn a_reload_of_task_workers_changes_nothing_else() {
    let with = |workers: u16, tasks: u16, side: &str| {
        let config = config("", side).replace("count = 2", &format!("count = {workers}"));
        format!("[tasks]\ncount = {tasks}\n{config}greeting = \"{tasks}\"\n")
    };
    let live = Live::start(&with(2, 1, ""));
    let engine = &live.engine;
    engine.configure(&with(3, 2, "idle_timeout = \"200ms\""));
    engine.run(&["reload", "--tasks"]).expect_success();
    live.load.progress(2);
    let mut client = live.client();
    assert_eq!(client.ask("greeting"), "1");
    assert!(client.is_quiet_for(Duration::from_millis(600)));
    let status = engine.settled();
    assert_eq!((status.worker_pids().len(), status.tasks.len()), (2, 2));
    kill(status.gateway.pid, Signal::SIGKILL);
    eventually("there is another gateway", || {
        engine.status().gateway.incarnation == 2
    });
    let mut client = live.client();
    assert_eq!(client.ask("greeting"), "1");
    assert!(client.is_quiet_for(Duration::from_millis(600)));
    engine.reload().expect_success();
    assert_eq!(engine.settled().worker_pids().len(), 3);
    assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new());
    drop(live.load.finish());
}

/// What waits is waited for, and what is tried is tried, as the last reload says.
#[test]
fn patience_with_handlers_tasks_and_hooks_follows_a_reload() {
    let with = |max_wait: &str, attempts: u32, timeout: &str| {
        format!(
            "[engine.hooks]\ntimeout = \"{timeout}\"\nstopping = [\"/bin/sleep\", \"1000\"]\n\
             [workers]\ncount = 2\nmax_wait = \"{max_wait}\"\n[tasks]\ncount = 1\nattempts = {attempts}\n{MAIN}"
        )
    };
    let live = Live::start(&with("50s", 3, "50s"));
    live.change(&with("300ms", 1, "200ms"));
    let mut engine = live.finish();
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    assert!(client.ask("task crash").starts_with("Failed"));
    assert_eq!(engine.status().errors.worker_exits, 1);
    client.send("hang");
    eventually("it is in progress", || {
        engine
            .status()
            .workers
            .iter()
            .any(|worker| worker.in_progress == 1)
    });
    let begun = Instant::now();
    kill(engine.supervisor(), Signal::SIGTERM);
    engine.ended();
    assert!(begun.elapsed() < Duration::from_secs(25));
    engine.logged(&["longer than its timeout", "stopping"]);
}

/// The signal does what the command does.
#[test]
fn a_hangup_applies_the_configuration() {
    let live = Live::start(&config("", ""));
    live.engine
        .configure(&config("", "idle_timeout = \"200ms\""));
    let mut client = live.client();
    client.ask("id");
    kill(live.engine.supervisor(), Signal::SIGHUP);
    assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new());
    eventually("it is done", || live.engine.settled().reloads.done == 1);
    live.load.progress(2);
    live.finish();
}

#[test]
fn changes_that_need_a_restart_are_refused_by_name_and_nothing_is_applied() {
    let live = Live::start(&config("", ""));
    let before = live.engine.status();
    let mut client = live.client();
    let id = client.ask("id");
    let side = "idle_timeout = \"100ms\"";
    for (key, change) in [
        ("`engine.run_dir`", "[engine]\nrun_dir = \"{folder}/other\""),
        ("`engine.gateway_loops`", "[engine]\ngateway_loops = 7"),
        ("`engine.ring_memory`", "[engine]\nring_memory = \"48MiB\""),
    ] {
        // With the run folder changed the command would look for the engine there.
        live.engine.configure(&config(change, side));
        let run_dir = moorline_tests::run_dir(&live.engine);
        live.engine
            .command(&["reload", "--run-dir", &run_dir])
            .output()
            .map(|output| {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(!output.status.success() && said.contains(key), "{said}");
                assert!(said.contains("restart"), "{said}");
            })
            .expect("the app can be run");
    }
    let affinity = config("", side).replace("count = 2", "count = 3\ncpu_affinity = true");
    live.refused(&affinity, &["`workers.cpu_affinity`", "restart"]);
    for key in ["user", "group", "gateway_user", "chroot"] {
        // Where nobody is root they change nothing, and are no less refused; two of them need a user.
        let value = match key {
            "chroot" => "{folder}",
            "group" => "daemon",
            _ => "nobody",
        };
        let more = if ["chroot", "group"].contains(&key) {
            "user = \"nobody\"\n"
        } else {
            ""
        };
        let change = format!("[engine]\n{more}{key} = \"{value}\"");
        live.refused(
            &config(&change, side),
            &[&format!("`engine.{key}`"), "restart"],
        );
    }
    live.engine.configure(&config("", ""));
    let after = live.engine.settled();
    assert_eq!(after.worker_pids(), before.worker_pids());
    assert_eq!(after.reloads.failed, 8);
    assert!(client.is_quiet_for(Duration::from_millis(500)));
    assert_eq!(client.ask("id"), id);
    live.finish();
}
