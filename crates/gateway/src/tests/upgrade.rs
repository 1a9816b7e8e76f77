//! A loop that another one goes on with, as when the gateway is replaced.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use moorline_ipc::{Channel, Doorbell, Header};
use moorline_protocol::control::LOOP_ROW;
use moorline_protocol::flight::FlightLog;
use moorline_protocol::wire::{CloseReason, FromProcess};
use tokio::sync::mpsc;

use super::script::{Script, config};
use crate::commands::Inbox;
use crate::event_loop::{Loop, Parts};
use crate::obstacles::Obstacles;
use crate::poller::Poller;
use crate::shared::Shared;
use crate::stream::Stream;
use crate::upgrade::take_up::Inheritance;

/// Rounds in which a loop comes to rest.
const MOST_ROUNDS: usize = 10_000;

impl Script {
    /// Another loop goes on with everything, if it can. Else the present one does.
    pub(super) fn hand_over(&mut self) -> Result<(), Obstacles> {
        self.gateway.tools.cx.clock.set(self.now);
        self.gateway.obey_all(&self.commands);
        let mut rounds = 0..MOST_ROUNDS;
        assert!(
            rounds.any(|_| self.gateway.settle()),
            "it does not come to rest"
        );
        let shared = self.gateway.tools.cx.shared.clone();
        let obstacles = self.gateway.obstacles();
        if !obstacles.are_none() {
            return Err(obstacles);
        }
        let inherited = self.inheritance();
        let parts = self.parts_of_successor();
        let kept = postcard::to_stdvec(&shared.hub.keep_all()).expect("bytes");
        let kept = postcard::from_bytes(&kept).expect("they are read");
        assert!(parts.shared.hub.take_up(kept));
        let successor = Loop::take_up(parts, inherited);
        self.gateway = successor.expect("it is understood");
        self.gateway.tools.cx.clock.set(self.now);
        self.gateway.check_invariants();
        Ok(())
    }

    /// What the loop has, as it travels.
    pub(super) fn inheritance(&mut self) -> Inheritance {
        let processes = self.gateway.tools.processes.iter();
        let doorbells = processes.map(|(_, it)| (it.id, it.doorbell.clone()));
        let doorbells = doorbells.collect();
        let kept = self.gateway.keep_all().expect("nothing is half done");
        let copy = |it: &BorrowedFd<'_>| it.try_clone_to_owned();
        let descriptors: Result<Vec<OwnedFd>, _> = kept.descriptors.iter().map(copy).collect();
        Inheritance {
            bytes: kept.bytes,
            descriptors: descriptors.expect("descriptors"),
            doorbells,
        }
    }

    /// The parts of a loop of another gateway, which shares nothing with the present one but its counters.
    pub(super) fn parts_of_successor(&mut self) -> Parts {
        let cx = &self.gateway.tools.cx;
        let doorbell = Arc::new(Doorbell::new().expect("a doorbell"));
        let (inbox, commands) = Inbox::new(doorbell.clone());
        // What the present one has reported is heard first.
        let (reporter, mut heard) = mpsc::unbounded_channel();
        self.reports.close();
        while let Ok(report) = self.reports.try_recv() {
            let _ = reporter.send(report);
        }
        std::mem::swap(&mut self.reports, &mut heard);
        self.commands = commands;
        Parts {
            node: 0,
            index: cx.index,
            config: cx.config.clone(),
            shared: Arc::new(Shared::new(&cx.config, 1, 0)),
            doorbell,
            counters: self.counters.clone(),
            flight: FlightLog::new(self.counters.row(LOOP_ROW)),
            last_serial: 0,
            sockets: Vec::new(),
            peers: vec![inbox],
            reports: reporter,
            tls: Arc::default(),
        }
    }
}

const TWO: &str = r#"
[workers]
count = 2
[tasks]
count = 1
[[listen]]
address = "tcp://127.0.0.1:1001"
framing = { kind = "line", max = "64KiB" }
[[listen]]
address = "http://127.0.0.1:1002"
websocket = "/"
"#;

/// A loop in the middle of something.
pub(super) fn busy() -> (Script, Vec<super::client::Client>) {
    let mut script = Script::serving(config(TWO), 2);
    let mut clients: Vec<_> = (0..6).map(|_| script.connect(0)).collect();
    clients.push(script.connect_websocket(1));
    for client in &mut clients {
        client.say(300);
        client.send(10_000);
    }
    for _ in 0..20 {
        script.turn();
    }
    for process in &mut script.processes {
        process.take(100);
        for session in process.sessions.keys().copied().collect::<Vec<_>>() {
            for kind in [
                FromProcess::Join,
                FromProcess::SetLabel,
                FromProcess::KeepState,
            ] {
                let header = Header {
                    kind: kind as u8,
                    session,
                    ..Header::default()
                };
                process.push(header, b"red");
            }
        }
        process.flush();
    }
    for client in &mut clients {
        client.say(3000);
        client.send(1000);
    }
    script.turn();
    (script, clients)
}

#[test]
fn garbled_state_is_an_error_and_never_a_panic() {
    let (mut script, _clients) = busy();
    assert!(script.gateway.settle());
    assert_eq!(script.gateway.obstacles(), Obstacles::default());
    let seed = fastrand::u64(..);
    let mut rng = Rng::with_seed(seed);
    let mut refused = 0;
    for _ in 0..3_000 {
        let mut inherited = script.inheritance();
        match rng.u32(0..8) {
            0 => inherited
                .bytes
                .truncate(rng.usize(0..inherited.bytes.len())),
            1 => drop(inherited.descriptors.pop()),
            2 => inherited.bytes.push(0),
            _ => {
                for _ in 0..rng.u32(1..5) {
                    let at = rng.usize(0..inherited.bytes.len());
                    inherited.bytes[at] = [0, 1, 0xff, rng.u8(..)][rng.usize(0..4)];
                }
            }
        }
        println!("seed {seed}");
        refused += u32::from(Loop::take_up(script.parts_of_successor(), inherited).is_err());
    }
    assert!(refused > 1_000, "{refused}");
    // The loop itself goes on.
    script.turn();
}

