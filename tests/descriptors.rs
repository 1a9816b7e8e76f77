//! Open files that run out, in the gateway or in the supervisor: what needs them fails with a reason, and nothing ends.

mod support;

use std::process::Command;

use nix::sys::signal::Signal;
use support::{Client, Engine, LENGTH_LISTENER, Process, Wire, eventually, kill};

/// Sets the soft limit of open files of a process. The gateway raises its own when it starts and when a reload commits.
fn limit(pid: i32, files: usize) {
    let changed = Command::new("prlimit")
        .args(["--pid", &pid.to_string()])
        .arg(format!("--nofile={files}:"))
        .status();
    assert!(changed.expect("prlimit is part of every Debian").success());
}

/// An engine, and a session that was there before its files ran out.
fn engine() -> (Engine, Client) {
    let config = format!("[engine]\ngateway_loops = 4\n[workers]\ncount = 2\n{LENGTH_LISTENER}");
    let engine = Engine::start("probe", &config);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    assert_eq!(client.ask("generation"), "1");
    (engine, client)
}

/// Asks for a reload without a connection, and waits until it has failed once more.
fn fails_to_reload(engine: &Engine, times: usize) {
    kill(engine.supervisor(), Signal::SIGUSR1);
    eventually("the reload fails", || {
        engine.log().matches("reload failed").count() == times
    });
}

#[test]
fn a_gateway_without_descriptors_for_new_workers_answers_so_and_serves_on() {
    let (engine, mut client) = engine();
    let gateway = engine.status().gateway.pid;
    let mut failed = 0;
    // From none at all to those for the configuration and a part of a worker's.
    for spare in [0, 1, 3, 6, 9] {
        limit(gateway, Process::descriptors(gateway) + spare);
        failed += 1;
        fails_to_reload(&engine, failed);
        assert_eq!(client.ask("build"), "first", "with {spare}");
    }
    engine.logged(&["descriptors did not arrive"]);
    limit(gateway, 4096);
    engine.reload().expect_success();
    let status = engine.status();
    assert_eq!(
        (status.gateway.pid, status.gateway.incarnation),
        (gateway, 1)
    );
    assert_eq!(status.reloads.failed, failed as u64);
    eventually("it moves", || client.ask("generation") != "1");
}

#[test]
fn a_supervisor_without_descriptors_refuses_reloads_and_the_gateway_serves_on() {
    let (engine, mut client) = engine();
    let gateway = engine.status().gateway.pid;
    let supervisor = engine.supervisor();
    let mut failed = 0;
    // What it lacks is one thing after the other: the executable, a control channel, a region, the last copy of one.
    for spare in (0..24).step_by(3) {
        limit(supervisor, Process::descriptors(supervisor) + spare);
        failed += 1;
        fails_to_reload(&engine, failed);
        assert_eq!(client.ask("build"), "first", "with {spare}");
        assert!(
            engine
                .processes()
                .iter()
                .any(|process| process.pid == gateway)
        );
    }
    // A crash meanwhile is mended when there are descriptors again.
    limit(supervisor, 4096);
    let worker = engine.worker(0).pid;
    limit(supervisor, Process::descriptors(supervisor) + 2);
    kill(worker, Signal::SIGKILL);
    engine.logged(&["cannot be started"]);
    limit(supervisor, 4096);
    eventually("it is replaced", || {
        engine.status().worker_pids().len() == 2
    });
    engine.reload().expect_success();
    assert_eq!(engine.status().gateway.pid, gateway);
    eventually("it moves", || client.ask("generation") != "1");
}
