//! The command line: check, serve, status, sessions, and where engines find each other.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Stdio;

use moorline_tests::{
    Client, Engine, Finish, Issuer, LENGTH_LISTENER, Site, Stream, Wire, eventually,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

#[test]
fn check_accepts_a_good_configuration() {
    let site = Site::new("echo", LENGTH_LISTENER);
    site.run(&["check"]).expect_success();
}

#[test]
fn check_names_file_line_column_and_remedy_of_every_mistake() {
    let site = Site::new(
        "echo",
        r#"[workers]
count = 2
max_wiat = "10s"
start_timeout = 10

[[listen]]
address = "tpc://127.0.0.1:9501"
on_crash = "redeliver"
"#,
    );
    let finished = site.run(&["check"]);
    assert_eq!(finished.status.code(), Some(2), "{finished:#?}");
    let said = finished.said();
    for words in [
        "moorline.toml:3:1:",
        "moorline.toml:4:17:",
        "moorline.toml:7:11:",
        "max_wiat",
        "max_wait",
        "tpc",
        "hint: ",
    ] {
        assert!(said.contains(words), "{words:?} is not said:\n{said}");
    }
    assert!(
        said.matches("hint: ").count() >= 3,
        "each mistake has a remedy:\n{said}"
    );
}

/// An app whose `main` names the type of its settings: `check` and `serve` agree on what it takes.
#[test]
fn settings_that_the_app_refuses_are_refused_before_the_start_with_their_place() {
    let wrong = format!("{LENGTH_LISTENER}[app]\ndellay = \"10ms\"\n");
    let site = Site::new("echo", &wrong);
    let line = wrong.lines().count();
    let place = format!("moorline.toml:{line}:1: [app]: unknown field `dellay`");
    for verb in ["check", "serve"] {
        let finished = site.run(&[verb]);
        assert_eq!(finished.status.code(), Some(2), "{finished:#?}");
        finished.expect_refusal(&[&place, "did you mean `delay`?"]);
    }
    // Together with what else is wrong.
    site.configure(&format!("[workers]\ncuont = 1\n{wrong}"));
    site.run(&["check"])
        .expect_refusal(&["moorline.toml:2:1:", "cuont", "`dellay`"]);
    site.configure(&wrong.replace("dellay", "delay"));
    site.run(&["check"]).expect_success();
    // A type is the build's own, so that a reload is judged by the new one's start.
    let engine = site.start();
    site.configure(&wrong);
    let refused = engine.reload().expect_refusal(&["[app]", "`dellay`"]);
    assert!(!refused.said().contains("line 1, column 1"), "{refused:#?}");
}

/// A hint is about the mistake that was made.
#[test]
fn hints_about_certificates_fit_the_mistake() {
    let issuer = Issuer::new();
    let site = Site::new("probe", LENGTH_LISTENER);
    issuer.issue(&["one.test"]).write(&site, "one");
    issuer.issue(&["two.test"]).write(&site, "two");
    issuer.issue_until(&["old.test"], 2001).write(&site, "old");
    for (certificate, key, words) in [
        (
            "one.pem",
            "two.key",
            ["does not belong to", "the two are a pair"],
        ),
        (
            "old.pem",
            "old.key",
            ["has expired: it was valid until 2001-", "renewed"],
        ),
        (
            "one.key",
            "one.key",
            ["there is no certificate in it", "BEGIN CERTIFICATE"],
        ),
        (
            "one.pem",
            "one.pem",
            ["there is no private key in it", "BEGIN PRIVATE KEY"],
        ),
        (
            "none.pem",
            "one.key",
            ["No such file", "a relative path begins"],
        ),
    ] {
        site.configure(&format!(
            "[[listen]]\naddress = \"tls://127.0.0.1:0\"\ntls = {{ certificate = \"{certificate}\", key = \"{key}\" }}\n"
        ));
        let refused = site.run(&["check"]).expect_refusal(&words);
        assert_eq!(refused.said().matches("hint: ").count(), 1, "{refused:#?}");
    }
}

/// A folder stands for the configuration in it, as everywhere.
#[test]
fn check_takes_a_folder_with_a_configuration() {
    let site = Site::new("echo", LENGTH_LISTENER);
    let folder = site.path("");
    let check = || site.command(&["check"]).arg(&folder).finish();
    check().expect_success();
    site.configure("[workers]\ncuont = 2\n");
    check().expect_refusal(&["moorline.toml:2:1:", "cuont", "count"]);
    std::fs::remove_file(site.path("moorline.toml")).expect("it is there");
    let finished = check();
    assert_eq!(finished.status.code(), Some(2), "{finished:#?}");
    finished.expect_refusal(&["moorline.toml"]);
}

#[test]
fn check_shows_the_quotes_that_a_value_lacks() {
    let site = Site::new("echo", "[workers]\nmax_wait = 10s\n");
    let finished = site.run(&["check"]);
    assert_eq!(finished.status.code(), Some(2), "{finished:#?}");
    finished.expect_refusal(&[
        "moorline.toml:2:12:",
        "text without quotes",
        "put the value in quotes: max_wait = \"10s\"",
    ]);
}

#[test]
fn check_says_which_file_is_missing() {
    let site = Site::new("echo", "");
    let finished = site.command(&["check", "nowhere.toml"]).finish();
    assert_eq!(finished.status.code(), Some(2), "{finished:#?}");
    finished.expect_refusal(&["nowhere.toml"]);
}

#[test]
fn a_configuration_with_mistakes_does_not_start() {
    let site = Site::new("echo", &format!("{LENGTH_LISTENER}speed = \"high\"\n"));
    let finished = site.try_start().err().expect("it must not start");
    finished.expect_refusal(&["moorline.toml:", "speed"]);
}

#[test]
fn a_port_that_is_taken_is_named_and_nothing_is_left_behind() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = taken
        .local_addr()
        .expect("a bound socket has an address")
        .port()
        .to_string();
    let site = Site::new(
        "echo",
        &LENGTH_LISTENER.replace(":0\"", &format!(":{port}\"")),
    );
    let finished = site.try_start().err().expect("it must not start");
    let refused = finished.expect_refusal(&[&port, "in use", "hint: "]);
    let remedy = "stop the process that has it";
    assert_eq!(refused.said().matches(remedy).count(), 1, "{refused:#?}");
    assert_eq!(sockets(&site), Vec::<PathBuf>::new());
}

