//! What is due when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::id::ServiceId;
use crate::message::Session;

/// The timers of a loop. Each is one message to one service; none is taken back, since a service ignores what it no longer awaits.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BinaryHeap<Reverse<Due>>,
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

impl Timers {
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
}
