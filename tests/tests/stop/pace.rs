//! Stops that are spread over a time, and drains, after which the engine serves on.

use std::thread;
use std::time::{Duration, Instant};

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Process, Wire, eventually, kill};
use nix::sys::signal::Signal;

/// Sessions of each test: enough that chance does not look like a rule.
const SESSIONS: usize = 60;

fn engine(engine: &str) -> Engine {
    Engine::start(
        "probe",
        &format!(
            "[engine]\ngateway_loops = 2\n{engine}\n[workers]\ncount = 2\nmax_wait = \"5s\"\n{LENGTH_LISTENER}name = \"door\"\n\
             [[listen]]\nname = \"web\"\naddress = \"http://127.0.0.1:0\"\nwebsocket = \"/ws\"\n"
        ),
    )
}

fn connect(engine: &Engine) -> Vec<Client> {
    let clients = (0..SESSIONS).map(|_| Client::connect(engine, 0, Wire::LENGTH));
    let mut clients: Vec<_> = clients.collect();
    for client in &mut clients {
        client.ask("id");
    }
    clients
}

/// When each session was closed, in order, counted from the call.
fn closed(clients: Vec<Client>) -> Vec<Duration> {
    let begun = Instant::now();
    let waits = clients.into_iter().map(|mut client| {
        thread::spawn(move || {
            assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new());
            begun.elapsed()
        })
    });
    let waits: Vec<_> = waits.collect();
    let closed = waits
        .into_iter()
        .map(|wait| wait.join().expect("it closes"));
    let mut closed: Vec<_> = closed.collect();
    closed.sort();
    closed
}

/// Each quarter of the time closes about a quarter of the sessions.
#[track_caller]
fn assert_spread(closed: &[Duration], over: Duration) {
    for quarter in 1..4_u32 {
        let end = over * quarter / 4;
        let before = closed.iter().filter(|at| **at < end).count();
        let wanted = SESSIONS * quarter as usize / 4;
        assert!(
            before.abs_diff(wanted) <= SESSIONS / 6,
            "{before} instead of {wanted} were closed by {end:?}: {closed:?}"
        );
    }
    let last = closed.last().expect("there are some");
    assert!(*last < over + Duration::from_secs(1), "{closed:?}");
}

#[test]
fn a_stop_spreads_closings_over_stop_over_and_serves_the_others_meanwhile() {
    let over = Duration::from_secs(8);
    let mut engine = engine("stop_over = \"8s\"");
    let mut clients = connect(&engine);
    // What this one has in progress ends, whenever its turn comes.
    let mut busy = clients.pop().expect("there are some");
    busy.send("sleep 1000");
    eventually("it is in progress", || {
        engine
            .status()
            .workers
            .iter()
            .any(|worker| worker.in_progress > 0)
    });
    kill(engine.supervisor(), Signal::SIGTERM);
    let waits = thread::spawn(move || closed(clients));
    eventually("status shows how far it has come", || {
        engine
            .status()
            .closing
            .is_some_and(|closing| closing.left < closing.of && closing.of == SESSIONS as u64)
    });
    assert!(Client::try_connect(engine.address(0), Wire::LENGTH).is_err());
    engine.logged(&["stopping: ", &format!("of {SESSIONS} sessions are left")]);
    let closed = waits.join().expect("all close");
    assert_spread(&closed, over);
    assert_eq!(busy.receive_to_end(), [b"slept"]);
    assert!(engine.ended().success());
}

