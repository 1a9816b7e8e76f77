//! A peer that cannot be reached is not a client's business while another one can be.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use moorline_tests::{Engine, Finish, PeerServer, Stopwatch, black_hole, built, eventually, kill};
use nix::sys::signal::Signal;
use socket2::SockRef;

use super::{config, connect};

/// An address that refuses connections.
fn refusing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is bound")
}

/// A byte there and back.
#[track_caller]
fn echo(client: &mut TcpStream) {
    client.write_all(b"x").expect("it is open");
    client.read_exact(&mut [0]).expect("an echo comes");
}

#[test]
fn a_peer_that_refuses_is_passed_over_and_taken_out() {
    let (peer, dead) = (PeerServer::echo(), refusing());
    let engine = Engine::start("moorline", &config("", "", &[dead, peer.address]));
    for _ in 0..10 {
        echo(&mut connect(&engine));
    }
    assert_eq!(peer.connections(), 10);
    let line = engine.logged(&["peer taken out", &dead.to_string()]);
    assert!(line.contains("refused"), "{line}");
    // Two attempts for the first one, and one for each other.
    let count = |word: &str| {
        engine
            .log()
            .lines()
            .filter(|line| line.contains(word))
            .count()
    };
    eventually("all are logged", || count("relay closed") == 10);
    assert_eq!(count("attempts=2"), 1, "{}", engine.log());
}

#[test]
fn a_peer_that_comes_back_is_used_again() {
    let dead = refusing();
    let peer = PeerServer::echo();
    let keys = "fail_timeout = \"1s\"";
    let engine = Engine::start("moorline", &config("", keys, &[dead, peer.address]));
    for _ in 0..4 {
        echo(&mut connect(&engine));
    }
    let back = PeerServer::at(dead, |mut stream| {
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
    });
    eventually("it gets connections", || {
        echo(&mut connect(&engine));
        back.connections() > 0
    });
    engine.logged(&["peer is back", &dead.to_string()]);
}

#[test]
fn a_client_is_closed_when_no_peer_can_be_reached() {
    let dead = [refusing(), refusing()];
    let engine = Engine::start("moorline", &config("", "", &dead));
    let mut client = connect(&engine);
    assert_eq!(client.read(&mut [0; 1]).unwrap_or(0), 0);
    eventually("it is counted", || {
        let relays = engine.status().gateway.relays;
        (relays.begun, relays.failed, relays.open) == (1, 1, 0)
    });
    engine.logged(&["connection closed: ", "front", "back"]);
}

#[test]
fn a_peer_that_does_not_answer_costs_no_more_than_its_timeout() {
    let (hole, _held) = black_hole();
    let peer = PeerServer::echo();
    let keys = "connect_timeout = \"400ms\"";
    let engine = Engine::start("moorline", &config("", keys, &[hole, peer.address]));
    let (begun, stopwatch) = (Instant::now(), Stopwatch::start());
    let mut client = connect(&engine);
    echo(&mut client);
    let (least, most) = (begun.elapsed(), stopwatch.elapsed());
    assert!(
        least > Duration::from_millis(390) && most < Duration::from_secs(2),
        "{least:?} {most:?}"
    );
    engine.logged(&["peer taken out", "timed out"]);
    // It is out, and costs nothing any more.
    let begun = Stopwatch::start();
    echo(&mut connect(&engine));
    assert!(begun.elapsed() < Duration::from_millis(300));
}

#[test]
fn the_time_for_all_attempts_is_bounded() {
    let holes: Vec<_> = (0..4).map(|_| black_hole()).collect();
    let addresses: Vec<_> = holes.iter().map(|(address, _)| *address).collect();
    let keys = "connect_timeout = \"400ms\"\nnext = { timeout = \"1s\" }";
    let engine = Engine::start("moorline", &config("", keys, &addresses));
    let (begun, stopwatch) = (Instant::now(), Stopwatch::start());
    let mut client = connect(&engine);
    assert_eq!(client.read(&mut [0; 1]).unwrap_or(0), 0);
    let (least, most) = (begun.elapsed(), stopwatch.elapsed());
    assert!(
        least > Duration::from_millis(900) && most < Duration::from_millis(1900),
        "{least:?} {most:?}"
    );
}

