//! Whatever clients, workers and operators do, in any order: the invariants hold, and what is promised of messages does.

mod end;
mod more;
mod operator;
mod requests;
mod rooms;
mod upgrades;

use std::sync::atomic::Ordering;

use fastrand::Rng;
use moorline_ipc::Header;
use operator::Operator;
use requests::Asking;
use rooms::Rooms;

use super::client::Client;
use super::process::Outcome;
use super::script::{Script, config};
use super::web::WebProtocol;
use crate::commands::Report;
use moorline_config::Config;
use moorline_protocol::control::Role;
use moorline_protocol::wire::{FORCE, FromProcess, LONGEST_LABEL, Question};

/// Clients at once.
const CLIENTS: usize = 40;
/// Turns of one run.
const TURNS: u32 = 2_500;
/// Seeds that once found something.
const KNOWN: &[u64] = &[
    1,
    2,
    3,
    2417936333502069798,
    7412595796402523153,
    9961202731677132540,
];

const CONFIG: &str = r#"
[workers]
count = 3
start_timeout = "2s"
[tasks]
count = 1
attempts = 3
[[listen]]
name = "close"
address = "tcp://127.0.0.1:1001"
framing = { kind = "line", max = "256KiB" }
idle_timeout = "20s"
high_watermark = "32KiB"
low_watermark = "8KiB"
[[listen]]
name = "redeliver"
address = "tcp://127.0.0.1:1002"
framing = { kind = "line", max = "256KiB" }
on_crash = "redeliver"
attempts = 3
[[listen]]
name = "round-robin"
address = "tcp://127.0.0.1:1003"
framing = { kind = "line", max = "256KiB" }
on_crash = "drop"
dispatch = "round-robin"
[[listen]]
name = "key"
address = "tcp://127.0.0.1:1004"
framing = { kind = "line", max = "256KiB" }
on_crash = "redeliver"
attempts = 3
dispatch = "key"
min_receive_rate = "1KiB"
[[listen]]
name = "least-busy"
address = "tcp://127.0.0.1:1005"
framing = { kind = "line", max = "256KiB" }
dispatch = "least-busy"
[[listen]]
name = "ip-hash"
address = "tcp://127.0.0.1:1006"
framing = { kind = "line", max = "256KiB" }
dispatch = "ip-hash"
[[listen]]
name = "web"
address = "http://127.0.0.1:1007"
websocket = "/"
on_crash = "redeliver"
attempts = 3
handshake_timeout = "40s"
[[listen.route]]
path = "/events"
kind = "sse"
"#;
const LISTENERS: u16 = 7;
/// The one where messages may be dropped.
const ROUND_ROBIN: u16 = 2;

/// Everybody who does something with the loop, as it comes.
struct Crowd {
    script: Script,
    rng: Rng,
    clients: Vec<Client>,
    workers: u16,
    /// Ids of sessions that some process has seen, the living and the dead.
    known: Vec<u64>,
    operator: Operator,
    asking: Asking,
    rooms: Rooms,
    /// There are plain requests, and groups that keep their events.
    has_more: bool,
    /// Some process writes what none should.
    is_hostile: bool,
    /// The engine stops: nothing is started any more.
    is_stopping: bool,
    /// Now and then another loop goes on with everything; how often one has.
    upgrades: Option<u32>,
}