#[test]
fn an_app_whose_start_fails_does_not_serve_and_prints_why() {
    let site = Site::new(
        "probe",
        &format!("[workers]\ncount = 2\n{LENGTH_LISTENER}[app]\nfails_in_slot = 1\n"),
    );
    site.try_start()
        .err()
        .expect("it must not start")
        .expect_refusal(&["asked not to start"]);
}

#[test]
fn a_second_engine_of_the_same_configuration_is_refused_and_the_first_unharmed() {
    let engine = Engine::start("probe", LENGTH_LISTENER);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let id = client.ask("id");
    let site = engine.site();
    let finished = site.run(&["serve"]);
    finished.expect_refusal(&["running already", &engine.supervisor().to_string()]);
    assert_eq!(client.ask("id"), id);
    assert_eq!(engine.status().supervisor.pid, engine.supervisor());
}

/// Where XDG_RUNTIME_DIR is set for one of them and not for the other, or to something else.
#[test]
fn an_engine_is_found_whatever_the_environment_of_the_command() {
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    let site = Site::new("probe", LENGTH_LISTENER);
    for starts_with_it in [true, false] {
        let engine = site
            .try_start_by("exec \"$0\" \"$@\"", |command| {
                if !starts_with_it {
                    command.env_remove("XDG_RUNTIME_DIR");
                }
            })
            .unwrap_or_else(|finished| panic!("the engine does not start: {finished:#?}"));
        let pid = engine.supervisor().to_string();
        let run = |verb: &str, runtime_dir: Option<&std::path::Path>| {
            let mut command = site.command(&[verb]);
            command.arg(site.path("moorline.toml"));
            match runtime_dir {
                Some(folder) => command.env("XDG_RUNTIME_DIR", folder),
                None => command.env_remove("XDG_RUNTIME_DIR"),
            };
            command.finish()
        };
        for runtime_dir in [None, Some(elsewhere.path()), Some(&*site.path(""))] {
            let status = run("status", runtime_dir).expect_success();
            assert!(status.stdout.contains(&pid), "{status:#?}");
            run("serve", runtime_dir).expect_refusal(&["running already", &pid]);
        }
        run("reload", None).expect_success();
        run("stop", Some(elsewhere.path())).expect_success();
    }
}