#[test]
fn a_worker_that_dies_in_a_paced_stop_is_replaced_and_the_stop_takes_no_longer() {
    let mut engine = engine("stop_over = \"4s\"");
    let mut clients = connect(&engine);
    let worker = engine.status().worker_pids()[0];
    let begun = Instant::now();
    kill(engine.supervisor(), Signal::SIGTERM);
    kill(worker, Signal::SIGKILL);
    eventually("a new worker serves", || {
        engine.status().worker_pids()[0] != worker
    });
    let mut answers = 0;
    for client in &mut clients {
        client.send("id");
        answers += usize::from(matches!(client.try_receive(), Ok(Some(_))));
    }
    assert!(
        answers > SESSIONS / 3,
        "{answers} of {SESSIONS} had an answer"
    );
    drop(clients);
    assert!(engine.ended().success());
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_stop_spreads_the_ends_of_http_connections_too() {
    let over = Duration::from_secs(4);
    let mut engine = engine("stop_over = \"4s\"");
    let gateway = engine.status().gateway.pid;
    let before = Process::descriptors(gateway);
    let connections = (0..SESSIONS).map(|_| Client::connect(&engine, 1, Wire::Raw));
    let connections: Vec<_> = connections.collect();
    // One that has not been taken in is none that could be spared.
    eventually("they are there", || {
        Process::descriptors(gateway) == before + SESSIONS
    });
    kill(engine.supervisor(), Signal::SIGTERM);
    let closed = closed(connections);
    let early = closed.iter().filter(|at| **at < over / 4).count();
    assert!((1..SESSIONS / 2).contains(&early), "{early}: {closed:?}");
    let last = closed.last().expect("there are some");
    assert!((over / 2..over + over / 4).contains(last), "{last:?}");
    assert!(engine.ended().success());
}

#[test]
fn a_websocket_is_refused_while_the_engine_stops() {
    let engine = engine("stop_over = \"1h\"");
    let gateway = engine.status().gateway.pid;
    let before = Process::descriptors(gateway);
    // Most of them live on for minutes.
    let mut connections: Vec<_> = (0..8)
        .map(|_| Client::connect(&engine, 1, Wire::Raw))
        .collect();
    eventually("they are accepted", || {
        Process::descriptors(gateway) == before + 8
    });
    kill(engine.supervisor(), Signal::SIGTERM);
    eventually("it stops", || {
        Client::try_connect(engine.address(0), Wire::LENGTH).is_err()
    });
    let answers = connections.iter_mut().map(|it| it.shake_hands("/ws"));
    let answers: Vec<_> = answers.filter_map(Result::ok).collect();
    assert!(!answers.is_empty());
    for answer in answers {
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }
    kill(engine.supervisor(), Signal::SIGTERM);
}

#[test]
fn a_short_stop_and_a_short_drain_print_their_progress_and_the_closed_sessions() {
    let mut engine = engine("stop_over = \"2s\"");
    let progress = |verb: &str| {
        let text = format!("of {SESSIONS} sessions are left");
        let log = engine.log();
        let lines = log.lines();
        lines
            .filter(|line| line.contains(&format!("{verb}: ")) && line.contains(&text))
            .count()
    };
    let clients = connect(&engine);
    let drained = engine.run(&["drain"]).expect_success();
    engine.logged(&[&format!("drained: closed {SESSIONS} sessions in ")]);
    // Every half second, at a look each quarter of one; the last may come when none is left.
    assert!((2..=4).contains(&progress("draining")), "{}", engine.log());
    assert!(drained.stdout.contains("sessions are left"), "{drained:?}");
    drop(clients);

    let clients = connect(&engine);
    kill(engine.supervisor(), Signal::SIGTERM);
    engine.logged(&[&format!("stopped: closed {SESSIONS} sessions in ")]);
    assert!((2..=4).contains(&progress("stopping")), "{}", engine.log());
    assert!(engine.ended().success());
    drop(clients);
}

#[test]
fn a_second_signal_ends_a_paced_stop_at_once() {
    let mut engine = engine("stop_over = \"1h\"");
    let clients = connect(&engine);
    kill(engine.supervisor(), Signal::SIGTERM);
    eventually("it stops", || engine.log().contains("stopping"));
    kill(engine.supervisor(), Signal::SIGTERM);
    let since = Instant::now();
    assert!(engine.ended().success());
    assert!(since.elapsed() < Duration::from_secs(3));
    drop(clients);
}

#[test]
fn a_drain_spreads_closings_and_the_engine_serves_on() {
    let over = Duration::from_secs(4);
    let engine = engine("");
    let clients = connect(&engine);
    let waits = thread::spawn(move || closed(clients));
    let site = engine.site();
    let drain = thread::spawn(move || site.run(&["drain", "--over", "4s"]).expect_success());
    eventually("it drains", || engine.status().closing.is_some());
    // A new connection is none of those.
    let mut late = Client::connect(&engine, 0, Wire::LENGTH);
    late.ask("id");
    let refused = engine.run(&["drain"]);
    assert!(
        !refused.status.success(),
        "one drain at a time: {refused:?}"
    );
    assert_spread(&waits.join().expect("all close"), over);
    let drained = drain.join().expect("the command ends");
    assert!(
        drained
            .stdout
            .contains(&format!("closed {SESSIONS} sessions in")),
        "{drained:?}"
    );
    assert_eq!(late.ask("build"), "first");
    let status = engine.status();
    assert_eq!(status.gateway.sessions, 1);
    assert!(status.closing.is_none());
    engine.logged(&["drained: closed"]);
}

#[test]
fn a_drain_of_one_listener_leaves_the_others_alone() {
    let engine = engine("");
    let mut door = Client::connect(&engine, 0, Wire::LENGTH);
    door.ask("id");
    let mut web = Client::connect(&engine, 1, Wire::WebSocket);
    web.ask("id");
    engine
        .run(&["drain", "--over", "100ms", "--listener", "web"])
        .expect_success();
    assert_eq!(door.ask("build"), "first");
    assert_eq!(web.receive_frame(), (8, 1001_u16.to_be_bytes().to_vec()));
    let unknown = engine.run(&["drain", "--listener", "gate"]);
    assert!(!unknown.status.success());
    assert!(unknown.stderr.contains("door, web"), "{unknown:?}");
}

#[test]
fn a_drain_cuts_off_messages_in_progress_after_max_wait() {
    let engine = Engine::start(
        "probe",
        &format!("[workers]\ncount = 1\nmax_wait = \"500ms\"\n{LENGTH_LISTENER}"),
    );
    let mut client = Client::connect(&engine, 0, Wire::LENGTH);
    client.send("hang");
    eventually("it is in progress", || engine.worker(0).in_progress > 0);
    engine.run(&["drain", "--over", "0s"]).expect_success();
    assert_eq!(client.receive_to_end(), Vec::<Vec<u8>>::new());
    assert_eq!(engine.ask_once("build"), "first");
}

#[test]
fn websocket_sessions_are_closed_with_the_configured_code() {
    for (line, code) in [("", 1001_u16), ("stop_code = 1012", 1012)] {
        let mut engine = engine(&format!("stop_over = \"200ms\"\n{line}"));
        let mut drained = Client::connect(&engine, 1, Wire::WebSocket);
        drained.ask("id");
        // Without a time of its own it takes that of a stop.
        engine.run(&["drain"]).expect_success();
        assert_eq!(drained.receive_frame(), (8, code.to_be_bytes().to_vec()));
        let mut client = Client::connect(&engine, 1, Wire::WebSocket);
        client.ask("id");
        kill(engine.supervisor(), Signal::SIGTERM);
        assert_eq!(client.receive_frame(), (8, code.to_be_bytes().to_vec()));
        assert!(engine.ended().success());
    }
}
