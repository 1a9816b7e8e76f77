//! The processes and slots of a loop on their way to another process.

use std::io;

use crate::ids::{MAX_SLOTS, ProcessKey};
use crate::processes::Processes;
use crate::processes::dispatch::Turns;
use crate::processes::process::Process;
use crate::processes::slot::Slot;

impl Processes {
    /// The next slot of dispatch in turn.
    pub(crate) fn turns(&self) -> Turns {
        self.turns
    }

    /// These processes, in these places, and no others. `None`: two of them are in one place, or have one name.
    pub(crate) fn take_up(&mut self, processes: Vec<(ProcessKey, Process)>) -> Option<()> {
        let is_sorted = processes.is_sorted_by(|one, next| one.0 < next.0);
        let mut ids: Vec<_> = processes.iter().map(|(_, process)| process.id).collect();
        ids.sort_unstable();
        if !is_sorted || !ids.is_sorted_by(|one, next| one < next) {
            return None;
        }
        let processes = processes.into_iter();
        self.list = processes
            .map(|(at, process)| (at.index(), process))
            .collect();
        self.note_task_workers();
        Some(())
    }

    /// These slots. The processes have been taken up.
    ///
    /// # Errors
    /// That cannot be the slots of a loop.
    pub(crate) fn take_up_slots(&mut self, slots: Vec<Slot>, turns: Turns) -> io::Result<()> {
        let served = slots.iter().filter_map(|slot| slot.process);
        let are_there = served.into_iter().all(|at| self.get(at).is_some());
        if !are_there || slots.is_empty() || slots.len() > MAX_SLOTS {
            let text = "the present gateway's state is not understood: its slots";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        self.slots = slots;
        self.turns = turns;
        // What waits for a slot is looked at in the next turn.
        self.is_restless = true;
        Ok(())
    }

    /// Whatever this process has written or taken is looked at in the next turn.
    pub(crate) fn look_at_everything(&mut self, at: ProcessKey) {
        self.poll(at);
        self.block_if_waited_for(at);
        if self[at].has_closings() {
            self.note_told(at);
        }
    }
}
