//! Rates, from one look to the next.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::sample::{Sample, number};

/// Looks that are kept: five minutes.
const KEPT: usize = 300;

/// What is drawn as a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Line {
    Sessions,
    Messages,
    Requests,
    RelayedBytes,
}

/// The lines, and how much each process has handled since the look before.
#[derive(Debug, Default)]
pub(super) struct History {
    lines: BTreeMap<Line, VecDeque<u64>>,
    /// By process.
    handled: BTreeMap<u64, u64>,
    last: Option<Counters>,
}

/// Counters at one look.
#[derive(Debug)]
struct Counters {
    at: Duration,
    engine: (u64, u64),
    values: [(Line, u64); 3],
    handled: BTreeMap<u64, u64>,
}

impl Counters {
    fn new(sample: &Sample, at: Duration) -> Self {
        let number = |pointer: &str| sample.number(pointer);
        let relayed = number("/gateway/relays/bytes_up") + number("/gateway/relays/bytes_down");
        Self {
            at,
            engine: (number("/supervisor/pid"), number("/supervisor/started_at")),
            values: [
                (Line::Messages, number("/gateway/messages")),
                (Line::Requests, number("/gateway/requests/answered")),
                (Line::RelayedBytes, relayed),
            ],
            handled: processes(sample),
        }
    }
}

fn processes(sample: &Sample) -> BTreeMap<u64, u64> {
    let rows = sample.rows("/workers").chain(sample.rows("/tasks"));
    rows.map(|row| (number(row, "/pid"), number(row, "/handled")))
        .collect()
}

impl History {
    /// Adds a look, at this time since the first one.
    pub(super) fn add(&mut self, sample: &Sample, at: Duration) {
        let now = Counters::new(sample, at);
        let before = self.last.take();
        // Another engine counts from 0.
        if let Some(before) = before.filter(|before| before.engine == now.engine) {
            let each_second = |now_is: u64, was: u64| {
                let seconds = at.saturating_sub(before.at).as_secs_f64().max(0.001);
                (now_is.saturating_sub(was) as f64 / seconds).round() as u64
            };
            for ((line, value), (_, was)) in now.values.iter().zip(before.values) {
                self.push(*line, each_second(*value, was));
            }
            let handled = now.handled.iter().map(|(pid, value)| {
                let was = before.handled.get(pid).copied().unwrap_or(0);
                (*pid, each_second(*value, was))
            });
            self.handled = handled.collect();
        } else {
            *self = Self::default();
        }
        self.push(Line::Sessions, sample.number("/gateway/sessions"));
        self.last = Some(now);
    }

    fn push(&mut self, line: Line, value: u64) {
        let values = self.lines.entry(line).or_default();
        if values.len() == KEPT {
            values.pop_front();
        }
        values.push_back(value);
    }

    /// The latest value of a line; `None` before there is one.
    pub(super) fn latest(&self, line: Line) -> Option<u64> {
        self.lines.get(&line)?.back().copied()
    }

    /// The last values of a line, the oldest first.
    pub(super) fn last(&self, line: Line, count: usize) -> Vec<u64> {
        let values = self.lines.get(&line);
        let skipped = values.map_or(0, |values| values.len().saturating_sub(count));
        values
            .into_iter()
            .flatten()
            .skip(skipped)
            .copied()
            .collect()
    }

    /// What a process handles each second.
    pub(super) fn handled(&self, pid: u64) -> u64 {
        self.handled.get(&pid).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sample(pid: u64, messages: u64, handled: u64) -> Sample {
        let status = json!({
            "supervisor": { "pid": pid },
            "gateway": { "messages": messages, "sessions": 3 },
            "workers": [{ "pid": 9, "handled": handled }],
        });
        Sample::new(status, Vec::new(), Vec::new())
    }

    #[test]
    fn rates_are_those_between_two_looks_at_one_engine() {
        let mut history = History::default();
        let at = Duration::from_secs;
        history.add(&sample(1, 1000, 10), at(0));
        assert_eq!(history.latest(Line::Messages), None);
        history.add(&sample(1, 1600, 30), at(2));
        assert_eq!(history.latest(Line::Messages), Some(300));
        assert_eq!(history.handled(9), 10);
        assert_eq!(history.last(Line::Sessions, 9), [3, 3]);
        // The engine was started again.
        history.add(&sample(2, 5, 0), at(3));
        assert_eq!(history.latest(Line::Messages), None);
        assert_eq!(history.last(Line::Sessions, 9), [3]);
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let mut history = History::default();
        for at in 0..2 * KEPT as u64 {
            history.add(&sample(1, at, at), Duration::from_secs(at));
        }
        assert_eq!(history.last(Line::Messages, usize::MAX).len(), KEPT);
    }
}
