//! What is due when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::id::ServiceId;
use crate::message::Session;

/// The timers of a loop. Each is one message to one service; none is taken back, since a service ignores what it no longer awaits.
#[derive(Debug)]
pub(crate) struct Timers {
    due: BinaryHeap<Reverse<Due>>,
    /// At this number of timers those of services that have ended are removed.
    sweep_at: usize,
    /// Timers of one moment are due in the order in which they were set.
    serial: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Due {
    at: Instant,
    serial: u64,
    pub(crate) service: ServiceId,
    pub(crate) session: Session,
}

/// These timers take 2 MiB: fewer are not worth a look.
const FEW: usize = 1 << 16;

impl Default for Timers {
    fn default() -> Self {
        Self {
            due: BinaryHeap::new(),
            sweep_at: FEW,
            serial: 0,
        }
    }
}

impl Timers {
    /// Removes the timers of services that have ended, if there may be many. Timers may be due in years, and services end all the time.
    pub(crate) fn sweep(&mut self, lives: impl Fn(ServiceId) -> bool) {
        if self.due.len() >= self.sweep_at {
            self.due.retain(|Reverse(due)| lives(due.service));
            self.sweep_at = (self.due.len() * 2).max(FEW);
        }
    }

    pub(crate) fn set(&mut self, at: Instant, service: ServiceId, session: Session) {
        self.serial += 1;
        self.due.push(Reverse(Due {
            at,
            serial: self.serial,
            service,
            session,
        }));
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse(due)| due.at)
    }

    /// Takes the next one, if it is due.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Due> {
        let Reverse(due) = self.due.peek()?;
        if due.at > now {
            return None;
        }
        self.due.pop().map(|Reverse(due)| due)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timers_are_due_in_order_of_time_and_then_of_setting() {
        let mut timers = Timers::default();
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        for (session, millis) in [(1, 20), (2, 10), (3, 10), (4, 30)] {
            timers.set(at(millis), ServiceId::NONE, session);
        }
        assert_eq!(timers.next(), Some(at(10)));
        let due: Vec<_> = std::iter::from_fn(|| timers.take(at(20)))
            .map(|due| due.session)
            .collect();
        assert_eq!(due, [2, 3, 1]);
        assert_eq!(timers.next(), Some(at(30)));
    }

    #[test]
    fn timers_of_services_that_have_ended_are_swept() {
        let mut timers = Timers::default();
        let at = Instant::now() + Duration::from_secs(1 << 30);
        let [ended, alive] = [1, 2].map(ServiceId::from_number);
        for session in 0..10 * FEW as u32 {
            timers.sweep(|service| service == alive);
            let service = if session % 100 == 0 { alive } else { ended };
            timers.set(at, service, session);
            assert!(timers.due.len() <= FEW);
        }
        timers.sweep_at = 0;
        timers.sweep(|service| service == alive);
        assert_eq!(timers.due.len(), FEW / 10 + 1);
    }
}
