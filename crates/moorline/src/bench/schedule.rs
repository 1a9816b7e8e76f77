//! When requests are due at a fixed rate.

use std::time::{Duration, Instant};

/// A clock that does not wait for answers: request `k` of all is due `k` periods after the start, on connection `k` modulo
/// their number. So each connection has a rate of its own, and one that awaits its answer falls behind alone.
///
/// A latency counts from the time at which the request was due, not from the time at which its connection was free for
/// it. Otherwise a server that stalls would be asked less while it stalls, and one slow answer of each connection would stand
/// for all that a user would have waited for (coordinated omission).
#[derive(Debug)]
pub(super) struct Schedule {
    began: Instant,
    rate: u32,
    connections: u64,
    /// The requests that were due so far are those before this one.
    next: u64,
    /// How many requests each connection has begun.
    begun: Vec<u64>,
    counts: PaceCounts,
}

/// What became of the requests that were due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PaceCounts {
    pub(super) due: u64,
    pub(super) sent: u64,
    /// Sent too late, as their connection had no answer to the request before.
    pub(super) late_for_answers: u64,
    /// Sent too late, as the load generator had no time.
    pub(super) late_by_load: u64,
    /// Not sent until the end.
    pub(super) unsent: u64,
}

/// What is sent within this time after it was due is in time: timers are not more exact on a busy machine.
pub(super) const IN_TIME: Duration = Duration::from_millis(1);

/// Waiting times of requests that were never sent, at most: more are told by fewer that count for several.
const MOST_WAITS: u64 = 1_000_000;

impl Schedule {
    /// The first request is due at once. `rate` and `connections` are at least 1.
    pub(super) fn new(now: Instant, rate: u32, connections: u32) -> Self {
        Self {
            began: now,
            rate,
            connections: connections.into(),
            next: 0,
            begun: vec![0; connections as usize],
            counts: PaceCounts::default(),
        }
    }

    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// How long until the next request is due; zero if one is.
    pub(super) fn until_next(&self, now: Instant) -> Duration {
        self.due(self.next).saturating_duration_since(now)
    }

    /// The connection of the next request that has become due, each once.
    pub(super) fn next_due(&mut self, now: Instant) -> Option<usize> {
        if self.due(self.next) > now {
            return None;
        }
        let connection = self.next % self.connections;
        self.next += 1;
        Some(connection as usize)
    }

    /// Takes the oldest request that is due on a connection. Returns when it was due.
    pub(super) fn begin(
        &mut self,
        connection: usize,
        now: Instant,
        cause: Lateness,
    ) -> Option<Instant> {
        let number = self.oldest(connection);
        if number >= self.next {
            return None;
        }
        let due = self.due(number);
        self.begun[connection] += 1;
        self.counts.sent += 1;
        if now.saturating_duration_since(due) > IN_TIME {
            match cause {
                Lateness::Answer => self.counts.late_for_answers += 1,
                Lateness::Load => self.counts.late_by_load += 1,
            }
        }
        Some(due)
    }

    /// Ends it. Calls `waited` with the time that requests which were never sent have waited until `now`, and with their
    /// number. What became due only just now is left out: it is not late yet.
    pub(super) fn end(
        &mut self,
        now: Instant,
        mut waited: impl FnMut(Duration, u64),
    ) -> PaceCounts {
        let until = now.checked_sub(IN_TIME).unwrap_or(self.began);
        let periods = until.checked_duration_since(self.began).map(|elapsed| {
            let due = elapsed.as_nanos() * u128::from(self.rate) / NANOSECONDS;
            u64::try_from(due).unwrap_or(u64::MAX)
        });
        let due = periods.map_or(0, |periods| periods.saturating_add(1));
        let left = |connection: usize| {
            let left = due.saturating_sub(self.oldest(connection));
            left.div_ceil(self.connections)
        };
        let unsent: u64 = (0..self.begun.len()).map(left).sum();
        let step = unsent / MOST_WAITS + 1;
        for connection in 0..self.begun.len() {
            let (oldest, left) = (self.oldest(connection), left(connection));
            for first in (0..left).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
                let due = self.due(oldest + first * self.connections);
                waited(now.saturating_duration_since(due), step.min(left - first));
            }
        }
        self.counts.unsent = unsent;
        self.counts.due = self.counts.sent + unsent;
        self.counts
    }

    /// The number of the first request that a connection has not begun.
    fn oldest(&self, connection: usize) -> u64 {
        self.begun[connection]
            .saturating_mul(self.connections)
            .saturating_add(connection as u64)
    }

    fn due(&self, number: u64) -> Instant {
        let nanoseconds = u128::from(number) * NANOSECONDS / u128::from(self.rate);
        // Past what a clock holds it never comes.
        let after = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        self.began.checked_add(after).unwrap_or(self.began + FAR)
    }
}

/// The reason for which a request is sent after it was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lateness {
    /// Its connection awaited an answer.
    Answer,
    /// The load generator did something else.
    Load,
}

const NANOSECONDS: u128 = 1_000_000_000;

/// Longer than any run.
const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn requests_are_due_in_turn_whether_or_not_answers_come() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 100, 3);
        assert_eq!(schedule.next_due(start), Some(0));
        assert_eq!(schedule.next_due(start), None);
        assert_eq!(schedule.until_next(start), ms(10));
        let later = start + ms(35);
        let due: Vec<_> = std::iter::from_fn(|| schedule.next_due(later)).collect();
        assert_eq!(due, [1, 2, 0]);
        assert_eq!(schedule.until_next(later), ms(5));
    }

    #[test]
    fn a_latency_counts_from_when_the_request_was_due() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 1000, 2);
        while schedule.next_due(start + ms(5)).is_some() {}
        let late = start + ms(5);
        // The first connection had to wait for an answer, the second for the load generator.
        assert_eq!(schedule.begin(0, start, Lateness::Load), Some(start));
        assert_eq!(
            schedule.begin(0, late, Lateness::Answer),
            Some(start + ms(2))
        );
        assert_eq!(
            schedule.begin(0, late, Lateness::Answer),
            Some(start + ms(4))
        );
        assert_eq!(schedule.begin(0, late, Lateness::Answer), None);
        assert_eq!(schedule.begin(1, late, Lateness::Load), Some(start + ms(1)));
        let mut waits = Vec::new();
        let counts = schedule.end(start + ms(8), |waited, count| waits.push((waited, count)));
        // What was due at 8 ms is not late yet.
        let expected = [(ms(2), 1), (ms(5), 1), (ms(3), 1), (ms(1), 1)];
        assert_eq!(waits, expected);
        let expected = PaceCounts {
            due: 8,
            sent: 4,
            late_for_answers: 1,
            late_by_load: 1,
            unsent: 4,
        };
        assert_eq!(counts, expected);
    }

    #[test]
    fn very_many_requests_that_were_never_sent_are_counted_in_bounded_time() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 10_000_000, 7);
        let (mut calls, mut total) = (0u64, 0u64);
        let end = start + Duration::from_secs(3600) + IN_TIME;
        let counts = schedule.end(end, |_, count| {
            calls += 1;
            total += count;
        });
        assert_eq!((counts.unsent, total), (36_000_000_001, 36_000_000_001));
        assert!(calls <= MOST_WAITS + 7, "{calls}");
    }

    #[test]
    fn a_schedule_of_years_does_not_overflow() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 10_000_000, 1);
        schedule.next = u64::MAX - 1;
        assert!(schedule.until_next(start) > Duration::from_secs(3600));
        schedule.begun[0] = u64::MAX;
        assert_eq!(schedule.begin(0, start, Lateness::Answer), None);
    }
}
