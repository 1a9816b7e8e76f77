//! A crash hits what was being handled, and nothing beside it.

use std::thread;
use std::time::Duration;

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Lost, Wire, eventually};

fn probe(on_crash: &str, attempts: u32) -> Engine {
    let config = format!(
        "[workers]\ncount = 1\n[tasks]\ncount = 1\nattempts = {attempts}\n{LENGTH_LISTENER}on_crash = \"{on_crash}\"\nattempts = {attempts}\n[app]\njournal = \"{{folder}}/journal\"\n"
    );
    Engine::start("probe", &config)
}

fn client(engine: &Engine) -> Client {
    Client::connect(engine, 0, Wire::LENGTH)
}

/// Nine messages and a fatal one, which the worker finds together: it was busy while they came.
fn nine_and_a_crash(engine: &Engine, fatal: &str) -> (Vec<Client>, Client) {
    let mut busy = client(engine);
    let mut clients: Vec<Client> = (0..9).map(|_| client(engine)).collect();
    let mut last = client(engine);
    for client in clients.iter_mut().chain([&mut last]) {
        client.ask("id");
    }
    busy.send("block 500");
    eventually("it runs", || engine.worker(0).in_progress == 1);
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("answer {number}"));
    }
    thread::sleep(Duration::from_millis(100));
    last.send(fatal);
    assert_eq!(busy.receive(), b"blocked");
    (clients, last)
}

#[test]
fn what_was_answered_before_a_crash_arrives_and_its_sessions_go_on() {
    let engine = probe("close", 3);
    let (mut clients, mut last) = nine_and_a_crash(&engine, "crash");
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.receive(), format!("answer {number}").as_bytes());
        assert_eq!(client.ask("once more"), "once more");
    }
    assert_eq!(last.receive_to_end(), Vec::<Vec<u8>>::new());
    let lost = Lost {
        closed_by_crash: 1,
        ..Lost::default()
    };
    assert_eq!(engine.settled().lost, lost);
}

#[test]
fn what_was_answered_before_a_crash_is_not_redelivered() {
    let engine = probe("redeliver", 3);
    let once = format!("crash-once {}", engine.path("crashed").display());
    let (mut clients, mut last) = nine_and_a_crash(&engine, &once);
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.receive(), format!("answer {number}").as_bytes());
        assert_eq!(client.ask("once more"), "once more");
    }
    assert_eq!(last.receive(), b"survived");
    let lost = Lost {
        redelivered: 1,
        ..Lost::default()
    };
    assert_eq!(engine.settled().lost, lost);
}

/// What goes to several loops is published together, later.
#[test]
fn what_handlers_had_sent_to_sessions_of_several_loops_before_a_crash_counts() {
    let engine = Engine::start(
        "probe",
        &format!(
            "[workers]\ncount = 1\n[engine]\ngateway_loops = 2\n{LENGTH_LISTENER}on_crash = \"redeliver\"\n"
        ),
    );
    let mut by_loop: [Vec<(Client, String)>; 2] = Default::default();
    while by_loop.iter().any(|clients| clients.len() < 6) {
        let mut client = client(&engine);
        let id = client.ask("id");
        by_loop[usize::from(id.starts_with("0001"))].push((client, id));
    }
    let [mut here, mut there] = by_loop;
    let (mut last, _) = here.pop().expect("there are some");
    let (mut busy, _) = here.pop().expect("there are some");
    busy.send("block 500");
    eventually("it runs", || engine.worker(0).in_progress == 1);
    for (client, _) in &mut here {
        client.send(format!("spray {} 1 3", there[0].1));
    }
    thread::sleep(Duration::from_millis(100));
    last.send(format!("crash-once {}", engine.path("crashed").display()));
    assert_eq!(busy.receive(), b"blocked");
    for (client, _) in &mut here {
        assert_eq!(client.receive(), b"sprayed");
        assert_eq!(client.ask("once more"), "once more");
        assert_eq!(there[0].0.receive(), b"sss");
    }
    assert_eq!(there[0].0.ask("no more"), "no more");
    assert_eq!(last.receive(), b"survived");
    assert_eq!(engine.settled().lost.redelivered, 1);
}

