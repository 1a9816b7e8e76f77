//! The supervisor's decisions, without any action.
//!
//! [`Plan`] takes [`Event`]s and the time, and returns [`Action`]s; the shell around it spawns, sends, kills and waits.
//! So tests can play every order of deaths, answers and timeouts, with a clock that is a number.
//!
//! `event.rs` and `action.rs` are its two ends. `process.rs` and `slots.rs` hold workers and task workers, `join.rs` joins
//! them with the gateway; `gateway.rs` and `helpers.rs` hold the other children; `reload.rs`, `closing.rs` and `stop.rs` do
//! what commands ask for, `upgrade.rs` follows one gateway with another, and `app_reloads.rs` what apps do; `deferred.rs` holds back the actions that wait for the gateway to
//! switch.

mod action;
mod app_reloads;
mod attachment;
mod backoff;
mod child;
mod closing;
mod deferred;
mod event;
mod gateway;
mod helpers;
mod join;
mod leader;
mod process;
mod reload;
mod slots;
mod stop;
#[cfg(test)]
mod tests;
mod upgrade;
mod vital;
mod vitals;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use moorline_protocol::control::ProcessId;

use app_reloads::AppReloads;
use closing::Closing;
use deferred::Deferred;
use gateway::Gateway;
use helpers::Helper;
use leader::Leader;
use process::Process;
use reload::{Queued, Reload};
use slots::Slot;
use stop::Step;
use upgrade::Upgrade;

pub(crate) use action::{Action, Reply, UpgradeAction};
pub(crate) use child::{Child, Ended};
pub(crate) use closing::{DrainRequest, Left};
pub(crate) use event::Event;
pub(crate) use moorline_protocol::control::role_name;
pub(crate) use process::State;
pub(crate) use vital::{LOOK, Sign};
pub(crate) use vitals::{GatewaySigns, Signs, seconds};

/// The time since the supervisor started.
pub(crate) type Now = Duration;

/// The sender of a command, who waits for its answer.
pub(crate) type Caller = u64;

/// The parts of a deployment's configuration that the plan decides on.
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

