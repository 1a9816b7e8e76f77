//! A worker that misuses all that it has harms only itself: sessions of the other worker are answered in ordinary time, the
//! gateway and the supervisor keep their process ids and stay small, and the sessions of the worker are served again once it
//! is replaced.

use std::fs;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use moorline_tests::{
    Client, Engine, PATIENCE, Process, Site, Stopwatch, Wire, eventually, happens_within, kill,
};
use nix::sys::signal::Signal;

const REDELIVER: usize = 0;
const CLOSE: usize = 1;
const DROP: usize = 2;

/// Small rings, so that they fill soon.
pub(super) const CONFIG: &str = r#"
[engine]
gateway_loops = 2
ring_memory = "2MiB"
[workers]
count = 2
max_wait = "3s"
[tasks]
count = 1
[[listen]]
address = "tcp://127.0.0.1:0"
framing = { kind = "length", width = 4, endian = "big", offset = 0, body = 4, max = "2MiB" }
name = "redeliver"
on_crash = "redeliver"
attempts = 20
[[listen]]
address = "tcp://127.0.0.1:0"
framing = { kind = "length", width = 4, endian = "big", offset = 0, body = 4, max = "2MiB" }
name = "close"
on_crash = "close"
[[listen]]
address = "tcp://127.0.0.1:0"
framing = { kind = "length", width = 4, endian = "big", offset = 0, body = 4, max = "2MiB" }
name = "drop"
on_crash = "drop"
[app]
journal = "{folder}/journal"
"#;

/// How long harm is done before the worker is killed.
const EXPOSURE: Duration = Duration::from_millis(700);
/// No answer of the other worker may take longer. Far more than an ordinary one takes, since tests run beside this one, and
/// far less than anything takes that has to wait for the hostile worker's end.
pub(super) const ORDINARY: Duration = Duration::from_millis(400);
/// No session may wait longer for its answer once the next worker is ready. All of them together take a few milliseconds.
const SERVES_AGAIN: Duration = Duration::from_millis(100);
/// How much the gateway may grow, in bytes.
const GROWTH: u64 = 96 << 20;

/// What becomes of the hostile worker's sessions that have nothing in progress.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Others {
    /// They serve again with the next worker.
    Stay,
    /// It closes some of them, as any worker may.
    MayClose,
}

/// An engine, a hostile worker in slot 1, and everyone who may suffer.
pub(super) struct Scene {
    pub(super) engine: Engine,
    /// Sessions of the honest worker, each of which goes on asking.
    busy: Vec<JoinHandle<Client>>,
    over: Arc<AtomicBool>,
    /// The longest that one of them has waited, in microseconds.
    longest: Arc<AtomicU64>,
    answers: Arc<AtomicU64>,
    /// Sessions of the hostile worker, of each listener.
    others: Vec<Client>,
    honest: i32,
    supervisor_memory: u64,
    gateway_memory: u64,
}

impl Scene {
    pub(super) fn set(config: &str) -> Scene {
        let site = Site::new("hostile_worker", config);
        site.write("hostile", "");
        let engine = site.start();
        let over = Arc::new(AtomicBool::new(false));
        let (longest, answers) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let busy = (0..4)
            .map(|_| {
                let client = session_in(&engine, REDELIVER, "0");
                let (over, longest, answers) = (over.clone(), longest.clone(), answers.clone());
                thread::spawn(move || go_on(client, &over, &longest, &answers))
            })
            .collect();
        let others = [REDELIVER, CLOSE, DROP, REDELIVER, CLOSE, DROP]
            .map(|listener| session_in(&engine, listener, "1"));
        let status = engine.status();
        Scene {
            honest: engine.worker(0).pid,
            supervisor_memory: Process::private_memory(status.supervisor.pid),
            gateway_memory: Process::private_memory(status.gateway.pid),
            engine,
            busy,
            over,
            longest,
            answers,
            others: others.into(),
        }
    }

