//! Reload is a transaction: one new process for every slot, and nothing switches until all are ready.

use tracing::{info, warn};

use moorline_protocol::command::Scope;
use moorline_protocol::control::{ProcessId, Role, role_name};

use super::process::{Process, ProcessPhase};
use super::slots::{Next, Slot};
use super::{Action, Caller, Change, Forced, Mode, Now, Plan, Reply, Shape};

/// The reload that is under way.
#[derive(Debug)]
pub(super) enum Reload {
    Idle,
    /// Executable and configuration are being opened.
    Opening {
        scope: Scope,
        callers: Vec<Caller>,
    },
    /// The new processes start.
    Preparing {
        scope: Scope,
        callers: Vec<Caller>,
        shape: Shape,
        /// In order of role; none of them serves a slot yet.
        candidates: Vec<(Role, ProcessId)>,
        gateway: Preparation,
    },
}

/// Whether the gateway can run with what the reload changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preparation {
    /// Its answer is outstanding, or there is no gateway at the moment.
    Awaited {
        deadline: Now,
    },
    Done,
}

impl Reload {
    pub(super) fn deadline(&self) -> Option<Now> {
        match self {
            Self::Preparing {
                gateway: Preparation::Awaited { deadline },
                ..
            } => Some(*deadline),
            _ => None,
        }
    }
}

/// The one reload that waits for its turn, with all its callers.
#[derive(Debug)]
pub(super) struct Queued {
    scope: Scope,
    callers: Vec<Caller>,
}

impl Plan {
    pub(super) fn reload_asked(&mut self, caller: Option<Caller>, scope: Scope) {
        let refusal = match self.mode {
            Mode::Stopping(_) | Mode::Ending { .. } | Mode::Over => Some("the engine is stopping"),
            _ if scope == Scope::Tasks && self.shape.tasks == 0 => {
                Some("there are no task workers to reload; `[tasks] count` says how many there are")
            }
            Mode::Booting | Mode::Serving => None,
        };
        if let Some(reason) = refusal {
            warn!(reason, "reload refused: {reason}");
            self.reply(caller, Reply::Refused(reason.to_owned()));
            return;
        }
        let callers = caller.into_iter();
        match &mut self.queued {
            Some(queued) => {
                queued.callers.extend(callers);
                if scope == Scope::All {
                    queued.scope = Scope::All;
                }
            }
            None => {
                self.queued = Some(Queued {
                    scope,
                    callers: callers.collect(),
                })
            }
        }
        if !self.may_begin() {
            info!("the reload waits until the one before it, or a replacement, has ended");
            self.reply(caller, Reply::Progress(self.awaited()));
        }
    }

    /// What a reload waits for.
    fn awaited(&self) -> String {
        let leaving = self.processes.values().filter(|it| it.is_leaving());
        let names: Vec<_> = leaving.map(|it| role_name(it.role)).collect();
        match names.is_empty() {
            true => "waiting for the reload before this one".to_owned(),
            false => format!(
                "waiting for {}, still ending, which may take `max_wait`: `status` shows their pids, and `kill -KILL PID` \
                 ends one at once",
                names.join(", ")
            ),
        }
    }

    /// Starts the waiting reload, unless something of the one before it is still there.
    pub(super) fn begin_queued(&mut self) {
        if !self.may_begin() {
            return;
        }
        if let Some(Queued { scope, callers }) = self.queued.take() {
            self.reload = Reload::Opening { scope, callers };
            // Even for a reload that fails: two generations with one number could not be told apart in a log.
            self.last_generation += 1;
            self.act(Action::Open {
                generation: self.last_generation,
                scope,
            });
        }
    }

    fn may_begin(&self) -> bool {
        self.mode == Mode::Serving
            && matches!(self.reload, Reload::Idle)
            && self.upgrade.is_idle()
            && !self.processes.values().any(Process::is_leaving)
    }

