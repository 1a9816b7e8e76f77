//! Helpers, and the hooks of the engine as a whole.

use std::time::{Duration, Instant};

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Site, Wire, eventually};
use nix::sys::signal::Signal;

/// The user's own processes are kept alive alongside.
#[test]
fn helpers_are_restarted_and_end_with_the_engine() {
    let engine = Engine::start(
        "probe",
        &format!(
            "{LENGTH_LISTENER}[[helpers]]\nname = \"feeder\"\ncommand = [\"/bin/sh\", \"-c\", \"echo fed >> fed; exec sleep 1000\"]\n"
        ),
    );
    let helper = || {
        engine
            .status()
            .helpers
            .first()
            .and_then(|helper| helper.pid)
    };
    eventually("the helper runs", || helper().is_some());
    let first = helper().expect("it runs");
    moorline_tests::kill(first, nix::sys::signal::Signal::SIGKILL);
    eventually("the helper is restarted", || {
        helper().is_some_and(|pid| pid != first)
    });
    assert_eq!(engine.status().helpers[0].name, "feeder");
    assert_eq!(engine.status().helpers[0].restarts, 1);
    // That it ends with the engine is what dropping every engine checks.
}

/// A helper that keeps dying is started again with longer and longer waits, its end and its lines logged.
#[test]
fn a_helper_that_dies_young_is_started_with_back_off_and_its_lines_are_logged() {
    let engine = Engine::start(
        "probe",
        &format!(
            "{LENGTH_LISTENER}[[helpers]]\nname = \"flaky\"\ncommand = [\"/bin/sh\", \"-c\", \"date +%s%N >> runs; echo to stdout; echo to stderr >&2; exit 7\"]\n"
        ),
    );
    engine.logged(&["helper=\"flaky\"", "to stdout"]);
    engine.logged(&["helper=\"flaky\"", "to stderr"]);
    engine.logged(&["helper flaky (pid ", ") started"]);
    let line = engine.logged(&["helper flaky (pid ", ") exited with code 7"]);
    assert!(line.contains("code=7"), "{line}");
    let runs = || -> Vec<u64> {
        let runs = std::fs::read_to_string(engine.path("runs")).unwrap_or_default();
        runs.lines().filter_map(|line| line.parse().ok()).collect()
    };
    // At once, then after 100, 200, 400 ms: as soon as it has died young so often in a row.
    engine.logged(&["helper flaky is started again in 400ms"]);
    let before = runs().len();
    eventually("it runs again", || runs().len() > before);
    let runs = runs();
    let longest = runs.windows(2).map(|pair| pair[1] - pair[0]).max();
    let longest = Duration::from_nanos(longest.unwrap_or(0));
    assert!(longest >= Duration::from_millis(400), "{longest:?}");
    assert_eq!(engine.ask_once("build"), "first");
}

