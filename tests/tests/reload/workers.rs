//! Workers that a reload replaces finish their messages by the configuration that they were started with.

use moorline_tests::{Client, Engine, Finish, LENGTH_LISTENER, Wire, eventually, kill};
use nix::sys::signal::Signal;

const MIB: usize = 1024 * 1024;

/// One worker that has its time, and these listeners.
fn config(listeners: &str) -> String {
    format!("[workers]\ncount = 1\nmax_wait = \"25s\"\n{listeners}")
}

fn length(name: &str) -> String {
    format!(
        "[[listen]]\nname = \"{name}\"\naddress = \"tcp://127.0.0.1:0\"\nframing = {{ kind = \"length\", counts = \"payload\", max = \"6MiB\" }}\n"
    )
}

/// What a worker sends in parts may be as long as its own configuration lets it be.
#[test]
fn a_lowered_hard_limit_holds_for_sessions_and_not_against_the_workers_before_it() {
    let limited = |limit: &str| {
        config(&format!(
            "{}[[listen]]\nname = \"raw\"\naddress = \"tcp://127.0.0.1:0\"\nhard_limit = \"{limit}\"\n",
            length("main")
        ))
    };
    let engine = Engine::start("probe", &limited("8MiB"));
    let mut beside = Client::connect(&engine, 0, Wire::LENGTH);
    let mut raw = Client::connect(&engine, 1, Wire::Raw);
    let old = beside.ask_number("pid") as i32;
    // So little over the new limit that the socket takes it.
    let size = 2 * MIB + MIB / 16;
    kill(old, Signal::SIGSTOP);
    raw.send(format!("big {size}"));
    beside.send("pid");
    eventually("both are in progress", || {
        engine.status().gateway.messages == 3
    });
    engine.configure(&limited("2MiB"));
    engine.reload().expect_success();
    kill(old, Signal::SIGCONT);
    let mut received = 0;
    while received < size {
        received += raw.receive().len();
    }
    assert_eq!(received, size);
    assert_eq!(beside.receive(), old.to_string().as_bytes());
    assert_eq!(engine.settled().errors.worker_exits, 0);
    assert_ne!(beside.ask_number("pid") as i32, old);
}

/// A message that has begun to go to a worker goes there to its end, and what follows it to the next one.
#[test]
fn a_reload_while_a_message_waits_for_room_leaves_the_message_whole() {
    let engine = Engine::start("probe", &config(&length("main")));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let old = client.ask_number("pid") as i32;
    kill(old, Signal::SIGSTOP);
    // More than the ring takes.
    client.send(format!("pid {}", "x".repeat(5 * MIB)));
    client.send("pid");
    eventually("a part of it is in the ring", || {
        engine.status().gateway.messages == 2
    });
    engine.reload().expect_success();
    kill(old, Signal::SIGCONT);
    let answers = [client.receive(), client.receive()].map(String::from_utf8);
    let new = engine.settled().worker_pids()[0];
    assert_eq!(answers, [old, new].map(|pid| Ok(pid.to_string())));
    assert_eq!(engine.status().lost, Default::default());
}

/// An engine goes on with the file that it was started with.
#[test]
fn a_reload_that_names_another_file_is_refused() {
    let engine = Engine::start("probe", LENGTH_LISTENER);
    let site = engine.site();
    let run_dir = moorline_tests::run_dir(&site);
    let other = format!("[engine]\nrun_dir = \"{run_dir}\"\n{LENGTH_LISTENER}");
    site.write("other.toml", other);
    let named = site.path("other.toml").display().to_string();
    let refused = engine.command(&["reload", &named]).finish();
    refused.expect_refusal(&["other.toml", "moorline.toml", "restart"]);
    // By whatever way its own is reached.
    let folder = site.path("").display().to_string();
    engine
        .command(&["reload", &folder])
        .finish()
        .expect_success();
    engine.command(&["reload"]).finish().expect_success();
    engine
        .command(&["reload", "--run-dir", &run_dir])
        .finish()
        .expect_success();
}