    /// Has the worker in slot 1 do this for a while, kills it, and sees that everything serves again with the next one, which
    /// is hostile too.
    pub(super) fn suffer(&mut self, plan: &str, others: Others) {
        // What the machine does to an answer it does once. What the hostile worker does it does each time.
        let mut waits = Vec::new();
        for _ in 0..3 {
            let (longest, again) = self.waits_during(plan, others);
            if longest < ORDINARY && again < SERVES_AGAIN {
                return;
            }
            waits.push((longest, again));
        }
        panic!("{plan}: three times an answer took too long, meanwhile or afterwards: {waits:?}");
    }

    /// The longest that an answer took meanwhile, and then the last of the hostile worker's sessions.
    fn waits_during(&mut self, plan: &str, others: Others) -> (Duration, Duration) {
        println!("{plan}");
        self.engine.write("hostile", "");
        // A hostile worker that has nothing to do gives no sign of life.
        for other in &mut self.others {
            other.ask("id");
        }
        let hostile = self.engine.worker(1).pid;
        self.longest.store(0, Ordering::Relaxed);
        let before = self.answers.load(Ordering::Relaxed);
        let mut orders = session_in(&self.engine, DROP, "1");
        assert_eq!(orders.ask(format!("misuse {plan}")), "begins");
        let begun = Instant::now();
        while begun.elapsed() < EXPOSURE {
            self.look_at_sizes(plan);
            thread::sleep(Duration::from_millis(50));
        }
        kill(hostile, Signal::SIGKILL);
        let longest = Duration::from_micros(self.longest.load(Ordering::Relaxed));
        let answers = self.answers.load(Ordering::Relaxed) - before;
        println!("  {answers} answers, the last within {longest:?}");
        assert!(
            answers > 20,
            "{plan}: the honest worker's sessions got {answers} answers"
        );
        drop(orders);
        (longest, self.serves_again(plan, hostile, others))
    }

    fn look_at_sizes(&self, plan: &str) {
        let status = self.engine.status();
        assert_eq!(
            status.gateway.incarnation, 1,
            "{plan}: the gateway has died"
        );
        let held = status.gateway.buffered_bytes;
        assert!(held < GROWTH, "{plan}: the gateway holds {held} bytes");
        for (name, pid, before) in [
            ("supervisor", status.supervisor.pid, self.supervisor_memory),
            ("gateway", status.gateway.pid, self.gateway_memory),
        ] {
            let now = Process::private_memory(pid);
            assert!(
                now < before + GROWTH,
                "{plan}: the {name} has grown from {before} to {now} bytes"
            );
        }
    }

    fn serves_again(&mut self, plan: &str, hostile: i32, others: Others) -> Duration {
        let mut next = hostile;
        eventually("the worker is replaced", || {
            let ready = self.engine.status().ready_workers();
            next = ready
                .iter()
                .find(|worker| worker.slot == 1)
                .map_or(hostile, |worker| worker.pid);
            next != hostile
        });
        let ready = Stopwatch::start();
        let mut waits = Vec::new();
        self.others.retain_mut(|client| {
            let answer = client
                .send_bytes(&frame("id"))
                .and_then(|()| client.try_receive());
            waits.push(ready.elapsed());
            matches!(answer, Ok(Some(_)))
        });
        println!("  serves again: {waits:?}");
        let mut last = Duration::ZERO;
        if others == Others::Stay {
            assert_eq!(
                self.others.len(),
                waits.len(),
                "{plan}: sessions were closed"
            );
            last = waits.last().copied().unwrap_or_default();
        }
        let status = self.engine.status();
        assert_eq!(
            status.gateway.incarnation, 1,
            "{plan}: the gateway has died"
        );
        assert_eq!(
            self.engine.worker(0).pid,
            self.honest,
            "{plan}: the honest worker has died"
        );
        let gateway = status.gateway.pid;
        assert!(
            happens_within(PATIENCE, || Process::private_memory(gateway)
                < self.gateway_memory + GROWTH),
            "{plan}: the gateway keeps what it has grown to"
        );
        for listener in [REDELIVER, CLOSE, DROP] {
            while self.others.len() < 6 {
                self.others.push(session_in(&self.engine, listener, "1"));
            }
        }
        last
    }

    /// Everyone whose worker is honest has had every answer.
    pub(super) fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        for busy in self.busy {
            let mut client = busy
                .join()
                .expect("a session of the honest worker was harmed");
            assert_eq!(client.ask("slot"), "0");
        }
        let log = self.engine.log();
        assert!(!log.contains("panicked at"), "something panicked: {log}");
    }
}

