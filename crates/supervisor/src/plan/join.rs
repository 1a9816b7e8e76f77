//! How processes are started a few at a time, joined with the gateway, and reported to it as serving.

use moorline_process::open_files::STARTING_AT_ONCE;
use moorline_protocol::control::ProcessId;

use super::attachment::Attachment;
use super::process::{Process, ProcessPhase};
use super::{Action, Now, Plan};

/// During a reload this many of the places for processes on their way are reserved for processes of the reload, and as
/// many for all others.
const KEPT_FOR_THE_OTHERS: usize = 2;

impl Process {
    /// It takes one of the places for processes that are being started or joined.
    fn is_under_way(&self) -> bool {
        let starts = matches!(
            self.phase,
            ProcessPhase::Spawned { .. } | ProcessPhase::Greeted { .. }
        );
        starts || self.attachment == Attachment::Asked
    }
}

impl Plan {
    /// Starts queued processes, and joins processes with a new gateway, a few at a time.
    pub(super) fn begin_more(&mut self, now: Now) {
        let has_gateway = self.gateway.is_ready();
        let (candidates, others): (Vec<_>, Vec<_>) = self
            .processes
            .keys()
            .partition(|id| self.is_candidate(**id));
        // Processes of a reload, and replacements of crashed ones, may hang, so they leave places to each other.
        let most = match candidates.is_empty() {
            true => STARTING_AT_ONCE,
            false => STARTING_AT_ONCE - KEPT_FOR_THE_OTHERS,
        };
        let under_way = |ids: &[ProcessId]| {
            let processes = ids.iter().filter_map(|id| self.processes.get(id));
            processes.filter(|it| it.is_under_way()).count()
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
                ProcessPhase::Greeted { deadline } if has_gateway => {
                    process.phase = ProcessPhase::Starting { deadline };
                    process.attachment = Attachment::Asked;
                    self.act(Action::StartProcess { process: id });
                }
                ProcessPhase::Starting { .. }
                | ProcessPhase::Joining { .. }
                | ProcessPhase::Ready
                    if has_gateway && process.attachment == Attachment::Detached && may_begin =>
                {
                    (free, left[kind]) = (free - 1, left[kind] - 1);
                    process.attachment = Attachment::Asked;
                    self.act(Action::NewGateway { process: id });
                }
                ProcessPhase::Queued { timeout } if may_begin => {
                    (free, left[kind]) = (free - 1, left[kind] - 1);
                    process.phase = ProcessPhase::Spawned {
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
        if process.attachment != Attachment::Asked {
            return;
        }
        if let Some(reason) = failure {
            let reason = format!("it cannot be joined with the gateway: {reason}");
            self.process_failed(id, &reason);
            return;
        }
        process.attachment = Attachment::Attached;
        if let ProcessPhase::Joining { .. } = process.phase {
            self.takes_its_place(id, now);
        }
    }

    /// Tells a new gateway which processes serve, once it is joined with all of them. Otherwise the first ones would
    /// get all early sessions.
    pub(super) fn activate_joined(&mut self) {
        let serving = self.slots().filter_map(|slot| slot.serving);
        let serving = serving.filter_map(|id| self.processes.get(&id));
        let ready = serving.filter(|process| process.phase == ProcessPhase::Ready);
        let attachments: Vec<Attachment> = ready.map(|process| process.attachment).collect();
        if attachments.contains(&Attachment::Attached)
            && !attachments.iter().any(|it| it.is_pending())
        {
            self.activate(None);
        }
    }

    /// The serving processes that the present gateway can serve. Marks them as active.
    pub(super) fn activate_serving(&mut self) -> Vec<ProcessId> {
        let mut serving: Vec<_> = self.slots().filter_map(|slot| slot.serving).collect();
        serving.retain(|id| {
            let process = self.processes.get_mut(id);
            let joined = process.filter(|process| !process.attachment.is_pending());
            joined
                .map(|process| process.attachment = Attachment::Active)
                .is_some()
        });
        serving
    }

    /// It is ready, and the present gateway can serve it.
    pub(super) fn is_able_to_serve(&self, id: ProcessId) -> bool {
        let process = self.processes.get(&id);
        process.is_some_and(|it| it.phase == ProcessPhase::Ready && !it.attachment.is_pending())
    }

    /// The gateway has died, and all sessions with it: draining processes have nothing left to drain.
    pub(super) fn detach_processes(&mut self, now: Now) {
        for id in self.processes.keys().copied().collect::<Vec<_>>() {
            let Some(process) = self.processes.get_mut(&id) else {
                continue;
            };
            process.attachment = Attachment::Detached;
            if let ProcessPhase::Draining { .. } = process.phase {
                self.stop_process(id, now);
            }
        }
    }

    /// Tells the gateway which processes serve now, and from which generation on if that changes.
    pub(super) fn activate(&mut self, prepared: Option<u32>) {
        if !self.gateway.is_ready() {
            // It is told once it is ready.
            return;
        }
        // The others follow when the gateway can serve them.
        let serving = self.activate_serving();
        self.act(Action::Activate {
            // Made from a `u16`.
            workers: self.workers.len() as u16,
            serving,
            prepared,
        });
        self.let_serve();
    }

    /// Tells processes that serve and do not know it.
    fn let_serve(&mut self) {
        let serving: Vec<_> = self.slots().filter_map(|slot| slot.serving).collect();
        for process in serving {
            let found = self.processes.get_mut(&process);
            if found.is_some_and(|found| !std::mem::replace(&mut found.knows_it_serves, true)) {
                self.act_after_switch(Action::Serve { process });
            }
        }
    }
}
