//! What the supervisor decides, without doing any of it.
//!
//! [`Plan`] takes [`Event`]s and the time, and gives out [`Action`]s; the shell around it spawns,
//! sends, kills and waits. So every order of deaths, answers and timeouts can be played through in
//! tests, with a clock that is a number.
//!
//! `process.rs` holds workers, task workers and their slots; `gateway.rs`, `helpers.rs` the other
//! children; `reload.rs` and `stop.rs` the two things that are asked for from outside.

mod backoff;
mod deferred;
mod gateway;
mod helpers;
mod leader;
mod process;
mod reload;
mod stop;
#[cfg(test)]
mod tests;
mod vitals;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use moorline_protocol::command::Scope;
use moorline_protocol::control::{ProcessId, Role};

use deferred::{Deferred, tells_of_a_switch};
use gateway::Gateway;
use helpers::Helper;
use leader::Leader;
use process::{Next, Process, Slot};
use reload::{Queued, Reload};
use stop::Step;

pub(crate) use moorline_protocol::control::role_name;
pub(crate) use process::State;
pub(crate) use vitals::{LOOK, Sign, Signs, seconds};

/// The time since the supervisor started.
pub(crate) type Now = Duration;

/// Someone who waits for an answer to a command.
pub(crate) type Caller = u64;

/// A child of the supervisor. The numbers are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Child {
    /// The gateway of this incarnation.
    Gateway(u32),
    /// A worker or task worker.
    Process(ProcessId),
    /// One run of a helper.
    Helper(u32),
}

impl std::fmt::Display for Child {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gateway(_) => f.write_str("the gateway"),
            Self::Process(id) => write!(f, "process {id}"),
            Self::Helper(run) => write!(f, "helper run {run}"),
        }
    }
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The code it exited with.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

impl Ended {
    /// By a signal that says that it did something wrong itself, not that someone else ended it.
    pub(crate) fn is_fault(self) -> bool {
        use nix::libc::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};
        matches!(
            self.signal,
            Some(SIGSEGV | SIGBUS | SIGILL | SIGFPE | SIGABRT | SIGTRAP | SIGSYS)
        )
    }

    /// It exited of its own accord and says that all was well.
    pub(crate) fn is_success(self) -> bool {
        self.code == Some(0)
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exited with code {code}"),
            (None, Some(signal)) => match nix::sys::signal::Signal::try_from(signal) {
                Ok(name) => write!(f, "was killed by {name}"),
                Err(_) => write!(f, "was killed by signal {signal}"),
            },
            (None, None) => f.write_str("ended"),
        }
    }
}

/// What a deployment wants of the plan: the parts of its configuration that are decided on here.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shape {
    pub workers: u16,
    pub tasks: u16,
    pub helpers: Vec<moorline_config::Helper>,
    pub max_wait: Duration,
    pub start_timeout: Duration,
    pub stop_over: Duration,
    pub kill_gateway_after: Option<Duration>,
    pub kill_worker_after: Option<Duration>,
    pub kill_task_after: Option<Duration>,
}

