//! Workers and task workers, from spawn to end.

use std::time::Duration;

use moorline_protocol::control::{ProcessId, Role};
use tracing::{info, warn};

use super::attachment::Attachment;
use super::slots::Next;
use super::vital::Vital;
use super::{Action, Change, Child, Ended, Forced, Mode, Now, Plan, role_name};

/// A process that has not been reaped.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) role: Role,
    pub(super) generation: u32,
    pub(super) phase: ProcessPhase,
    ready_at: Option<Now>,
    /// Why it could not start.
    failure: Option<String>,
    /// What its start hook is doing for too long, and where.
    late: Option<String>,
    /// It was told that it serves.
    pub(super) knows_it_serves: bool,
    pub(super) vital: Vital,
    pub(super) attachment: Attachment,
}

/// How far a process has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProcessPhase {
    /// It is started when others have been.
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
    /// It is ending.
    Draining,
}

impl Process {
    pub(super) fn deadline(&self) -> Option<Now> {
        match self.phase {
            ProcessPhase::Spawned { deadline }
            | ProcessPhase::Greeted { deadline }
            | ProcessPhase::Starting { deadline }
            | ProcessPhase::Joining { deadline }
            | ProcessPhase::Draining { deadline, .. }
            | ProcessPhase::Stopping { deadline, .. } => Some(deadline),
            ProcessPhase::Queued { .. } | ProcessPhase::Ready | ProcessPhase::Killed(_) => None,
        }
    }

    pub(super) fn state(&self) -> State {
        match self.phase {
            ProcessPhase::Queued { .. }
            | ProcessPhase::Spawned { .. }
            | ProcessPhase::Greeted { .. }
            | ProcessPhase::Starting { .. }
            | ProcessPhase::Joining { .. } => State::Starting,
            ProcessPhase::Ready => State::Ready,
            ProcessPhase::Draining { .. }
            | ProcessPhase::Stopping { .. }
            | ProcessPhase::Killed(_) => State::Draining,
        }
    }

    /// It was told to end, and this is how. An app that calls `exit(0)` by itself loses its messages, as a crash does.
    pub(super) fn is_expected(&self, end: Ended) -> bool {
        match self.phase {
            ProcessPhase::Killed(_) => true,
            // A process that only drains, because it may have messages in progress, was not told yet.
            ProcessPhase::Stopping { .. } => end.is_success(),
            _ => false,
        }
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.state() == State::Draining
    }
}

