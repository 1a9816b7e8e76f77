//! Rates, from one look to the next.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::Value;

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

/// The lines, and how much each process has handled and each listener has moved since the look before.
#[derive(Debug, Default)]
pub(super) struct History {
    lines: BTreeMap<Line, VecDeque<u64>>,
    /// By process.
    handled: BTreeMap<u64, u64>,
    listeners: BTreeMap<ListenerKey, Bytes>,
    last: Option<Counters>,
}

/// The name and the address of a listener: a reload may change its place.
type ListenerKey = [String; 2];

/// What the clients of a listener have sent, and what they were sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bytes {
    pub(super) received: u64,
    pub(super) sent: u64,
}

/// Counters at one look.
#[derive(Debug)]
struct Counters {
    at: Duration,
    engine: (u64, u64),
    values: [(Line, u64); 3],
    handled: BTreeMap<u64, u64>,
    listeners: BTreeMap<ListenerKey, Bytes>,
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
            listeners: listeners(sample),
        }
    }
}

fn listeners(sample: &Sample) -> BTreeMap<ListenerKey, Bytes> {
    let rows = sample.rows("/listeners").map(|row| {
        let received = number(row, "/received");
        let sent = number(row, "/sent");
        (listener_key(row), Bytes { received, sent })
    });
    rows.collect()
}

fn listener_key(row: &Value) -> ListenerKey {
    ["name", "address"].map(|key| row[key].as_str().unwrap_or_default().to_owned())
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
            let listeners = now.listeners.iter().map(|(key, now_is)| {
                let was = before.listeners.get(key).copied().unwrap_or_default();
                let bytes = Bytes {
                    received: each_second(now_is.received, was.received),
                    sent: each_second(now_is.sent, was.sent),
                };
                (key.clone(), bytes)
            });
            self.listeners = listeners.collect();
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

    /// What the listener of this row moves each second.
    pub(super) fn moved(&self, row: &Value) -> Bytes {
        let moved = self.listeners.get(&listener_key(row));
        moved.copied().unwrap_or_default()
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
            "listeners": [{ "name": "door", "address": "tcp://[::]:1", "received": 10 * messages, "sent": 20 * messages }],
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
        let door = json!({ "name": "door", "address": "tcp://[::]:1" });
        let moved = Bytes {
            received: 3000,
            sent: 6000,
        };
        assert_eq!(history.moved(&door), moved);
        assert_eq!(history.moved(&json!({ "name": "door" })), Bytes::default());
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
