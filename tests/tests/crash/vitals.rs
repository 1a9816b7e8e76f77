//! Signs of life: a gateway that panics or stands still is replaced, and a worker that does not answer is seen.

use std::fs;
use std::thread;

use moorline_tests::{Client, Engine, Frozen, LENGTH_LISTENER, Process, Wire, eventually, kill};
use nix::sys::signal::Signal;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

/// Two loops, so that one can stand still while the other goes on.
fn engine(keys: &str) -> Engine {
    Engine::start("probe", &config(keys))
}

fn config(keys: &str) -> String {
    format!("{keys}\n[app]\njournal = \"{{folder}}/journal\"\n{LENGTH_LISTENER}")
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_panic_in_a_thread_of_the_gateway_ends_it_at_once_and_is_logged_with_its_backtrace() {
    for (format, thread) in [("pretty", "loop 0"), ("json", "loop 0"), ("pretty", "main")] {
        let keys = format!(
            "[engine]\ngateway_loops = 2\n[engine.log]\nformat = \"{format}\"\n[workers]\ncount = 1"
        );
        let engine = Engine::start("panics_in_gateway", &config(&keys));
        let mut client = Client::connect(&engine, 0, Wire::LENGTH);
        client.ask("slot");
        let gateway = engine.status().gateway.pid;
        let frozen = match thread {
            "main" => Frozen::main_thread(gateway),
            name => Frozen::thread(gateway, name),
        };
        frozen.go_on_with(function(&engine, "fault"));
        let line = engine.logged(&["the gateway panicked", "the fault that the test wants"]);
        assert!(line.contains(thread), "it names the thread: {line}");
        assert!(
            line.contains("panics_in_gateway.rs:"),
            "it names the place: {line}"
        );
        eventually("the backtrace is there", || {
            engine.log().contains("panics_in_gateway::fault")
        });
        assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new());
        eventually("another gateway serves", || {
            engine.status().gateway.incarnation == 2
        });
        assert_eq!(engine.ask_once("build"), "first");
    }
}

#[test]
fn a_gateway_whose_loop_stands_still_is_replaced_after_kill_after() {
    let engine = engine("[engine]\ngateway_loops = 2\nkill_after = \"1s\"\n[workers]\ncount = 1");
    let frozen = Frozen::thread(engine.status().gateway.pid, "loop 1");
    engine.logged(&["gateway loop 1 has been stuck", "the gateway is replaced"]);
    drop(frozen);
    eventually("another gateway serves", || {
        engine.status().gateway.incarnation == 2
    });
    assert_eq!(engine.ask_once("build"), "first");
}