/// What happened.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A child could not even be started.
    SpawnFailed { child: Child, reason: String },
    /// It said a hello that fits.
    Hello(Child),
    /// It is able to serve.
    Ready(Child),
    /// It cannot start, or does not speak our language.
    Failed { child: Child, reason: String },
    /// It has ended and was reaped.
    Exited { child: Child, end: Ended },
    /// A worker was told by someone else to stop, and asks for its replacement.
    Stopping(ProcessId),
    /// A process that was told to does not lead any more.
    Resigned(ProcessId),
    /// The gateway of this incarnation has obeyed one more `Activate`.
    Activated(u32),
    /// The gateway of this incarnation can serve this process, or cannot for this reason.
    Attached {
        incarnation: u32,
        process: ProcessId,
        failure: Option<String>,
    },
    /// The gateway of this incarnation can go on with this generation, or cannot for this reason.
    Prepared {
        incarnation: u32,
        generation: u32,
        failure: Option<String>,
    },
    /// The gateway has taken every session from this process.
    Released(ProcessId),
    /// The gateway found garbage in this process's ring.
    Garbage { process: ProcessId, reason: String },
    /// The gateway of this incarnation has closed every session after `StopGateway`.
    Drained(u32),
    /// Someone asks for a reload.
    ReloadAsked {
        caller: Option<Caller>,
        scope: Scope,
    },
    /// The answer to `Action::Open`.
    Opened(Result<Shape, String>),
    /// Someone asks the engine to stop; asked again: at once.
    StopAsked,
    /// The answer to `Action::RunStopHook`.
    StopHookEnded,
    /// Signs of life, each [`LOOK`].
    Looked(Signs),
    /// `next_timeout` has come.
    Tick,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Start a gateway from this generation.
    SpawnGateway { incarnation: u32, generation: u32 },
    /// Start a process from this generation.
    SpawnProcess {
        process: ProcessId,
        role: Role,
        generation: u32,
    },
    /// Start a helper, from this generation's executable.
    SpawnHelper {
        run: u32,
        generation: u32,
        helper: moorline_config::Helper,
    },
    /// Send the gateway its start message.
    StartGateway { incarnation: u32 },
    /// Join this process with the present gateway, and send it its start message. The gateway answers with `Attached`.
    StartProcess { process: ProcessId },
    /// Join a process that has started with the present gateway, which follows another. The gateway answers with
    /// `Attached`.
    NewGateway { process: ProcessId },
    /// Tell the gateway what this generation changes, without changing it yet. It answers with `Prepared`.
    Prepare { generation: u32, scope: Scope },
    /// Tell the gateway who serves.
    Activate {
        workers: u16,
        serving: Vec<ProcessId>,
        reload: bool,
        /// What was prepared as this generation applies from now on.
        prepared: Option<u32>,
    },
    /// Tell a process that it serves.
    Serve { process: ProcessId },
    /// Tell a process that it leads.
    Lead { process: ProcessId },
    /// Tell a process that it does not lead any more.
    Resign { process: ProcessId },
    /// Tell the gateway that this process has ended.
    Dead {
        process: ProcessId,
        fault: bool,
        forced: bool,
    },
    /// Tell the gateway who does not answer, and ask it who waits for them.
    SaySilent { processes: Vec<ProcessId> },
    /// Log that a process has not answered for so long.
    ReportSilent {
        process: ProcessId,
        silent: Duration,
    },
    /// Log that it does again.
    ReportAnswers {
        process: ProcessId,
        silent: Duration,
    },
    /// Run the hook before a stop. Its end is answered with `StopHookEnded`, at once if there is none.
    RunStopHook,
    /// Tell the gateway to drain.
    StopGateway { over: Duration, max_wait: Duration },
    /// Tell a process to run its stop hook and exit.
    StopProcess {
        process: ProcessId,
        max_wait: Duration,
    },
    /// Close the gateway's channel, which ends it.
    ReleaseGateway { incarnation: u32 },
    /// Ask a helper to end.
    TerminateHelper { run: u32 },
    /// End a child and whatever it started, now.
    Kill(Child),
    /// Open executable and configuration afresh, as far as they are for this scope, to be known as this generation;
    /// answer with `Opened`.
    Open { generation: u32, scope: Scope },
    /// This generation is what crash restarts use from now on.
    Commit { generation: u32, scope: Scope },
    /// This generation will not be used, for this reason.
    Abandon { generation: u32, reason: String },
    /// The engine serves for the first time.
    Announce,
    /// Answer someone.
    Reply { caller: Caller, reply: Reply },
    /// Every child is gone: remove the files and end; with a reason if this is not what was wanted.
    Exit { failure: Option<String> },
}

/// An answer to someone who asked for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It goes on; more answers follow.
    Progress(String),
    /// It is done.
    Done(String),
    /// It is committed, and not known to be in effect yet, for this reason.
    Unconfirmed(String),
    /// It was not done, for this reason.
    Refused(String),
}

