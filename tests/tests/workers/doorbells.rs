//! Doorbells: whatever a worker does to its ends, the gateway serves the others.

use std::time::Duration;

use moorline_tests::{Client, Engine, LENGTH_LISTENER, Process, Stopwatch, Wire, eventually};
use nix::sys::signal::Signal;

/// Far more than an answer takes, and far less than a loop that is blocked or not woken.
const AT_ONCE: Duration = Duration::from_millis(1500);

/// An engine with one loop, its worker 0, sessions of that one, the first of which has it misuse its descriptors, and a
/// session of worker 1.
fn misused(how: &str) -> (Engine, i32, Vec<Client>, Client) {
    let config = format!("[engine]\ngateway_loops = 1\n[workers]\ncount = 2\n{LENGTH_LISTENER}");
    let engine = Engine::start("probe", &config);
    let mut clients: Vec<Client> = (0..8)
        .map(|_| Client::connect(&engine, 0, Wire::LENGTH))
        .collect();
    let (mut victims, mut others) = (Vec::new(), Vec::new());
    for mut client in clients.drain(..) {
        match &*client.ask("slot") {
            "0" => victims.push(client),
            _ => others.push(client),
        }
    }
    assert!(victims.len() > 1 && !others.is_empty(), "they are spread");
    let misused = engine.worker(0).pid;
    // Its answer may not come.
    victims[0].send(format!("misuse {how}"));
    (engine, misused, victims, others.remove(0))
}

/// The other worker's session is answered, while the misused one is rung for more.
fn expect_served(engine: &Engine, victims: &mut [Client], other: &mut Client) {
    let gateway = engine.status().gateway.pid;
    for round in 0..200 {
        for victim in &mut *victims {
            victim.send("id");
        }
        let asked = Stopwatch::start();
        assert_eq!(other.ask("build"), "first");
        assert!(
            asked.elapsed() < AT_ONCE,
            "round {round}: {:?}",
            asked.elapsed()
        );
        // A loop that sleeps must be woken by the ring, not by what it does anyway.
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(engine.status().gateway.pid, gateway, "the gateway lives");
}

fn expect_replaced(engine: &Engine) {
    engine.kill_worker(0, Signal::SIGKILL);
    eventually("it is replaced", || {
        engine.status().worker_pids().len() == 2
    });
    let mut next: Vec<Client> = (0..4)
        .map(|_| Client::connect(engine, 0, Wire::LENGTH))
        .collect();
    for client in &mut next {
        assert_eq!(client.ask("build"), "first");
    }
}

#[test]
fn a_worker_that_fills_its_doorbells_and_makes_them_block_blocks_no_loop() {
    let (engine, _, mut victims, mut other) = misused("fill");
    expect_served(&engine, &mut victims, &mut other);
    expect_replaced(&engine);
}

#[test]
fn a_worker_that_reads_its_doorbells_takes_nobody_elses_wake_ups() {
    let (engine, _, mut victims, mut other) = misused("steal");
    expect_served(&engine, &mut victims, &mut other);
    expect_replaced(&engine);
}

#[test]
fn a_worker_that_shuts_its_channels_neither_ends_the_gateway_nor_makes_it_spin() {
    let (engine, misused, mut victims, mut other) = misused("shut");
    expect_served(&engine, &mut victims[..1], &mut other);
    // It has no control channel any more, so the supervisor replaces it.
    let before = engine.status();
    let (gateway, neighbour) = (before.gateway.pid, engine.worker(1).pid);
    let before = Process::cpu_time(gateway);
    // The time is the test's subject.
    std::thread::sleep(Duration::from_secs(2));
    let used = Process::cpu_time(gateway) - before;
    assert!(used < Duration::from_millis(200), "it spins: {used:?}");
    eventually("it is replaced", || {
        let pids = engine.status().worker_pids();
        pids.len() == 2 && pids[0] != misused
    });
    assert_eq!(engine.status().gateway.pid, gateway);
    assert_eq!(engine.worker(1).pid, neighbour);
    assert_eq!(other.ask("build"), "first");
}
