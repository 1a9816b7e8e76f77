//! An engine under chaos, through all its lives: what is done to it, and how it stands.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::account::{Counted, Done};
use crate::limits::{Kind, Limits};
use crate::outsiders;
use crate::plan::{Deed, Role};
use crate::sites;
use moorline_tests::{Engine, Finished, Process, Site, Status, happens_within, kill};

/// How long an engine may take until everything in it serves again, on a machine that does other things too.
const RECOVERY: Duration = Duration::from_secs(60);
/// How long what a dead supervisor has left may live: `max_wait` and the grace behind it, a stop, and the machine.
const ORPHANS: Duration = Duration::from_secs(20);
/// How long a hostile worker has for its misuse, and how long it may take until it has begun.
const MISUSED: Duration = Duration::from_millis(1000);
const BEGINS: Duration = Duration::from_secs(20);
/// Between two attempts to start an engine whose address is still held by the one before.
const AGAIN: Duration = Duration::from_millis(200);
/// How long it may take until what a process has grown by is gone: a round of clients that come back.
const SETTLING: Duration = Duration::from_secs(5);
/// Descriptors and bytes by which a process may grow and shrink without a leak.
const DESCRIPTORS_TO_SPARE: usize = 24;
const MEMORY_TO_SPARE: u64 = 64 << 20;
/// Above this the log is rotated between rounds, since it lies on a small disk.
const LARGE_LOG: u64 = 256 << 10;

/// What an engine consists of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cast {
    pub(crate) app: &'static str,
    pub(crate) workers: usize,
    pub(crate) tasks: usize,
    pub(crate) helpers: usize,
    /// Where outsiders go, if any do.
    pub(crate) door: SocketAddr,
    pub(crate) flooded: Option<SocketAddr>,
}

pub(crate) struct Subject {
    cast: Cast,
    site: Arc<Site>,
    /// `None` only between two lives.
    engine: Option<Engine>,
    notes: Arc<DeedNotes>,
    limits: Limits,
    /// Deeds that take their time.
    busy: Vec<JoinHandle<()>>,
    baseline: Option<Sizes>,
}

/// What deeds note while they go on.
#[derive(Default)]
struct DeedNotes {
    done: Mutex<Done>,
    wrong: Mutex<Vec<String>>,
    upgrades: Mutex<Upgrades>,
    /// Held while the executable is exchanged: nobody deploys two builds at once.
    deploying: Mutex<()>,
}

/// Upgrades that were tried, by what came of them.
#[derive(Default)]
struct Upgrades {
    done: u64,
    refused: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Copy)]
struct Sizes {
    supervisor_descriptors: usize,
    gateway_descriptors: usize,
    gateway_memory: u64,
}

impl Sizes {
    fn of(status: &Status) -> Self {
        let sessions = status.gateway.sessions as usize;
        Self {
            supervisor_descriptors: Process::descriptors(status.supervisor.pid),
            gateway_descriptors: Process::descriptors(status.gateway.pid).saturating_sub(sessions),
            gateway_memory: Process::private_memory(status.gateway.pid),
        }
    }

    fn has_grown_from(self, first: Self) -> bool {
        self.supervisor_descriptors > first.supervisor_descriptors + DESCRIPTORS_TO_SPARE
            || self.gateway_descriptors > first.gateway_descriptors + DESCRIPTORS_TO_SPARE
            || self.gateway_memory > first.gateway_memory + MEMORY_TO_SPARE
    }
}

impl Subject {
    pub(crate) fn start(cast: Cast, site: Arc<Site>) -> Subject {
        Subject {
            engine: Some(site.start()),
            cast,
            site,
            notes: Arc::default(),
            limits: Limits::default(),
            busy: Vec::new(),
            baseline: None,
        }
    }