#[test]
fn the_files_of_a_dead_engine_are_replaced() {
    let mut engine = Engine::start(
        "probe",
        &format!("{LENGTH_LISTENER}[[listen]]\naddress = \"unix://{{folder}}/local.sock\"\n"),
    );
    engine.kill_everything();
    let site = engine.site();
    assert!(
        !sockets(&site).is_empty(),
        "the dead engine has left its sockets"
    );
    site.run(&["status"])
        .expect_refusal(&["no engine is running"]);

    let successor = site.start();
    assert_eq!(
        Client::connect(&successor, 0, Wire::LENGTH).ask("build"),
        "first"
    );
    Client::connect(&successor, 1, Wire::Raw);
    drop(successor);
    assert_eq!(
        sockets(&site),
        Vec::<PathBuf>::new(),
        "an engine that was stopped leaves none"
    );
}

#[test]
fn commands_without_an_engine_say_so() {
    let site = Site::new("echo", LENGTH_LISTENER);
    for command in ["status", "reload", "stop", "sessions"] {
        site.run(&[command])
            .expect_refusal(&["no engine is running"]);
    }
}

#[test]
fn commands_find_the_engine_by_its_run_dir_too() {
    let engine = Engine::start(
        "probe",
        &format!("[engine]\nrun_dir = \"{{folder}}/run\"\n{LENGTH_LISTENER}"),
    );
    let run_dir = engine.path("run").display().to_string();
    let finished = engine
        .command(&["status", "--json", "--run-dir", &run_dir])
        .finish()
        .expect_success();
    let by_run_dir: moorline_tests::Status =
        serde_json::from_str(&finished.stdout).expect("it is the same status");
    assert_eq!(by_run_dir.supervisor.pid, engine.supervisor());
    engine
        .command(&["reload", "--run-dir", &run_dir])
        .finish()
        .expect_success();
    assert_eq!(engine.settled().reloads.done, 1);
}

#[test]
fn the_control_socket_is_its_owners_alone() {
    let engine = Engine::start(
        "probe",
        &format!("[engine]\nrun_dir = \"{{folder}}/run\"\n{LENGTH_LISTENER}"),
    );
    let mode = |path: PathBuf| {
        std::fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(engine.path("run")), 0o700);
    let sockets = sockets(&engine.site());
    assert_eq!(sockets.len(), 1);
    assert_eq!(mode(sockets[0].clone()), 0o600);
}

#[test]
fn a_run_dir_that_others_may_write_to_is_refused() {
    let site = Site::new(
        "probe",
        &format!("[engine]\nrun_dir = \"{{folder}}/run\"\n{LENGTH_LISTENER}"),
    );
    std::fs::create_dir(site.path("run")).expect("a folder can be made");
    std::fs::set_permissions(site.path("run"), std::fs::Permissions::from_mode(0o777))
        .expect("it is ours");
    site.try_start()
        .err()
        .expect("it must not start")
        .expect_refusal(&["run"]);
}

