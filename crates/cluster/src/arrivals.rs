//! What has come from each process: in order, once, and how far it is confirmed.

use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::ways::cost;

/// More senders than a cluster has busy ones. One that is dropped begins anew.
const MOST_SENDERS: usize = 8192;
/// A reader confirms after each of these bytes: a quarter of the window.
const CONFIRM_AFTER: u64 = 256 * 1024;
/// A sender that was not heard for this long has nothing on its way.
const QUIET: Duration = Duration::from_secs(5);

/// What a position is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The next, or one after what was lost.
    New {
        /// Something before it was lost.
        has_gap: bool,
    },
    /// It was here before.
    Repeated,
}

/// All senders.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    senders: FxHashMap<u64, Sender>,
}

#[derive(Debug)]
struct Sender {
    read: u64,
    confirmed: u64,
    heard: Duration,
    /// It writes to another process from now on.
    has_ended: bool,
}

impl Arrivals {
    /// A counted frame with this many bytes has come from a process.
    pub(crate) fn take(
        &mut self,
        process: u64,
        position: u64,
        bytes: usize,
        now: Duration,
    ) -> Arrival {
        let before = position.saturating_sub(cost(bytes));
        let sender = self.sender(process, before, now);
        if position <= sender.read {
            return Arrival::Repeated;
        }
        let has_gap = before > sender.read;
        sender.read = position;
        sender.has_ended = false;
        Arrival::New { has_gap }
    }

    /// The last message was handled. Returns the position to confirm, if it is time to confirm one.
    pub(crate) fn confirm(&mut self, process: u64) -> Option<u64> {
        let sender = self.senders.get_mut(&process)?;
        let is_due = sender.read.saturating_sub(sender.confirmed) >= CONFIRM_AFTER;
        is_due.then(|| {
            sender.confirmed = sender.read;
            sender.read
        })
    }

    /// A process asks how far this one has read. It has written up to this position: what is not here is lost. `is_last`: it
    /// writes to another one from now on.
    pub(crate) fn ask(&mut self, process: u64, position: u64, is_last: bool, now: Duration) -> u64 {
        let sender = self.sender(process, position, now);
        sender.read = sender.read.max(position);
        sender.confirmed = sender.read;
        sender.has_ended = is_last;
        sender.read
    }

    /// Whether nobody writes to this process any more, as far as is known.
    pub(crate) fn have_ended(&self, now: Duration) -> bool {
        let mut senders = self.senders.values();
        senders.all(|sender| sender.has_ended || sender.heard + QUIET <= now)
    }

    fn sender(&mut self, process: u64, read: u64, now: Duration) -> &mut Sender {
        if self.senders.len() >= MOST_SENDERS && !self.senders.contains_key(&process) {
            let oldest = self.senders.iter().min_by_key(|(_, sender)| sender.heard);
            if let Some(oldest) = oldest.map(|(&process, _)| process) {
                self.senders.remove(&oldest);
            }
        }
        let sender = self.senders.entry(process).or_insert(Sender {
            read,
            confirmed: read,
            heard: now,
            has_ended: false,
        });
        sender.heard = now;
        sender
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;
    const NEXT: Arrival = Arrival::New { has_gap: false };

    #[test]
    fn a_repeated_frame_is_told_and_so_is_a_gap() {
        let mut arrivals = Arrivals::default();
        let one = cost(0);
        // A sender that is new may have written to others before.
        assert_eq!(arrivals.take(1, 10 * one, 0, NOW), NEXT);
        assert_eq!(arrivals.take(1, 11 * one, 0, NOW), NEXT);
        assert_eq!(arrivals.take(1, 11 * one, 0, NOW), Arrival::Repeated);
        assert_eq!(arrivals.take(2, 11 * one, 0, NOW), NEXT);
        let gap = Arrival::New { has_gap: true };
        assert_eq!(arrivals.take(1, 13 * one, 0, NOW), gap);
        assert_eq!(arrivals.take(1, 12 * one, 0, NOW), Arrival::Repeated);
    }

    #[test]
    fn what_is_read_is_confirmed_once_in_a_while_and_when_asked() {
        let mut arrivals = Arrivals::default();
        let bytes = CONFIRM_AFTER as usize / 2;
        arrivals.take(1, cost(bytes), bytes, NOW);
        assert_eq!(arrivals.confirm(1), None);
        arrivals.take(1, 2 * cost(bytes), bytes, NOW);
        assert_eq!(arrivals.confirm(1), Some(2 * cost(bytes)));
        assert_eq!(arrivals.confirm(1), None);
        let lost = 3 * cost(bytes);
        assert_eq!(arrivals.ask(1, lost, false, NOW), lost);
        assert_eq!(arrivals.ask(1, 1, false, NOW), lost);
    }

    #[test]
    fn all_have_ended_when_they_say_so_or_are_quiet() {
        let mut arrivals = Arrivals::default();
        assert!(arrivals.have_ended(NOW));
        arrivals.take(1, 600, 0, NOW);
        assert!(!arrivals.have_ended(NOW));
        assert!(arrivals.have_ended(QUIET));
        arrivals.ask(1, 600, true, NOW);
        assert!(arrivals.have_ended(NOW));
    }

    #[test]
    fn a_liar_with_many_names_fills_no_more_than_the_bound() {
        let mut arrivals = Arrivals::default();
        for process in 0..MOST_SENDERS as u64 + 100 {
            arrivals.take(process, 600, 0, Duration::from_millis(process));
        }
        assert_eq!(arrivals.senders.len(), MOST_SENDERS);
    }
}
