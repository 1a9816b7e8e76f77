//! The flight recorder: after a crash, a stall or a failed reload the last events of all processes are in a file.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use moorline_tests::{
    Client, Engine, Finish, LENGTH_LISTENER, Site, Wire, eventually, kill, run_dir,
};
use nix::sys::signal::Signal;

fn probe(workers: u16) -> String {
    format!("[workers]\ncount = {workers}\n{LENGTH_LISTENER}name = \"door\"\n[app]\n")
}

/// Waits for a recording of this, and returns its name.
#[track_caller]
fn recorded(site: &Site, what: &str) -> String {
    let mut name = None;
    eventually("there is a recording of it", || {
        let listed = site.run(&["flight"]).expect_success().stdout;
        let line = listed.lines().find(|line| line.contains(what));
        let word = line.and_then(|line| line.split_whitespace().next());
        name = word.map(str::to_owned);
        name.is_some()
    });
    name.expect("it is listed by then")
}

/// The lines of a recording.
fn shown(site: &Site, name: &str) -> Vec<String> {
    let shown = site.command(&["flight", "--all", name]).finish();
    let shown = shown.expect_success().stdout;
    shown.lines().map(str::to_owned).collect()
}

/// Fails unless there is a line with each of these texts, one behind the other.
#[track_caller]
fn assert_in_order(lines: &[String], texts: &[&str]) {
    let mut rest = lines.iter();
    for text in texts {
        assert!(
            rest.any(|line| line.contains(text)),
            "{text:?} is not there, or not behind those before it in {texts:#?}: {lines:#?}"
        );
    }
}

fn folder(site: &Site) -> PathBuf {
    PathBuf::from(run_dir(site)).join("flight")
}

#[test]
fn the_last_events_before_a_killed_worker_are_shown_in_order() {
    let engine = Engine::start("probe", &probe(1));
    let mut clients = [(); 3].map(|()| Client::connect(&engine, 0, Wire::LENGTH));
    let ids = clients.each_mut().map(|client| client.ask("id"));
    let [_, second, _] = clients;
    drop(second);
    eventually("the second one is closed", || {
        engine.status().gateway.sessions == 2
    });

    let pid = engine.kill_worker(0, Signal::SIGKILL);

    let what = format!("worker 0 (pid {pid}) was killed by SIGKILL");
    let name = recorded(&engine, &what);
    assert!(name.ends_with("-worker-0-crash.flight"), "{name}");
    let lines = shown(&engine, &name);
    assert_eq!(lines[0], what);
    let session = |of: usize, what: &str| format!("session {} {what}", ids[of]);
    let [opened, begins, closed, ends] = [
        session(1, "opened on door, for worker 0"),
        session(1, "begins"),
        session(1, "closed (peer), 1 messages"),
        session(1, "ends (peer)"),
    ];
    let killed = format!("worker 0 (pid {pid}) was killed by signal 9");
    assert_in_order(
        &lines,
        &[
            "the app has started",
            &opened,
            &begins,
            &closed,
            &ends,
            &killed,
        ],
    );
    for of in [0, 2] {
        let (opened, begins) = (session(of, "opened on door"), session(of, "begins"));
        assert_in_order(&lines, &[&opened, &begins, &killed]);
        assert!(!lines.iter().any(|it| it.contains(&session(of, "closed"))));
    }
    let last = lines.last().expect("there are some");
    assert!(
        last.contains(&killed) && last.contains("supervisor"),
        "{last}"
    );
    assert!(
        last.trim_start().starts_with("-0.0") || last.trim_start().starts_with("0.0"),
        "{last}"
    );
}

#[test]
fn the_crash_before_and_what_became_of_the_sessions_is_in_the_next_recording() {
    let engine = Engine::start("probe", &probe(1));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    let first = engine.kill_worker(0, Signal::SIGKILL);
    assert_eq!(client.ask("id"), id);
    let second = engine.kill_worker(0, Signal::SIGKILL);
    assert_ne!(first, second);
    let what = format!("worker 0 (pid {second}) was killed by SIGKILL");
    let lines = shown(&engine, &recorded(&engine, &what));
    let lost = format!("worker 0 (pid {first}) is lost, 1 sessions were with it");
    let moved = format!("session {id} moved to worker 0 (pid {second})");
    let arrives = format!("session {id} arrives");
    assert_in_order(&lines, &[&lost, &moved, &arrives]);
}

