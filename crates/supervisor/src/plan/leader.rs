//! The leader: the one worker that runs the jobs of which only one may run.
//!
//! There are never two: the next leader is appointed only when the last one has confirmed that it does not lead any
//! more, or has ended. And there is one whenever a worker serves, so the leader stays leader while it serves its slot.

use moorline_protocol::control::ProcessId;

use super::{Action, Plan};

/// The leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leader {
    Nobody,
    /// This process was told that it leads.
    Is(ProcessId),
    /// This process was ordered to resign, and has not confirmed it.
    Resigns(ProcessId),
}

impl Plan {
    /// Makes sure that the leader is a process that serves.
    pub(super) fn appoint_leader(&mut self) {
        let mut serving = self.workers.iter().filter_map(|slot| slot.serving);
        match self.leader {
            Leader::Nobody => {
                if let Some(process) = serving.next() {
                    self.leader = Leader::Is(process);
                    self.act(Action::Lead { process });
                }
            }
            Leader::Is(process) => {
                if !serving.any(|id| id == process) {
                    self.leader = Leader::Resigns(process);
                    self.act(Action::Resign { process });
                }
            }
            Leader::Resigns(_) => {}
        }
    }

    /// It has confirmed that it does not lead any more.
    pub(super) fn resigned(&mut self, process: ProcessId) {
        if self.leader == Leader::Resigns(process) {
            self.leader = Leader::Nobody;
        }
    }

    /// It has ended.
    pub(super) fn leads_no_more(&mut self, process: ProcessId) {
        if matches!(self.leader, Leader::Is(id) | Leader::Resigns(id) if id == process) {
            self.leader = Leader::Nobody;
        }
    }

    /// The leader, if there is one.
    pub(crate) fn leader(&self) -> Option<ProcessId> {
        match self.leader {
            Leader::Is(process) => Some(process),
            Leader::Nobody | Leader::Resigns(_) => None,
        }
    }
}
