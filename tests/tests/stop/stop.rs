//! Stopping: messages in progress are answered, everything ends in order, and nothing is left.

use std::time::{Duration, Instant};

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Site, Stopwatch, Wire, eventually, kill};
use nix::sys::signal::Signal;

fn probe(max_wait: &str) -> String {
    format!(
        "[workers]\ncount = 2\nmax_wait = \"{max_wait}\"\n[tasks]\ncount = 1\n{LENGTH_LISTENER}[app]\njournal = \"{{folder}}/journal\"\n"
    )
}

fn has_message_in_progress(engine: &Engine) -> bool {
    engine
        .status()
        .workers
        .iter()
        .any(|worker| worker.in_progress > 0)
}

#[test]
fn stop_answers_messages_in_progress_and_closes_idle_sessions_at_once() {
    let mut engine = Engine::start("probe", &probe("10s"));
    let mut busy = Client::connect(&engine, 0, Wire::LENGTH);
    let mut idle = Client::connect(&engine, 0, Wire::LENGTH);
    let (busy_id, idle_id) = (busy.ask("id"), idle.ask("id"));
    busy.send("sleep 1500");
    eventually("the message is in progress", || {
        has_message_in_progress(&engine)
    });

    let since = Stopwatch::start();
    std::thread::scope(|scope| {
        let site = engine.site();
        let stop = scope.spawn(move || site.run(&["stop"]).expect_success());
        assert_eq!(idle.receive_to_end(), Vec::<Vec<u8>>::new());
        assert!(
            since.elapsed() < Duration::from_millis(1_400),
            "the idle session was not closed at once"
        );
        assert_eq!(busy.receive_to_end(), [b"slept"]);
        assert!(stop.join().is_ok(), "stop succeeds");
    });
    assert!(engine.ended().success());
    assert!(
        engine.processes().is_empty(),
        "stop has returned before the end: {:#?}",
        engine.processes()
    );

    for id in [busy_id, idle_id] {
        assert_eq!(
            engine.journal_of(&format!("close {id} ")),
            [format!("close {id} stopped")]
        );
    }
    assert_eq!(
        engine.journal_of("stop ").len(),
        3,
        "each worker and task worker has run its stop hook once"
    );
}

#[test]
fn signals_to_the_gateway_are_left_to_the_supervisor() {
    let engine = Engine::start("probe", &probe("10s"));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.ask("id");
    let gateway = engine.status().gateway.pid;
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ] {
        kill(gateway, signal);
        assert_eq!(client.ask("build"), "first", "{signal}");
    }
    let to_all = std::process::Command::new("kill")
        .args(["-s", "RTMIN"])
        .args(engine.processes().iter().map(|it| it.pid.to_string()))
        .status();
    assert!(to_all.expect("kill is part of every Debian").success());
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(client.ask("build"), "first", "RTMIN to all");
    assert_eq!(engine.status().gateway.pid, gateway);
}

