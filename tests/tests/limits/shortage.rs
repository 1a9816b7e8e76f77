//! Without memory for rings, in the gateway or in the supervisor, the request for them fails with the reason, and nothing
//! ends.

use std::process::Command;

use moorline_tests::{
    Client, Engine, LENGTH_LISTENER, Process, Site, Wire, eventually, require_root,
};

/// Rings that are far larger than what a process takes for anything else.
const RINGS: u64 = 256 << 20;
/// What a process may take beyond what it has: more than it needs to answer, less than a ring.
const SPARE: u64 = 32 << 20;

/// An engine, and a session that was there before.
fn engine() -> (Engine, Client) {
    let config = format!(
        "[engine]\ngateway_loops = 2\nring_memory = \"{}MiB\"\n[workers]\ncount = 2\n{LENGTH_LISTENER}",
        RINGS >> 20
    );
    let engine = Engine::start("probe", &config);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    assert_eq!(client.ask("generation"), "1");
    (engine, client)
}

/// Sets the soft limit of a process, to none without a number.
fn limit(pid: i32, what: &str, most: Option<u64>) {
    let most = most.map_or("unlimited".to_owned(), |most| most.to_string());
    let changed = Command::new("prlimit")
        .args(["--pid", &pid.to_string()])
        .arg(format!("--{what}={most}:"))
        .status();
    assert!(changed.expect("prlimit is part of every Debian").success());
}

/// Reloads are refused with this reason until `again` has made room, and the session and the gateway live on.
fn is_refused(engine: &Engine, client: &mut Client, reason: &str, again: impl FnOnce()) {
    let gateway = engine.status().gateway.pid;
    for times in 1..=3 {
        engine.reload().expect_refusal(&[reason]);
        assert_eq!(client.ask("build"), "first");
        assert_eq!(engine.status().reloads.failed, times);
    }
    again();
    engine.reload().expect_success();
    eventually("it moves", || client.ask("generation") != "1");
    let status = engine.status();
    assert_eq!(
        (status.gateway.pid, status.gateway.incarnation),
        (gateway, 1)
    );
}

#[test]
fn a_gateway_without_memory_for_new_rings_answers_so_and_serves_on() {
    let (engine, mut client) = engine();
    let gateway = engine.status().gateway.pid;
    let most = Process::address_space(gateway) + SPARE;
    limit(gateway, "as", Some(most));
    is_refused(&engine, &mut client, "Cannot allocate memory", || {
        limit(gateway, "as", None);
    });
}

#[test]
fn a_supervisor_that_gets_no_memory_files_refuses_reloads_and_the_gateway_serves_on() {
    let (engine, mut client) = engine();
    let supervisor = engine.supervisor();
    // What a full file system of memory files says is another number, at the same place.
    limit(supervisor, "fsize", Some(SPARE));
    is_refused(&engine, &mut client, "File too large", || {
        limit(supervisor, "fsize", None);
    });
}

#[test]
fn a_full_dev_shm_keeps_no_engine_from_starting_serving_and_reloading() {
    require_root("a /dev/shm of its own is mounted");
    let site = Site::new(
        "probe",
        &format!("[workers]\ncount = 2\n[tasks]\ncount = 1\n{LENGTH_LISTENER}"),
    );
    // The engine's own; what is mounted is seen by nobody else, and is gone when it is.
    let script = "exec unshare --mount sh -c 'mount -t tmpfs -o size=64k full /dev/shm; \
                  head -c 1M /dev/zero > /dev/shm/all 2> /dev/null; exec \"$0\" \"$@\"' \"$0\" \"$@\"";
    let engine = site
        .try_start_by(script, |_| {})
        .unwrap_or_else(|finished| panic!("the engine does not start: {finished:#?}"));
    let full = std::fs::metadata(format!("/proc/{}/root/dev/shm/all", engine.supervisor()));
    assert_eq!(full.expect("its /dev/shm is full").len(), 64 << 10);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    assert_eq!(client.ask("generation"), "1");
    engine.reload().expect_success();
    eventually("it moves", || client.ask("generation") == "2");
}