    pub(super) fn opened(&mut self, result: Result<Shape, String>, now: Now) {
        let (scope, callers) = match std::mem::replace(&mut self.reload, Reload::Idle) {
            Reload::Opening { scope, callers } => (scope, callers),
            // The engine began to stop meanwhile.
            other => {
                self.reload = other;
                return;
            }
        };
        let shape = match result {
            Ok(shape) if scope == Scope::Tasks && shape.tasks == 0 => {
                self.reload = Reload::Opening { scope, callers };
                self.fail_reload(
                    "the new configuration has no task workers; a full reload removes them"
                        .to_owned(),
                );
                return;
            }
            Ok(shape) => shape,
            Err(reason) => {
                self.reload = Reload::Opening { scope, callers };
                self.fail_reload(reason);
                return;
            }
        };
        let workers = match scope {
            Scope::All => shape.workers,
            Scope::Tasks => 0,
        };
        let roles = (0..workers)
            .map(Role::Worker)
            .chain((0..shape.tasks).map(Role::Task));
        let generation = self.last_generation;
        let timeout = shape.start_timeout;
        let candidates = roles
            .map(|role| (role, self.spawn_process(role, generation, timeout)))
            .collect();
        self.reload = Reload::Preparing {
            scope,
            callers,
            shape,
            candidates,
            gateway: Preparation::Awaited {
                deadline: now + timeout,
            },
        };
        self.prepare_gateway();
        self.tell_progress();
    }

    /// Asks the gateway whether it can run with what the reload changes, if there are both.
    pub(super) fn prepare_gateway(&mut self) {
        let generation = self.last_generation;
        if let Reload::Preparing { scope, .. } = self.reload
            && self.gateway.is_ready()
        {
            self.act(Action::Prepare { generation, scope });
        }
    }

    pub(super) fn gateway_prepared(
        &mut self,
        incarnation: u32,
        generation: u32,
        failure: Option<String>,
    ) {
        if !self.is_present(incarnation) || generation != self.last_generation {
            return;
        }
        match (&mut self.reload, failure) {
            (Reload::Preparing { gateway, .. }, None) => *gateway = Preparation::Done,
            (Reload::Preparing { .. }, Some(reason)) => {
                self.fail_reload(format!("the gateway cannot go on with it: {reason}"));
            }
            (Reload::Idle | Reload::Opening { .. }, _) => {}
        }
    }

    /// What the gateway has prepared died with it; the next one is asked again.
    pub(super) fn preparation_lost(&mut self, now: Now) {
        if let Reload::Preparing { shape, gateway, .. } = &mut self.reload {
            let deadline = now + shape.start_timeout;
            *gateway = Preparation::Awaited { deadline };
        }
    }

    pub(super) fn tick_reload(&mut self, now: Now) {
        let deadline = self.reload.deadline();
        if deadline.is_some_and(|deadline| deadline <= now) {
            let hangs = self.what_hangs();
            self.fail_reload(format!(
                "the gateway did not answer whether it can go on with it: {hangs}"
            ));
        }
    }

    pub(super) fn is_candidate(&self, process: ProcessId) -> bool {
        match &self.reload {
            Reload::Preparing { candidates, .. } => candidates.iter().any(|&(_, id)| id == process),
            Reload::Idle | Reload::Opening { .. } => false,
        }
    }

    /// The shape that this process was started for.
    pub(super) fn shape_of(&self, process: ProcessId) -> &Shape {
        match &self.reload {
            Reload::Preparing { shape, .. } if self.is_candidate(process) => shape,
            _ => &self.shape,
        }
    }

    /// True if it is one of the reload's.
    pub(super) fn candidate_ready(&mut self, process: ProcessId) -> bool {
        let is_candidate = self.is_candidate(process);
        if is_candidate {
            self.tell_progress();
        }
        is_candidate
    }

