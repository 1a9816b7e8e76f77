//! What a loop counts, for `status` and for the other loops.

use std::sync::atomic::Ordering;

use super::event_loop::Loop;
use super::memory::Class;
use crate::control::{Limit, LoopCounter};

impl Loop {
    /// Says how it is with this loop; once a turn.
    pub(super) fn report_counters(&mut self) {
        self.counters
            .set(LoopCounter::Sessions as usize, self.table.len() as u64);
        self.counters
            .set(LoopCounter::BufferedBytes as usize, self.held());
        self.counters
            .set(LoopCounter::LastSerial as usize, self.table.last_serial());
        for class in Class::ALL {
            let place = LoopCounter::Held as usize + class as usize;
            self.counters.set(place, self.held_of(class));
        }
        if self.index == 0 {
            // They are the process's, not a loop's; one of them says so.
            self.counters
                .set(LoopCounter::LogLinesDropped as usize, crate::log::dropped());
        }
        if self.peers.len() > 1 {
            for (slot, load) in self.slots.iter_mut().zip(&self.shared.slots) {
                let in_hand = slot
                    .process
                    .map_or(0, |at| self.processes[usize::from(at)].in_hand);
                slot.tell_in_hand(in_hand, load);
            }
        }
        self.shared.loads[usize::from(self.index)].store(self.table.len(), Ordering::Relaxed);
    }

    /// Counts one more of something.
    pub(super) fn count(&self, counter: LoopCounter, amount: u64) {
        self.counters.add(counter as usize, amount);
    }

    /// Bytes that this loop holds for sessions and for processes; what several share once.
    pub(super) fn held(&self) -> u64 {
        self.memory.total()
            + self.groups.shared_bytes()
            + self.budget.parcels()
            + self.held_of(Class::Http)
    }

    /// Those of them that are held for this.
    fn held_of(&self, class: Class) -> u64 {
        let besides = match class {
            Class::Broadcasts => self.groups.shared_bytes(),
            Class::Transfers => self.budget.parcels(),
            // The main thread holds them, and one loop counts them for it.
            Class::Http if self.index == 0 => self.shared.http_memory.bytes(),
            _ => 0,
        };
        self.memory.of(class) + besides
    }

    /// Counts that a limit was reached once more.
    pub(super) fn count_limit(&self, limit: Limit) {
        self.counters
            .add(LoopCounter::Limits as usize + limit as usize, 1);
    }
}