#[test]
fn status_counts_sessions_messages_and_workers() {
    let engine = Engine::start(
        "probe",
        &format!(
            "[engine]\ngateway_loops = 2\n[workers]\ncount = 2\n[tasks]\ncount = 1\n{LENGTH_LISTENER}"
        ),
    );
    let mut clients = [(); 4].map(|()| Client::connect(&engine, 0, Wire::LENGTH));
    for client in &mut clients {
        assert_eq!([client.ask("one"), client.ask("two")], ["one", "two"]);
    }
    assert_eq!(engine.ask_once("gone"), "gone");
    let sessions_of_workers = || {
        let workers = engine.status().ready_workers();
        workers.iter().map(|worker| worker.sessions).sum::<u64>()
    };
    eventually("the last one has gone", || {
        engine.status().gateway.sessions == 4 && sessions_of_workers() == 4
    });
    let status = engine.status();
    assert_eq!(status.supervisor.pid, engine.supervisor());
    assert_eq!(status.gateway.loops, 2);
    assert_eq!((status.gateway.accepted, status.gateway.messages), (5, 9));
    assert_eq!(status.closed("peer"), 1);
    let workers = status.ready_workers();
    assert_eq!(
        workers.iter().map(|worker| worker.slot).collect::<Vec<_>>(),
        [0, 1]
    );
    assert_eq!(workers.iter().map(|worker| worker.handled).sum::<u64>(), 9);
    assert_eq!(workers.iter().map(|worker| worker.sessions).sum::<u64>(), 4);
    assert!(
        workers
            .iter()
            .all(|worker| worker.generation == 1 && worker.in_progress == 0)
    );
    assert_eq!(
        status
            .tasks
            .iter()
            .map(|task| (task.slot, task.state.as_str()))
            .collect::<Vec<_>>(),
        [(0, "ready")]
    );
    // Every process has one line, and they are all of the engine there is.
    let mut pids: Vec<i32> = workers
        .iter()
        .chain(&status.tasks)
        .map(|process| process.pid)
        .collect();
    pids.extend([status.supervisor.pid, status.gateway.pid]);
    pids.sort_unstable();
    assert_eq!(
        engine
            .processes()
            .iter()
            .map(|process| process.pid)
            .collect::<Vec<_>>(),
        pids
    );
}

#[test]
fn counts_survive_the_processes_that_counted() {
    let engine = Engine::start("probe", &format!("[workers]\ncount = 1\n{LENGTH_LISTENER}"));
    for _ in 0..3 {
        assert_eq!(engine.ask_once("counted"), "counted");
        engine.reload().expect_success();
    }
    let status = engine.settled();
    assert_eq!(
        (
            status.gateway.accepted,
            status.gateway.messages,
            status.reloads.done
        ),
        (3, 3, 3)
    );
}

#[test]
fn status_for_people_shows_the_same() {
    let engine = Engine::start("probe", &format!("[workers]\ncount = 2\n{LENGTH_LISTENER}"));
    let said = engine.run(&["status"]).expect_success().stdout;
    for pid in engine
        .processes()
        .iter()
        .map(|process| process.pid.to_string())
    {
        assert!(said.contains(&pid), "process {pid} is not shown:\n{said}");
    }
}

#[test]
fn sessions_are_listed_with_their_peer_and_worker() {
    let engine = Engine::start("probe", &format!("[workers]\ncount = 2\n{LENGTH_LISTENER}"));
    let mut clients: Vec<Client> = (0..300)
        .map(|_| Client::connect(&engine, 0, Wire::LENGTH))
        .collect();
    let ids: Vec<String> = clients.iter_mut().map(|client| client.ask("id")).collect();
    let said = engine.run(&["sessions"]).expect_success().stdout;
    for (client, id) in clients.iter().zip(ids) {
        let peer = format!("127.0.0.1:{}", client.port());
        assert!(
            said.lines()
                .any(|line| line.starts_with(&id) && line.contains(&peer)),
            "session {id} from {peer} is not listed"
        );
    }
}

