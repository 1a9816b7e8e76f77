//! Workers and task workers: from spawn to grave, and the slots they fill.

use std::time::Duration;

use tracing::{info, warn};

use moorline_process::open_files::STARTING_AT_ONCE;
use moorline_protocol::control::{ProcessId, Role};

use super::backoff::Backoff;
use super::vitals::Vital;
use super::{Action, Change, Child, Forced, Mode, Now, Plan, role_name};

/// During a reload so many of the places for those that are on their way are not for its processes, and so many are for
/// them alone.
const KEPT_FOR_THE_OTHERS: usize = 2;

/// A place that one process serves at a time.
#[derive(Debug)]
pub(super) struct Slot {
    /// Who serves it, as the gateway knows or will be told.
    pub(super) serving: Option<ProcessId>,
    pub(super) next: Next,
    backoff: Backoff,
    /// Why it waits, while `next` says that it does.
    reason: String,
}

/// Who comes into a slot next, other than by a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nobody needs to.
    Nobody,
    /// This process, once it is ready.
    Starting(ProcessId),
    /// One to be started then.
    RetryAt(Now),
}

impl Slot {
    /// So many empty slots.
    pub(super) fn row(count: u16) -> Vec<Self> {
        (0..count).map(|_| Self::new(None)).collect()
    }

    pub(super) fn new(serving: Option<ProcessId>) -> Self {
        Self {
            serving,
            next: Next::Nobody,
            backoff: Backoff::default(),
            reason: String::new(),
        }
    }

    pub(super) fn retry_at(&self) -> Option<Now> {
        match self.next {
            Next::RetryAt(at) => Some(at),
            Next::Nobody | Next::Starting(_) => None,
        }
    }
}

/// A process that has not been reaped.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) role: Role,
    generation: u32,
    pub(super) phase: Phase,
    ready_at: Option<Now>,
    /// Why it could not start.
    failure: Option<String>,
    /// What its start hook does all the time, and where.
    late: Option<String>,
    /// It was told that it serves.
    pub(super) knows_it_serves: bool,
    pub(super) vital: Vital,
    tie: Tie,
}

/// What a process has to do with the present gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tie {
    /// The gateway does not know of it.
    Apart,
    /// The gateway was told of it, and has not answered.
    Asked,
    /// The gateway can serve it.
    Joined,
    /// The gateway was told that it serves.
    Active,
}

/// How far a process has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It is to be started when others have been.
    Queued { timeout: Duration },
    /// Its hello is outstanding.
    Spawned { deadline: Now },
    /// It waits for a gateway to be joined with.
    Greeted { deadline: Now },
    /// It has its start message.
    Starting { deadline: Now },
    /// It is ready, and the gateway's answer is outstanding.
    Joining { deadline: Now },
    /// It serves its slot, or waits for the others of a reload.
    Ready,
    /// Another serves its slot; the gateway takes its sessions away.
    Draining { deadline: Now, change: Change },
    /// It was told to stop.
    Stopping { deadline: Now, forced: Forced },
    /// It was killed.
    Killed(Forced),
}

/// The state of a process in the words of `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Not able to serve yet.
    Starting,
    /// Serves, or could.
    Ready,
    /// On its way out.
    Draining,
}

impl Tie {
    /// The gateway cannot serve it yet.
    fn is_coming(self) -> bool {
        matches!(self, Self::Apart | Self::Asked)
    }
}

impl Process {
    pub(super) fn deadline(&self) -> Option<Now> {
        match self.phase {
            Phase::Spawned { deadline }
            | Phase::Greeted { deadline }
            | Phase::Starting { deadline }
            | Phase::Joining { deadline }
            | Phase::Draining { deadline, .. }
            | Phase::Stopping { deadline, .. } => Some(deadline),
            Phase::Queued { .. } | Phase::Ready | Phase::Killed(_) => None,
        }
    }

    pub(super) fn state(&self) -> State {
        match self.phase {
            Phase::Queued { .. }
            | Phase::Spawned { .. }
            | Phase::Greeted { .. }
            | Phase::Starting { .. }
            | Phase::Joining { .. } => State::Starting,
            Phase::Ready => State::Ready,
            Phase::Draining { .. } | Phase::Stopping { .. } | Phase::Killed(_) => State::Draining,
        }
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.state() == State::Draining
    }
}