/// The messages of one session: those before the fatal one are answered, those behind it have not begun.
#[test]
fn of_one_session_only_the_message_that_was_handled_is_lost() {
    let engine = probe("drop", 3);
    let mut one = client(&engine);
    one.ask("id");
    let mut messages: Vec<String> = (0..9).map(|number| format!("before {number}")).collect();
    messages.push("crash".to_owned());
    messages.extend((0..3).map(|number| format!("after {number}")));
    let bytes: Vec<u8> = messages
        .iter()
        .flat_map(|message| Wire::LENGTH.encode(message.as_bytes()))
        .collect();
    one.send_bytes(&bytes).expect("they are taken");
    for message in messages.iter().filter(|message| *message != "crash") {
        assert_eq!(one.receive(), message.as_bytes());
    }
    assert_eq!(one.ask("at last"), "at last");
    let lost = Lost {
        dropped: 1,
        ..Lost::default()
    };
    assert_eq!(engine.settled().lost, lost);
}

/// A handler that awaits has later messages of its session behind it in the worker. They have not begun: no death counts
/// against them.
#[test]
fn messages_behind_the_one_that_was_handled_have_all_their_attempts() {
    let engine = probe("redeliver", 2);
    let mut one = client(&engine);
    let path = engine.path("crashed");
    one.send("sleep 400");
    one.send(format!("crash-once {}", path.display()));
    one.send("behind");
    eventually("it is handled", || engine.worker(0).in_progress == 1);
    thread::sleep(Duration::from_millis(50));
    engine.kill_worker(0, nix::sys::signal::Signal::SIGKILL);
    // That death counts against the first. The second one causes the next, which is its first.
    let answers = [(); 3].map(|()| one.receive());
    assert_eq!(answers, [&b"slept"[..], b"survived", b"behind"]);
}

#[test]
fn a_task_that_crashes_fails_none_beside_it() {
    let engine = probe("close", 1);
    let mut busy = client(&engine);
    busy.send("task block 500");
    eventually("it runs", || engine.status().tasks[0].in_progress == 1);
    let mut clients: Vec<Client> = (0..20).map(|_| client(&engine)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        match number {
            10 => client.send("task crash"),
            _ => client.send("task pleasant"),
        }
    }
    assert_eq!(busy.receive(), b"blocked");
    for (number, client) in clients.iter_mut().enumerate() {
        let answer = String::from_utf8(client.receive()).expect("it is text");
        match number {
            10 => assert!(answer.starts_with("Failed"), "{answer}"),
            _ => assert_eq!(answer, "PLEASANT", "task {number}"),
        }
    }
}

/// A message that sleeps, whose worker is killed again and again by what `kill` does.
fn is_redelivered(engine: &Engine, mut kill: impl FnMut()) {
    let mut one = client(engine);
    one.send("sleep 2000");
    for redelivered in 1..=4 {
        eventually("its message is in progress", || {
            let workers = engine.status().workers;
            workers.iter().any(|worker| worker.in_progress == 1)
        });
        kill();
        eventually("the message is delivered again", || {
            engine.status().lost.redelivered == redelivered
        });
    }
    assert_eq!(one.receive(), b"slept");
    assert_eq!(engine.settled().lost.closed_by_crash, 0);
}

/// It takes its worker, and the messages there, with it; but it is not their fault.
#[test]
fn a_plain_request_that_kills_its_worker_counts_against_no_message() {
    let web = "[[listen]]\naddress = \"http://127.0.0.1:0\"\n\
               [[listen.route]]\npath = \"/app/*rest\"\nkind = \"app\"\n";
    let length = format!("{LENGTH_LISTENER}on_crash = \"redeliver\"\nattempts = 2\n");
    let engine = Engine::start("probe", &format!("[workers]\ncount = 1\n{length}{web}"));
    is_redelivered(&engine, || {
        let mut other = Client::connect(&engine, 1, Wire::Raw);
        let request = b"GET /app/x?do=abort HTTP/1.1\r\nHost: a.example\r\n\r\n";
        other.send_bytes(request).expect("it is taken");
        let head = other.receive_head().expect("it is answered");
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    });
}

#[test]
fn a_post_that_kills_its_worker_counts_against_no_message() {
    let length = format!("{LENGTH_LISTENER}on_crash = \"redeliver\"\nattempts = 2\n");
    let tasks = "[tasks]\ncount = 1\n";
    let engine = Engine::start("probe", &format!("[workers]\ncount = 1\n{tasks}{length}"));
    let mut other = client(&engine);
    is_redelivered(&engine, || other.send("post 0 crash"));
}
