//! Processes that do not answer: no new session goes there, and those that wait there are counted.

use std::sync::Arc;

use super::Report;
use super::event_loop::Loop;
use super::table::Key;
use crate::control::ProcessId;

/// Sessions that one turn looks at: a count over very many takes several, and nobody waits for it.
const SESSIONS_PER_TURN: usize = 4096;

/// A count under way of the sessions that wait for processes which do not answer.
#[derive(Debug)]
pub(super) struct Census {
    next: usize,
    found: Vec<(ProcessId, u64)>,
}

impl Loop {
    /// These processes do not answer, and no others.
    pub(super) fn are_silent(&mut self, silent: &[ProcessId]) {
        for (_, process) in &mut self.processes {
            process.is_silent = silent.contains(&process.id);
        }
        let found = silent.iter().map(|process| (*process, 0)).collect();
        self.census = Some(Census { next: 0, found });
    }

    /// Whether a slot has a process that does not answer.
    pub(super) fn is_silent(&self, slot: usize) -> bool {
        let process = self.slots[slot].process;
        process.is_some_and(|at| self.processes[usize::from(at)].is_silent)
    }

    /// Goes on counting. True: the rest is for the next turn.
    pub(super) fn go_on_counting(&mut self) -> bool {
        let Some(mut census) = self.census.take() else {
            return false;
        };
        let end = (census.next + SESSIONS_PER_TURN).min(self.table.places());
        for place in census.next..end {
            let Some(session) = self.table.at(Key(place as u32)) else {
                continue;
            };
            let waits = session.in_hand() > 0 || session.waits();
            let Some(at) = session.process.filter(|_| waits) else {
                continue;
            };
            let process = self.processes[usize::from(at)].id;
            if let Some((_, count)) = census.found.iter_mut().find(|(id, _)| *id == process) {
                *count += 1;
            }
        }
        if end < self.table.places() {
            census.next = end;
            self.census = Some(census);
            return true;
        }
        // The main thread lives as long as the process.
        let _ = self.reports.send(Report::Waiting(self.index, census.found));
        false
    }
}

/// What the main thread knows of all loops' counts.
#[derive(Debug)]
pub(super) struct Waiting {
    loops: Vec<LoopWaiting>,
}

#[derive(Debug, Default)]
struct LoopWaiting {
    /// Asked and not answered yet: about these.
    asked: Option<Arc<[ProcessId]>>,
    counts: Vec<(ProcessId, u64)>,
}

impl Waiting {
    /// Of so many loops.
    pub(super) fn new(loops: usize) -> Self {
        Self {
            loops: (0..loops).map(|_| LoopWaiting::default()).collect(),
        }
    }

    /// The loops that are to be asked about these processes. One that has been and does not answer is not asked again, so
    /// that nothing piles up in front of a loop that stands still.
    pub(super) fn ask(&mut self, processes: &Arc<[ProcessId]>) -> Vec<usize> {
        let mut asked = Vec::new();
        for (index, one) in self.loops.iter_mut().enumerate() {
            if one.asked.as_ref() != Some(processes) {
                one.asked = Some(processes.clone());
                asked.push(index);
            }
        }
        asked
    }

    /// A loop has answered: how many sessions wait for each process, in all loops together.
    pub(super) fn answered(
        &mut self,
        index: usize,
        counts: Vec<(ProcessId, u64)>,
    ) -> Vec<(ProcessId, u64)> {
        let one = &mut self.loops[index];
        let ids = counts.iter().map(|(id, _)| *id);
        if one
            .asked
            .as_ref()
            .is_some_and(|asked| asked.iter().copied().eq(ids))
        {
            one.asked = None;
        }
        one.counts = counts;
        let mut sums: Vec<(ProcessId, u64)> = Vec::new();
        for (id, count) in self.loops.iter().flat_map(|one| &one.counts) {
            match sums.iter_mut().find(|(known, _)| known == id) {
                Some((_, sum)) => *sum += count,
                None => sums.push((*id, *count)),
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stands_still_is_asked_once_and_the_others_count_on() {
        let mut waiting = Waiting::new(2);
        let silent: Arc<[ProcessId]> = vec![7].into();
        assert_eq!(waiting.ask(&silent), [0, 1]);
        assert_eq!(waiting.answered(0, vec![(7, 3)]), [(7, 3)]);
        assert_eq!(waiting.ask(&silent), [0]);
        assert_eq!(waiting.answered(0, vec![(7, 4)]), [(7, 4)]);
        assert_eq!(waiting.answered(1, vec![(7, 2)]), [(7, 6)]);
    }
}
