//! What a loop counts, for `status` and for the other loops.

use std::sync::atomic::Ordering;

use super::event_loop::Loop;
use super::memory::Class;
use crate::control::{Limit, LoopCounter, Role};

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
        // What is in hand changes where the loop has said something, or looks what is said.
        for at in 0..self.polled.len() {
            let at = self.polled[at];
            let Role::Worker(slot) = self.processes[usize::from(at)].role else {
                continue;
            };
            let slot = usize::from(slot);
            if self
                .slots
                .get(slot)
                .is_some_and(|slot| slot.process == Some(at))
            {
                self.tell_in_hand(slot);
            }
        }
        self.shared.loads[usize::from(self.index)].store(self.table.len(), Ordering::Relaxed);
    }

    /// Tells the other loops what is in hand in each slot: another process may serve it.
    pub(super) fn tell_all_in_hand(&mut self) {
        for at in 0..self.slots.len() {
            self.tell_in_hand(at);
        }
    }

    fn tell_in_hand(&mut self, at: usize) {
        // A single loop has nobody to tell.
        if self.peers.len() < 2 {
            return;
        }
        let slot = &mut self.slots[at];
        let process = slot.process.map(|at| &self.processes[usize::from(at)]);
        let in_hand = process.map_or(0, |process| process.in_hand);
        slot.tell_in_hand(in_hand, &self.shared.slots[at]);
    }

    /// Counts one more of something.
    pub(super) fn count(&self, counter: LoopCounter, amount: u64) {
        self.counters.add(counter as usize, amount);
    }

    /// Bytes that this loop holds for sessions and for processes; what several share once.
    pub(super) fn held(&self) -> u64 {
        self.memory.total() + self.groups.shared_bytes() + self.held_by_http()
    }

    /// Those of them that are held for this.
    fn held_of(&self, class: Class) -> u64 {
        let besides = match class {
            Class::Broadcasts => self.groups.shared_bytes(),
            Class::Http => self.held_by_http(),
            _ => 0,
        };
        self.memory.of(class) + besides
    }

    /// The main thread holds them, and one loop counts them for it.
    fn held_by_http(&self) -> u64 {
        match self.index {
            0 => self.shared.http_memory.bytes(),
            _ => 0,
        }
    }

    /// Counts that a limit was reached once more.
    pub(super) fn count_limit(&self, limit: Limit) {
        self.counters
            .add(LoopCounter::Limits as usize + limit as usize, 1);
    }
}