fn go_on(
    mut client: Client,
    over: &AtomicBool,
    longest: &AtomicU64,
    answers: &AtomicU64,
) -> Client {
    let id = client.ask("id");
    while !over.load(Ordering::Relaxed) {
        let asked = Stopwatch::start();
        assert_eq!(client.ask("id"), id);
        longest.fetch_max(asked.elapsed().as_micros() as u64, Ordering::Relaxed);
        answers.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(2));
    }
    client
}

/// A session that this slot has.
fn session_in(engine: &Engine, listener: usize, slot: &str) -> Client {
    // A new session goes where there are the fewest: those that it does not want stay meanwhile.
    let mut passed = Vec::new();
    loop {
        let mut client = Client::connect(engine, listener, Wire::LENGTH);
        if client.ask("slot") == slot {
            return client;
        }
        passed.push(client);
    }
}

fn frame(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat()
}

fn suffer_all(plans: &[(&str, Others)]) {
    let mut scene = Scene::set(CONFIG);
    for (plan, others) in plans {
        scene.suffer(plan, *others);
    }
    scene.end();
}

#[test]
fn a_worker_that_does_nothing_harms_nobody() {
    suffer_all(&[("hang", Others::Stay)]);
}

#[test]
fn garbage_in_its_rings_harms_nobody() {
    suffer_all(&[
        ("noise", Others::MayClose),
        ("spoil-page", Others::Stay),
        ("written-forwards", Others::Stay),
        ("written-backwards", Others::Stay),
        ("taken-forwards", Others::Stay),
        ("taken-backwards", Others::Stay),
        ("taken-askew", Others::Stay),
        ("flags", Others::Stay),
        ("spoil-incoming", Others::Stay),
    ]);
}

#[test]
fn records_of_every_kind_and_shape_harm_nobody() {
    let mut scene = Scene::set(CONFIG);
    for seed in 0..6 {
        scene.suffer(&format!("records {seed}"), Others::MayClose);
    }
    scene.end();
}

#[test]
fn positions_and_records_that_lie_harm_nobody() {
    let mut scene = Scene::set(CONFIG);
    for lie in [
        "written-falling",
        "written-askew",
        "written-unwritten",
        "taken-falling",
        "taken-unpublished",
        "sizes",
        "beyond-the-end",
        "unknown-kind",
    ] {
        scene.suffer(&format!("lie {lie}"), Others::Stay);
    }
    scene.end();
}

#[test]
fn records_about_foreign_sessions_and_requests_harm_nobody() {
    let mut scene = Scene::set(CONFIG);
    for lie in [
        "foreign-done",
        "foreign-opened",
        "foreign-state",
        "foreign-credits",
        "done-undelivered",
        "answers-twice",
    ] {
        scene.suffer(&format!("lie {lie}"), Others::Stay);
    }
    for lie in ["undefined-flags", "unended-part"] {
        scene.suffer(&format!("lie {lie}"), Others::MayClose);
    }
    scene.end();
}

/// Only the session that it was for may be closed.
#[test]
fn descriptors_that_are_no_files_harm_nobody() {
    let mut scene = Scene::set(CONFIG);
    for kind in [
        "directory",
        "socket",
        "fifo",
        "proc",
        "kernel-log",
        "write-only",
        "none",
        "two",
        "sealed",
        "shrinking",
    ] {
        scene.suffer(&format!("pass {kind}"), Others::Stay);
    }
    let words = ["worker 1 (pid ", "wrote garbage into its ring: files: "];
    scene.engine.logged(&words);
    scene.suffer("pass-flood", Others::Stay);
    scene.end();
}

#[test]
fn a_worker_that_closes_its_channels_or_stops_itself_harms_nobody() {
    suffer_all(&[
        ("close-control", Others::Stay),
        ("close-files", Others::Stay),
        ("stop", Others::Stay),
    ]);
}

#[test]
fn floods_whose_answers_are_never_taken_harm_nobody() {
    suffer_all(&[
        ("broadcasts", Others::Stay),
        ("questions", Others::Stay),
        ("posts", Others::Stay),
        ("tasks", Others::Stay),
        ("sends", Others::Stay),
        ("closes", Others::Stay),
        ("files", Others::Stay),
        ("parts", Others::Stay),
        ("endless-part", Others::Stay),
        ("large-broadcasts", Others::MayClose),
    ]);
}