#[test]
fn what_queues_share_travels_once_and_counts_once() {
    let mut script = Script::serving(config(TWO), 1);
    let mut clients: Vec<_> = (0..30).map(|_| script.connect(0)).collect();
    script.turn();
    let ids: Vec<_> = script.gateway.sessions.iter().map(|it| it.id).collect();
    let process = &mut script.processes[0];
    for session in ids {
        let kind = FromProcess::Join as u8;
        let header = Header {
            kind,
            session,
            ..Header::default()
        };
        process.push(header, b"red");
    }
    for _ in 0..8 {
        let process = &mut script.processes[0];
        let header = Header {
            kind: FromProcess::Broadcast as u8,
            session: process.number(),
            ..Header::default()
        };
        process.send(header, &[&b"\x03red\0\0"[..], &[b'*'; 20_000]].concat());
        process.flush();
        for _ in 0..20 {
            script.turn();
        }
        script.processes[0].take(usize::MAX);
    }
    let held = |script: &Script| {
        let memory = &script.gateway.tools.memory;
        (memory.frames().get(), memory.held())
    };
    let before = held(&script);
    assert!(before.0 > 100_000, "output waits: {before:?}");
    let length = script.inheritance().bytes.len() as u64;
    assert!(length < 2 * before.1, "{length} bytes, {before:?}");
    script.hand_over().expect("nothing is in the way");
    assert_eq!(held(&script), before);
    for _ in 0..2000 {
        for client in &mut clients {
            client.receive(usize::MAX);
        }
        script.turn();
    }
    assert!(clients.iter().all(|it| it.others.len() == 8));
    assert_eq!(held(&script).0, 0);
}

#[test]
fn sessions_that_spoke_during_the_standstill_are_not_late() {
    let timed = TWO.replace(
        "max = \"64KiB\" }",
        "max = \"64KiB\" }\nidle_timeout = \"2s\"",
    );
    let mut script = Script::serving(config(&timed), 1);
    let mut clients: Vec<_> = (0..2 * Poller::MOST).map(|_| script.connect(0)).collect();
    script.pass(500);
    for client in &mut clients {
        client.say(20);
        client.send(usize::MAX);
    }
    script.now += 3000;
    script.gateway.tools.cx.clock.set(script.now);
    script.hand_over().expect("nothing is in the way");
    script.gateway.catch_up().expect("epoll");
    script.turn();
    script.turn();
    assert_eq!(script.closed(CloseReason::Idle), 0);
}

#[test]
fn pieces_of_any_length_travel_with_all_their_descriptors() {
    let (one, other) = Channel::pair().expect("a channel");
    let deadline = Instant::now() + Duration::from_secs(60);
    let (sender, receiver) = (Stream::new(one, deadline), Stream::new(other, deadline));
    let lengths = [
        (0, 0),
        (1, 0),
        (0, 1),
        (300_000, 3),
        (10, 2_000),
        (65_536, 250),
    ];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let doorbell = Doorbell::new().expect("a doorbell");
            for (bytes, count) in lengths {
                let bytes: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
                let sent = sender.send(&bytes, &vec![doorbell.as_fd(); count]);
                sent.expect("it is taken");
            }
        });
        for (length, count) in lengths {
            let (bytes, descriptors) = receiver.receive().expect("it comes");
            assert_eq!((bytes.len(), descriptors.len()), (length, count));
            assert!((0..).zip(&bytes).all(|(at, byte)| at as u8 == *byte));
        }
    });
}

#[test]
fn another_version_and_garbage_are_refused() {
    let deadline = Instant::now() + Duration::from_secs(60);
    let stream = || {
        let (one, other) = Channel::pair().expect("a channel");
        (one, Stream::new(other, deadline))
    };
    let (new, present) = stream();
    new.send(b"MOORNEXT\x07\0\0\0\x09\0\0\0", &[])
        .expect("room");
    let refused = present
        .expect_greeting()
        .expect_err("it is another version");
    assert!(refused.to_string().contains("versions 7 to 9"), "{refused}");
    for garbage in [&b"MOORNEXT"[..], b"hello", b"MOORNEXT\x03\0\0\0"] {
        let (new, present) = stream();
        new.send(garbage, &[]).expect("room");
        assert!(present.expect_greeting().is_err());
    }
    let heads: [&[u8]; 4] = [
        b"x",
        &[0xff; 12],
        &[1; 13],
        &[0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0, 0],
    ];
    for head in heads {
        let (new, present) = stream();
        new.send(head, &[]).expect("room");
        assert!(present.receive().is_err());
    }
    // More than was announced, less, or nothing.
    for packets in [&[&b"\0abc"[..]][..], &[b"\0a"], &[b"\0"]] {
        let (new, present) = stream();
        new.send(&[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[])
            .expect("room");
        for packet in packets {
            new.send(packet, &[]).expect("room");
        }
        drop(new);
        assert!(present.receive().is_err());
    }
    let (silent, present) = Channel::pair().expect("a channel");
    let present = Stream::new(present, Instant::now() + Duration::from_millis(20));
    assert!(present.receive().is_err());
    drop(silent);
}