impl Plan {
    /// Fills every slot for the first time.
    pub(super) fn spawn_all(&mut self) {
        let workers = (0..self.shape.workers).map(Role::Worker);
        let tasks = (0..self.shape.tasks).map(Role::Task);
        for role in workers.chain(tasks) {
            self.spawn_next(role);
        }
    }

    /// Starts a process of the committed generation for a slot.
    fn spawn_next(&mut self, role: Role) {
        let generation = match role {
            Role::Task(_) => self.tasks_generation,
            Role::Worker(_) | Role::Gateway => self.workers_generation,
        };
        let timeout = self.shape.start_timeout;
        let process = self.spawn_process(role, generation, timeout);
        if let Some(slot) = self.slot(role) {
            slot.next = Next::Starting(process);
        }
    }

    /// Queues a process, which may take so long to become ready once it is started.
    pub(super) fn spawn_process(
        &mut self,
        role: Role,
        generation: u32,
        timeout: Duration,
    ) -> ProcessId {
        self.last_process += 1;
        let process = self.last_process;
        self.processes.insert(
            process,
            Process {
                role,
                generation,
                phase: Phase::Queued { timeout },
                ready_at: None,
                failure: None,
                late: None,
                knows_it_serves: false,
                vital: Vital::default(),
                tie: Tie::Apart,
            },
        );
        process
    }

    /// Starts what is queued, and joins what a new gateway does not know, a few at a time.
    pub(super) fn begin_more(&mut self, now: Now) {
        let is_under_way = |process: &Process| {
            let starts = matches!(process.phase, Phase::Spawned { .. } | Phase::Greeted { .. });
            starts || process.tie == Tie::Asked
        };
        let has_gateway = self.gateway.is_ready();
        let (candidates, others): (Vec<_>, Vec<_>) = self
            .processes
            .keys()
            .partition(|id| self.is_candidate(**id));
        // Those of a reload, and those that replace what has crashed, may hang, and leave places to each other.
        let most = match candidates.is_empty() {
            true => STARTING_AT_ONCE,
            false => STARTING_AT_ONCE - KEPT_FOR_THE_OTHERS,
        };
        let under_way = |ids: &[ProcessId]| {
            let processes = ids.iter().filter_map(|id| self.processes.get(id));
            processes.filter(|it| is_under_way(it)).count()
        };
        let (of_others, of_candidates) = (under_way(&others), under_way(&candidates));
        let mut free = STARTING_AT_ONCE.saturating_sub(of_others + of_candidates);
        let mut left = [of_others, of_candidates].map(|it| most.saturating_sub(it));
        let others = others.into_iter().map(|id| (id, 0));
        let candidates = candidates.into_iter().map(|id| (id, 1));
        for (id, kind) in others.chain(candidates).collect::<Vec<_>>() {
            let may_begin = free > 0 && left[kind] > 0;
            let Some(process) = self.processes.get_mut(&id) else {
                continue;
            };
            match process.phase {
                // It is under way already.
                Phase::Greeted { deadline } if has_gateway => {
                    process.phase = Phase::Starting { deadline };
                    process.tie = Tie::Asked;
                    self.act(Action::StartProcess { process: id });
                }
                Phase::Starting { .. } | Phase::Joining { .. } | Phase::Ready
                    if has_gateway && process.tie == Tie::Apart && may_begin =>
                {
                    (free, left[kind]) = (free - 1, left[kind] - 1);
                    process.tie = Tie::Asked;
                    self.act(Action::NewGateway { process: id });
                }
                Phase::Queued { timeout } if may_begin => {
                    (free, left[kind]) = (free - 1, left[kind] - 1);
                    process.phase = Phase::Spawned {
                        deadline: now + timeout,
                    };
                    let (role, generation) = (process.role, process.generation);
                    self.act(Action::SpawnProcess {
                        process: id,
                        role,
                        generation,
                    });
                }
                _ => {}
            }
        }
    }

