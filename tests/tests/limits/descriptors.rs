//! Open files that run out, in the gateway or in the supervisor: what needs them fails with a reason, and nothing ends.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Process, Site, Wire, eventually, kill};
use nix::sys::signal::Signal;

/// Sets the soft limit of open files of a process. The gateway raises its own when it starts and when a reload commits.
fn limit(pid: i32, files: usize) {
    let changed = Command::new("prlimit")
        .args(["--pid", &pid.to_string()])
        .arg(format!("--nofile={files}:"))
        .status();
    assert!(changed.expect("prlimit is part of every Debian").success());
}

#[test]
fn sixty_four_loops_and_workers_start_and_reload_under_a_soft_limit_of_1024() {
    let config = format!(
        "[engine]\ngateway_loops = 64\n[workers]\ncount = 64\nstart_timeout = \"60s\"\n\
         [[helpers]]\nname = \"limits\"\ncommand = [\"sh\", \"-c\", \"ulimit -Sn > limit.draft; mv limit.draft limit; exec sleep 1000\"]\n\
         {LENGTH_LISTENER}"
    );
    let site = Site::new("probe", &config);
    let engine = site
        .try_start_by("ulimit -Sn 1024 && exec \"$0\" \"$@\"", |_| {})
        .unwrap_or_else(|finished| panic!("the engine does not start: {finished:#?}"));
    assert_eq!(engine.status().worker_pids().len(), 64);
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    assert_eq!(client.ask("generation"), "1");
    engine.reload().expect_success();
    eventually("it moves", || client.ask("generation") == "2");
    // Commands of others have the limit that the engine was started with.
    let limit = std::fs::read_to_string(site.path("limit")).expect("the helper has written it");
    assert_eq!(limit.trim(), "1024");
}

#[test]
fn check_and_serve_say_how_many_open_files_are_needed_and_allowed() {
    let config = format!("[engine]\ngateway_loops = 64\n[workers]\ncount = 64\n{LENGTH_LISTENER}");
    let site = Site::new("probe", &config);
    let with = |limit: u32, command: &str| {
        let script = format!("ulimit -n {limit} && exec \"$0\" {command} \"$1\"");
        let output = Command::new("sh")
            .args(["-c", &script])
            .arg(site.path("app"))
            .arg(site.path("moorline.toml"))
            .output()
            .expect("sh is part of every Debian");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    };
    let (is_ok, text) = with(20_000, "check");
    assert!(is_ok, "{text}");
    assert!(
        text.contains("of 20000 open files (ulimit -Hn) the gateway keeps 17028"),
        "{text}"
    );
    assert!(text.contains("2972 are left for connections"), "{text}");
    for command in ["check", "serve"] {
        let (is_ok, text) = with(1024, command);
        assert!(!is_ok, "{text}");
        assert!(
            text.contains("needs 8644 open files, and 1024 are allowed"),
            "{text}"
        );
        assert!(text.contains("hint: raise the hard limit"), "{text}");
    }
}

/// Asks for a file over a connection of its own, which stays open. `None`: it is not accepted.
fn get(engine: &Engine) -> Option<(String, TcpStream)> {
    let mut stream = TcpStream::connect(engine.socket_address(0)).expect("it waits at least");
    stream
        .set_read_timeout(Some(Duration::from_secs(1)))
        .expect("a timeout");
    stream
        .write_all(b"GET /moorline.toml HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("it is open");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).ok()?;
    Some((String::from_utf8_lossy(&answer).into_owned(), stream))
}

#[test]
fn http_files_are_refused_with_503_before_they_take_the_descriptors_of_processes() {
    let config = "[engine]\ngateway_loops = 1\n[workers]\ncount = 1\n\
                  [[listen]]\naddress = \"http://127.0.0.1:0\"\nstatic = \"{folder}\"\n";
    let site = Site::new("probe", config);
    let engine = site
        .try_start_by("ulimit -n 200 && exec \"$0\" \"$@\"", |_| {})
        .unwrap_or_else(|finished| panic!("the engine does not start: {finished:#?}"));
    let mut streams = Vec::new();
    while streams.len() < 200 {
        let (answer, stream) = get(&engine).expect("it is accepted, and answered");
        streams.push(stream);
        if answer != "HTTP/1.1 200" {
            assert_eq!(answer, "HTTP/1.1 503");
            break;
        }
    }
    assert!((5..150).contains(&streams.len()), "{}", streams.len());
    engine.reload().expect_success();
    // Closed connections make room.
    streams.clear();
    eventually("there is room", || {
        get(&engine).is_some_and(|(answer, _)| answer == "HTTP/1.1 200")
    });
}

#[test]
fn connections_that_come_during_a_reload_leave_its_processes_their_descriptors() {
    let config = |workers: u16| {
        format!(
            "[engine]\ngateway_loops = 4\n[workers]\ncount = {workers}\n\
             [[listen]]\naddress = \"tcp://127.0.0.1:0\"\nframing = {{ kind = \"line\" }}\n"
        )
    };
    let site = Site::new("probe", &config(1));
    // What the old configuration leaves to connections is too much for the new one.
    let engine = site
        .try_start_by("ulimit -n 520 && exec \"$0\" \"$@\"", |_| {})
        .unwrap_or_else(|finished| panic!("the engine does not start: {finished:#?}"));
    site.configure(&config(16));
    // A build whose processes do not even greet the supervisor before they may.
    let folder = site.path("");
    let folder = folder.display();
    let script = format!(
        "#!/bin/sh\nwhile [ ! -e {folder}/go ]; do sleep 0.02; done\nexec {folder}/probe \"$@\"\n"
    );
    std::fs::rename(site.path("app"), site.path("probe")).expect("it is ours");
    site.write("waits", script);
    let may_run = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(site.path("waits"), may_run).expect("it is ours");
    std::fs::rename(site.path("waits"), site.path("app")).expect("it is ours");
    let reloading = {
        let site = site.clone();
        std::thread::spawn(move || site.run(&["reload"]))
    };
    eventually("the first new workers start", || {
        let workers = engine.status().workers;
        workers.iter().filter(|it| it.state == "starting").count() >= 6
    });
    let crowd: Vec<_> = (0..400)
        .map(|_| TcpStream::connect(engine.socket_address(0)).expect("it waits at least"))
        .collect();
    eventually("accepting pauses", || {
        engine.status().limit("descriptors") > 0
    });
    site.write("go", "");
    reloading.join().expect("it ends").expect_success();
    assert_eq!(engine.status().worker_pids().len(), 16);
    drop(crowd);
    let mut client = Client::connect(&engine, 0, Wire::Line);
    assert_eq!(client.ask("generation"), "2");
}

#[test]
fn accepting_goes_on_once_the_gateway_may_open_more_though_nobody_leaves() {
    let (engine, mut client) = engine();
    let gateway = engine.status().gateway.pid;
    limit(gateway, Process::descriptors(gateway));
    let mut waiting = Client::connect(&engine, 0, Wire::LENGTH);
    waiting.send("build");
    eventually("accepting pauses", || {
        engine.status().limit("descriptors") == 1
    });
    limit(gateway, 4096);
    assert_eq!(waiting.receive(), b"first");
    assert_eq!(client.ask("build"), "first");
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
    engine.logged(&[
        "worker ",
        " (pid ",
        "cannot be served: ",
        "descriptors did not arrive",
    ]);
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