    /// Does it, or begins to.
    pub(crate) fn suffer(&mut self, deed: Deed) {
        match deed {
            Deed::Kill(Role::Supervisor) => self.kill_supervisor(),
            Deed::Kill(role) => self.kill(role),
            Deed::Restart => self.restart(),
            Deed::Stop(role, time) => self.stop(role, time),
            Deed::Retire(role) => self.retire(role),
            Deed::Terminate(role) => self.terminate(role),
            Deed::Misuse(how) => self.misuse(how),
            Deed::Starve(role, time) => {
                if let Some(process) = self.find(role) {
                    let held = Process::descriptors(process.pid) as u64;
                    self.limit(process.pid, Kind::OpenFiles, held, time);
                }
            }
            Deed::FillMemory(time) => {
                self.fill_shared_memory(time);
                // Rings are in memory files, which no mount holds: one that cannot get its size is what a full one is.
                if let Some(process) = self.find(Role::Supervisor) {
                    self.done(|done| done.disks_filled += 1);
                    self.limit(process.pid, Kind::FileSize, 0, time);
                }
            }
            Deed::Reload => self.reload(&["reload"]),
            Deed::Upgrade => self.upgrade(),
            Deed::ReloadTasks => self.reload(&["reload", "--tasks"]),
            Deed::BreakDeployment => self.break_deployment(),
            Deed::Flood => {
                let address = self.cast.flooded.unwrap_or(self.cast.door);
                self.outsider(move || outsiders::flood(address));
            }
            Deed::Storm => {
                let address = self.cast.door;
                self.outsider(move || outsiders::storm(address));
            }
            Deed::Garbage => {
                let address = self.cast.door;
                self.outsider(move || outsiders::garbage(address));
            }
            Deed::Poison => {
                let address = self.cast.flooded.unwrap_or(self.cast.door);
                self.done(|done| {
                    done.killed += 1;
                    done.failed += 1;
                });
                self.outsider(move || outsiders::poison(address));
            }
            Deed::FillLog(time) => self.fill_log(time),
            Deed::RotateLog => self.rotate_log(),
        }
    }

    fn kill(&mut self, role: Role) {
        let Some(process) = self.find(role) else {
            return;
        };
        self.done(|done| match role {
            Role::Worker(_) | Role::Task(_) => done.killed += 1,
            Role::Gateway => done.gateways_killed += 1,
            Role::Supervisor | Role::Helper => {}
        });
        kill(process.pid, Signal::SIGKILL);
    }

    /// As an operator does it who means the engine and names a part of it.
    fn terminate(&mut self, role: Role) {
        let Some(process) = self.find(role) else {
            return;
        };
        if role == Role::Gateway {
            self.done(|done| done.gateways_termed += 1);
        }
        kill(process.pid, Signal::SIGTERM);
    }

    /// Has the next worker of slot 1 be a hostile one, and ends that after a while.
    fn misuse(&mut self, how: &str) {
        // Its own death, and that of the one before it.
        self.done(|done| done.killed += 2);
        let (site, notes) = (self.site.clone(), self.notes.clone());
        let Some(engine) = &self.engine else { return };
        let title = "moorline: worker 1 ";
        let before = engine.processes();
        let before: Vec<i32> = before
            .iter()
            .filter(|process| process.title.starts_with(title))
            .map(|process| process.pid)
            .collect();
        site.write("hostile", how);
        for pid in before {
            kill(pid, Signal::SIGKILL);
        }
        self.busy.push(thread::spawn(move || {
            let pid = || fs::read_to_string(site.path("misuses")).ok()?.parse().ok();
            if !happens_within(BEGINS, || pid().is_some()) {
                // Another deed has kept it from starting.
                let _ = fs::remove_file(site.path("hostile"));
                notes.wrong("no hostile worker has come".to_owned());
                return;
            }
            thread::sleep(MISUSED);
            if let Some(pid) = pid() {
                kill(pid, Signal::SIGKILL);
            }
            let _ = fs::remove_file(site.path("misuses"));
        }));
    }

    /// Gives a process no more than this of something, for a while.
    fn limit(&mut self, pid: i32, kind: Kind, most: u64, time: Duration) {
        if let Some(held) = self.limits.hold(pid, kind, most, time) {
            self.done(|done| done.starved += 1);
            self.busy.push(held);
        }
    }