    pub(super) fn process_hello(&mut self, id: ProcessId) {
        if let Some(process) = self.processes.get_mut(&id)
            && let Phase::Spawned { deadline } = process.phase
        {
            process.phase = Phase::Greeted { deadline };
        }
    }

    /// Its start hook takes long: this is what it does, and where.
    pub(crate) fn process_is_late(&mut self, id: ProcessId, verb: &str, at: &str) {
        if let Some(process) = self.processes.get_mut(&id)
            && process.state() == State::Starting
        {
            process.late = Some(format!("its start hook {verb} in {at}"));
        }
    }

    /// The gateway has answered: it can serve this process, or cannot for this reason.
    pub(super) fn process_attached(
        &mut self,
        incarnation: u32,
        id: ProcessId,
        failure: Option<String>,
        now: Now,
    ) {
        if !self.is_present(incarnation) {
            return;
        }
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        if process.tie != Tie::Asked {
            return;
        }
        if let Some(reason) = failure {
            let reason = format!("it cannot be joined with the gateway: {reason}");
            self.process_failed(id, &reason);
            return;
        }
        process.tie = Tie::Joined;
        if let Phase::Joining { .. } = process.phase {
            self.takes_its_place(id, now);
        }
    }

    /// Tells a new gateway who serves, once it is joined with all of them: the first ones would get all early sessions.
    pub(super) fn activate_joined(&mut self) {
        let serving = self.slots().filter_map(|slot| slot.serving);
        let serving = serving.filter_map(|id| self.processes.get(&id));
        let ready = serving.filter(|process| process.phase == Phase::Ready);
        let ties: Vec<Tie> = ready.map(|process| process.tie).collect();
        if ties.contains(&Tie::Joined) && !ties.iter().any(|tie| tie.is_coming()) {
            self.activate(Change::Replacement, None);
        }
    }

    /// The processes that serve, as far as the present gateway can serve them, which is told so.
    pub(super) fn activate_serving(&mut self) -> Vec<ProcessId> {
        let mut serving: Vec<_> = self.slots().filter_map(|slot| slot.serving).collect();
        serving.retain(|id| {
            let process = self.processes.get_mut(id);
            let joined = process.filter(|process| !process.tie.is_coming());
            joined.map(|process| process.tie = Tie::Active).is_some()
        });
        serving
    }

    /// It is ready, and the present gateway can serve it.
    pub(super) fn is_able_to_serve(&self, id: ProcessId) -> bool {
        let process = self.processes.get(&id);
        process.is_some_and(|it| it.phase == Phase::Ready && !it.tie.is_coming())
    }

    /// The gateway has died, and with it every session: what was draining has nothing left to drain.
    pub(super) fn part_processes(&mut self, now: Now) {
        for id in self.processes.keys().copied().collect::<Vec<_>>() {
            let Some(process) = self.processes.get_mut(&id) else {
                continue;
            };
            process.tie = Tie::Apart;
            if let Phase::Draining { .. } = process.phase {
                self.stop_process(id, now);
            }
        }
    }

