//! A stop closes relays when that cuts nothing off.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use moorline_tests::{Engine, PeerServer, Stopwatch, kill};
use nix::sys::signal::Signal;

use super::{config, connect};

#[test]
fn a_stop_closes_quiet_relays_and_waits_for_an_answer() {
    let peer = PeerServer::new(|mut stream| {
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() {
            thread::sleep(Duration::from_millis(u64::from(byte[0]) * 100));
            if stream.write_all(&byte).is_err() {
                return;
            }
        }
    });
    let mut engine = Engine::start("moorline", &config("", "", &[peer.address]));
    let (mut quiet, mut waiting) = (connect(&engine), connect(&engine));
    quiet.write_all(&[0]).expect("it is open");
    quiet.read_exact(&mut [0]).expect("an answer comes");
    waiting.write_all(&[15]).expect("it is open");
    thread::sleep(Duration::from_millis(300));
    let begun = Stopwatch::start();
    kill(engine.supervisor(), Signal::SIGTERM);
    assert_eq!(quiet.read(&mut [0]).expect("it is closed"), 0);
    assert!(begun.elapsed() < Duration::from_millis(900));
    let mut answer = [0];
    waiting.read_exact(&mut answer).expect("its answer comes");
    assert_eq!(answer, [15]);
    assert_eq!(waiting.read(&mut [0]).expect("it is closed"), 0);
    assert!(engine.ended().success());
}

#[test]
fn a_stop_ends_relays_that_never_become_quiet_at_max_wait() {
    let peer = PeerServer::new(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let text = config("", "", &[peer.address]).replace("count = 1", "count = 1\nmax_wait = \"1s\"");
    let mut engine = Engine::start("moorline", &text);
    let mut client = connect(&engine);
    client.write_all(b"a question").expect("it is open");
    thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    kill(engine.supervisor(), Signal::SIGTERM);
    assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
    let took = begun.elapsed();
    assert!(
        took > Duration::from_millis(900) && took < Duration::from_secs(5),
        "{took:?}"
    );
    assert!(engine.ended().success());
}

#[test]
fn a_drain_closes_the_present_relays_and_serves_new_ones() {
    let peer = PeerServer::echo();
    let engine = Engine::start("moorline", &config("", "", &[peer.address]));
    let mut client = connect(&engine);
    client.write_all(b"x").expect("it is open");
    client.read_exact(&mut [0]).expect("an echo comes");
    engine.run(&["drain", "--over", "1s"]).expect_success();
    assert_eq!(client.read(&mut [0]).expect("it is closed"), 0);
    let mut client = connect(&engine);
    client.write_all(b"x").expect("it is open");
    client.read_exact(&mut [0]).expect("an echo comes");
}
