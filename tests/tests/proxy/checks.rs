//! Checks find out that a peer is gone, and that it is back, before a client does.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use moorline_tests::{Engine, PeerServer, black_hole};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::failures::PeerProcess;
use super::{config, connect};

const CHECK: &str = "check = { kind = \"connect\", interval = \"100ms\", timeout = \"100ms\", fall = 2, rise = 2 }\n\
                     max_fails = 0";

fn echo(engine: &Engine) {
    let mut client = connect(engine);
    client.write_all(b"x").expect("it is open");
    client.read_exact(&mut [0]).expect("an echo comes");
}

#[test]
fn a_peer_whose_checks_fail_gets_no_connection_until_they_succeed_again() {
    let (gone, peer) = (PeerServer::echo(), PeerServer::echo());
    let address = gone.address;
    let engine = Engine::start("moorline", &config("", CHECK, &[address, peer.address]));
    drop(gone);
    engine.logged(&["peer taken out: its checks fail", &address.to_string()]);
    let before = peer.connections();
    (0..6).for_each(|_| echo(&engine));
    assert!(peer.connections() >= before + 6);
    let said = engine.run(&["upstreams"]).expect_success().stdout;
    assert!(said.contains("unhealthy"), "{said}");
    let _back = PeerServer::at(address, |mut stream| {
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
    });
    engine.logged(&["peer is back: its checks succeed", &address.to_string()]);
    (0..6).for_each(|_| echo(&engine));
}

#[test]
fn a_peer_that_does_not_answer_costs_nothing_once_its_checks_have_failed() {
    let (hole, _held) = black_hole();
    let peer = PeerServer::echo();
    let keys = format!("connect_timeout = \"10s\"\n{CHECK}");
    let engine = Engine::start("moorline", &config("", &keys, &[hole, peer.address]));
    engine.logged(&["peer taken out: its checks fail", "timed out"]);
    let begun = Instant::now();
    (0..4).for_each(|_| echo(&engine));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_frozen_peer_costs_nothing_once_its_checks_get_no_answer() {
    let frozen = PeerProcess::start("127.0.0.1:0");
    let peer = PeerProcess::start("127.0.0.1:0");
    let check = "check = { kind = \"expect\", send = \"how are you\", expect = \"hihow are you\", interval = \"100ms\", fall = 2, rise = 2 }";
    let addresses = [frozen.address, peer.address];
    let engine = Engine::start("moorline", &config("", check, &addresses));
    let signal = |signal| {
        let pid = Pid::from_raw(frozen.child.id().cast_signed());
        kill(pid, signal).expect("it is ours");
    };
    let greet = || {
        let mut word = [0; 2];
        connect(&engine)
            .read_exact(&mut word)
            .expect("a live peer greets");
    };
    signal(Signal::SIGSTOP);
    let line = engine.logged(&["peer taken out: its checks fail"]);
    assert!(line.contains("timed out"), "{line}");
    assert!(line.contains(&frozen.address.to_string()), "{line}");
    (0..10).for_each(|_| greet());
    signal(Signal::SIGCONT);
    engine.logged(&["peer is back: its checks succeed"]);
    (0..10).for_each(|_| greet());
}

#[test]
fn a_client_leaves_a_peer_that_is_taken_out_also_after_the_time_for_attempts() {
    let frozen = PeerProcess::start("127.0.0.1:0");
    let peer = PeerProcess::start("127.0.0.1:0");
    let pid = Pid::from_raw(frozen.child.id().cast_signed());
    kill(pid, Signal::SIGSTOP).expect("it is ours");
    let keys = "next = { timeout = \"300ms\" }\n\
                check = { kind = \"expect\", send = \"x\", expect = \"hix\", interval = \"1s\", timeout = \"200ms\", fall = 2 }";
    let addresses = [frozen.address, peer.address];
    let engine = Engine::start("moorline", &config("", keys, &addresses));
    let begun = Instant::now();
    let mut clients = [connect(&engine), connect(&engine)];
    for client in &mut clients {
        client.read_exact(&mut [0; 2]).expect("the other greets");
    }
    let waited = begun.elapsed();
    assert!(waited > Duration::from_millis(300), "{waited:?}");
    engine.logged(&[
        "peer taken out: its checks fail",
        &frozen.address.to_string(),
    ]);
    kill(pid, Signal::SIGCONT).expect("it is ours");
}

#[test]
fn a_peer_that_answers_something_else_is_taken_out() {
    let wrong = PeerServer::new(|mut stream| {
        if stream.read_exact(&mut [0]).is_ok() {
            let _ = stream.write_all(b"no");
        }
    });
    let peer = PeerProcess::start("127.0.0.1:0");
    let check = "check = { kind = \"expect\", send = \"x\", expect = \"hi\", interval = \"100ms\", fall = 1 }";
    let addresses = [wrong.address, peer.address];
    let engine = Engine::start("moorline", &config("", check, &addresses));
    let line = engine.logged(&["peer taken out: its checks fail"]);
    assert!(line.contains("answered something else"), "{line}");
    assert!(line.contains(&wrong.address.to_string()), "{line}");
}

#[test]
fn checks_end_when_a_reload_takes_them_out() {
    let peer = PeerServer::echo();
    let engine = Engine::start("moorline", &config("", CHECK, &[peer.address]));
    let before = peer.connections();
    moorline_tests::eventually("it is checked", || peer.connections() > before + 2);
    engine.configure(&config("", "", &[peer.address]));
    engine.reload().expect_success();
    thread::sleep(Duration::from_millis(300));
    let before = peer.connections();
    thread::sleep(Duration::from_millis(500));
    assert_eq!(peer.connections(), before);
}
