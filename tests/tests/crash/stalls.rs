//! A stuck handler is reported once, with its place in the code, and is not stopped.

use std::time::{Duration, Instant};

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Stall, Wire, eventually, require_root};

/// What a report may take beyond `stall_after`.
const LATE: Duration = Duration::from_secs(1);

/// What other tests on the same processors may add to that.
const OTHERS: Duration = Duration::from_secs(1);

fn echo_config(workers: &str) -> String {
    format!(
        "[workers]\ncount = 1\n{workers}\n[tasks]\ncount = 1\nstall_after = \"500ms\"\n{LENGTH_LISTENER}[app]\ncommands = true\n"
    )
}

fn echo(workers: &str) -> Engine {
    Engine::start("echo", &echo_config(workers))
}

/// The one stall there is by the time it must be there.
#[track_caller]
fn the_stall(engine: &Engine, since: Instant, stall_after: Duration) -> Stall {
    eventually("the stall is reported", || {
        !engine.status().stalls.is_empty()
    });
    let took = since.elapsed();
    assert!(
        took < stall_after + LATE + OTHERS,
        "reported after {took:?}"
    );
    let stalls = engine.status().stalls;
    assert_eq!(stalls.len(), 1, "{stalls:#?}");
    let stall = stalls.into_iter().next().expect("there is one");
    let least = stall_after.as_millis() as u64;
    assert!(
        (least..least + 1500).contains(&stall.elapsed_ms),
        "{stall:#?}"
    );
    stall
}

/// The session that this client's connection is.
fn session(engine: &Engine, client: &Client) -> String {
    let peer = format!("127.0.0.1:{}", client.port());
    let mut id = None;
    // The kernel has connected it before the gateway accepts it.
    eventually("it is listed", || {
        let said = engine.run(&["sessions"]).expect_success().stdout;
        let line = said.lines().find(|line| line.contains(&peer));
        let word = line.and_then(|line| line.split_whitespace().next());
        id = word.map(str::to_owned);
        id.is_some()
    });
    id.expect("it is listed by then")
}

/// A handler that computes is found by its stack while it does, and goes on.
#[test]
fn a_handler_that_burns_cpu_is_reported_with_its_stack() {
    let engine = echo("");
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = session(&engine, &client);
    let pid = engine.worker(0).pid;
    let since = Instant::now();
    client.send("!spin 3s");
    let stall = the_stall(&engine, since, Duration::from_secs(1));
    assert_eq!(
        (stall.worker.as_str(), stall.pid, stall.hook.as_str()),
        ("worker 0", pid, "message")
    );
    assert_eq!(
        (stall.kind.as_str(), stall.session.as_ref()),
        ("running", Some(&id))
    );
    let stack = stall.stack.join("\n");
    assert!(stack.contains("echo::spin"), "{stack}");
    assert!(stack.contains("bin/echo.rs:"), "{stack}");
    assert_eq!(client.receive(), b"spun");
    assert_eq!(engine.worker(0).pid, pid, "nothing was killed");
    assert_eq!(client.ask("again"), "again");
    // The line leads with the app's own frame, and fits on a screen.
    let line = engine.logged(&["stall in echo::spin (", "worker 0", &id]);
    assert!(line.len() < 24 * 80, "{line}");
    assert_eq!(engine.log().matches("stall").count(), 1);
    assert!(
        stall
            .place
            .is_some_and(|place| place.starts_with("echo::spin ("))
    );
    assert_eq!(engine.status().errors.stalls, 1);
    let said = engine.run(&["status"]).expect_success().stdout;
    assert!(said.contains("stall: worker 0"), "{said}");
}

/// So is one in a system call, which goes on as if nothing had been.
#[test]
fn a_handler_blocked_in_a_system_call_is_reported_with_its_stack() {
    let engine = echo("");
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = session(&engine, &client);
    let since = Instant::now();
    client.send("!block 3s");
    let stall = the_stall(&engine, since, Duration::from_secs(1));
    assert_eq!(
        (stall.kind.as_str(), stall.session.as_ref()),
        ("blocked", Some(&id))
    );
    let stack = stall.stack.join("\n");
    assert!(stack.contains("nanosleep"), "{stack}");
    assert!(stack.contains("echo::obey"), "{stack}");
    assert_eq!(client.receive(), b"blocked");
    assert!(
        since.elapsed() >= Duration::from_secs(3),
        "it slept its time"
    );
    assert_eq!(engine.status().stalls.len(), 1);
}