    pub(super) fn process_ready(&mut self, id: ProcessId, now: Now) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        let Phase::Starting { deadline } = process.phase else {
            return;
        };
        process.phase = Phase::Joining { deadline };
        if !process.tie.is_coming() {
            self.takes_its_place(id, now);
        }
    }

    /// It is ready, and the gateway can serve it.
    fn takes_its_place(&mut self, id: ProcessId, now: Now) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        process.phase = Phase::Ready;
        process.ready_at = Some(now);
        let role = process.role;
        if self.candidate_ready(id) {
            return;
        }
        let Some(slot) = self.slot(role) else { return };
        if slot.next != Next::Starting(id) {
            return;
        }
        slot.next = Next::Nobody;
        let old = slot.serving.replace(id);
        if self.serves_sessions() {
            self.activate(Change::Replacement, None);
        }
        if let Some(old) = old {
            self.retire(old, Change::Replacement, now);
        }
    }

    /// Another serves in its place now.
    pub(super) fn retire(&mut self, id: ProcessId, change: Change, now: Now) {
        let max_wait = self.shape.max_wait;
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        if process.phase != Phase::Ready {
            self.kill_process(id, Forced::No);
            return;
        }
        process.phase = Phase::Draining {
            deadline: now + max_wait,
            change,
        };
        // A gateway that does not know that it serves has given it no session.
        if process.tie != Tie::Active {
            self.stop_process(id, now);
        }
    }

    pub(super) fn process_released(&mut self, id: ProcessId, now: Now) {
        if let Some(Process {
            phase: Phase::Draining { .. },
            ..
        }) = self.processes.get(&id)
        {
            self.stop_process(id, now);
        }
    }

    /// Tells a draining process to stop, within the time it had for draining.
    fn stop_process(&mut self, id: ProcessId, now: Now) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        let Phase::Draining { deadline, change } = process.phase else {
            return;
        };
        let forced = match change {
            Change::Reload => Forced::ByReload,
            Change::Replacement => Forced::No,
        };
        process.phase = Phase::Stopping { deadline, forced };
        self.act(Action::StopProcess {
            process: id,
            max_wait: deadline.saturating_sub(now),
        });
    }

    /// The engine stops: whoever is able to is told so, the others are killed.
    pub(super) fn stop_for_good(&mut self, id: ProcessId, deadline: Now, max_wait: Duration) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        match process.phase {
            Phase::Ready | Phase::Draining { .. } => {
                process.phase = Phase::Stopping {
                    deadline,
                    forced: Forced::No,
                };
                self.act(Action::StopProcess {
                    process: id,
                    max_wait,
                });
            }
            Phase::Stopping { .. } | Phase::Killed(_) => {}
            Phase::Queued { .. }
            | Phase::Spawned { .. }
            | Phase::Greeted { .. }
            | Phase::Starting { .. }
            | Phase::Joining { .. } => {
                self.kill_process(id, Forced::No);
            }
        }
    }

    pub(super) fn process_stopping(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get(&id) else {
            return;
        };
        let role = process.role;
        if self.is_candidate(id) {
            self.fail_reload(format!(
                "{} was told to stop before the reload was done",
                role_name(role)
            ));
            return;
        }
        if !self.serves_sessions() {
            return;
        }
        let Some(slot) = self.slot(role) else { return };
        if slot.serving == Some(id) && slot.next == Next::Nobody {
            info!(
                "{} wants to stop: its replacement is started",
                role_name(role)
            );
            self.spawn_next(role);
        }
    }

    pub(super) fn process_garbage(&mut self, id: ProcessId, reason: &str) {
        if let Some(process) = self.processes.get(&id) {
            warn!(
                "{} wrote garbage into a ring, and is killed: {reason}",
                role_name(process.role)
            );
            self.kill_process(id, Forced::No);
        }
    }

    pub(super) fn process_failed(&mut self, id: ProcessId, reason: &str) {
        if self.processes.contains_key(&id) {
            self.kill_process(id, Forced::No);
            self.note_failure(id, reason);
        }
    }

    /// Whoever waits for this process learns why it will not come.
    pub(super) fn note_failure(&mut self, id: ProcessId, reason: &str) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        process.failure = Some(reason.to_owned());
        let text = format!("{}: {reason}", role_name(process.role));
        if self.is_candidate(id) {
            self.fail_reload(text);
        } else if self.mode == Mode::Booting {
            self.fail_boot(text);
        } else {
            warn!("{text}");
        }
    }

    pub(super) fn kill_process(&mut self, id: ProcessId, forced: Forced) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        match process.phase {
            // There is nothing to kill yet.
            Phase::Queued { .. } => drop(self.processes.remove(&id)),
            Phase::Killed(_) => {}
            _ => {
                process.phase = Phase::Killed(forced);
                self.act(Action::Kill(Child::Process(id)));
            }
        }
    }

    pub(super) fn process_gone(&mut self, id: ProcessId, how: &str, fault: bool, now: Now) {
        let is_candidate = self.is_candidate(id);
        let Some(process) = self.processes.remove(&id) else {
            return;
        };
        self.leads_no_more(id);
        if process.tie != Tie::Apart {
            let forced = process.phase == Phase::Killed(Forced::ByReload);
            self.act(Action::Dead {
                process: id,
                fault,
                forced,
            });
        }
        let name = role_name(process.role);
        if is_candidate {
            self.fail_reload(format!("{name} {how} before it was ready"));
            return;
        }
        if self.mode == Mode::Booting {
            self.fail_boot(format!("{name} {how} before it was ready"));
            return;
        }
        let Some(slot) = self.slot(process.role) else {
            return;
        };
        if slot.serving == Some(id) {
            slot.serving = None;
        } else if slot.next == Next::Starting(id) {
            slot.next = Next::Nobody;
        } else {
            return;
        }
        if slot.next == Next::Nobody && self.serves_sessions() {
            let ready_for = process.ready_at.map(|at| now.saturating_sub(at));
            let reason = process.failure.unwrap_or_else(|| how.to_owned());
            self.restart(process.role, ready_for, reason, now);
        }
    }

    fn restart(&mut self, role: Role, ready_for: Option<Duration>, reason: String, now: Now) {
        let Some(slot) = self.slot(role) else { return };
        let wait = slot.backoff.after_death(ready_for);
        if wait.is_zero() {
            self.spawn_next(role);
        } else {
            slot.next = Next::RetryAt(now + wait);
            slot.reason = reason;
            info!("{} is started again in {wait:?}", role_name(role));
        }
    }

    /// Slots whose next process is started after a wait: how long yet, and why.
    pub(crate) fn waiting(&self, now: Now) -> impl Iterator<Item = (Role, Duration, &str)> {
        let workers = (0..).map(Role::Worker).zip(&self.workers);
        let tasks = (0..).map(Role::Task).zip(&self.tasks);
        let restarts = !self.is_stopping() || self.serves_sessions();
        let slots = workers.chain(tasks).filter(move |_| restarts);
        slots.filter_map(move |(role, slot)| {
            Some((role, slot.retry_at()?.saturating_sub(now), &*slot.reason))
        })
    }

    pub(super) fn tick_processes(&mut self, now: Now) {
        for id in self.processes.keys().copied().collect::<Vec<_>>() {
            let Some(process) = self.processes.get(&id) else {
                continue;
            };
            if process.deadline().is_none_or(|deadline| deadline > now) {
                continue;
            }
            let name = role_name(process.role);
            match process.phase {
                Phase::Spawned { .. } | Phase::Greeted { .. } | Phase::Starting { .. } => {
                    let waits_for = match (&process.phase, &process.late) {
                        (Phase::Spawned { .. }, _) => "its `main` has not called `run`",
                        (Phase::Greeted { .. }, _) => "it waits for a gateway",
                        (_, Some(late)) => late,
                        (_, None) => "its start hook has not ended",
                    };
                    let timeout = self.shape_of(id).start_timeout;
                    let reason = format!(
                        "was not ready within {timeout:?} (`start_timeout` in [workers]): {waits_for}"
                    );
                    self.process_failed(id, &reason);
                }
                Phase::Joining { .. } => {
                    let reason = format!(
                        "the gateway did not answer whether it can serve it: {}",
                        self.what_hangs()
                    );
                    self.process_failed(id, &reason);
                }
                Phase::Draining {
                    change: Change::Reload,
                    ..
                }
                | Phase::Stopping {
                    forced: Forced::ByReload,
                    ..
                } => {
                    warn!(worker = %name, "had not ended at max_wait after a reload and is killed");
                    self.kill_process(id, Forced::ByReload);
                }
                Phase::Draining { .. } | Phase::Stopping { .. } => {
                    warn!(worker = %name, "had not ended at max_wait and is killed");
                    self.kill_process(id, Forced::No);
                }
                Phase::Queued { .. } | Phase::Ready | Phase::Killed(_) => {}
            }
        }
        self.tick_slots(now);
    }

    fn tick_slots(&mut self, now: Now) {
        if !self.serves_sessions() {
            return;
        }
        let workers = (0..self.workers.len() as u16).map(Role::Worker);
        let tasks = (0..self.tasks.len() as u16).map(Role::Task);
        for role in workers.chain(tasks) {
            if let Some(slot) = self.slot(role)
                && slot.retry_at().is_some_and(|at| at <= now)
            {
                self.spawn_next(role);
            }
        }
    }
}
