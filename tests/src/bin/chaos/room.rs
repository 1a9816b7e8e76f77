//! A room full of people who talk: each hears every line once, and in a quiet moment everyone hears everyone.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use moorline_tests::{Client, Wire, happens_within};

/// Between two lines of one member.
const PAUSE: Duration = Duration::from_millis(150);
/// How long a member listens before it looks whether it is time to speak.
const LISTENS: Duration = Duration::from_millis(25);
/// Between two attempts to come in while the door is closed.
const AGAIN: Duration = Duration::from_millis(50);
/// Lines of one speaker that a hearer remembers: far more than can be on their way.
const REMEMBERED: usize = 1000;

pub(crate) struct Room {
    members: Vec<JoinHandle<()>>,
    shared: Arc<RoomState>,
}

#[derive(Default)]
struct RoomState {
    finishing: AtomicBool,
    /// The roll call of the moment; 0 before the first.
    call: AtomicU64,
    closed: AtomicU64,
    heard: AtomicU64,
    /// Lines that came before an earlier one of the same speaker, by way of two workers: nobody promises their order.
    overtaken: AtomicU64,
    /// The members that have answered the present call, by hearer.
    present: Mutex<BTreeMap<usize, BTreeSet<usize>>>,
    wrong: Mutex<Vec<String>>,
}

impl Room {
    /// One member for each address.
    pub(crate) fn open(doors: Vec<(String, Wire)>) -> Room {
        let shared = Arc::new(RoomState::default());
        let members = doors
            .into_iter()
            .enumerate()
            .map(|(place, (address, wire))| {
                let member = Member {
                    place,
                    address,
                    wire,
                    shared: shared.clone(),
                    life: 0,
                    heard: BTreeMap::new(),
                };
                thread::spawn(move || member.live())
            });
        Room {
            members: members.collect(),
            shared,
        }
    }

    /// Everyone says that they are there, and hears it of everyone. Those who do not are returned.
    pub(crate) fn roll_call(&self, patience: Duration) -> Vec<String> {
        lock(&self.shared.present).clear();
        let call = self.shared.call.fetch_add(1, Ordering::Relaxed) + 1;
        let everyone: BTreeSet<usize> = (0..self.members.len()).collect();
        let missed = || {
            let present = lock(&self.shared.present);
            let missed = everyone.iter().filter_map(|hearer| {
                let heard = present.get(hearer).cloned().unwrap_or_default();
                let missed: Vec<_> = everyone.difference(&heard).copied().collect();
                (!missed.is_empty())
                    .then(|| format!("call {call}: {hearer} does not hear {missed:?}"))
            });
            missed.collect::<Vec<_>>()
        };
        happens_within(patience, || missed().is_empty());
        missed()
    }

    pub(crate) fn members(&self) -> usize {
        self.members.len()
    }

    /// Sessions that the engine has closed.
    pub(crate) fn closed(&self) -> u64 {
        self.shared.closed.load(Ordering::Relaxed)
    }

    /// Lines heard, and how many of them came before an earlier one.
    pub(crate) fn heard(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.shared.heard), read(&self.shared.overtaken))
    }

    /// What was wrong since this was last asked.
    pub(crate) fn wrong(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.shared.wrong))
    }

    pub(crate) fn leave(self) {
        self.shared.finishing.store(true, Ordering::Relaxed);
        for member in self.members {
            member.join().expect("a member's thread ends");
        }
    }
}

struct Member {
    place: usize,
    address: String,
    wire: Wire,
    shared: Arc<RoomState>,
    /// Which session of this member it is.
    life: u64,
    /// What this session has heard, by speaker.
    heard: BTreeMap<String, BTreeSet<u64>>,
}

impl Member {
    fn live(mut self) {
        while !self.is_over() {
            let Ok(mut client) = Client::try_connect(&self.address, self.wire) else {
                thread::sleep(AGAIN);
                continue;
            };
            self.life += 1;
            self.heard.clear();
            if client.stream.set_read_timeout(LISTENS).is_ok() && !self.talk(&mut client) {
                self.shared.closed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// True when all is over, false when the engine has closed the session.
    fn talk(&mut self, client: &mut Client) -> bool {
        let (mut line, mut called) = (0, self.shared.call.load(Ordering::Relaxed));
        let mut next = Instant::now();
        while !self.is_over() {
            let call = self.shared.call.load(Ordering::Relaxed);
            let mut say = |text: String| {
                client
                    .send_bytes(&self.wire.encode(text.as_bytes()))
                    .is_ok()
            };
            if call != called {
                called = call;
                if !say(format!("call {call} {}", self.place)) {
                    return false;
                }
            }
            if Instant::now() >= next {
                next = Instant::now() + PAUSE;
                line += 1;
                if !say(format!("{}.{} {line}", self.place, self.life)) {
                    return false;
                }
            }
            match client.try_receive() {
                Ok(Some(heard)) => self.hear(&String::from_utf8_lossy(&heard)),
                Ok(None) => return false,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        }
        true
    }

    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            // The greeting, for a new session and after each adoption.
            ["⚓", ..] => {}
            ["call", call, speaker] => {
                let current = self.shared.call.load(Ordering::Relaxed).to_string();
                if let (true, Ok(speaker)) = (current == call, speaker.parse()) {
                    let mut present = lock(&self.shared.present);
                    if !present.entry(self.place).or_default().insert(speaker) {
                        self.wrong(format!("{line:?} twice"));
                    }
                }
            }
            [speaker, number] if speaker.contains('.') => match number.parse() {
                Ok(number) => self.hear_line(speaker, number),
                Err(_) => self.wrong(format!("{line:?}, which nobody has said")),
            },
            _ => self.wrong(format!("{line:?}, which nobody has said")),
        }
    }

    fn hear_line(&mut self, speaker: &str, number: u64) {
        self.shared.heard.fetch_add(1, Ordering::Relaxed);
        let heard = self.heard.entry(speaker.to_owned()).or_default();
        if heard.last().is_some_and(|last| *last > number) {
            self.shared.overtaken.fetch_add(1, Ordering::Relaxed);
        }
        let is_new = heard.insert(number);
        if heard.len() > REMEMBERED {
            heard.pop_first();
        }
        if !is_new {
            self.wrong(format!("line {number} of {speaker} twice"));
        }
    }

    fn wrong(&self, what: String) {
        let text = format!("member {}.{} hears {what}", self.place, self.life);
        lock(&self.shared.wrong).push(text);
    }

    fn is_over(&self) -> bool {
        self.shared.finishing.load(Ordering::Relaxed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