/// Pages of the list wait for its reader, and are not left out.
#[test]
fn a_long_list_of_sessions_reaches_a_slow_reader_whole() {
    const SESSIONS: usize = 6_000;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("it may be raised");
    let engine = Engine::start(
        "probe",
        "[engine]\ngateway_loops = 2\n[[listen]]\naddress = \"unix://{folder}/door.sock\"\nframing = { kind = \"line\" }\n",
    );
    let connect = || Stream::connect(engine.address(0)).expect("the engine accepts");
    let clients: Vec<Stream> = (0..SESSIONS).map(|_| connect()).collect();
    eventually("all are there", || {
        engine.status().gateway.sessions == SESSIONS as u64
    });
    let mut listing = engine
        .command(&["sessions", "--json"])
        .arg(engine.path("moorline.toml"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command runs");
    let said = listing.stdout.take().expect("it is piped");
    let mut lines = BufReader::new(said).lines().map_while(Result::ok);
    let first = lines.next().expect("there is a session");
    // While nobody reads, the engine goes on, and sessions come and go.
    engine.reload().expect_success();
    drop(connect());
    let id = |line: String| {
        let row: serde_json::Value = serde_json::from_str(&line).expect("a line is JSON");
        row["id"].to_string()
    };
    let ids: Vec<String> = [first].into_iter().chain(lines).map(id).collect();
    assert!(listing.wait().expect("it ends").success());
    let each: BTreeSet<&String> = ids.iter().collect();
    assert_eq!(each.len(), ids.len(), "a session was listed twice");
    assert!(ids.len() >= SESSIONS, "only {} were listed", ids.len());
    drop(clients);
}

/// An engine that is stopped, by a debugger say, does not make those who look at it wait for ever.
#[test]
fn a_supervisor_that_does_not_answer_is_named() {
    let engine = Engine::start("probe", LENGTH_LISTENER);
    moorline_tests::kill(engine.supervisor(), nix::sys::signal::Signal::SIGSTOP);
    let finished = engine.run(&["status"]);
    moorline_tests::kill(engine.supervisor(), nix::sys::signal::Signal::SIGCONT);
    finished.expect_refusal(&["has not answered within 10s"]);
    engine.run(&["status"]).expect_success();
}

/// Since when it runs, by the machine's clock and by its own.
#[test]
fn status_says_since_when_the_engine_runs() {
    let now = || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.expect("it is later than 1970").as_secs()
    };
    let before = now();
    let engine = Engine::start("probe", LENGTH_LISTENER);
    let after = now();
    let times = || {
        let said = engine.run(&["status", "--json"]).expect_success().stdout;
        let status: serde_json::Value = serde_json::from_str(&said).expect("it is JSON");
        let time = |key: &str| status["supervisor"][key].as_u64().expect("it is a number");
        (time("started_at"), time("uptime_s"))
    };
    let (started_at, _) = times();
    assert!((before..=after).contains(&started_at), "{started_at}");
    engine.reload().expect_success();
    eventually("a second has passed", || times().1 >= 1);
    let (again, uptime) = times();
    assert_eq!(again, started_at, "a reload is no start");
    // Each is rounded down.
    assert!(uptime <= now() - started_at + 1, "{uptime}");
}

/// What `ps` shows says which process is which.
#[test]
fn titles_name_the_role() {
    let engine = Engine::start(
        "probe",
        &format!("[workers]\ncount = 2\n[tasks]\ncount = 1\n{LENGTH_LISTENER}"),
    );
    // Of a `moorline.toml` its folder's.
    let folder = engine.path("moorline.toml");
    let name = folder.parent().and_then(|folder| folder.file_name());
    let name = name.and_then(|name| name.to_str()).expect("it has a name");
    let titles: Vec<String> = engine
        .processes()
        .into_iter()
        .map(|process| process.title)
        .collect();
    for role in ["gateway", "worker 0", "worker 1", "task 0"] {
        let expected = format!("moorline: {role} ({name})");
        let count = titles.iter().filter(|title| **title == expected).count();
        assert_eq!(count, 1, "{expected} in {titles:?}");
    }
    assert_eq!(titles.len(), 5, "and the supervisor: {titles:?}");
}

/// Every socket file under the site's folder.
fn sockets(site: &Site) -> Vec<PathBuf> {
    let mut folders = vec![site.path("")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)
            .expect("it is a folder")
            .map_while(Result::ok)
        {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_socket() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}

/// The signal for task workers is refused in the log where there are none, and harms nothing.
#[test]
fn the_signal_for_task_workers_is_refused_without_any() {
    let config = format!("[workers]\ncount = 1\n{}", moorline_tests::LENGTH_LISTENER);
    let engine = Engine::start("probe", &config);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let worker = client.ask("pid");
    moorline_tests::kill(engine.supervisor(), nix::sys::signal::Signal::SIGUSR2);
    engine.logged(&["task workers"]);
    assert_eq!(client.ask("pid"), worker);
    engine.reload().expect_success();
    assert_ne!(client.ask("pid"), worker);
}
