//! How many sessions wait for silent processes, as the main thread knows it.

use std::sync::Arc;

use moorline_protocol::control::ProcessId;

/// The counts of all loops.
#[derive(Debug)]
pub(crate) struct Waiting {
    loops: Vec<LoopWaiting>,
}

#[derive(Debug, Default)]
struct LoopWaiting {
    /// The processes of the question that was not answered yet.
    asked: Option<Arc<[ProcessId]>>,
    counts: Vec<(ProcessId, u64)>,
}

impl Waiting {
    /// For this many loops.
    pub(crate) fn new(loops: usize) -> Self {
        Self {
            loops: (0..loops).map(|_| LoopWaiting::default()).collect(),
        }
    }

    /// The loops that should be asked about these processes. A loop that was asked and has not answered is not asked
    /// again, so that nothing piles up in front of a loop that stands still.
    pub(crate) fn ask(&mut self, processes: &Arc<[ProcessId]>) -> Vec<usize> {
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
    pub(crate) fn answered(
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