/// Where this function of the app is in the gateway's memory.
#[cfg(target_arch = "x86_64")]
fn function(engine: &Engine, name: &str) -> u64 {
    let place = fs::read_to_string(engine.path(name)).expect("the app has written it");
    place.parse().expect("it is a number")
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_gateway_whose_main_thread_stands_still_is_replaced_after_kill_after() {
    let keys = "[engine]\ngateway_loops = 2\nkill_after = \"1s\"\n[workers]\ncount = 1";
    let engine = Engine::start("panics_in_gateway", &config(keys));
    let gateway = engine.status().gateway.pid;
    // A thread in a debugger would not count.
    Frozen::main_thread(gateway).go_on_with(function(&engine, "hang"));
    engine.logged(&[
        "the gateway's main thread has been stuck",
        "the gateway is replaced",
    ]);
    eventually("another gateway serves", || {
        engine.status().gateway.incarnation == 2
    });
    assert_eq!(engine.ask_once("build"), "first");
}

#[test]
fn while_the_gateways_main_thread_stands_still_the_engine_says_so_and_sessions_go_on() {
    let engine = engine("[engine]\ngateway_loops = 2\nkill_after = \"0s\"\n[workers]\ncount = 1");
    let before = engine.status().gateway;
    let frozen = Frozen::main_thread(before.pid);
    engine.logged(&["the gateway's main thread has been stuck for"]);
    let still = engine.status().gateway;
    assert_eq!(still.still.len(), 0);
    assert!(
        still.main_still_ms.is_some_and(|ms| ms >= 2000),
        "{still:?}"
    );
    let shown = engine.run(&["status"]).expect_success().stdout;
    assert!(
        shown.contains("the main thread has been stuck for"),
        "{shown}"
    );
    assert_eq!(engine.ask_once("build"), "first");
    let finished = engine.run(&["sessions"]);
    assert!(
        finished
            .stderr
            .contains("the gateway's main thread has been stuck"),
        "{finished:?}"
    );
    drop(frozen);
    engine.logged(&["the gateway's main thread runs again after"]);
    let after = engine.status().gateway;
    assert_eq!((after.pid, after.main_still_ms), (before.pid, None));
}

#[test]
fn while_a_loop_stands_still_the_engine_says_so_and_answers() {
    let engine = engine("[engine]\ngateway_loops = 2\nkill_after = \"0s\"\n[workers]\ncount = 1");
    let before = engine.status().gateway;
    let frozen = Frozen::thread(before.pid, "loop 1");
    engine.logged(&["gateway loop 1 has been stuck for"]);
    let still = engine.status().gateway.still;
    assert_eq!(still.len(), 1);
    assert_eq!(still[0].index, 1);
    assert!(still[0].ms >= 2000, "{still:?}");
    let shown = engine.run(&["status"]).expect_success().stdout;
    assert!(shown.contains("loop 1 has been stuck for"), "{shown}");
    drop(frozen);
    engine.logged(&["gateway loop 1 runs again after"]);
    let after = engine.status().gateway;
    assert_eq!((after.pid, after.still.len()), (before.pid, 0));
}

#[test]
fn commands_are_answered_while_a_loop_stands_still() {
    let engine = engine("[engine]\ngateway_loops = 2\nkill_after = \"0s\"\n[workers]\ncount = 1");
    let frozen = Frozen::thread(engine.status().gateway.pid, "loop 1");
    for command in ["sessions", "reload"] {
        let finished = engine.run(&[command]);
        assert!(!finished.status.success(), "{command}: {finished:?}");
        assert!(
            finished.stderr.contains("gateway loop 1 has been stuck"),
            "{command}: {finished:?}"
        );
    }
    // Nothing was begun that nobody can say the end of.
    assert_eq!(engine.status().reloads.done, 0);
    assert_eq!(engine.status().reloads.failed, 1);
    drop(frozen);
    engine.logged(&["gateway loop 1 runs again after"]);
    engine.reload().expect_success();
    assert_eq!(engine.status().reloads.done, 1);
    assert!(engine.run(&["sessions"]).status.success());
}

/// The loop is frozen when all has been prepared, and the new worker alone is waited for.
#[test]
fn a_reload_that_a_loop_does_not_carry_out_is_reported_as_committed_but_not_yet_in_effect() {
    let keys = "[engine]\ngateway_loops = 2\nkill_after = \"0s\"\n[workers]\ncount = 1";
    let engine = engine(keys);
    let before = engine.ask_once("pid");
    let site = engine.site();
    let waits = "[app]\nstarts_with_file = \"{folder}/go\"\n";
    site.configure(&config(keys).replace("[app]\n", waits));
    let reload = thread::spawn({
        let site = site.clone();
        move || site.run(&["reload"])
    });
    eventually("the new worker waits in `start`", || {
        !engine.journal_of("waits ").is_empty()
    });
    // What the loops have been told before this, they have done by now.
    engine.run(&["sessions"]).expect_success();
    let frozen = Frozen::thread(engine.status().gateway.pid, "loop 1");
    site.write("go", "");
    let finished = reload.join().expect("the command ends");
    assert!(!finished.status.success(), "{finished:?}");
    for words in [
        "committed, but not yet in effect",
        "gateway loop 1 has been stuck",
    ] {
        assert!(finished.stderr.contains(words), "{words}: {finished:?}");
    }
    drop(frozen);
    engine.logged(&["gateway loop 1 runs again after"]);
    eventually("it is in effect", || engine.status().reloads.done == 1);
    assert_ne!(engine.ask_once("pid"), before);
}

#[test]
fn idle_loops_and_workers_are_not_standing_still() {
    let engine = engine(
        "[engine]\ngateway_loops = 2\nkill_after = \"1s\"\n[workers]\ncount = 2\nkill_after = \"1s\"\n[tasks]\ncount = 1\nkill_after = \"1s\"",
    );
    let before = engine.status();
    // Three times as long as a stop of any of them would be let live.
    std::thread::sleep(std::time::Duration::from_secs(4));
    let after = engine.status();
    assert_eq!(after.gateway.pid, before.gateway.pid);
    assert_eq!(after.worker_pids(), before.worker_pids());
    assert!(!engine.log().contains("still"), "{}", engine.log());
    assert!(!engine.log().contains("answer"), "{}", engine.log());
}

#[test]
fn a_stopped_worker_is_seen_gets_no_new_session_and_serves_on_after_sigcont() {
    for dispatch in ["sticky", "round-robin", "least-busy", "ip-hash", "key"] {
        let engine = engine(&format!(
            "[engine]\ngateway_loops = 2\n[workers]\ncount = 2\ndispatch = \"{dispatch}\""
        ));
        let stopped = engine.worker(0);
        // Until some of them are there.
        let mut clients: Vec<_> = (0..8)
            .map(|_| Client::connect(&engine, 0, Wire::LENGTH))
            .collect();
        let mut there = 0;
        for client in &mut clients {
            there += usize::from(client.ask("slot") == "0");
        }
        kill(stopped.pid, Signal::SIGSTOP);
        for client in &mut clients {
            client.send("slot");
        }
        let pid = stopped.pid.to_string();
        let line = engine.logged(&["worker 0", &pid, "is not answering for"]);
        if dispatch == "sticky" {
            assert!(
                line.contains(&format!("{there} sessions wait")),
                "{there}: {line}"
            );
        }
        let row = engine.status().workers.remove(0);
        assert_eq!(row.state, "not answering");
        assert!(row.silent_ms.is_some_and(|ms| ms >= 2000), "{row:?}");
        let shown = engine.run(&["status"]).expect_success().stdout;
        assert!(shown.contains("not answering for"), "{shown}");
        for _ in 0..8 {
            assert_eq!(engine.ask_once("slot"), "1", "{dispatch}");
        }
        kill(stopped.pid, Signal::SIGCONT);
        for client in &mut clients {
            client.receive();
        }
        engine.logged(&["worker 0", &pid, "answers again after"]);
        eventually("its state says so", || engine.worker(0).pid == stopped.pid);
    }
}

#[test]
fn a_worker_that_a_handler_blocks_is_seen_with_the_session_that_waits() {
    let engine = engine("[engine]\ngateway_loops = 2\n[workers]\ncount = 2");
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let slot = client.ask("slot");
    client.send("block 4000");
    let worker = format!("worker {slot} (pid ");
    engine.logged(&[&worker, "is not answering for", "1 session waits"]);
    assert_ne!(engine.ask_once("slot"), slot);
    assert_eq!(client.receive(), b"blocked");
    engine.logged(&[&worker, "answers again after"]);
}

#[test]
fn a_worker_that_does_not_answer_is_replaced_after_its_kill_after() {
    let engine = engine("[engine]\ngateway_loops = 1\n[workers]\ncount = 1\nkill_after = \"1s\"");
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.ask("slot");
    let stopped = engine.worker(0).pid;
    kill(stopped, Signal::SIGSTOP);
    engine.logged(&["worker 0", "has not answered for", "it is replaced"]);
    // Nothing of the session was in progress, so it is served by the replacement.
    assert_eq!(client.ask("slot"), "0");
    assert_ne!(engine.worker(0).pid, stopped);
}

#[test]
fn a_worker_in_a_debugger_is_not_replaced() {
    let engine = engine("[engine]\ngateway_loops = 1\n[workers]\ncount = 1\nkill_after = \"1s\"");
    let pid = engine.worker(0).pid;
    let frozen = Frozen::process(pid);
    let pid_word = pid.to_string();
    engine.logged(&["worker 0", &pid_word, "is not answering for"]);
    // It says so after 2.5 s, when over 1 s has been counted if anything has.
    drop(frozen);
    engine.logged(&["worker 0", &pid_word, "answers again"]);
    assert_eq!(engine.worker(0).pid, pid);
}

#[test]
fn a_task_worker_that_does_not_answer_gets_no_new_task() {
    let engine = engine("[workers]\ncount = 1\n[tasks]\ncount = 2");
    let stopped = engine.status().tasks[0].pid;
    kill(stopped, Signal::SIGSTOP);
    engine.logged(&["task worker 0", "is not answering for"]);
    for _ in 0..4 {
        assert_eq!(engine.ask_once("task slot"), "1");
    }
    kill(stopped, Signal::SIGCONT);
    engine.logged(&["task worker 0", "answers again"]);
}

#[test]
fn a_worker_that_cannot_map_the_rings_of_a_new_gateway_is_replaced() {
    let engine = engine("[engine]\ngateway_loops = 1\n[workers]\ncount = 1");
    let before = engine.status();
    let worker = engine.worker(0).pid;
    // It has what it needs, and gets no more.
    let size = Process::address_space(worker);
    let limit = Rlimit {
        current: Some(size),
        maximum: Some(size),
    };
    let pid = Pid::from_raw(worker).expect("no process has number zero");
    prlimit(Some(pid), Resource::As, limit).expect("the test may");
    kill(before.gateway.pid, Signal::SIGKILL);
    engine.logged(&["cannot be joined with the new gateway"]);
    eventually("another worker serves", || engine.worker(0).pid != worker);
    assert_eq!(engine.ask_once("slot"), "0");
}
