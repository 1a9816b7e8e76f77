//! What a handler has sent does not wait for other handlers of its process.

use std::thread;
use std::time::{Duration, Instant};

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Stopwatch, Wire, eventually};

fn probe(more: &str) -> Engine {
    let config = format!(
        "[workers]\ncount = 1\n[tasks]\ncount = 1\n[engine]\ngateway_loops = 1\n{LENGTH_LISTENER}{more}[app]\njournal = \"{{folder}}/journal\"\n"
    );
    Engine::start("probe", &config)
}

/// Each of these clients sends this. Returns when each was answered, the first first.
fn answer_times(clients: Vec<Client>, command: &str) -> Vec<Duration> {
    let begun = Instant::now();
    let asks = clients.into_iter().map(|mut client| {
        let command = command.to_owned();
        thread::spawn(move || {
            client.ask(command);
            begun.elapsed()
        })
    });
    let asks: Vec<_> = asks.collect();
    let mut times: Vec<Duration> = asks
        .into_iter()
        .map(|ask| ask.join().expect("it was answered"))
        .collect();
    times.sort_unstable();
    times
}

#[track_caller]
fn one_after_another(times: &[Duration]) {
    println!("{times:?}");
    let (first, last) = (times[0], times[times.len() - 1]);
    assert!(first * 5 < last, "{times:?}");
    for (before, after) in times.iter().zip(&times[1..]) {
        assert!(*after - *before < last / 4, "{times:?}");
    }
}

#[test]
fn tasks_of_one_task_worker_answer_one_after_another() {
    let engine = probe("");
    let clients = (0..20).map(|_| Client::connect(&engine, 0, Wire::LENGTH));
    one_after_another(&answer_times(clients.collect(), "task block 100"));
}

#[test]
fn handlers_that_block_answer_one_after_another() {
    let engine = probe("");
    let clients = (0..20).map(|_| Client::connect(&engine, 0, Wire::LENGTH));
    one_after_another(&answer_times(clients.collect(), "block 100"));
}

/// The order in the ring is that of the messages: while the first blocks, the others arrive.
#[test]
fn a_finished_answer_does_not_wait_for_a_handler_that_blocks() {
    let engine = probe("");
    let [mut first, mut quick, mut slow] =
        [(); 3].map(|()| Client::connect(&engine, 0, Wire::LENGTH));
    first.ask("pid");
    quick.ask("pid");
    slow.ask("pid");
    first.send("block 300");
    eventually("it runs", || engine.worker(0).in_progress == 1);
    quick.send("quick");
    thread::sleep(Duration::from_millis(50));
    slow.send("block 3000");
    assert_eq!(first.receive(), b"blocked");
    let begun = Stopwatch::start();
    assert_eq!(quick.receive(), b"quick");
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(slow.receive(), b"blocked");
}

/// The same for handlers that await first: they end outside of the turn that took their messages.
#[test]
fn an_answer_after_an_await_does_not_wait_for_a_handler_that_blocks() {
    let engine = probe("");
    let [mut first, mut quick, mut slow] =
        [(); 3].map(|()| Client::connect(&engine, 0, Wire::LENGTH));
    first.ask("pid");
    quick.send("sleep 500");
    slow.send("sleep-then-block 510 3000");
    eventually("they run", || engine.worker(0).in_progress == 2);
    first.send("block 700");
    assert_eq!(first.receive(), b"blocked");
    let begun = Stopwatch::start();
    assert_eq!(quick.receive(), b"slept");
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(slow.receive(), b"blocked");
}