/// One that awaits what never comes is reported with the place where it waits; others go on meanwhile.
#[test]
fn a_handler_that_awaits_for_ever_is_reported_with_where_it_waits() {
    let engine = echo("wait_after = \"500ms\"");
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let mut other = Client::connect(&engine, 0, Wire::LENGTH);
    let id = session(&engine, &client);
    let since = Instant::now();
    client.send("!wait");
    assert_eq!(other.ask("meanwhile"), "meanwhile");
    let stall = the_stall(&engine, since, Duration::from_millis(500));
    assert_eq!(
        (stall.kind.as_str(), stall.session.as_ref()),
        ("waiting", Some(&id))
    );
    let stack = stall.stack.join("\n");
    assert!(stack.contains("oneshot"), "{stack}");
    assert!(stack.contains("echo::obey"), "{stack}");
    // Once: however long it waits.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(engine.status().stalls.len(), 1);
    assert_eq!(other.ask("still"), "still");
}

/// Task workers have a `stall_after` of their own, and without one take as long as they like.
#[test]
fn task_workers_are_watched_if_asked_to() {
    let engine = echo("stall_after = \"0s\"");
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let since = Instant::now();
    client.send("!task 2s");
    let stall = the_stall(&engine, since, Duration::from_millis(500));
    assert_eq!(
        (stall.worker.as_str(), stall.hook.as_str(), &stall.session),
        ("task worker 0", "task", &None)
    );
    assert!(stall.stack.join("\n").contains("echo"), "{stall:#?}");
    assert_eq!(client.receive(), b"done");
}

/// Hooks that are for no session are found to wait too; they go on, and so does a reload until its own time is over.
#[test]
fn timers_and_starts_that_wait_for_ever_are_reported() {
    let config = |app: &str| {
        format!(
            "[workers]\ncount = 1\nwait_after = \"300ms\"\nstart_timeout = \"4s\"\n{LENGTH_LISTENER}[app]\n{app}\n"
        )
    };
    let engine = Engine::start("probe", &config(""));
    let pid = engine.worker(0).pid;
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let since = Instant::now();
    client.send("timer-hang 1");
    let stall = the_stall(&engine, since, Duration::from_millis(300));
    let told = |stall: &Stall| {
        (
            stall.hook.clone(),
            stall.kind.clone(),
            stall.session.clone(),
        )
    };
    assert_eq!(
        told(&stall),
        ("timer".to_owned(), "waiting".to_owned(), None)
    );
    let stack = stall.stack.join("\n");
    assert!(stack.contains("Notified"), "{stack}");
    assert_eq!(client.ask("lives"), "lives");

    engine.configure(&config("hangs_in_slot = 0"));
    let said = engine.reload().expect_refusal(&["was not ready"]);
    let stalls = engine.status().stalls;
    assert_eq!(stalls.len(), 2, "{said:#?} {stalls:#?}");
    assert_eq!(
        told(&stalls[1]),
        ("start".to_owned(), "waiting".to_owned(), None)
    );
    assert_eq!(engine.worker(0).pid, pid);
}

/// The stack has names although the worker can no longer reach its executable, and another build lies there.
#[test]
fn stacks_have_names_after_the_rights_are_gone() {
    require_root("only root can give rights up");
    let config = format!(
        "[engine]\nuser = \"nobody\"\n[workers]\ncount = 1\nstall_after = \"300ms\"\n{LENGTH_LISTENER}[app]\ncommands = true\n"
    );
    let engine = Engine::start("echo", &config);
    engine.install("probe");
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let since = Instant::now();
    client.send("!spin 2s");
    let stall = the_stall(&engine, since, Duration::from_millis(300));
    assert!(stall.stack.join("\n").contains("echo::spin"), "{stall:#?}");
    assert_eq!(client.receive(), b"spun");
}

/// What nobody asked to have watched is not.
#[test]
fn with_stall_after_zero_nothing_is_reported() {
    let config = format!(
        "[workers]\ncount = 1\nstall_after = \"0s\"\n{LENGTH_LISTENER}[app]\ncommands = true\n"
    );
    let engine = Engine::start("echo", &config);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.send("!block 2s");
    assert_eq!(client.receive(), b"blocked");
    assert!(engine.status().stalls.is_empty());
}

/// Many that wait at one place are told in one line, and in another how many they were.
#[test]
fn many_handlers_that_wait_at_once_do_not_flood_the_log() {
    let engine = echo("wait_after = \"300ms\"");
    let mut clients: Vec<Client> = (0..200)
        .map(|_| Client::connect(&engine, 0, Wire::LENGTH))
        .collect();
    for client in &mut clients {
        client.send("!wait");
    }
    eventually("all are counted", || engine.status().errors.stalls == 200);
    eventually("the first is reported", || {
        engine.status().stalls.len() == 1
    });
    engine.logged(&[
        "stall in echo::obey (",
        "199 more in the 10s after the first",
    ]);
    assert_eq!(engine.log().matches("stall").count(), 2, "{}", engine.log());
    let mut third = Client::connect(&engine, 0, Wire::LENGTH);
    assert_eq!(third.ask("lives"), "lives");
}