    fn tell_progress(&mut self) {
        let Reload::Preparing {
            callers,
            candidates,
            ..
        } = &self.reload
        else {
            return;
        };
        let ready = candidates
            .iter()
            .filter(|(_, id)| self.is_process_ready(*id))
            .count();
        let text = format!("starting: {ready} of {} ready", candidates.len());
        for caller in callers.clone() {
            self.act(Action::Reply {
                caller,
                reply: Reply::Progress(text.clone()),
            });
        }
    }

    fn is_process_ready(&self, process: ProcessId) -> bool {
        self.processes
            .get(&process)
            .is_some_and(|process| process.phase == ProcessPhase::Ready)
    }

    /// Switches, if every new process is ready.
    pub(super) fn commit_if_ready(&mut self, now: Now) {
        let Reload::Preparing {
            candidates,
            gateway: Preparation::Done,
            ..
        } = &self.reload
        else {
            return;
        };
        if !candidates.iter().all(|(_, id)| self.is_able_to_serve(*id)) {
            return;
        }
        let generation = self.last_generation;
        let Reload::Preparing {
            scope,
            callers,
            shape,
            candidates,
            gateway: _,
        } = std::mem::replace(&mut self.reload, Reload::Idle)
        else {
            return;
        };
        let old = self.replace_slots(scope, shape, candidates);
        self.activate(Some(generation));
        self.act_after_switch(Action::Commit { generation, scope });
        for slot in old {
            if let Next::Starting(process) = slot.next {
                self.kill_process(process, Forced::No);
            }
            if let Some(process) = slot.serving {
                self.retire(process, Change::Reload, now);
            }
        }
        self.change_helpers(now);
        for caller in callers {
            let text = format!("generation {generation} serves");
            self.act_after_switch(Action::Reply {
                caller,
                reply: Reply::Done(text),
            });
        }
    }

    /// Gives the slots to the new processes. Returns the slots as they were.
    fn replace_slots(
        &mut self,
        scope: Scope,
        shape: Shape,
        candidates: Vec<(Role, ProcessId)>,
    ) -> Vec<Slot> {
        let mut workers = Vec::new();
        let mut tasks = Vec::new();
        for (role, process) in candidates {
            match role {
                Role::Task(_) => tasks.push(Slot::new(Some(process))),
                Role::Worker(_) | Role::Gateway => workers.push(Slot::new(Some(process))),
            }
        }
        let mut old = std::mem::replace(&mut self.tasks, tasks);
        self.tasks_generation = self.last_generation;
        match scope {
            Scope::All => {
                old.extend(std::mem::replace(&mut self.workers, workers));
                self.workers_generation = self.last_generation;
                self.shape = shape;
            }
            Scope::Tasks => {
                self.shape.tasks = shape.tasks;
                self.shape.kill_task_after = shape.kill_task_after;
            }
        }
        old
    }

    /// Ends the new processes. The old ones have served throughout.
    pub(super) fn fail_reload(&mut self, reason: String) {
        let generation = self.last_generation;
        let (callers, candidates) = match std::mem::replace(&mut self.reload, Reload::Idle) {
            Reload::Idle => return,
            Reload::Opening { callers, .. } => (callers, Vec::new()),
            Reload::Preparing {
                callers,
                candidates,
                ..
            } => (callers, candidates),
        };
        for (_, process) in candidates {
            self.kill_process(process, Forced::No);
        }
        for caller in callers {
            self.act(Action::Reply {
                caller,
                reply: Reply::Refused(reason.clone()),
            });
        }
        self.act(Action::Abandon { generation, reason });
    }

    /// The engine stops: neither the running reload nor the waiting one will happen.
    pub(super) fn refuse_reloads(&mut self, reason: &str) {
        self.fail_reload(reason.to_owned());
        if let Some(Queued { callers, .. }) = self.queued.take() {
            for caller in callers {
                self.act(Action::Reply {
                    caller,
                    reply: Reply::Refused(reason.to_owned()),
                });
            }
        }
    }

    pub(super) fn reply(&mut self, caller: Option<Caller>, reply: Reply) {
        if let Some(caller) = caller {
            self.act(Action::Reply { caller, reply });
        }
    }
}