impl Plan {
    /// Queues a process, which may take this long to become ready once it is started.
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
                phase: ProcessPhase::Queued { timeout },
                ready_at: None,
                failure: None,
                late: None,
                knows_it_serves: false,
                vital: Vital::default(),
                attachment: Attachment::Detached,
            },
        );
        process
    }

    pub(super) fn process_hello(&mut self, id: ProcessId) {
        if let Some(process) = self.processes.get_mut(&id)
            && let ProcessPhase::Spawned { deadline } = process.phase
        {
            process.phase = ProcessPhase::Greeted { deadline };
        }
    }

    /// Its start hook takes long: what it does, and where.
    pub(crate) fn process_is_late(&mut self, id: ProcessId, verb: &str, at: &str) {
        if let Some(process) = self.processes.get_mut(&id)
            && process.state() == State::Starting
        {
            process.late = Some(format!("its start hook {verb} in {at}"));
        }
    }

    pub(super) fn process_ready(&mut self, id: ProcessId, now: Now) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        let ProcessPhase::Starting { deadline } = process.phase else {
            return;
        };
        process.phase = ProcessPhase::Joining { deadline };
        if !process.attachment.is_pending() {
            self.takes_its_place(id, now);
        }
    }

    /// It is ready, and the gateway can serve it.
    pub(super) fn takes_its_place(&mut self, id: ProcessId, now: Now) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        process.phase = ProcessPhase::Ready;
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
            self.activate(None);
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
        if process.phase != ProcessPhase::Ready {
            self.kill_process(id, Forced::No);
            return;
        }
        process.phase = ProcessPhase::Draining {
            deadline: now + max_wait,
            change,
        };
        // A gateway that does not know that it serves has given it no session.
        if process.attachment != Attachment::Active {
            self.stop_process(id, now);
        }
    }

    pub(super) fn process_released(&mut self, id: ProcessId, now: Now) {
        if let Some(Process {
            phase: ProcessPhase::Draining { .. },
            ..
        }) = self.processes.get(&id)
        {
            self.stop_process(id, now);
        }
    }

    /// Tells a draining process to stop, within the time it had for draining.
    pub(super) fn stop_process(&mut self, id: ProcessId, now: Now) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        let ProcessPhase::Draining { deadline, change } = process.phase else {
            return;
        };
        let forced = match change {
            Change::Reload => Forced::ByReload,
            Change::Replacement => Forced::No,
        };
        process.phase = ProcessPhase::Stopping { deadline, forced };
        self.act(Action::StopProcess {
            process: id,
            max_wait: deadline.saturating_sub(now),
        });
    }

    /// The engine stops: a process that can stop is told to, the others are killed.
    pub(super) fn stop_for_good(&mut self, id: ProcessId, deadline: Now, max_wait: Duration) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        match process.phase {
            ProcessPhase::Ready | ProcessPhase::Draining { .. } => {
                process.phase = ProcessPhase::Stopping {
                    deadline,
                    forced: Forced::No,
                };
                self.act(Action::StopProcess {
                    process: id,
                    max_wait,
                });
            }
            ProcessPhase::Stopping { .. } | ProcessPhase::Killed(_) => {}
            ProcessPhase::Queued { .. }
            | ProcessPhase::Spawned { .. }
            | ProcessPhase::Greeted { .. }
            | ProcessPhase::Starting { .. }
            | ProcessPhase::Joining { .. } => {
                self.kill_process(id, Forced::No);
            }
        }
    }

    pub(super) fn process_stopping(&mut self, id: ProcessId, now: Now) {
        let Some(process) = self.processes.get(&id) else {
            return;
        };
        let role = process.role;
        let ready_for = process.ready_at.map(|at| now.saturating_sub(at));
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
            info!("{} wants to stop", role_name(role));
            // One that asks as soon as it serves has a successor that does so, too.
            self.restart(role, ready_for, "wanted to stop".to_owned(), now);
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

    /// Callers that wait for this process learn why it will not come.
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
            ProcessPhase::Queued { .. } => drop(self.processes.remove(&id)),
            ProcessPhase::Killed(_) => {}
            _ => {
                process.phase = ProcessPhase::Killed(forced);
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
        if process.attachment != Attachment::Detached {
            let forced = process.phase == ProcessPhase::Killed(Forced::ByReload);
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
            // A replacement that it had asked for and that was held back is needed now.
            if slot.retry_at().is_some() {
                slot.next = Next::Nobody;
            }
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
                ProcessPhase::Spawned { .. }
                | ProcessPhase::Greeted { .. }
                | ProcessPhase::Starting { .. } => {
                    let waits_for = match (&process.phase, &process.late) {
                        (ProcessPhase::Spawned { .. }, _) => "its `main` has not called `run`",
                        (ProcessPhase::Greeted { .. }, _) => "it waits for a gateway",
                        (_, Some(late)) => late,
                        (_, None) => "its start hook has not ended",
                    };
                    let timeout = self.shape_of(id).start_timeout;
                    let reason = format!(
                        "was not ready within {timeout:?} (`start_timeout` in [workers]): {waits_for}"
                    );
                    self.process_failed(id, &reason);
                }
                ProcessPhase::Joining { .. } => {
                    let reason = format!(
                        "the gateway did not answer whether it can serve it: {}",
                        self.what_hangs()
                    );
                    self.process_failed(id, &reason);
                }
                ProcessPhase::Draining {
                    change: Change::Reload,
                    ..
                }
                | ProcessPhase::Stopping {
                    forced: Forced::ByReload,
                    ..
                } => {
                    warn!(worker = %name, "{name} had not ended at max_wait after a reload and is killed");
                    self.kill_process(id, Forced::ByReload);
                }
                ProcessPhase::Draining { .. } | ProcessPhase::Stopping { .. } => {
                    warn!(worker = %name, "{name} had not ended at max_wait and is killed");
                    self.kill_process(id, Forced::No);
                }
                ProcessPhase::Queued { .. } | ProcessPhase::Ready | ProcessPhase::Killed(_) => {}
            }
        }
        self.tick_slots(now);
    }
}