impl Crowd {
    fn new(seed: u64, change: impl Fn(&mut Config)) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut config = config(CONFIG);
        change(&mut config);
        // Some of the clients come before any worker does.
        let script = Script::new(config);
        let workers = rng.u16(1..4);
        Self {
            script,
            rng,
            clients: Vec::new(),
            workers,
            known: Vec::new(),
            operator: Operator::default(),
            asking: Asking::default(),
            rooms: Rooms::default(),
            has_more: false,
            is_hostile: false,
            is_stopping: false,
            upgrades: None,
        }
    }

    fn step(&mut self) {
        match self.rng.u32(0..100) {
            0..6 => self.connect(),
            6..34 => self.talk(),
            34..44 => self.read(),
            44..46 => self.leave(),
            46..72 => self.work(),
            72..76 => self.send_unasked(),
            76..83 => self.ask_for_session(),
            83..88 => self.ask_beside_sessions(),
            88..90 => self.kill(),
            90..92 => self.deploy(),
            92..95 => self.hold_suspects_back(),
            // A run has some of them: more would leave no session old.
            95 if self.rng.u32(0..20) == 0 => self.drain(),
            96 => self.upgrade(),
            _ => {
                let ms = self.rng.u64(0..1000);
                self.script.now += ms * ms / 1000;
            }
        }
    }

    fn connect(&mut self) {
        // Those who have gone make room, after what they got was looked at.
        self.read_rooms();
        if self.clients.len() == CLIENTS
            && let Some(at) = self.clients.iter().position(|client| !client.is_open())
        {
            let client = self.clients.remove(at);
            let in_order = client.echoes.is_sorted_by(|one, next| one < next);
            assert!(
                in_order || self.is_hostile,
                "answers twice or out of order: {client:?}"
            );
        }
        if self.clients.len() < CLIENTS {
            let listener = self.listener();
            let is_http = self.script.config.listeners[usize::from(listener)].is_http();
            let client = match (is_http, self.rng.bool()) {
                (false, _) => self.script.connect(listener),
                (true, true) => self.script.connect_web(listener, WebProtocol::WebSocket),
                (true, false) => self.script.connect_web(listener, WebProtocol::Events),
            };
            self.clients.push(client);
        }
    }

    fn client(&mut self) -> Option<&mut Client> {
        self.rng.choice(&mut self.clients)
    }

    fn talk(&mut self) {
        let bytes = match self.rng.u32(0..20) {
            0 => self.rng.usize(10_000..200_000),
            1..4 => self.rng.usize(1000..20_000),
            _ => self.rng.usize(0..200),
        };
        let most = self.rng.usize(1..20_000);
        if let Some(client) = self.client() {
            client.say(bytes);
            client.send(most);
        }
    }

    fn read(&mut self) {
        let most = self.rng.usize(1..50_000);
        if let Some(client) = self.client() {
            client.receive(most);
            client.send(most);
        }
    }

    fn leave(&mut self) {
        let abruptly = self.rng.bool();
        if let Some(client) = self.client() {
            if abruptly {
                client.leave();
            } else {
                client.finish();
            }
        }
    }

    /// Some process, by its place.
    fn process(&mut self) -> Option<usize> {
        let count = self.script.processes.len();
        (count > 0).then(|| self.rng.usize(0..count))
    }

    fn work(&mut self) {
        let Some(at) = self.process() else { return };
        let most = self.rng.usize(1..100);
        let process = &mut self.script.processes[at];
        process.take(most);
        for (id, served) in &process.sessions {
            let is_its_own = served.label.is_empty() || served.label.starts_with(&label(*id, 0));
            assert!(
                is_its_own || self.is_hostile,
                "session {id} has the label of another"
            );
        }
        let sessions: Vec<u64> = process.sessions.keys().copied().collect();
        for id in sessions {
            if !self.known.contains(&id) {
                self.known.push(id);
            }
            if self.rng.bool() {
                let outcome = match self.rng.u32(0..40) {
                    0 => Outcome::Failed,
                    _ => Outcome::Echoed,
                };
                process.handle(&self.script.config, id, outcome);
            }
        }
        if self.rng.bool() {
            process.end_job(0);
        }
        process.flush();
    }

    /// Some session that a process has now, or has had, or that is another's.
    fn session(&mut self) -> Option<u64> {
        self.rng.choice(&self.known).copied()
    }

    fn send_unasked(&mut self) {
        let (Some(at), Some(session)) = (self.process(), self.session()) else {
            return;
        };
        let header = Header {
            session,
            ..Header::default()
        };
        let kind = self.rng.u32(0..8);
        // One that does not serve yet sends none.
        if kind == 1 && !self.script.processes[at].sessions.is_empty() {
            let is_kept = self.rng.u32(0..4) > 0;
            self.script.pass_file(at, session, is_kept);
            return;
        }
        let process = &mut self.script.processes[at];
        match kind {
            0 => process.push(
                Header {
                    kind: FromProcess::Close as u8,
                    flags: if self.rng.bool() { FORCE } else { 0 },
                    ..header
                },
                &[],
            ),
            _ => {
                let size = self.rng.usize(0..40_000);
                let mut line = vec![b'!'; size.max(1)];
                line[0] = b'!';
                let kind = FromProcess::Send as u8;
                process.send(Header { kind, ..header }, &line);
            }
        }
        process.flush();
    }

    fn ask_for_session(&mut self) {
        let (Some(at), Some(session)) = (self.process(), self.session()) else {
            return;
        };
        let names: [&[u8]; 3] = [b"red", b"green", b"blue"];
        let name = names[self.rng.usize(0..names.len())];
        let (kind, payload) = match self.rng.u32(0..10) {
            0 => (FromProcess::KeepState, vec![7; self.rng.usize(0..2000)]),
            1 => (FromProcess::Pause, Vec::new()),
            2 => (FromProcess::Resume, Vec::new()),
            3 => (FromProcess::Keep, Vec::new()),
            4 => (FromProcess::Unkeep, Vec::new()),
            5 => (FromProcess::Bind, name.to_vec()),
            6 => (FromProcess::Join, name.to_vec()),
            7 => (FromProcess::SetLabel, Vec::new()),
            8 => (
                FromProcess::SetLabel,
                label(session, self.rng.usize(0..=LONGEST_LABEL)),
            ),
            _ => (FromProcess::Leave, name.to_vec()),
        };
        let header = Header {
            kind: kind as u8,
            session,
            ..Header::default()
        };
        self.script.processes[at].push(header, &payload);
        self.script.processes[at].flush();
    }

    fn ask_beside_sessions(&mut self) {
        let Some(at) = self.process() else { return };
        let process = &mut self.script.processes[at];
        let session = process.number();
        let header = Header {
            session,
            ..Header::default()
        };
        let size = match self.rng.u32(0..6) {
            0 => self.rng.usize(10_000..60_000),
            _ => self.rng.usize(0..500),
        };
        match self.rng.u32(0..4) {
            0 => {
                let name: &[u8] = [&b"red"[..], b"green", b"none"][self.rng.usize(0..3)];
                let mut bytes = vec![name.len() as u8];
                bytes.extend(name);
                bytes.extend([0, 0]);
                bytes.extend(std::iter::repeat_n(b'*', size.max(1)));
                let kind = FromProcess::Broadcast as u8;
                process.send(Header { kind, ..header }, &bytes);
            }
            1 if matches!(process.role, Role::Worker(_)) => {
                let kind = FromProcess::Post as u8;
                let aux = self.rng.u16(0..5);
                process.send(
                    Header {
                        kind,
                        aux,
                        ..header
                    },
                    &vec![1; size],
                );
            }
            2 if matches!(process.role, Role::Worker(_)) => {
                let kind = FromProcess::Task as u8;
                let aux = self.rng.u16(0..3);
                process.send(
                    Header {
                        kind,
                        aux,
                        ..header
                    },
                    &vec![2; size],
                );
            }
            _ => {
                let kind = FromProcess::Ask as u8;
                let question = Question::Sessions(0);
                let bytes = postcard::to_stdvec(&question).expect("a question");
                process.push(Header { kind, ..header }, &bytes);
            }
        }
        process.flush();
    }

    fn kill(&mut self) {
        if let Some(at) = self.process() {
            self.asking.may_fail = true;
            self.script.kill(at);
        }
    }

    /// A crashed worker is replaced, or all are by a reload.
    fn deploy(&mut self) {
        if self.script.processes.len() > 12 || self.is_stopping {
            return;
        }
        if self.rng.bool() {
            self.workers = self.rng.u16(1..5);
        }
        let all = self.rng.bool();
        for role in (0..self.workers).map(Role::Worker).chain([Role::Task(0)]) {
            if all || !self.script.processes.iter().any(|it| it.role == role) {
                self.script.attach(role);
            }
        }
        if self.rng.u32(0..4) > 0 {
            let setup = (all && self.rng.bool()).then(|| self.change());
            self.script.activate_with(self.workers, setup);
        }
    }

    /// Another loop has a suspect message out in some slot, or its end has come.
    fn hold_suspects_back(&mut self) {
        let slot = self.rng.usize(0..5);
        let holds = self.rng.bool();
        self.exchange_suspect(slot, holds);
    }

    fn exchange_suspect(&self, slot: usize, holds: bool) {
        const OTHER_LOOP: u32 = 2;
        let holder = &self.script.gateway.tools.cx.shared.suspects[slot];
        let (from, to) = if holds {
            (0, OTHER_LOOP)
        } else {
            (OTHER_LOOP, 0)
        };
        // The loop under test may have one out there.
        let _ = holder.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed);
    }

    fn turn(&mut self) {
        self.script.turn();
        self.hear_reports();
    }

    fn hear_reports(&mut self) {
        for report in self.script.end_released() {
            self.operator.hear(&report);
            if let Report::Garbage(process, reason) = report {
                assert!(self.is_hostile, "process {process} was accused: {reason}");
                // It may be dead by now.
                if let Some(at) = self.script.processes.iter().position(|it| it.id == process) {
                    self.script.kill(at);
                }
            }
        }
    }

    /// A record that no worker of ours would write: any kind, flags and numbers, about sessions that exist.
    fn write_anything(&mut self) {
        let (Some(at), Some(session)) = (self.process(), self.session()) else {
            return;
        };
        let asked = self.some_request();
        let rng = &mut self.rng;
        let number = [0, 1, u64::from(rng.u8(..)), rng.u64(..)][rng.usize(0..4)];
        let number = asked.unwrap_or(number);
        let header = Header {
            kind: rng.u8(0..30),
            flags: rng.u8(..),
            aux: [0, 1, rng.u16(..)][rng.usize(0..3)],
            session: if rng.bool() { session } else { number },
            sequence: number,
            time: rng.u64(..),
        };
        // Text, so that clients can read what reaches them.
        let payload: Vec<u8> = (0..rng.usize(0..600)).map(|_| rng.u8(33..48)).collect();
        let process = &mut self.script.processes[at];
        process.lies = true;
        process.push(header, &payload);
        process.flush();
    }
}