    /// Nothing may be left of this life, and the next begins at once.
    fn kill_supervisor(&mut self) {
        let Some(mut engine) = self.engine.take() else {
            return;
        };
        self.done(|done| done.supervisors_killed += 1);
        kill(engine.supervisor(), Signal::SIGKILL);
        engine.ended();
        let notes = self.notes.clone();
        self.busy.push(thread::spawn(move || {
            if !happens_within(ORPHANS, || engine.processes().is_empty()) {
                let left = engine.processes();
                notes.wrong(format!("a dead supervisor has left {left:#?}"));
                engine.kill_everything();
            }
        }));
        self.start_again();
    }

    /// As a machine's operator does it. What is in progress has its time.
    fn restart(&mut self) {
        let Some(mut engine) = self.engine.take() else {
            return;
        };
        self.done(|done| done.restarted += 1);
        kill(engine.supervisor(), Signal::SIGTERM);
        match engine.ended_within(ORPHANS) {
            Some(status) if status.success() => {}
            ended => self.notes.wrong(format!("its stop ends with {ended:?}")),
        }
        drop(engine);
        self.start_again();
    }

    fn start_again(&mut self) {
        // Nobody restarts an engine with a build that is known to be broken.
        let _whole = lock(&self.notes.deploying);
        let begun = Instant::now();
        self.engine = loop {
            match self.site.try_start() {
                Ok(engine) => break Some(engine),
                Err(finished) if begun.elapsed() > RECOVERY => {
                    panic!("{} cannot be started again: {finished:#?}", self.cast.app)
                }
                Err(_) => thread::sleep(AGAIN),
            }
        };
    }

    fn stop(&mut self, role: Role, time: Duration) {
        let Some(process) = self.find(role) else {
            return;
        };
        self.done(|done| done.stopped += 1);
        kill(process.pid, Signal::SIGSTOP);
        self.busy.push(thread::spawn(move || {
            thread::sleep(time);
            kill(process.pid, Signal::SIGCONT);
        }));
    }

    /// Only one that serves: before that TERM ends a process like any other signal.
    fn retire(&mut self, role: Role) {
        let (site, notes) = (self.site.clone(), self.notes.clone());
        self.busy.push(thread::spawn(move || {
            let Ok(status) = status(&site) else {
                return;
            };
            let (of_kind, place) = match role {
                Role::Worker(place) => (status.workers, place),
                Role::Task(place) => (status.tasks, place),
                Role::Helper | Role::Gateway | Role::Supervisor => return,
            };
            let ready: Vec<_> = of_kind
                .into_iter()
                .filter(|process| process.state == "ready")
                .collect();
            if let Some(process) = pick(&ready, place) {
                lock(&notes.done).retired += 1;
                kill(process.pid, Signal::SIGTERM);
            }
        }));
    }

