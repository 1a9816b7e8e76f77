//! Nodes that die, NATS that dies, and others who lie.

use std::io::{Read, Write};
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

/// A client of NATS that knows the subjects of a cluster.
pub(crate) struct Liar(TcpStream);

impl Liar {
    /// One that hears what is said on these subjects.
    pub(crate) fn connect(nats: &Nats, subjects: &str) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", nats.port())).expect("a connection");
        stream
            .write_all(
                format!("CONNECT {{\"verbose\":false}}\r\nSUB {subjects} 1\r\nPING\r\n").as_bytes(),
            )
            .expect("it is taken");
        let mut liar = Self(stream);
        while !liar.line().starts_with("PONG") {}
        liar
    }

    fn line(&mut self) -> String {
        let (mut line, mut byte) = (Vec::new(), [0]);
        while !line.ends_with(b"\n") {
            self.0.read_exact(&mut byte).expect("the server speaks on");
            line.push(byte[0]);
        }
        String::from_utf8_lossy(&line).into_owned()
    }

    /// The next frame between nodes: its subject and its bytes.
    pub(crate) fn overhear(&mut self) -> (String, Vec<u8>) {
        loop {
            let line = self.line();
            let words: Vec<_> = line.split_whitespace().collect();
            if let ["MSG", subject, _, size] = words[..] {
                let mut bytes = vec![0; size.parse().expect("a size")];
                self.0.read_exact(&mut bytes).expect("the frame follows");
                return (subject.to_owned(), bytes);
            }
        }
    }

    pub(crate) fn publish(&mut self, subject: &str, bytes: &[u8]) {
        let head = format!("PUB {subject} {}\r\n", bytes.len());
        let message = [head.as_bytes(), bytes, b"\r\n"].concat();
        self.0.write_all(&message).expect("it is taken");
    }
}

#[test]
fn garbage_and_lies_on_the_subjects_are_dropped() {
    let nats = Nats::start("");
    let [a, b, _c] = three(&nats);
    let (mut receiver, id) = session(&b);
    let (mut sender, _) = session(&a);
    let mut liar = Liar::connect(&nats, "moorline.node.>");
    assert_eq!(sender.ask(format!("tell {id} hello")), "ok");
    assert_eq!(receiver.receive(), b"hello");
    let (subject, frame) = liar.overhear();
    // A second time it is the same message.
    liar.publish(&subject, &frame);
    let mut random = Random::seeded(7);
    for round in 0..2000 {
        let mut bytes = match round % 3 {
            0 => vec![1; random.within(0..80)],
            _ => frame.clone(),
        };
        // Not the sender's own name: a client of NATS can pose as it.
        for _ in 0..random.within(0..4) {
            if let Some(byte) = bytes.get_mut(random.within(0..8)) {
                *byte = random.number() as u8;
            }
        }
        if let Some(name) = bytes.get_mut(8..16) {
            name.fill(round as u8 | 1);
        }
        // Of a session that nobody has.
        if let Some(session) = bytes.get_mut(24..32) {
            session.fill(round as u8);
        }
        let to_all = round % 2 == 0;
        liar.publish(if to_all { "moorline.beat" } else { &subject }, &bytes);
    }
    assert_eq!(sender.ask(format!("tell {id} again")), "ok");
    assert_eq!(receiver.receive(), b"again");
    assert_eq!(a.settled().errors.worker_exits, 0);
    assert_eq!(b.settled().errors.worker_exits, 0);
}
