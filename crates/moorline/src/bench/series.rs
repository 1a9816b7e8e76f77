//! What came when.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Counts for each interval of a run. A longer run has longer intervals, not more of them.
#[derive(Debug, Clone)]
pub(super) struct Series {
    began: Instant,
    width: Duration,
    /// When the interval of the last part ends.
    until: Instant,
    parts: Vec<Part>,
}

/// What came in one interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) answers: u64,
    pub(super) errors: u64,
    /// The slowest answer, in microseconds.
    pub(super) slowest_us: f64,
}

/// A run's intervals, all of the same length but for the last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Intervals {
    pub(super) length_s: f64,
    pub(super) parts: Vec<Part>,
}

/// Enough for a chart on a wide screen.
pub(super) const MOST_PARTS: usize = 600;

/// A minute has 600 of them.
const FIRST_WIDTH: Duration = Duration::from_millis(100);

impl Series {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            width: FIRST_WIDTH,
            until: now + FIRST_WIDTH,
            parts: vec![Part::default()],
        }
    }

    pub(super) fn add_answer(&mut self, now: Instant, latency: Duration) {
        let part = self.part(now);
        part.answers += 1;
        part.slowest_us = part.slowest_us.max(latency.as_nanos() as f64 / 1000.0);
    }

    pub(super) fn add_error(&mut self, now: Instant) {
        self.part(now).errors += 1;
    }

    /// The intervals up to `now`.
    pub(super) fn finish(mut self, now: Instant) -> Intervals {
        self.part(now);
        Intervals {
            length_s: self.width.as_secs_f64(),
            parts: self.parts,
        }
    }

    /// The part of the interval that `now` is in.
    fn part(&mut self, now: Instant) -> &mut Part {
        while now >= self.until {
            if self.parts.len() == MOST_PARTS {
                self.merge();
            } else {
                self.parts.push(Part::default());
                self.until += self.width;
            }
        }
        self.parts
            .last_mut()
            .expect("it begins with one, and gets no fewer")
    }

    /// Doubles the length of all intervals.
    fn merge(&mut self) {
        self.parts = self.parts.chunks(2).map(Part::sum).collect();
        self.width *= 2;
        self.until = self.began + self.width * self.parts.len() as u32;
    }
}

impl Part {
    /// Several intervals as one.
    pub(super) fn sum(parts: &[Part]) -> Part {
        parts.iter().fold(Part::default(), |sum, part| Part {
            answers: sum.answers.saturating_add(part.answers),
            errors: sum.errors.saturating_add(part.errors),
            slowest_us: sum.slowest_us.max(part.slowest_us),
        })
    }
}

impl Intervals {
    /// Groups of intervals, at most `most`: when each begins and how long it takes, in seconds, and what came in it. `total` is the length
    /// of the run in seconds.
    pub(super) fn grouped(&self, total: f64, most: usize) -> Vec<(f64, f64, Part)> {
        let size = self.parts.len().div_ceil(most.max(1)).max(1);
        let groups = self.parts.chunks(size).enumerate();
        let group = |(at, parts): (usize, &[Part])| {
            let begin = (at * size) as f64 * self.length_s;
            let end = (begin + parts.len() as f64 * self.length_s).min(total);
            (begin, (end - begin).max(0.0), Part::sum(parts))
        };
        let mut groups: Vec<_> = groups.map(group).collect();
        // A rest too short for a rate is left to the one before it.
        if let [.., (_, length, before), (_, rest, last)] = &mut groups[..]
            && *rest < *length / 2.0
        {
            *before = Part::sum(&[*before, *last]);
            *length += *rest;
            groups.pop();
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_has_longer_intervals_and_not_more() {
        let start = Instant::now();
        let mut series = Series::new(start);
        for second in 0..7200 {
            let now = start + Duration::from_secs(second);
            series.add_answer(now, Duration::from_millis(second));
        }
        series.add_error(start + Duration::from_secs(7200));
        let intervals = series.finish(start + Duration::from_secs(7201));
        assert!(intervals.parts.len() <= MOST_PARTS);
        assert_eq!(intervals.length_s, 12.8);
        let sum = Part::sum(&intervals.parts);
        assert_eq!((sum.answers, sum.errors), (7200, 1));
        assert_eq!(sum.slowest_us, 7_199_000.0);
        assert_eq!(intervals.parts[0].answers, 13);
    }

    #[test]
    fn groups_cover_the_whole_run_once() {
        let part = Part {
            answers: 2,
            errors: 1,
            slowest_us: 5.0,
        };
        let intervals = Intervals {
            length_s: 0.1,
            parts: vec![part; 25],
        };
        let groups = intervals.grouped(2.41, 12);
        assert_eq!(groups.len(), 8);
        let answers: u64 = groups.iter().map(|(.., part)| part.answers).sum();
        let seconds: f64 = groups.iter().map(|(_, length, _)| length).sum();
        assert_eq!(answers, 50);
        assert!((seconds - 2.41).abs() < 1e-9, "{seconds}");
    }
}