    fn reload(&mut self, command: &'static [&'static str]) {
        let (site, notes) = (self.site.clone(), self.notes.clone());
        self.busy.push(thread::spawn(move || {
            let _whole = lock(&notes.deploying);
            let finished = site.run(command);
            let mut done = lock(&notes.done);
            done.reloads += 1;
            if !finished.status.success() {
                done.reloads_failed += 1;
                println!("    a reload failed: {}", reason(&finished));
            }
        }));
    }

    /// Beside reloads and broken builds. It may be refused, and changes nothing then.
    fn upgrade(&mut self) {
        let (site, notes) = (self.site.clone(), self.notes.clone());
        self.done(|done| done.upgrades += 1);
        self.busy.push(thread::spawn(move || {
            let finished = site.run(&["upgrade"]);
            let mut upgrades = lock(&notes.upgrades);
            match finished.status.success() {
                true => upgrades.done += 1,
                false => {
                    let reason = reason(&finished);
                    let reason = reason.trim_start_matches(|c: char| !c.is_ascii_digit());
                    *upgrades.refused.entry(reason.to_owned()).or_default() += 1;
                }
            }
        }));
    }

    /// How many there were, and why others were not.
    pub(crate) fn upgrades(&self) -> String {
        let upgrades = lock(&self.notes.upgrades);
        let refused: u64 = upgrades.refused.values().sum();
        let mut said = format!("{} upgrades, {refused} refused", upgrades.done);
        for (reason, count) in &upgrades.refused {
            said.push_str(&format!("\n    {count}: {reason}"));
        }
        said
    }

    fn break_deployment(&mut self) {
        let (site, notes, cast) = (self.site.clone(), self.notes.clone(), self.cast);
        self.busy.push(thread::spawn(move || {
            let _whole = lock(&notes.deploying);
            site.install("exits_at_once");
            let finished = site.run(&["reload"]);
            site.install(cast.app);
            let mut done = lock(&notes.done);
            done.broken += 1;
            done.broken_processes += (cast.workers + cast.tasks) as u64;
            done.broken_taken += u64::from(finished.status.success());
        }));
    }

    fn outsider(&mut self, visit: impl FnOnce() + Send + 'static) {
        self.done(|done| done.outsiders += 1);
        self.busy.push(thread::spawn(visit));
    }

    fn fill_log(&mut self, time: Duration) {
        let filler = self.site.path("log/filler");
        self.done(|done| done.disks_filled += 1);
        self.busy.push(thread::spawn(move || fill(&filler, time)));
    }

    /// As a program does it that shares the machine.
    fn fill_shared_memory(&mut self, time: Duration) {
        if !sites::has_shared_memory_of_its_own() {
            return;
        }
        self.busy.push(thread::spawn(move || {
            fill(Path::new("/dev/shm/filler"), time)
        }));
    }

    /// What it said so far is kept elsewhere.
    fn rotate_log(&mut self) {
        let (log, moved) = (
            self.site.path("log/engine.log"),
            self.site.path("log/moved"),
        );
        let Some(engine) = &self.engine else {
            return;
        };
        if fs::rename(&log, &moved).is_err() {
            // There is none: this engine logs elsewhere, or was told a moment ago.
            return;
        }
        moorline_tests::reopen_logs(engine.supervisor());
        happens_within(RECOVERY, || log.exists());
        let said = fs::read(&moved).unwrap_or_default();
        let kept = File::options()
            .create(true)
            .append(true)
            .open(self.site.path("engine.log"));
        if let Err(error) = kept.and_then(|mut kept| kept.write_all(&said)) {
            self.notes.wrong(format!("its log cannot be kept: {error}"));
        }
        let _ = fs::remove_file(moved);
    }

    /// A process of this role, a starting or ending one too.
    fn find(&self, role: Role) -> Option<Process> {
        let engine = self.engine.as_ref()?;
        let all = engine.processes();
        let titled = |title: &str| -> Vec<Process> {
            let title = format!("moorline: {title}");
            let mut all = all.clone();
            all.retain(|process| process.title.starts_with(&title));
            all
        };
        let (found, place) = match role {
            Role::Worker(place) => (titled("worker "), place),
            Role::Task(place) => (titled("task "), place),
            Role::Helper => (titled("helper "), 0),
            Role::Gateway => (titled("gateway "), 0),
            Role::Supervisor => {
                let mut all = all;
                all.retain(|process| process.pid == engine.supervisor());
                (all, 0)
            }
        };
        pick(&found, place).cloned()
    }

    /// Waits until all deeds are done and everything serves, and looks whether anything has grown.
    pub(crate) fn muster(&mut self) -> Status {
        for deed in self.busy.drain(..) {
            deed.join().expect("a deed's thread ends");
        }
        let mut last = Err("nothing said".to_owned());
        let is_whole = happens_within(RECOVERY, || {
            last = status(&self.site);
            last.as_ref().is_ok_and(|status| self.is_whole(status))
        });
        let status = match last {
            Ok(status) => status,
            Err(said) => panic!("{} does not answer: {said}", self.cast.app),
        };
        if !is_whole {
            let text = format!("not everything serves after {RECOVERY:?}: {status:#?}");
            self.notes.wrong(text);
        }
        self.compare_sizes(&status);
        let log = self.site.path("log/engine.log");
        if fs::metadata(log).is_ok_and(|log| log.len() > LARGE_LOG) {
            self.rotate_log();
        }
        status
    }

    fn is_whole(&self, status: &Status) -> bool {
        let ready = |processes: &[moorline_tests::ProcessStatus], count| {
            processes.len() == count && processes.iter().all(|process| process.state == "ready")
        };
        ready(&status.workers, self.cast.workers)
            && ready(&status.tasks, self.cast.tasks)
            && status.helpers.len() == self.cast.helpers
            && status.helpers.iter().all(|helper| helper.pid.is_some())
            && status.gateway.pid > 0
    }

    /// An engine that starts and ends processes a thousand times must not keep memory or descriptors of them. Clients may come
    /// between two looks, so only what stays counts.
    fn compare_sizes(&mut self, status: &Status) {
        let now = Sizes::of(status);
        let first = *self.baseline.get_or_insert(now);
        let mut last = now;
        let is_settled = happens_within(SETTLING, || {
            if let Ok(status) = self::status(&self.site) {
                last = Sizes::of(&status);
            }
            !last.has_grown_from(first)
        });
        if !is_settled {
            self.notes
                .wrong(format!("it has grown from {first:?} to {last:?}"));
        }
    }

    /// How many sessions it has now.
    pub(crate) fn sessions(&self) -> Option<u64> {
        status(&self.site)
            .ok()
            .map(|status| status.gateway.sessions)
    }

    /// The state of the engine, for a person that looks for a reason.
    pub(crate) fn listing(&self) -> String {
        let said = [&["status"][..], &["sessions"]].map(|command| self.site.run(command).stdout);
        said.concat()
    }

    /// What the engine counts now.
    pub(crate) fn counted(&self) -> Option<Counted> {
        status(&self.site).ok().as_ref().map(Counted::from)
    }

    /// What was done since this was last asked, and what was wrong with it.
    pub(crate) fn take_notes(&mut self) -> (Done, Vec<String>) {
        (
            std::mem::take(&mut lock(&self.notes.done)),
            std::mem::take(&mut lock(&self.notes.wrong)),
        )
    }

    /// Stops it as its operator does, and returns what is wrong with how it ends.
    pub(crate) fn end(mut self) -> Vec<String> {
        self.rotate_log();
        let Some(mut engine) = self.engine.take() else {
            return Vec::new();
        };
        kill(engine.supervisor(), Signal::SIGTERM);
        let mut wrong = Vec::new();
        match engine.ended_within(RECOVERY) {
            Some(status) if status.success() => {}
            ended => wrong.push(format!("its stop ends with {ended:?}")),
        }
        let log = self.log();
        let panics = log.lines().filter(|line| line.contains("panicked at"));
        wrong.extend(panics.map(str::to_owned));
        wrong
    }

    /// All that it has logged.
    pub(crate) fn log(&self) -> String {
        let files = ["engine.log", "log/engine.log", "stderr"].map(|name| self.site.path(name));
        let texts = files.map(|file| fs::read(file).unwrap_or_default());
        String::from_utf8_lossy(&texts.concat()).into_owned()
    }

    fn done(&self, change: impl FnOnce(&mut Done)) {
        change(&mut lock(&self.notes.done));
    }
}

impl DeedNotes {
    fn wrong(&self, text: String) {
        lock(&self.wrong).push(text);
    }
}

/// `status --json`, or why there is none.
fn status(site: &Site) -> Result<Status, String> {
    let finished = site.run(&["status", "--json"]);
    serde_json::from_str(&finished.stdout).map_err(|error| format!("{error}: {finished:?}"))
}

/// Leaves no byte of the file system that this file is to be in, for a while.
fn fill(filler: &Path, time: Duration) {
    if let Ok(mut file) = File::create(filler) {
        for piece in [4096, 1] {
            while file.write_all(&vec![b'.'; piece]).is_ok() {}
        }
    }
    thread::sleep(time);
    let _ = fs::remove_file(filler);
}

fn reason(finished: &Finished) -> &str {
    finished.stderr.trim().lines().last().unwrap_or_default()
}

fn pick<T>(all: &[T], place: u16) -> Option<&T> {
    all.get(usize::from(place) % all.len().max(1))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