/// Helpers are the last to be stopped: they see the workers go.
#[test]
fn helpers_outlive_workers_and_task_workers() {
    let site = Site::new(
        "probe",
        &format!(
            "[workers]\ncount = 1\n[tasks]\ncount = 1\n{LENGTH_LISTENER}[app]\njournal = \"{{folder}}/journal\"\n[[helpers]]\nname = \"feeder\"\ncommand = [\"/bin/sh\", \"-c\", \"trap 'echo helper-stop >> journal; exit' TERM; while :; do sleep 0.05; done\"]\n"
        ),
    );
    let mut engine = site.start();
    eventually("the helper runs", || {
        engine
            .status()
            .helpers
            .iter()
            .any(|helper| helper.pid.is_some())
    });
    // Its shell needs a moment until it heeds the signal.
    std::thread::sleep(Duration::from_millis(300));
    engine.run(&["stop"]).expect_success();
    assert!(engine.ended().success());
    let stops: Vec<String> = site
        .journal()
        .into_iter()
        .filter(|line| line.contains("stop"))
        .map(|line| line.split(' ').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(stops, ["stop", "stop", "helper-stop"]);
}

fn hooks(hooks: &str) -> String {
    format!("[engine.hooks]\n{hooks}\n[workers]\ncount = 1\n{LENGTH_LISTENER}")
}

/// Each is run once, when its moment comes; while the one before a stop runs, everything is served.
#[test]
fn hooks_run_when_the_engine_starts_and_stops() {
    let site = Site::new(
        "probe",
        &hooks(
            r#"started = ["/bin/sh", "-c", "echo started >> moments; echo it serves"]
stopping = ["/bin/sh", "-c", "echo stopping >> moments; while [ ! -e go ]; do sleep 0.02; done"]
stopped = ["/bin/sh", "-c", "echo stopped >> moments"]"#,
        ),
    );
    let mut engine = site.start();
    let moments = || std::fs::read_to_string(site.path("moments")).unwrap_or_default();
    eventually("it has run", || moments() == "started\n");
    site.logged(&["hook started", "it serves"]);
    engine.reload().expect_success();
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    moorline_tests::kill(engine.supervisor(), Signal::SIGTERM);
    eventually("the stop's hook runs", || {
        moments() == "started\nstopping\n"
    });
    assert_eq!(client.ask("build"), "first");
    assert_eq!(engine.ask_once("build"), "first");
    site.write("go", "");
    assert!(engine.ended().success());
    assert_eq!(moments(), "started\nstopping\nstopped\n");
}

/// One that hangs is killed when its time is over; one that fails is logged; neither keeps the engine.
#[test]
fn a_hook_that_hangs_or_fails_delays_nothing() {
    let site = Site::new(
        "probe",
        &hooks(
            r#"timeout = "500ms"
started = ["/bin/sh", "-c", "exit 3"]
stopping = ["/bin/sleep", "1000"]
stopped = ["./not-there"]"#,
        ),
    );
    let mut engine = site.start();
    site.logged(&["a hook failed", "started"]);
    let begun = Instant::now();
    moorline_tests::kill(engine.supervisor(), Signal::SIGTERM);
    assert!(engine.ended().success());
    assert!(begun.elapsed() >= Duration::from_millis(500));
    site.logged(&["longer than its timeout", "stopping"]);
    site.logged(&["a hook failed", "stopped"]);
}

/// An operator that asks twice does not want to wait for a hook.
#[test]
fn a_second_signal_does_not_wait_for_the_hook() {
    let site = Site::new("probe", &hooks(r#"stopping = ["/bin/sleep", "8"]"#));
    let mut engine = site.start();
    let begun = Instant::now();
    moorline_tests::kill(engine.supervisor(), Signal::SIGTERM);
    site.logged(&["hook runs", "stopping"]);
    moorline_tests::kill(engine.supervisor(), Signal::SIGTERM);
    assert!(engine.ended().success());
    assert!(begun.elapsed() < Duration::from_secs(6));
}

/// A helper that does not end when it is told to has five seconds, and is killed then.
#[test]
fn a_helper_that_ignores_the_end_is_killed() {
    let site = Site::new(
        "probe",
        &format!(
            "{LENGTH_LISTENER}[[helpers]]\nname = \"stubborn\"\ncommand = [\"/bin/sh\", \"-c\", \"trap '' TERM INT HUP; echo stubborn > stubborn; while :; do sleep 0.1; done\"]\n"
        ),
    );
    let mut engine = site.start();
    eventually("it is stubborn", || site.path("stubborn").exists());
    let helper = engine.status().helpers[0].pid.expect("it runs");
    let begun = Instant::now();
    moorline_tests::kill(engine.supervisor(), Signal::SIGTERM);
    assert!(engine.ended().success());
    assert!(
        begun.elapsed() >= Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        engine
            .processes()
            .iter()
            .all(|process| process.pid != helper)
    );
}