/// A file of 30 MB: more than what the kernel takes for a client that reads nothing.
fn download(max_wait: &str) -> (Engine, Client, Vec<u8>) {
    let file: Vec<u8> = (0..30_000_000_u32).map(|at| (at / 3) as u8).collect();
    let site = Site::new("echo", "");
    site.write("public/large.bin", &file);
    site.configure(&format!(
        "[workers]\ncount = 1\nmax_wait = \"{max_wait}\"\n[[listen]]\naddress = \"http://127.0.0.1:0\"\nstatic = \"public\"\n"
    ));
    let engine = site.start();
    let mut client = Client::connect(&engine, 0, Wire::Raw);
    client
        .send_bytes(b"GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("the listener takes a request");
    (engine, client, file)
}

#[test]
fn a_stop_waits_for_downloads_and_closes_idle_http_connections_at_once() {
    let (mut engine, mut client, file) = download("20s");
    let mut idle = Client::connect(&engine, 0, Wire::Raw);
    assert_ne!(client.fill().expect("the answer begins"), 0);
    kill(engine.supervisor(), Signal::SIGTERM);
    assert_eq!(idle.receive_bytes_to_end(), b"");
    let too_early = engine.ended_within(Duration::from_millis(700));
    assert_eq!(too_early, None, "the download goes on");
    // The connection, which would else be kept for more requests, ends with the answer.
    let answer = client.receive_bytes_to_end();
    assert!(answer.ends_with(&file), "{} bytes came", answer.len());
    assert!(engine.ended().success());
}

#[test]
fn a_download_that_begins_during_a_stop_is_waited_for() {
    let (engine, first, file) = download("20s");
    drop(first);
    let site = engine.site();
    let config = "stop_over = \"3s\"\n[workers]\ncount = 1\nmax_wait = \"20s\"\n\
                  [[listen]]\naddress = \"http://127.0.0.1:0\"\nstatic = \"public\"\n";
    drop(engine);
    site.configure(&format!("[engine]\n{config}"));
    let mut engine = site.start();
    let connect = |_| Client::connect(&engine, 0, Wire::Raw);
    let mut clients: Vec<_> = (0..10).map(connect).collect();
    eventually("they are accepted", || {
        engine.status().gateway.sessions == 10
    });
    kill(engine.supervisor(), Signal::SIGTERM);
    std::thread::sleep(Duration::from_millis(300));
    for client in &mut clients {
        // Some are closed already.
        let _ = client.send_bytes(b"GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    // By then no loop has anything left.
    std::thread::sleep(Duration::from_secs(4));
    let answers = clients.iter_mut().map(Client::receive_bytes_to_end);
    let answers: Vec<_> = answers.filter(|answer| !answer.is_empty()).collect();
    assert!(answers.len() > 1, "{} answers", answers.len());
    for answer in answers {
        assert!(answer.ends_with(&file), "{} bytes came", answer.len());
    }
    assert!(engine.ended().success());
}

#[test]
fn a_stop_gives_up_on_a_download_at_max_wait() {
    let (mut engine, client, _) = download("700ms");
    kill(engine.supervisor(), Signal::SIGTERM);
    let since = Instant::now();
    assert!(engine.ended().success());
    assert!(since.elapsed() < Duration::from_secs(5));
    drop(client);
}

#[test]
fn task_workers_outlive_the_workers() {
    let mut engine = Engine::start("probe", &probe("10s"));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.send("task block 800");
    eventually("the message is in progress", || {
        has_message_in_progress(&engine)
    });
    engine.run(&["stop"]).expect_success();
    assert_eq!(client.receive_to_end(), [b"blocked"]);
    assert!(engine.ended().success());
    // The last of the three stop hooks is the task worker's.
    let task = engine
        .journal_of("start task 0 ")
        .first()
        .and_then(|line| line.rsplit(' ').next().map(str::to_owned));
    let last = engine
        .journal_of("stop ")
        .last()
        .and_then(|line| line.rsplit(' ').next().map(str::to_owned));
    assert_eq!(last, task);
}

#[test]
fn stop_delivers_queued_output_to_a_reader_that_reads() {
    let mut engine = Engine::start("probe", &probe("10s"));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.send("pour 1000");
    client.receive();
    kill(engine.supervisor(), Signal::SIGTERM);
    assert_eq!(client.receive_to_end().len(), 999);
    assert!(engine.ended().success());
}

#[test]
fn stuck_handlers_are_given_up_after_max_wait() {
    for stuck in ["hang", "block 60000"] {
        let mut engine = Engine::start("probe", &probe("700ms"));
        let mut client = Client::connect(&engine, 0, Wire::LENGTH);
        let slot = client.ask("slot");
        client.send(stuck);
        eventually("the message is in progress", || {
            has_message_in_progress(&engine)
        });
        let since = Instant::now();
        engine.run(&["stop"]);
        assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new());
        engine.ended();
        assert!(
            since.elapsed() >= Duration::from_millis(700),
            "{stuck} was given up before its time"
        );
        // What awaits is given up by its worker; what blocks cannot be, and its worker is killed.
        if stuck != "hang" {
            let told = format!("worker {slot} had not ended at max_wait and is killed");
            engine.logged(&["WARN", &told]);
        }
        assert!(
            since.elapsed() < Duration::from_secs(10),
            "{stuck} held up the stop for {:?}",
            since.elapsed()
        );
    }
}

#[test]
fn a_worker_that_has_left_its_process_group_is_killed_too() {
    let mut engine = Engine::start("probe", &probe("500ms"));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.ask("misuse group");
    client.send("hang");
    eventually("the message is in progress", || {
        has_message_in_progress(&engine)
    });
    kill(engine.supervisor(), Signal::SIGTERM);
    assert!(engine.ended().success());
}

#[test]
fn a_second_signal_stops_now() {
    let mut engine = Engine::start("probe", &probe("60s"));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.send("hang");
    eventually("the message is in progress", || {
        has_message_in_progress(&engine)
    });
    kill(engine.supervisor(), Signal::SIGINT);
    eventually("it no longer accepts", || {
        Client::try_connect(engine.address(0), Wire::LENGTH).is_err()
    });
    assert_eq!(
        engine.ended_within(Duration::from_millis(200)),
        None,
        "what is in progress has its time"
    );
    kill(engine.supervisor(), Signal::SIGINT);
    engine.ended();
    assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new());
}

#[test]
fn a_max_wait_of_zero_ends_at_once() {
    let mut engine = Engine::start("probe", &probe("0s"));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.send("hang");
    eventually("the message is in progress", || {
        has_message_in_progress(&engine)
    });
    let since = Instant::now();
    engine.run(&["stop"]);
    engine.ended();
    assert!(
        since.elapsed() < Duration::from_secs(5),
        "it took {:?}",
        since.elapsed()
    );
}

/// Nothing is started again once the engine stops.
#[test]
fn a_worker_that_dies_while_the_engine_stops_is_not_replaced() {
    let mut engine = Engine::start("probe", &probe("1s"));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.send("hang");
    eventually("the message is in progress", || {
        has_message_in_progress(&engine)
    });
    let starts = engine.journal_of("start ").len();
    let workers = engine.status().worker_pids();
    kill(engine.supervisor(), Signal::SIGTERM);
    eventually("it no longer accepts", || {
        Client::try_connect(engine.address(0), Wire::LENGTH).is_err()
    });
    for worker in workers {
        kill(worker, Signal::SIGKILL);
    }
    assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new());
    engine.ended();
    assert_eq!(engine.journal_of("start ").len(), starts);
}

/// A worker that a reload replaces is forced after `max_wait`, too, with a warning.
#[test]
fn a_replaced_worker_that_does_not_end_is_killed_with_a_warning() {
    let engine = Engine::start("probe", &probe("700ms"));
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    let slot = client.ask("slot");
    client.send("block 60000");
    eventually("the message is in progress", || {
        has_message_in_progress(&engine)
    });
    let old = engine.status().worker_pids();
    engine.reload();
    let told = format!("worker {slot} had not ended at max_wait after a reload and is killed");
    engine.logged(&["WARN", &told]);
    let status = engine.settled();
    assert_eq!(status.workers.len(), 2);
    assert!(status.worker_pids().iter().all(|pid| !old.contains(pid)));
    assert_eq!(engine.ask_once("build"), "first");
}