#[test]
fn a_recording_is_for_its_owner_and_for_programs_too() {
    let engine = Engine::start("probe", &probe(1));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    engine.kill_worker(0, Signal::SIGKILL);
    let name = recorded(&engine, "was killed by SIGKILL");
    let path = folder(&engine).join(&name);
    let mode = |path| {
        fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!((mode(&path), mode(&folder(&engine))), (0o600, 0o700));

    let listed = engine
        .command(&["flight", "--json"])
        .finish()
        .expect_success();
    let line: serde_json::Value = serde_json::from_str(&listed.stdout).expect("one line");
    assert_eq!(line["file"], name);
    assert_eq!(
        (&line["reason"], &line["process"]),
        (&"crash".into(), &"worker 0".into())
    );

    let path = path.display().to_string();
    let shown = engine.command(&["flight", &path, "--json"]).finish();
    let shown = shown.expect_success().stdout;
    let lines: Vec<serde_json::Value> = shown
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object"))
        .collect();
    assert_eq!(lines[0]["reason"], "crash");
    let opened = lines.iter().find(|line| line["event"] == "opened");
    let opened = opened.expect("the session was opened");
    assert_eq!(opened["session"], id);
    assert_eq!(
        (&opened["process"], &opened["thread"]),
        (&"gateway".into(), &"loop 0".into())
    );
    assert!(opened["seconds"].as_f64().is_some_and(|it| it < 0.0));
}

#[test]
fn recordings_stay_when_the_engine_has_ended_and_what_is_none_is_refused() {
    let mut engine = Engine::start("probe", &probe(1));
    let site = engine.site();
    let none = site.run(&["flight"]).expect_success().stdout;
    assert!(none.contains("there are no recordings"), "{none}");
    engine.kill_worker(0, Signal::SIGKILL);
    let name = recorded(&engine, "was killed by SIGKILL");
    let folder = folder(&site);
    engine.run(&["stop"]).expect_success();
    assert!(engine.ended().success());
    assert_eq!(recorded(&site, "was killed by SIGKILL"), name);
    assert!(!shown(&site, &name).is_empty());

    let mut other = fs::read(folder.join(&name)).expect("it can be read");
    other[8] = 77;
    fs::write(folder.join("other.flight"), other).expect("it can be written");
    let refused = site.command(&["flight", "other.flight"]).finish();
    refused.expect_refusal(&["version 77", "version 1"]);
    fs::write(folder.join("text.flight"), "no recording at all").expect("it can be written");
    let refused = site.command(&["flight", "text.flight"]).finish();
    refused.expect_refusal(&["is no recording"]);
    let listed = site.run(&["flight"]).expect_success().stdout;
    assert_eq!(listed.lines().count(), 3, "{listed}");
}

#[test]
fn a_killed_gateway_leaves_its_last_events() {
    let engine = Engine::start("probe", &probe(1));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    let pid = engine.status().gateway.pid;
    kill(pid, Signal::SIGKILL);
    let name = recorded(
        &engine,
        &format!("gateway (pid {pid}) was killed by SIGKILL"),
    );
    assert!(name.ends_with("-gateway-crash.flight"), "{name}");
    let lines = shown(&engine, &name);
    let opened = format!("session {id} opened on door");
    let killed = format!("gateway (pid {pid}) was killed by signal 9");
    assert_in_order(&lines, &["joined with worker 0", &opened, &killed]);
    let opened = lines.iter().find(|line| line.contains(&opened));
    assert!(opened.is_some_and(|line| line.contains("gateway loop 0")));
}

#[test]
fn a_stuck_handler_and_a_worker_that_stands_still_are_recorded() {
    let config = format!(
        "[workers]\ncount = 1\nstall_after = \"300ms\"\n{LENGTH_LISTENER}[app]\ncommands = true\n"
    );
    let engine = Engine::start("echo", &config);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.send("!spin 4s");
    let name = recorded(&engine, "a handler of session");
    assert!(name.ends_with("-worker-0-stuck.flight"), "{name}");
    let lines = shown(&engine, &name);
    assert_in_order(&lines, &["begins", "has a stuck handler, of session"]);
    // Its loop gives no sign of life either.
    let name = recorded(&engine, "is not answering for");
    assert_in_order(&shown(&engine, &name), &["worker 0", "does not answer"]);
}

#[test]
fn a_failed_reload_is_recorded_with_its_steps() {
    let engine = Engine::start("probe", &probe(1));
    engine.install("exits_at_once");
    assert!(!engine.reload().status.success());
    let name = recorded(&engine, "the reload to generation 2 failed");
    assert!(name.ends_with("-engine-reload.flight"), "{name}");
    assert_in_order(
        &shown(&engine, &name),
        &[
            "reload to generation 2 begins",
            "started",
            "reload to generation 2 has failed",
        ],
    );
}

#[test]
fn a_worker_that_fills_its_ring_with_garbage_spoils_only_its_own_events() {
    let site = Site::new("hostile_worker", &probe(2));
    site.write("hostile", "events");
    let engine = site.start();
    let mut misuses = None;
    eventually("it misuses", || {
        misuses = fs::read_to_string(site.path("misuses")).ok();
        misuses.is_some()
    });
    let pid: i32 = misuses.and_then(|it| it.parse().ok()).expect("its pid");
    let begun = site.path("garbage");
    eventually("its ring is full of garbage", || begun.exists());
    let supervisor = engine.supervisor();

    kill(pid, Signal::SIGKILL);

    let name = recorded(
        &engine,
        &format!("worker 1 (pid {pid}) was killed by SIGKILL"),
    );
    let lines = shown(&engine, &name);
    let killed = format!("worker 1 (pid {pid}) was killed by signal 9");
    assert_in_order(&lines, &["joined with worker 1", &killed]);
    let garbage = lines
        .iter()
        .filter(|it| it.ends_with("(a record that cannot be read)"));
    assert!(garbage.clone().all(|line| line.contains("worker 1")));
    assert!(garbage.count() > 1000, "{}", lines.len());
    eventually("both serve", || engine.status().ready_workers().len() == 2);
    assert_eq!(engine.status().supervisor.pid, supervisor);
}

#[test]
fn where_nothing_can_be_written_the_log_says_so_and_the_engine_goes_on() {
    let engine = Engine::start("probe", &probe(1));
    let path = folder(&engine);
    fs::write(&path, "no folder").expect("the run folder can be written");
    engine.kill_worker(0, Signal::SIGKILL);
    engine.logged(&["the last events before it cannot be recorded"]);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.ask("id");
    fs::remove_file(&path).expect("it can be removed");
}

#[test]
fn at_most_twenty_recordings_are_kept() {
    let engine = Engine::start("probe", &probe(1));
    let folder = folder(&engine);
    fs::create_dir(&folder).expect("it can be made");
    for number in 0..30 {
        let old = format!("20200101T000000Z.{number:03}-worker-0-crash.flight");
        fs::write(folder.join(old), "old").expect("it can be written");
    }
    engine.kill_worker(0, Signal::SIGKILL);
    let name = recorded(&engine, "was killed by SIGKILL");
    let found = fs::read_dir(&folder).expect("it can be read").count();
    assert_eq!(found, 20);
    assert!(folder.join(name).exists());
}

#[test]
fn the_dials_of_an_app_are_among_the_last_events_with_their_steps() {
    let engine = Engine::start("probe", &probe(1));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let server = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let open = server.local_addr().expect("it is bound");
    client.ask(format!("dial tcp://{open}"));
    engine.logged(&[&format!("{open}: true")]);
    drop(server);
    client.ask(format!("dial tcp://{open}"));
    engine.logged(&[&format!("{open}: false")]);
    engine.kill_worker(0, Signal::SIGKILL);
    let lines = shown(&engine, &recorded(&engine, "was killed by SIGKILL"));
    assert_in_order(
        &lines,
        &[
            "dial 1: connect done after",
            "dial 1: done after",
            "dial 2: connect failed after",
            "dial 2: failed after",
            "was killed by signal 9",
        ],
    );
    let failed = lines.iter().find(|it| it.contains("connect failed"));
    assert!(failed.is_some_and(|line| line.contains("refused")));
}
