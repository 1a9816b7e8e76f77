//! Peers die, freeze, vanish and come back under load, and no client sees an error that another peer could prevent.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use moorline_tests::{Engine, black_hole, sized};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::failures::PeerProcess;
use super::{config, connect};

const CONNECT_TIMEOUT: Duration = Duration::from_millis(200);
/// `fall` times the interval, and the time that the last check may take.
const NOTICED_AFTER: Duration = Duration::from_millis(2 * 100 + 100);
/// What a busy machine may add. A client that waited for a frozen or vanished peer would wait for far longer.
const SLACK: Duration = Duration::from_millis(1500);

/// When a client began, and how long its greeting took.
type Greeting = (Instant, Duration);

/// Clients that connect, wait for the greeting of whichever peer they get, and leave.
fn greet_until(is_over: &AtomicBool, engine: &Engine) -> Vec<Greeting> {
    let mut all = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let read = connect(engine).read_exact(&mut [0; 2]);
        read.unwrap_or_else(|error| panic!("after {} greetings: {error}", all.len()));
        all.push((begun, begun.elapsed()));
    }
    all
}

fn signal(peer: &PeerProcess, signal: Signal) {
    kill(Pid::from_raw(peer.child.id().cast_signed()), signal).expect("it is ours");
}

/// The slowest greeting of the clients that began between these times.
fn slowest(greetings: &[Greeting], from: Instant, to: Instant) -> Duration {
    let begun_then = greetings.iter().filter(|(at, _)| *at >= from && *at < to);
    let took = begun_then.map(|(_, took)| *took);
    took.max().expect("clients began then")
}

#[test]
fn no_client_sees_an_error_while_peers_die_freeze_and_vanish_and_nobody_waits_for_them_for_long() {
    let mut peers: Vec<_> = (0..4).map(|_| PeerProcess::start("127.0.0.1:0")).collect();
    let (hole, _held) = black_hole();
    let mut addresses: Vec<_> = peers.iter().map(|peer| peer.address).collect();
    addresses.push(hole);
    let keys = format!(
        "connect_timeout = \"{}ms\"\nfail_timeout = \"300ms\"\n\
         check = {{ kind = \"expect\", send = \"x\", expect = \"hix\", interval = \"100ms\", timeout = \"100ms\", fall = 2, rise = 1 }}",
        CONNECT_TIMEOUT.as_millis()
    );
    let engine = Engine::start("moorline", &config("", &keys, &addresses));
    let is_over = AtomicBool::new(false);
    let mut frozen = Vec::new();
    let mut quiet = Vec::new();
    let pause = Duration::from_millis(150);
    let greetings = thread::scope(|scope| {
        let clients: Vec<_> = (0..sized(6, 32))
            .map(|_| scope.spawn(|| greet_until(&is_over, &engine)))
            .collect();
        for round in 0..sized(3, 30) {
            let from = Instant::now();
            let at = round % peers.len();
            let peer = peers.remove(at);
            let address = peer.address.to_string();
            drop(peer);
            thread::sleep(pause);
            peers.insert(at, PeerProcess::start(&address));
            quiet.push((from, Instant::now()));

            let peer = &peers[(round + 1) % peers.len()];
            signal(peer, Signal::SIGSTOP);
            thread::sleep(NOTICED_AFTER + SLACK / 4);
            let from = Instant::now();
            thread::sleep(SLACK);
            frozen.push((from, Instant::now()));
            signal(peer, Signal::SIGCONT);
            thread::sleep(pause);
        }
        is_over.store(true, Ordering::Relaxed);
        let greetings = clients.into_iter().map(|it| it.join());
        let greetings = greetings.map(|all| all.expect("no client sees an error"));
        greetings.collect::<Vec<_>>().concat()
    });
    let of = |periods: &[(Instant, Instant)]| {
        let all = periods.iter();
        all.map(|(from, to)| slowest(&greetings, *from, *to))
            .max()
            .expect("there were rounds")
    };
    let (killed, frozen) = (of(&quiet), of(&frozen));
    println!(
        "{} greetings, slowest while peers are killed {killed:?}, while one is known to be frozen {frozen:?}",
        greetings.len()
    );
    assert!(killed < CONNECT_TIMEOUT + SLACK, "{killed:?}");
    assert!(frozen < SLACK, "{frozen:?}");
    let relays = engine.status().gateway.relays;
    assert_eq!(relays.failed, 0);
}