/// Where the engine as a whole stands.
#[derive(Debug, Clone, PartialEq)]
enum Mode {
    /// Nothing is served yet; whatever fails now ends the engine.
    Booting,
    /// Whatever ends is started again.
    Serving,
    /// Stopping in order. Nothing is started again.
    Stopping(Step),
    /// Every child was killed; the last of them is waited for.
    Ending { failure: Option<String> },
    /// `Exit` was given out.
    Over,
}

/// The supervisor's decisions.
#[derive(Debug)]
pub(crate) struct Plan {
    mode: Mode,
    shape: Shape,
    /// The committed generation of gateway and workers, and of task workers.
    workers_generation: u32,
    tasks_generation: u32,
    /// The last generation that a reload began with, whether it was committed or not.
    last_generation: u32,
    gateway: Gateway,
    workers: Vec<Slot>,
    tasks: Vec<Slot>,
    /// Every process that has not been reaped yet.
    processes: BTreeMap<ProcessId, Process>,
    last_process: ProcessId,
    leader: Leader,
    helpers: Vec<Helper>,
    last_run: u32,
    reload: Reload,
    queued: Option<Queued>,
    /// Processes that the gateway knows not to answer, and when it is told again.
    silent: Vec<ProcessId>,
    say_silent_at: Now,
    /// The hook before a stop runs, and the stop waits for it.
    stop_hook_runs: bool,
    deferred: Deferred,
    actions: VecDeque<Action>,
}

impl Plan {
    /// The first deployment is generation 1; its gateway is started at once.
    pub(crate) fn new(shape: Shape, now: Now) -> Self {
        let mut plan = Self {
            mode: Mode::Booting,
            workers_generation: 1,
            tasks_generation: 1,
            last_generation: 1,
            gateway: Gateway::new(),
            workers: Slot::row(shape.workers),
            tasks: Slot::row(shape.tasks),
            processes: BTreeMap::new(),
            last_process: 0,
            leader: Leader::Nobody,
            helpers: Vec::new(),
            last_run: 0,
            reload: Reload::Idle,
            queued: None,
            silent: Vec::new(),
            say_silent_at: now,
            stop_hook_runs: false,
            deferred: Deferred::default(),
            actions: VecDeque::new(),
            shape,
        };
        plan.spawn_gateway(now);
        plan
    }

    /// Takes an event in.
    pub(crate) fn handle(&mut self, event: Event, now: Now) {
        match event {
            Event::SpawnFailed { child, reason } => self.spawn_failed(child, reason, now),
            Event::Hello(child) => self.hello(child, now),
            Event::Ready(child) => self.ready(child, now),
            Event::Failed { child, reason } => self.failed(child, reason),
            Event::Exited { child, end } => self.exited(child, end, now),
            Event::Resigned(process) => self.resigned(process),
            Event::Activated(incarnation) => self.gateway_activated(incarnation),
            Event::Stopping(process) => self.process_stopping(process),
            Event::Attached {
                incarnation,
                process,
                failure,
            } => self.process_attached(incarnation, process, failure, now),
            Event::Prepared {
                incarnation,
                generation,
                failure,
            } => self.gateway_prepared(incarnation, generation, failure),
            Event::Released(process) => self.process_released(process, now),
            Event::Garbage { process, reason } => self.process_garbage(process, &reason),
            Event::Drained(incarnation) => self.gateway_drained(incarnation, now),
            Event::ReloadAsked { caller, scope } => self.reload_asked(caller, scope),
            Event::Opened(result) => self.opened(result, now),
            Event::StopAsked => self.stop_asked(now),
            Event::StopHookEnded => self.stop_hook_ended(now),
            Event::Looked(signs) => self.look(signs, now),
            Event::Tick => self.tick(now),
        }
        self.go_on(now);
        self.deferred.begin_wait(now);
    }