#[test]
fn misuse_of_its_descriptors_harms_nobody() {
    suffer_all(&[
        ("block-descriptors", Others::Stay),
        ("ring-bells", Others::Stay),
        ("truncate-all", Others::Stay),
        ("board", Others::Stay),
        ("steal-bells", Others::Stay),
        ("shut-down", Others::Stay),
        ("fill-descriptors", Others::Stay),
    ]);
}

#[test]
fn misuse_of_its_channels_harms_nobody() {
    suffer_all(&[
        ("control-garbage", Others::Stay),
        ("control-flood", Others::Stay),
        ("control-asks", Others::Stay),
        ("control-foreign", Others::Stay),
        ("files-garbage", Others::Stay),
    ]);
}

/// To close the last descriptor of a connection may wait for its peer: nobody else waits with it.
#[test]
fn descriptors_that_cannot_be_closed_harm_nobody() {
    let peer = TcpListener::bind("127.0.0.1:0").expect("there are ports");
    let address = peer.local_addr().expect("it has one");
    suffer_all(&[
        (&format!("files-lingering {address}"), Others::Stay),
        (&format!("control-lingering {address}"), Others::Stay),
    ]);
}

/// What is left of a dead worker writes on: it is not heard, and holds nobody up.
#[test]
fn a_child_that_keeps_a_dead_workers_rings_harms_nobody() {
    let mut scene = Scene::set(CONFIG);
    scene.suffer("child", Others::Stay);
    let child: i32 = fs::read_to_string(scene.engine.path("child"))
        .ok()
        .and_then(|pid| pid.parse().ok())
        .expect("the child has told its process id");
    let gateway = scene.engine.status().gateway.pid;
    let before = Process::cpu_time(gateway);
    scene.suffer("hang", Others::Stay);
    println!(
        "  the gateway has used {:?}",
        Process::cpu_time(gateway) - before
    );
    kill(child, Signal::SIGKILL);
    scene.end();
}

/// What a successor must be told lies with the gateway, not in the ring of the one before, who may have spoilt it.
#[test]
fn the_ends_of_sessions_that_a_worker_has_not_taken_reach_its_successor() {
    let mut scene = Scene::set(CONFIG);
    let mut gone = Vec::new();
    for mut client in scene.others.drain(..) {
        gone.push((client.ask("id"), client));
    }
    let hostile = scene.engine.worker(1).pid;
    let mut orders = session_in(&scene.engine, DROP, "1");
    assert_eq!(orders.ask("misuse spoil-incoming"), "begins");
    let before = scene.engine.status().closed("peer");
    let ids: Vec<String> = gone.into_iter().map(|(id, _)| id).collect();
    eventually("the sessions have ended", || {
        scene.engine.status().closed("peer") >= before + ids.len() as u64
    });
    kill(hostile, Signal::SIGKILL);
    for id in ids {
        scene.engine.journaled(&format!("close {id} peer"));
    }
    scene.serves_again("spoil-incoming", hostile, Others::Stay);
    scene.end();
}

/// The log is a file that all processes write to. No worker can cut it, and none makes a line without an end of it.
#[test]
fn misuse_of_the_log_harms_no_other_line() {
    let log = "[engine.log]\nfile = \"{folder}/engine.log\"\n";
    let mut scene = Scene::set(&format!("{CONFIG}{log}"));
    for plan in ["truncate-log", "endless-line", "unread-log"] {
        scene.suffer(plan, Others::Stay);
        let log = fs::read_to_string(scene.engine.path("engine.log")).expect("there is a log");
        assert!(
            log.contains("supervisor started"),
            "{plan}: the log was cut"
        );
        let errors = fs::read(scene.engine.path("stderr")).expect("there is standard error");
        for said in [log.as_bytes(), &errors] {
            let longest = said.split(|byte| *byte == b'\n').map(<[u8]>::len).max();
            assert!(
                longest <= Some(64 * 1024),
                "{plan}: a line of {longest:?} bytes"
            );
        }
    }
    scene.end();
}