#[test]
fn a_peer_that_breaks_off_before_the_first_byte_is_passed_over() {
    for is_reset in [false, true] {
        let broken = PeerServer::new(move |stream| {
            if is_reset {
                let linger = Some(Duration::ZERO);
                SockRef::from(&stream)
                    .set_linger(linger)
                    .expect("an option");
            }
        });
        let peer = PeerServer::new(|mut stream| {
            // Its clients wait for it to speak first.
            stream.write_all(b"hello").expect("it is open");
            let _ = stream.read(&mut [0; 1]);
        });
        let addresses = [broken.address, peer.address];
        let keys = "max_fails = 0";
        let engine = Engine::start("moorline", &config("", keys, &addresses));
        for _ in 0..6 {
            let mut hello = [0; 5];
            let mut client = connect(&engine);
            client.read_exact(&mut hello).expect("a word comes");
            assert_eq!(&hello, b"hello");
        }
        assert!(broken.connections() > 0, "reset: {is_reset}");
    }
}

#[test]
fn a_peer_that_only_receives_gets_everything_although_it_ends_its_sending_at_once() {
    let (sender, received) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let peer = PeerServer::new(move |mut stream| {
        let ended = stream.shutdown(std::net::Shutdown::Write);
        ended.expect("it is open");
        let mut came = Vec::new();
        stream.read_to_end(&mut came).expect("the client ends");
        let sender = sender.lock().expect("nobody panics");
        sender.send(came).expect("the test waits");
    });
    let engine = Engine::start("moorline", &config("", "", &[peer.address]));
    let mut client = connect(&engine);
    assert_eq!(client.read(&mut [0; 1]).expect("the peer has ended"), 0);
    client
        .write_all(&[3; 100_000])
        .expect("it is open that way");
    drop(client);
    let came = received.recv_timeout(moorline_tests::PATIENCE);
    assert_eq!(came.expect("all of it comes").len(), 100_000);
}

#[test]
fn a_client_that_leaves_before_its_peer_answers_says_nothing_against_the_peer() {
    let (hole, _held) = black_hole();
    let peer = PeerServer::echo();
    let keys = "connect_timeout = \"5s\"";
    let engine = Engine::start("moorline", &config("", keys, &[hole, peer.address]));
    let client = connect(&engine);
    eventually("it is there", || engine.status().gateway.relays.open == 1);
    let linger = Some(Duration::ZERO);
    SockRef::from(&client)
        .set_linger(linger)
        .expect("an option");
    drop(client);
    eventually("it is gone", || engine.status().gateway.relays.open == 0);
    engine.logged(&["relay closed", "client"]);
    assert!(!engine.log().contains("peer taken out"));
}

/// A peer that is a process of its own.
pub(super) struct PeerProcess {
    pub(super) child: Child,
    pub(super) address: SocketAddr,
}

impl PeerProcess {
    pub(super) fn start(address: &str) -> Self {
        let mut child = Command::new(built("plain_peer"))
            .arg(address)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was built");
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output)
            .read_line(&mut line)
            .expect("it prints its address");
        let address = line.trim().parse().expect("an address");
        Self { child, address }
    }
}

impl Drop for PeerProcess {
    fn drop(&mut self) {
        // It may be dead.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn no_client_notices_that_a_peer_is_killed_and_started_again_before_it_has_said_something() {
    let mut victim = PeerProcess::start("127.0.0.1:0");
    let other = PeerProcess::start("127.0.0.1:0");
    let keys = "fail_timeout = \"200ms\"";
    let text = config("", keys, &[victim.address, other.address]);
    let engine = Engine::start("moorline", &text);
    let is_over = AtomicBool::new(false);
    let greeted = thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    let mut greeted = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        let mut word = [0; 2];
                        let read = connect(&engine).read_exact(&mut word);
                        read.unwrap_or_else(|error| panic!("after {greeted}: {error}"));
                        greeted += 1;
                    }
                    greeted
                })
            })
            .collect();
        for _ in 0..6 {
            thread::sleep(Duration::from_millis(150));
            let address = victim.address.to_string();
            drop(victim);
            thread::sleep(Duration::from_millis(150));
            victim = PeerProcess::start(&address);
        }
        is_over.store(true, Ordering::Relaxed);
        let counts = clients.into_iter().map(|it| it.join());
        counts.map(|count| count.expect("no error")).sum::<u64>()
    });
    assert!(greeted > 100, "{greeted}");
    assert_eq!(engine.status().gateway.relays.failed, 0);
}

