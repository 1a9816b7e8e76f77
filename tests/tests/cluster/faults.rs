//! Nodes that die, NATS that dies, and others who lie.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use moorline_tests::{Nats, Random, eventually, kill};
use nix::sys::signal::Signal;

use crate::fixture::{knows, session, three};

#[test]
fn a_node_that_dies_is_lost_within_its_time_and_its_sessions_are_gone() {
    let nats = Nats::start("");
    let [a, b, _c] = three(&nats);
    let (_receiver, id) = session(&b);
    let (mut sender, _) = session(&a);
    assert_eq!(sender.ask(format!("tell {id} x")), "ok");
    for process in b.processes() {
        kill(process.pid, Signal::SIGKILL);
    }
    let began = Instant::now();
    assert_eq!(sender.ask(format!("tell-until-refused {id}")), "Gone");
    // Three seconds, and what a busy machine takes.
    assert!(began.elapsed() < Duration::from_secs(8));
    a.site().logged(&["node lost", "node=b"]);
    std::mem::forget(b);
}

#[test]
fn without_nats_sends_are_refused_at_once_and_all_goes_on_when_it_is_back() {
    let mut nats = Nats::start("");
    let [a, b, c] = three(&nats);
    let (mut receiver, id) = session(&b);
    let (mut sender, own) = session(&a);
    nats.kill();
    assert_eq!(
        sender.ask(format!("tell-until-refused {id}")),
        "Unreachable"
    );
    // What is local goes on.
    assert_eq!(sender.ask(format!("tell {own} x")), "x");
    assert_eq!(sender.receive(), b"ok");
    // Longer than silence loses a node.
    std::thread::sleep(Duration::from_secs(4));
    nats.restart();
    eventually("the other node is reached again", || {
        sender.ask(format!("tell {id} again")) == "ok"
    });
    while receiver.receive() != b"again" {}
    for (engine, others) in [(&a, "2=b 3=c"), (&b, "1=a 3=c"), (&c, "1=a 2=b")] {
        knows(engine, others);
        assert!(
            !engine.site().log().contains("node lost"),
            "nobody was lost: {}",
            engine.site().log()
        );
    }
}

#[test]
fn garbage_on_the_subjects_is_dropped() {
    let nats = Nats::start("");
    let [a, b, _c] = three(&nats);
    let (mut receiver, id) = session(&b);
    let (mut sender, _) = session(&a);
    let mut liar = TcpStream::connect(("127.0.0.1", nats.port())).expect("a connection");
    liar.write_all(b"CONNECT {\"verbose\":false}\r\n")
        .expect("it is taken");
    let mut random = Random::seeded(7);
    for round in 0..2000 {
        let subject = match round % 2 {
            0 => "moorline.beat".to_owned(),
            _ => format!("moorline.node.{}.x", random.within(0..600)),
        };
        let mut bytes: Vec<u8> = (0..random.within(0..80))
            .map(|_| random.number() as u8)
            .collect();
        if let Some(first) = bytes.first_mut() {
            *first = (round % 3) as u8;
        }
        let head = format!("PUB {subject} {}\r\n", bytes.len());
        let message = [head.as_bytes(), &bytes, b"\r\n"].concat();
        liar.write_all(&message).expect("it is taken");
    }
    assert_eq!(sender.ask(format!("tell {id} hello")), "ok");
    assert_eq!(receiver.receive(), b"hello");
    assert_eq!(a.settled().errors.worker_exits, 0);
    assert_eq!(b.settled().errors.worker_exits, 0);
}
