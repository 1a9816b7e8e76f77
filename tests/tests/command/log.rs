//! The log: its lines, its targets, and lines that cannot be written.

use std::fs::OpenOptions;

use moorline_tests::{
    Client, Engine, Finish, LENGTH_LISTENER, Process, Site, Wire, eventually, kill,
};
use nix::sys::signal::Signal;

/// Log files that were moved away are opened anew, by every process.
#[test]
fn log_files_are_reopened_when_asked() {
    let config = format!(
        "[workers]\ncount = 1\n[engine.log]\nfile = \"{{folder}}/engine.log\"\n{}",
        moorline_tests::LENGTH_LISTENER
    );
    let engine = Engine::start("probe", &config);
    let site = engine.site();
    let (log, moved) = (site.path("engine.log"), site.path("engine.log.1"));
    let content = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default();
    eventually("the log is written", || content(&log).contains("serving"));
    std::fs::rename(&log, &moved).expect("the log can be moved");

    moorline_tests::reopen_logs(engine.supervisor());
    eventually("there is a new log", || log.exists());
    let fail = || {
        let mut client = Client::connect(&engine, 0, Wire::LENGTH);
        client.send("fail");
        client.receive_to_end();
    };
    let counts = || {
        let content = content(&log);
        ["a handler returned an error", "session closed"].map(|line| content.matches(line).count())
    };
    // Each process reopens it when it gets to it.
    eventually("worker and gateway write to the new log", || {
        fail();
        counts().iter().all(|count| *count > 0)
    });
    let (before, counted) = (content(&moved), counts());
    fail();
    eventually("they go on there", || {
        counts().iter().zip(counted).all(|(now, then)| *now > then)
    });
    assert_eq!(content(&moved), before);
}

/// What the reload of the task workers tells the gateway is not where the log was before it was moved away.
#[test]
fn a_log_that_was_reopened_is_written_on_when_task_workers_are_reloaded() {
    let config = format!(
        "[workers]\ncount = 1\n[tasks]\ncount = 1\n[engine.log]\nfile = \"{{folder}}/engine.log\"\n{LENGTH_LISTENER}"
    );
    let engine = Engine::start("probe", &config);
    engine.reload().expect_success();
    let (log, moved) = (engine.path("engine.log"), engine.path("engine.log.1"));
    let closed = |path: &std::path::Path| {
        let content = std::fs::read_to_string(path).unwrap_or_default();
        content.matches("session closed").count()
    };
    std::fs::rename(&log, &moved).expect("the log can be moved");
    moorline_tests::reopen_logs(engine.supervisor());
    eventually("the gateway writes to the new log", || {
        engine.ask_once("build");
        closed(&log) > 0
    });
    let before = closed(&moved);
    engine.run(&["reload", "--tasks"]).expect_success();
    let in_both = || closed(&log) + closed(&moved);
    let all = in_both();
    engine.ask_once("build");
    eventually("another line is written", || in_both() > all);
    assert_eq!(closed(&moved), before);
}

/// One line for each session, with who, how much, how long and why.
#[test]
fn every_session_has_one_access_line() {
    let engine = Engine::start(
        "probe",
        &format!(
            "[workers]\ncount = 1\n[engine.log]\nformat = \"json\"\n{LENGTH_LISTENER}name = \"door\"\n"
        ),
    );
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    assert_eq!(client.ask("sleep 200"), "slept");
    let peer = format!("127.0.0.1:{}", client.port());
    drop(client);
    let line = engine.logged(&["session closed", &peer]);
    let line: serde_json::Value = serde_json::from_str(&line).expect("it is JSON");
    let field = |name: &str| line.get(name).cloned().unwrap_or_default();
    assert_eq!(field("session"), id);
    assert_eq!(field("listener"), "door");
    assert_eq!(field("reason"), "peer");
    assert_eq!(field("messages"), 2);
    // Each message has a head of four bytes.
    assert_eq!(field("received"), 4 + 2 + 4 + 9);
    assert_eq!(field("sent"), 4 + id.len() as u64 + 4 + 5);
    let duration = field("duration_ms").as_u64().unwrap_or(0);
    assert!((200..10_000).contains(&duration), "{line}");

    let mut closed = Client::connect(&engine, 0, Wire::LENGTH);
    closed.send("close");
    assert_eq!(closed.receive_to_end(), Vec::<Vec<u8>>::new());
    engine.logged(&["session closed", "\"reason\":\"server\""]);
    assert_eq!(engine.log().matches("session closed").count(), 2);
}