    /// The next thing to do. To be asked after each event until there is none.
    pub(crate) fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When `Event::Tick` is due.
    pub(crate) fn next_timeout(&self) -> Option<Now> {
        let processes = self.processes.values().filter_map(Process::deadline);
        // What waits to be started again never is once no session is served any more.
        let restarts = !self.is_stopping();
        let slots = self.slots().filter_map(Slot::retry_at);
        let slots = slots.filter(|_| restarts || self.serves_sessions());
        let helpers = self
            .helpers
            .iter()
            .filter(|helper| restarts || helper.is_alive());
        let helpers = helpers.filter_map(Helper::deadline);
        let stop = match &self.mode {
            Mode::Stopping(step) => Some(step.deadline),
            _ => None,
        };
        processes
            .chain(slots)
            .chain(helpers)
            .chain(self.gateway.deadline())
            .chain(stop)
            .chain(self.reload.deadline())
            .chain(self.deferred.deadline())
            .min()
    }

    /// The state of a process, in the words of `status`.
    pub(crate) fn state(&self, process: ProcessId) -> Option<State> {
        self.processes.get(&process).map(Process::state)
    }

    /// A child as logs name it: `worker 1`, `the gateway`, `helper feeder`.
    pub(crate) fn name(&self, child: Child) -> String {
        match child {
            Child::Gateway(_) => "the gateway".to_owned(),
            Child::Process(id) => match self.processes.get(&id) {
                Some(process) => role_name(process.role),
                None => child.to_string(),
            },
            Child::Helper(run) => {
                match self.helpers.iter().find(|helper| helper.run() == Some(run)) {
                    Some(helper) => format!("helper {}", helper.name()),
                    None => child.to_string(),
                }
            }
        }
    }

    /// How often each helper of this name was started again.
    pub(crate) fn restarts(&self, name: &str) -> u64 {
        self.helpers
            .iter()
            .filter(|helper| helper.name() == name)
            .map(Helper::restarts)
            .sum()
    }

    /// A reload is being prepared.
    pub(crate) fn is_reloading(&self) -> bool {
        !matches!(self.reload, Reload::Idle)
    }

    /// It serves, and nothing says that it shall not.
    pub(crate) fn is_serving(&self) -> bool {
        self.mode == Mode::Serving
    }

    /// The engine is on its way out.
    pub(crate) fn is_stopping(&self) -> bool {
        !matches!(self.mode, Mode::Booting | Mode::Serving)
    }

    /// The generations that something may still be started from.
    pub(crate) fn generations(&self) -> [u32; 2] {
        [self.workers_generation, self.tasks_generation]
    }

    fn spawn_failed(&mut self, child: Child, reason: String, now: Now) {
        let reason = format!("cannot be started: {reason}");
        if let Child::Process(process) = child {
            self.note_failure(process, &reason);
        }
        self.gone(child, &reason, false, now);
    }

    fn hello(&mut self, child: Child, now: Now) {
        match child {
            Child::Gateway(incarnation) => self.gateway_hello(incarnation, now),
            Child::Process(process) => self.process_hello(process),
            Child::Helper(_) => {}
        }
    }

    fn ready(&mut self, child: Child, now: Now) {
        match child {
            Child::Gateway(incarnation) => self.gateway_ready(incarnation, now),
            Child::Process(process) => self.process_ready(process, now),
            Child::Helper(_) => {}
        }
    }

    fn failed(&mut self, child: Child, reason: String) {
        match child {
            Child::Gateway(incarnation) => self.gateway_failed(incarnation, &reason),
            Child::Process(process) => self.process_failed(process, &reason),
            Child::Helper(_) => {}
        }
    }

    fn exited(&mut self, child: Child, end: Ended, now: Now) {
        self.gone(child, &end.to_string(), end.is_fault(), now);
    }

    fn gone(&mut self, child: Child, how: &str, fault: bool, now: Now) {
        match child {
            Child::Gateway(incarnation) => self.gateway_gone(incarnation, how, now),
            Child::Process(process) => self.process_gone(process, how, fault, now),
            Child::Helper(run) => self.helper_gone(run, now),
        }
    }