/// A reload changes after which time a handler is stuck.
#[test]
fn stall_after_follows_a_reload() {
    let engine = echo("stall_after = \"0s\"");
    assert_eq!(engine.ask_once("!block 700ms"), "blocked");
    assert!(engine.status().stalls.is_empty());
    engine.configure(&echo_config("stall_after = \"300ms\""));
    engine.reload().expect_success();
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let since = Instant::now();
    client.send("!block 2s");
    the_stall(&engine, since, Duration::from_millis(300));
}

/// Each request that is stuck is counted once; that it is stuck where another was before is told, but not all of it
/// again.
#[test]
fn each_request_that_is_stuck_is_counted_once() {
    let engine = echo("stall_after = \"300ms\"");
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    for count in 1..=2 {
        assert_eq!(client.ask("!block 2s"), "blocked");
        eventually("it is counted", || engine.status().errors.stalls == count);
    }
    eventually("the first is reported", || {
        engine.status().stalls.len() == 1
    });
    engine.logged(&[
        "stall in echo::obey (",
        ": 1 more in the 10s after the first",
    ]);
    assert_eq!(engine.status().errors.stalls, 2);
}

/// Tasks, queries and long polls take their time. They are not reported without `wait_after`.
#[test]
fn a_handler_that_awaits_is_not_stuck() {
    let engine = echo("stall_after = \"300ms\"");
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.send("!wait");
    let mut other = Client::connect(&engine, 0, Wire::LENGTH);
    assert_eq!(other.ask("!block 1s"), "blocked");
    let waits = Instant::now();
    eventually("the one that blocks is reported", || {
        !engine.status().stalls.is_empty()
    });
    std::thread::sleep(Duration::from_millis(1500).saturating_sub(waits.elapsed()));
    let stalls = engine.status().stalls;
    assert_eq!(stalls.len(), 1, "{stalls:#?}");
    assert_eq!(stalls[0].kind, "blocked");
}

/// A start hook that takes too long is found before its time is over, and what ends the process says where it is.
#[test]
fn a_late_start_is_reported_with_start_timeout_and_where_it_waits() {
    // Of the three, `stall_after` is about what blocks, and the others are off.
    for (app, verb, place) in [
        (
            "starts_with_file = \"{folder}/never\"",
            "awaits something in",
            "probe::Probe",
        ),
        (
            "blocks_in_slot = 0",
            "is blocked in a system call in",
            "probe::Settings",
        ),
    ] {
        let config = |app: &str| {
            format!(
                "[workers]\ncount = 1\nstall_after = \"0s\"\nstart_timeout = \"3s\"\n{LENGTH_LISTENER}[app]\n{app}\n"
            )
        };
        let engine = Engine::start("probe", &config(""));
        engine.configure(&config(app));
        engine.reload().expect_refusal(&[
            "worker 0: was not ready within 3s (`start_timeout` in [workers]): its start hook",
            verb,
            place,
            "probe.rs:",
        ]);
        engine.logged(&[
            &format!("stall in moorline_tests::{place}"),
            verb.trim_end_matches(" in"),
            "`start_timeout` ends this process after 3s",
        ]);
        // So it is when it is not a reload that waits.
        let mut engine = engine;
        engine.run(&["stop"]).expect_success();
        engine.ended();
        let refused = engine.site().try_start().err().expect("it cannot start");
        assert!(
            refused
                .stderr
                .contains("`start_timeout` in [workers]): its start hook"),
            "{refused:?}"
        );
        assert!(refused.stderr.contains(place), "{refused:?}");
    }
}

/// Every hook is watched, and named in the report.
#[test]
fn hooks_without_a_message_are_watched_too() {
    let config = format!(
        "[workers]\ncount = 1\nstall_after = \"300ms\"\n{LENGTH_LISTENER}[app]\nblocks_in = [\"open\", \"post\", \"close\"]\n"
    );
    let engine = Engine::start("probe", &config);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    assert_eq!(client.ask("post 0 hello"), "hello from 0 in 0");
    drop(client);
    eventually("all are reported", || engine.status().stalls.len() == 3);
    let stalls: Vec<_> = engine
        .status()
        .stalls
        .into_iter()
        .map(|stall| (stall.hook, stall.kind, stall.session))
        .collect();
    let blocked = |hook: &str, session| (hook.to_owned(), "blocked".to_owned(), session);
    assert_eq!(
        stalls,
        [
            blocked("open", Some(id.clone())),
            blocked("post", None),
            blocked("close", Some(id))
        ]
    );
}