#[test]
fn lines_of_the_app_say_which_worker_session_and_generation_they_are_from() {
    for format in ["pretty", "json"] {
        let engine = Engine::start(
            "probe",
            &format!(
                "[workers]\ncount = 1\n[engine.log]\nformat = \"{format}\"\n{LENGTH_LISTENER}"
            ),
        );
        let mut client = Client::connect(&engine, 0, Wire::LENGTH);
        let id = client.ask("id");
        assert_eq!(client.ask("log ahoy"), "logged");
        let said = engine.logged(&["the app says ahoy"]);
        // What a handler has spawned is no longer of its session.
        assert_eq!(client.ask("log-later bye"), "logged");
        let later = engine.logged(&["the app says bye"]);
        if format == "pretty" {
            let origin = " worker=\"worker 0\" generation=1";
            assert!(said.ends_with(&format!("{origin} session={id}")), "{said}");
            assert!(later.ends_with(origin), "{later}");
            continue;
        }
        for (line, session) in [(said, Some(&*id)), (later, None)] {
            let line: serde_json::Value = serde_json::from_str(&line).expect("it is JSON");
            assert_eq!(line["worker"], "worker 0", "{line}");
            assert_eq!(line["generation"], 1, "{line}");
            assert_eq!(line["session"].as_str(), session, "{line}");
        }
    }
}

#[test]
fn access_lines_can_be_left_out() {
    let engine = Engine::start(
        "probe",
        &format!(
            "[workers]\ncount = 1\n[engine.log]\nlevel = \"info,access=off\"\n{LENGTH_LISTENER}"
        ),
    );
    assert_eq!(engine.ask_once("pid"), engine.worker(0).pid.to_string());
    eventually("the session has closed", || {
        engine.status().closed("peer") == 1
    });
    assert!(!engine.log().contains("session closed"));
    assert!(engine.log().contains("serving"));
}