#[test]
fn peers_see_the_address_that_is_bound() {
    let (sender, received) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let peer = PeerServer::new(move |stream| {
        let from = stream.peer_addr().expect("it is connected").ip();
        let sender = sender.lock().expect("nobody panics");
        sender.send(from).expect("the test waits");
    });
    let keys = "bind = \"127.0.0.5\"";
    let engine = Engine::start("moorline", &config("", keys, &[peer.address]));
    let _client = connect(&engine);
    let from = received.recv_timeout(moorline_tests::PATIENCE);
    assert_eq!(from.expect("it comes").to_string(), "127.0.0.5");
}

/// Failures of all peers, as `upstreams` has them.
fn failures(engine: &Engine) -> u64 {
    let said = engine.run(&["upstreams", "--json"]).expect_success();
    let seen: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    let peers = seen["peers"].as_array().expect("a list").iter();
    peers.filter_map(|peer| peer["failures"].as_u64()).sum()
}

#[test]
fn clients_that_connect_and_leave_say_nothing_against_a_peer() {
    let peers = [PeerServer::echo(), PeerServer::echo()];
    let addresses = [peers[0].address, peers[1].address];
    let engine = Engine::start("moorline", &config("", "", &addresses));
    for _ in 0..20 {
        drop(connect(&engine));
    }
    eventually("all are gone", || {
        let relays = engine.status().gateway.relays;
        (relays.begun, relays.open) == (20, 0)
    });
    assert_eq!(failures(&engine), 0);
}

#[test]
fn a_peer_that_closes_a_silent_connection_after_a_while_is_no_failing_one() {
    let quick = || {
        PeerServer::new(|mut stream| {
            let time = Some(Duration::from_millis(1200));
            stream.set_read_timeout(time).expect("it is not zero");
            let _ = stream.read(&mut [0; 1]);
        })
    };
    let peers = [quick(), quick()];
    let addresses = [peers[0].address, peers[1].address];
    let engine = Engine::start("moorline", &config("", "", &addresses));
    let mut client = connect(&engine);
    assert_eq!(client.read(&mut [0; 1]).expect("it is closed"), 0);
    assert_eq!(peers[0].connections() + peers[1].connections(), 1);
    assert_eq!(failures(&engine), 0);
}

#[test]
fn attempts_to_connect_are_among_the_last_events_of_the_gateway() {
    let (peer, dead) = (PeerServer::echo(), refusing());
    let engine = Engine::start("moorline", &config("", "", &[dead, peer.address]));
    echo(&mut connect(&engine));
    echo(&mut connect(&engine));
    kill(engine.status().gateway.pid, Signal::SIGKILL);
    let mut listed = String::new();
    eventually("its end is recorded", || {
        listed = engine.run(&["flight"]).expect_success().stdout;
        listed.contains("was killed by SIGKILL")
    });
    let name = listed.split_whitespace().next().expect("there is a name");
    let shown = engine.command(&["flight", name]).finish();
    let shown = shown.expect_success().stdout;
    let count = |text: &str| shown.lines().filter(|line| line.contains(text)).count();
    assert_eq!(count("an attempt to connect failed after"), 1, "{shown}");
    assert_eq!(count("refused"), 1, "{shown}");
    assert_eq!(count(" ms, after "), 2, "{shown}");
    assert_eq!(count("after 2 attempts in all"), 1, "{shown}");
}
