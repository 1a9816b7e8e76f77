//! Many services on several loops that send, call, launch and end at random.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use rustc_hash::FxHashMap;

use super::{PATIENCE, loops, on};
use crate::{Actor, Kind, Message, Payload, Port, ServiceId, System};

/// What a message says: the next number of its sender to this receiver.
const NUMBERED: Kind = Kind(10);
const ASK: Kind = Kind(11);
const STEP: Kind = Kind(12);

const LOOPS: usize = 3;
const SERVICES: usize = 24;
const STEPS: usize = 400;

/// Those that are known to all.
type Known = Arc<Mutex<Vec<ServiceId>>>;

struct Player {
    port: Port,
    rng: Rng,
    known: Known,
    steps: usize,
    next_to: FxHashMap<ServiceId, u64>,
    next_from: FxHashMap<ServiceId, u64>,
    asked: FxHashMap<u32, ServiceId>,
    tell: mpsc::Sender<String>,
}

impl Player {
    fn make(port: Port, known: Known, seed: u64, tell: mpsc::Sender<String>) -> Box<dyn Actor> {
        known.lock().expect("not poisoned").push(port.id());
        let _ = port.send(port.id(), STEP, 0, Payload::Empty);
        Box::new(Self {
            port,
            rng: Rng::with_seed(seed),
            known,
            steps: 0,
            next_to: FxHashMap::default(),
            next_from: FxHashMap::default(),
            asked: FxHashMap::default(),
            tell,
        })
    }

    fn step(&mut self) {
        self.steps += 1;
        let target = {
            let known = self.known.lock().expect("not poisoned");
            known[self.rng.usize(..known.len())]
        };
        match self.rng.u8(..20) {
            0..12 => {
                let next = self.next_to.entry(target).or_insert(0);
                let payload = Payload::Value(Box::new(*next));
                if self.port.send(target, NUMBERED, 0, payload).is_ok() {
                    *next += 1;
                }
            }
            12..18 => {
                let session = self.port.next_session();
                if self.port.send(target, ASK, session, Payload::Empty).is_ok() {
                    self.asked.insert(session, target);
                }
            }
            18 if self.rng.u8(..10) == 0 => {
                self.port.kill(target);
            }
            _ => {
                let (known, tell) = (self.known.clone(), self.tell.clone());
                let seed = self.rng.u64(..);
                if known.lock().expect("not poisoned").len() < 2 * SERVICES {
                    let launched = self
                        .port
                        .launch(on(self.rng.usize(..LOOPS)), 0, move |port| {
                            Ok(Self::make(port, known, seed, tell))
                        });
                    launched.expect("there is a slot");
                }
            }
        }
        if self.steps < STEPS {
            let _ = self.port.send(self.port.id(), STEP, 0, Payload::Empty);
        }
        self.settle();
    }

    /// Ends when it has taken all steps, and all of its calls have ended.
    fn settle(&mut self) {
        if self.steps == STEPS && self.asked.is_empty() {
            let _ = self.tell.send(String::new());
            self.port.exit();
        }
    }
}

impl Actor for Player {
    fn receive(&mut self, message: Message) {
        match message.kind {
            STEP => self.step(),
            NUMBERED => {
                let next = self.next_from.entry(message.source).or_insert(0);
                let Payload::Value(value) = message.payload else {
                    return;
                };
                let number = value.downcast::<u64>().map_or(u64::MAX, |number| *number);
                if number != *next {
                    let _ = self.tell.send(format!("{number} instead of {next}"));
                }
                *next += 1;
            }
            // One of four is never answered, but ends with this service.
            ASK if self.rng.u8(..4) > 0 => {
                let port = &self.port;
                let _ = port.send(
                    message.source,
                    Kind::RESPONSE,
                    message.session,
                    Payload::Empty,
                );
            }
            Kind::RESPONSE | Kind::ERROR => {
                if self.asked.remove(&message.session).is_none() {
                    let _ = self
                        .tell
                        .send(format!("session {} ends twice", message.session));
                }
                self.settle();
            }
            _ => {}
        }
        // A call that nobody answers ends only with its callee: those that have settled end, and so all do.
        if self.steps == STEPS && self.rng.u8(..10) == 0 {
            self.port.exit();
        }
    }
}

#[test]
fn messages_keep_their_order_and_every_call_ends_whatever_ends() {
    for seed in 0..8 {
        play(seed);
    }
}

fn play(seed: u64) {
    let system = System::start(loops(LOOPS as u8)).expect("threads start");
    let (tell, told) = mpsc::channel();
    let known = Known::default();
    for index in 0..SERVICES {
        let (known, tell) = (known.clone(), tell.clone());
        let seed = seed << 32 | index as u64;
        let launched = system.launch_actor(on(index % LOOPS), move |port| {
            Ok(Player::make(port, known, seed, tell))
        });
        launched.expect("there is a slot");
    }
    drop(tell);
    drop(known);
    // Those that wait for each other's answers for ever are ended from outside, one after the other.
    let mut wrong = Vec::new();
    let start = std::time::Instant::now();
    loop {
        match told.recv_timeout(std::time::Duration::from_millis(200)) {
            Ok(text) if text.is_empty() => {}
            Ok(text) => wrong.push(text),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let launched = system.launch_actor(on(0), |port| {
                    let others = port.services();
                    let other = others.into_iter().find(|id| *id != port.id());
                    other.map(|id| port.kill(id));
                    Err("it has done its work".to_owned())
                });
                launched.expect("there is a slot");
            }
        }
        assert!(start.elapsed() < PATIENCE, "seed {seed} does not end");
    }
    assert_eq!(wrong, [""; 0], "seed {seed}");
}