/// A log that nobody reads holds nobody up; what it cannot take is counted, in whatever process it was said.
#[test]
fn lines_that_find_no_room_are_dropped_and_counted() {
    let site = Site::new(
        "probe",
        &format!(
            "[workers]\ncount = 1\n[engine.log]\nfile = \"{{folder}}/pipe\"\n{LENGTH_LISTENER}on_crash = \"drop\"\n"
        ),
    );
    nix::unistd::mkfifo(&site.path("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    // Held open and never read.
    let pipe = OpenOptions::new()
        .read(true)
        .write(true)
        .open(site.path("pipe"))
        .expect("it is there");
    let engine = site.start();
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let mut sent = 0;
    while engine.status().log_lines_dropped == 0 {
        // Each is a line of the worker's.
        for _ in 0..2000 {
            client.send("fail");
        }
        sent += 2000;
        assert_eq!(client.ask("alive"), "alive");
        assert!(sent < 100_000, "nothing is dropped");
    }
    assert_eq!(client.ask("alive"), "alive");
    let said = engine.run(&["status"]).expect_success().stdout;
    assert!(said.contains("lines dropped"), "{said}");
    drop(pipe);
}

/// A full disk holds nobody up either: what it does not take is counted, and once there is room again lines are whole.
#[test]
fn lines_that_a_full_disk_does_not_take_are_counted() {
    let site = Site::new(
        "probe",
        &format!(
            "[workers]\ncount = 1\n[engine.log]\nfile = \"{{folder}}/log\"\n{LENGTH_LISTENER}on_crash = \"drop\"\n"
        ),
    );
    std::os::unix::fs::symlink("/dev/full", site.path("log")).expect("a link");
    let engine = site.start();
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let before = engine.status().log_lines_dropped;
    assert!(before > 0, "the supervisor has said that it starts");
    // A line of the worker's, and one of the gateway's at the end of each session.
    client.send("fail");
    eventually("the lines of all are counted", || {
        assert_eq!(engine.ask_once("alive"), "alive");
        engine.status().log_lines_dropped >= before + 5
    });
    std::fs::remove_file(site.path("log")).expect("it is there");
    moorline_tests::reopen_logs(engine.supervisor());
    let log = || std::fs::read_to_string(site.path("log")).unwrap_or_default();
    eventually("every process writes again", || {
        client.send("fail");
        let _ = engine.ask_once("alive");
        log().contains("a handler returned an error") && log().contains("session closed")
    });
    let dropped = engine.status().log_lines_dropped;
    drop(client);
    eventually("nothing more is dropped", || {
        log().matches("session closed").count() >= 2 && engine.status().log_lines_dropped == dropped
    });
    assert!(log().ends_with('\n'));
}

/// Processes begin with the log that is open, whatever has become of its folder.
#[test]
fn a_log_folder_that_is_removed_keeps_no_process_from_its_start() {
    let config = format!(
        "[workers]\ncount = 1\n[engine.log]\nfile = \"{{folder}}/logs/engine.log\"\n{LENGTH_LISTENER}"
    );
    let site = Site::new("probe", &config);
    std::fs::create_dir(site.path("logs")).expect("a folder can be made");
    let engine = site.start();
    for _ in 0..2 {
        std::fs::remove_dir_all(site.path("logs")).expect("it is there");
        let gateway = engine.status().gateway.pid;
        engine.kill_worker(0, Signal::SIGKILL);
        eventually("the worker is replaced", || {
            engine.status().ready_workers().len() == 1
        });
        moorline_tests::kill(gateway, Signal::SIGKILL);
        eventually("so is the gateway", || {
            let status = engine.run(&["status", "--json"]).stdout;
            let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
            let pid = status["gateway"]["pid"].as_i64();
            pid.is_some_and(|pid| pid != i64::from(gateway))
        });
        assert_eq!(engine.ask_once("build"), "first");
        // And the same after a reload, which opens it anew.
        engine
            .reload()
            .expect_refusal(&["engine.log.file", "No such file"]);
        std::fs::create_dir(site.path("logs")).expect("a folder can be made");
        engine.reload().expect_success();
    }
}

/// To open one would wait for the other end, and nothing else would happen meanwhile.
#[test]
fn a_pipe_that_nobody_reads_or_writes_holds_nothing_up() {
    let engine = Engine::start("probe", LENGTH_LISTENER);
    let site = engine.site();
    nix::unistd::mkfifo(&site.path("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("it can be made");
    engine.configure(&format!(
        "[engine.log]\nfile = \"{{folder}}/pipe\"\n{LENGTH_LISTENER}"
    ));
    engine
        .reload()
        .expect_refusal(&["engine.log.file", "nobody reads"]);
    let run_dir = moorline_tests::run_dir(&site);
    std::fs::rename(site.path("pipe"), site.path("moorline.toml")).expect("it can be moved");
    let reload = engine.command(&["reload", "--run-dir", &run_dir]).finish();
    reload.expect_refusal(&["is a pipe"]);
}

/// Flags belong to an opening: those that are set on the gateway's show whether the supervisor has the same.
#[test]
fn the_gateway_shares_neither_its_log_nor_its_standard_streams_with_the_supervisor() {
    let config = format!("[engine.log]\nfile = \"{{folder}}/engine.log\"\n{LENGTH_LISTENER}");
    let engine = Engine::start("probe", &config);
    let log = engine.path("engine.log");
    for step in ["start", "reload", "reopening", "another gateway"] {
        let before = engine.status().gateway;
        match step {
            "reload" => drop(engine.reload().expect_success()),
            "reopening" => {
                std::fs::remove_file(&log).expect("it is there");
                moorline_tests::reopen_logs(engine.supervisor());
                eventually("the gateway has the new one", || {
                    Process::holds(before.pid, &log)
                });
            }
            "another gateway" => {
                kill(before.pid, Signal::SIGKILL);
                eventually("there is one", || {
                    engine.status().gateway.incarnation > before.incarnation
                        && Process::holds(engine.status().gateway.pid, &log)
                });
            }
            _ => {}
        }
        let gateway = engine.status().gateway.pid;
        let before = Process::flags(engine.supervisor());
        let mut touched = 0;
        for number in Process::descriptor_numbers(gateway) {
            let link = std::fs::read_link(format!("/proc/{gateway}/fd/{number}"));
            let is_log = link.is_ok_and(|link| link == log);
            if is_log || (1..=2).contains(&number) {
                Process::toggle_non_blocking(gateway, number);
                touched += 1;
            }
        }
        assert_eq!(touched, 3, "{step}: log, standard output, standard error");
        for (number, flags) in Process::flags(engine.supervisor()) {
            // Connections come and go.
            if let Some(before) = before.get(&number) {
                assert_eq!(flags, *before, "{step}: descriptor {number}");
            }
        }
    }
}