    fn tick(&mut self, now: Now) {
        self.tick_gateway(now);
        self.tick_processes(now);
        self.tick_helpers(now);
        self.tick_reload(now);
        self.tick_stop(now);
        self.tick_deferred(now);
    }

    /// What no single event causes, but a state that has been reached.
    fn go_on(&mut self, now: Now) {
        match &self.mode {
            Mode::Booting => self.finish_boot(now),
            Mode::Serving => {
                self.commit_if_ready(now);
                self.begin_queued();
            }
            Mode::Stopping(_) => self.advance_stop(now),
            Mode::Ending { .. } | Mode::Over => {}
        }
        if self.serves_sessions() {
            self.activate_joined();
            if self.gateway.activations == 0 {
                self.appoint_leader();
            }
        }
        if self.serves_sessions() || self.mode == Mode::Booting {
            self.begin_more(now);
        }
        if let Mode::Ending { failure } = &self.mode
            && !self.has_children()
        {
            let failure = failure.clone();
            self.mode = Mode::Over;
            self.act(Action::Exit { failure });
        }
    }

    fn finish_boot(&mut self, now: Now) {
        if !self.gateway.is_ready() || self.slots().any(|slot| slot.serving.is_none()) {
            return;
        }
        self.mode = Mode::Serving;
        self.activate(Change::Replacement, None);
        self.act(Action::Announce);
        self.go_on(now);
    }

    /// Something failed before the engine served for the first time.
    fn fail_boot(&mut self, reason: String) {
        self.end(Some(reason));
    }

    /// Kills whatever is there and waits for it.
    fn end(&mut self, failure: Option<String>) {
        self.refuse_reloads("the engine is stopping");
        self.mode = Mode::Ending { failure };
        for process in self.processes.keys().copied().collect::<Vec<_>>() {
            self.kill_process(process, Forced::No);
        }
        self.kill_helpers();
        self.kill_gateway();
    }

    fn has_children(&self) -> bool {
        self.gateway.is_alive()
            || !self.processes.is_empty()
            || self.helpers.iter().any(Helper::is_alive)
    }

    /// Tells the gateway who serves now, and from which generation on if that changes.
    fn activate(&mut self, change: Change, prepared: Option<u32>) {
        if !self.gateway.is_ready() {
            // It is told when it is.
            return;
        }
        // The others follow when it has them.
        let serving = self.activate_serving();
        self.act(Action::Activate {
            // Made from a `u16`.
            workers: self.workers.len() as u16,
            serving,
            reload: change == Change::Reload,
            prepared,
        });
        self.let_serve();
    }

    /// Tells those that serve and do not know it.
    fn let_serve(&mut self) {
        let serving: Vec<_> = self.slots().filter_map(|slot| slot.serving).collect();
        for process in serving {
            let found = self.processes.get_mut(&process);
            if found.is_some_and(|found| !std::mem::replace(&mut found.knows_it_serves, true)) {
                self.act(Action::Serve { process });
            }
        }
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.workers.iter().chain(&self.tasks)
    }

    fn slot(&mut self, role: Role) -> Option<&mut Slot> {
        match role {
            Role::Worker(slot) => self.workers.get_mut(usize::from(slot)),
            Role::Task(slot) => self.tasks.get_mut(usize::from(slot)),
            Role::Gateway => None,
        }
    }

    fn act(&mut self, action: Action) {
        if matches!(action, Action::Activate { .. }) {
            self.gateway.activations += 1;
        }
        if self.gateway.activations > 0 && tells_of_a_switch(&action) {
            self.deferred.push(action);
        } else {
            self.actions.push_back(action);
        }
    }
}

/// Why a process gives its place to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Reload,
    Replacement,
}

/// Whether a kill cuts off what a reload would have let finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forced {
    No,
    ByReload,
}