/// Where the engine as a whole stands.
#[derive(Debug, Clone, PartialEq)]
enum Mode {
    /// Nothing is served yet; any failure ends the engine.
    Booting,
    /// Every child that ends is started again.
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
    upgrade: Upgrade,
    app_reloads: AppReloads,
    /// Processes that the gateway knows to be silent, and when it is told again.
    silent: Vec<ProcessId>,
    say_silent_at: Now,
    /// The hook before a stop runs, and the stop waits for it.
    stop_hook_runs: bool,
    /// Sessions are being closed, by a stop or a drain.
    closing: Option<Closing>,
    last_drain: u64,
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
            upgrade: Upgrade::default(),
            app_reloads: AppReloads::default(),
            silent: Vec::new(),
            say_silent_at: now,
            stop_hook_runs: false,
            closing: None,
            last_drain: 0,
            deferred: Deferred::default(),
            actions: VecDeque::new(),
            shape,
        };
        plan.spawn_gateway(now);
        plan
    }

    /// Handles an event.
    pub(crate) fn handle(&mut self, event: Event, now: Now) {
        match event {
            Event::SpawnFailed { child, reason } => self.spawn_failed(child, reason, now),
            Event::Hello(child) => self.hello(child, now),
            Event::Ready(child) => self.ready(child, now),
            Event::Failed { child, reason } => self.failed(child, reason),
            Event::Exited { child, end } => self.exited(child, end, now),
            Event::Resigned(process) => self.resigned(process),
            Event::Activated(incarnation) => self.gateway_activated(incarnation),
            Event::Stopping(process) => self.process_stopping(process, now),
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
            Event::AppReloadAsked { by, caller } => self.app_reload_asked(by, caller, now),
            Event::Opened(result) => self.opened(result, now),
            Event::UpgradeAsked { caller, close_rest } => self.upgrade_asked(caller, close_rest),
            Event::Waits(incarnation) => self.successor_waits(incarnation, now),
            Event::HandedOver {
                incarnation,
                failure,
            } => self.gateway_handed_over(incarnation, failure, now),
            Event::GoesOn {
                incarnation,
                sessions,
                pause,
            } => self.gateway_goes_on(incarnation, sessions, pause),
            Event::StopAsked => self.stop_asked(now),
            Event::StopHookEnded => self.stop_hook_ended(now),
            Event::DrainAsked { caller, request } => self.drain_asked(caller, request, now),
            Event::DrainEnded {
                incarnation,
                number,
                count,
            } => self.drain_ended(incarnation, number, count, now),
            Event::Looked(signs) => self.look(signs, now),
            Event::Tick => self.tick(now),
        }
        self.go_on(now);
        self.follow_app_reload(now);
        self.deferred.begin_wait(now);
    }

    /// The next action. Ask after each event until there is none.
    pub(crate) fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When `Event::Tick` is due.
    pub(crate) fn next_timeout(&self) -> Option<Now> {
        let processes = self.processes.values().filter_map(Process::deadline);
        // What waits for a restart is never started once sessions are not served any more.
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
            .chain(self.upgrade.deadline())
            .chain(self.deferred.deadline())
            .min()
    }

    /// The state of a process, in the words of `status`.
    pub(crate) fn state(&self, process: ProcessId) -> Option<State> {
        self.processes.get(&process).map(Process::state)
    }

    /// Whether a process was told that it serves.
    pub(crate) fn serves(&self, process: ProcessId) -> bool {
        let process = self.processes.get(&process);
        process.is_some_and(|process| process.knows_it_serves)
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

    /// Whether a child that has ended was told to, so that its end is no failure. Ask before the plan gets the event.
    pub(crate) fn is_expected(&self, child: Child, end: Ended) -> bool {
        match child {
            Child::Gateway(incarnation) => {
                self.upgrade.is_other(incarnation)
                    || (self.is_present(incarnation) && self.gateway.is_expected(end))
            }
            Child::Process(id) => {
                let process = self.processes.get(&id);
                process.is_some_and(|process| process.is_expected(end))
            }
            Child::Helper(_) => true,
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

    /// It serves, and neither stops nor ends.
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
        self.tick_upgrade(now);
        self.tick_stop(now);
        self.tick_deferred(now);
    }

    /// Actions that follow from the state, not from a single event.
    fn go_on(&mut self, now: Now) {
        match &self.mode {
            Mode::Booting => self.finish_boot(now),
            Mode::Serving => {
                self.commit_if_ready(now);
                self.begin_queued();
                self.begin_queued_upgrade(now);
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
        self.activate(None);
        self.act_after_switch(Action::Announce);
        self.go_on(now);
    }

    /// Something failed before the engine served for the first time.
    fn fail_boot(&mut self, reason: String) {
        self.end(Some(reason));
    }

    /// Kills all children and waits for them.
    fn end(&mut self, failure: Option<String>) {
        self.refuse_reloads("the engine is stopping");
        self.refuse_upgrades("the engine is stopping");
        self.mode = Mode::Ending { failure };
        for process in self.processes.keys().copied().collect::<Vec<_>>() {
            self.kill_process(process, Forced::No);
        }
        self.kill_helpers();
        self.kill_gateway();
        self.kill_other_gateways();
    }

    fn has_children(&self) -> bool {
        self.gateway.is_alive()
            || self.upgrade.has_others()
            || !self.processes.is_empty()
            || self.helpers.iter().any(Helper::is_alive)
    }

    fn act(&mut self, action: Action) {
        if matches!(action, Action::Activate { .. }) {
            self.gateway.activations += 1;
        }
        self.actions.push_back(action);
    }
}

/// Why a process gives its place to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Reload,
    Replacement,
}

/// Whether a kill cuts off work that a reload would have let finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forced {
    No,
    ByReload,
}