/// A label of this session, and of no other, with `bytes` bytes if that is enough.
fn label(session: u64, bytes: usize) -> Vec<u8> {
    format!("{session:016x}{:.<1$}", "", bytes.saturating_sub(16)).into_bytes()
}

/// The label that every session has at the end.
fn last_label(session: u64) -> Vec<u8> {
    label(session, LONGEST_LABEL)
}

/// Says how to come back to this seed, if the test fails while it is here.
struct Named(u64);

impl Named {
    fn new(seed: u64) -> Self {
        // Of one that hangs nothing else is heard.
        println!("seed {seed}");
        Self(seed)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(seed) = self;
            println!("seed {seed} has failed; again with: cargo xtask random --seed {seed}");
        }
    }
}

fn run(seed: u64, change: impl Fn(&mut Config)) {
    let _named = Named::new(seed);
    let mut crowd = Crowd::new(seed, change);
    for _ in 0..TURNS {
        for _ in 0..crowd.rng.u32(1..6) {
            crowd.step();
        }
        crowd.turn();
    }
    crowd.end_well();
}

/// The seeds of one test: those that are known, and as many new ones as `MOORLINE_SEEDS` says; or just `MOORLINE_SEED`.
fn seeds() -> Vec<u64> {
    let number = |name| {
        let said = std::env::var(name).ok();
        said.map(|said| {
            said.parse::<u64>()
                .expect("a seed, or how many, is a number")
        })
    };
    if let Some(seed) = number("MOORLINE_SEED") {
        return vec![seed];
    }
    let mut rng = Rng::new();
    let anew = std::iter::repeat_with(|| rng.u64(..));
    let anew = anew.take(number("MOORLINE_SEEDS").unwrap_or(1) as usize);
    KNOWN.iter().copied().chain(anew).collect()
}

#[test]
fn invariants_hold_over_ten_thousand_turns_of_mixed_work() {
    seeds().into_iter().for_each(|seed| run(seed, |_| ()));
}

#[test]
fn invariants_hold_near_the_memory_limit() {
    seeds().into_iter().for_each(|seed| run(seed, limited));
}

/// Lower than a configuration may set it, so that it is often reached.
fn limited(config: &mut Config) {
    config.engine.memory_limit = Some(1024 * 1024);
}

#[test]
fn a_worker_that_writes_anything_breaks_no_invariant() {
    for seed in seeds() {
        let _named = Named::new(seed);
        let mut crowd = Crowd::new(seed, |_| ());
        crowd.is_hostile = true;
        for _ in 0..TURNS {
            for _ in 0..crowd.rng.u32(1..6) {
                crowd.step();
            }
            if crowd.rng.u32(0..10) == 0 {
                crowd.write_anything();
            }
            crowd.turn();
        }
        crowd.end_well();
    }
}
