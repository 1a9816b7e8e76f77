//! What has happened lately, from counters that only rise: their present value does not say when they rose.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use moorline_protocol::control::Limit;
use serde_json::{Map, Value, json};

/// What has happened no more for this long is over. A person who looks at once still sees it.
const OVER_AFTER: Duration = Duration::from_secs(60);
/// The time over which the waits of messages are looked at.
const WAITS: Duration = Duration::from_secs(10);
/// Looks, one a second, after which sessions that are full are those of slow readers: others are so for a moment.
const FULL_LOOKS: usize = 5;
/// The part of the messages that waits no longer than what is told.
const PART: f64 = 0.99;

/// Counters that rise while something is wrong, and how long messages wait now.
#[derive(Debug, Default)]
pub(super) struct Lately {
    counters: BTreeMap<String, Rise>,
    waits: Waits,
    /// The last numbers of sessions that are full.
    full: VecDeque<u64>,
    /// By limit: the listener, the address that most refused connections have come from, and when the last one came.
    refused: BTreeMap<&'static str, (String, String, Duration)>,
}

/// A counter, and its present or last time of rising.
#[derive(Debug, Default)]
struct Rise {
    value: u64,
    count: u64,
    began: Duration,
    last: Duration,
}

/// The histogram of waits when it was looked at, and the bound that was found then, in microseconds.
#[derive(Debug, Default)]
struct Waits {
    buckets: Vec<u64>,
    at: Duration,
    bound: u64,
}

impl Lately {
    /// Looks at the counters, which are always the same ones.
    pub(super) fn see(&mut self, counters: Vec<(String, u64)>, now: Duration) {
        for (name, value) in counters {
            let rise = self.counters.entry(name).or_default();
            let more = value.saturating_sub(rise.value);
            rise.value = value;
            if more == 0 {
                continue;
            }
            if rise.count == 0 || now.saturating_sub(rise.last) > OVER_AFTER {
                (rise.count, rise.began) = (0, now);
            }
            rise.count += more;
            rise.last = now;
        }
    }

    /// Looks at the histogram of waits: the number of a bucket is the number of bits of its times.
    pub(super) fn see_waits(&mut self, buckets: Vec<u64>, now: Duration) {
        if now.saturating_sub(self.waits.at) < WAITS && !self.waits.buckets.is_empty() {
            return;
        }
        let before = &self.waits.buckets;
        let new = buckets.iter().zip(before);
        let new: Vec<_> = new
            .map(|(now, before)| now.saturating_sub(*before))
            .collect();
        self.waits = Waits {
            bound: bound(&new),
            buckets,
            at: now,
        };
    }

    /// The number of sessions that are full now.
    pub(super) fn see_full(&mut self, sessions: u64) {
        if self.full.len() == FULL_LOOKS {
            self.full.pop_front();
        }
        self.full.push_back(sessions);
    }

    /// The least number of sessions that were full in the last seconds.
    pub(super) fn full(&self) -> u64 {
        let least = self.full.iter().min();
        least
            .copied()
            .filter(|_| self.full.len() == FULL_LOOKS)
            .unwrap_or(0)
    }

    /// Most connections that a limit keeps out come from one address. What no limit is called is ignored.
    pub(super) fn refused(&mut self, [limit, listener, address]: [String; 3], now: Duration) {
        let known = Limit::ALL.iter().map(|limit| limit.as_str());
        if let Some(limit) = known.into_iter().find(|known| *known == limit) {
            self.refused.insert(limit, (listener, address, now));
        }
    }

    /// The addresses of connections that were kept out within the last minute.
    pub(super) fn refused_status(&self, now: Duration) -> Vec<Value> {
        let rows = self.refused.iter();
        let fresh = rows.filter(|(_, (.., at))| now.saturating_sub(*at) <= OVER_AFTER);
        let row = |(limit, (listener, address, at)): (&&str, &(String, String, Duration))| {
            json!({
                "limit": limit,
                "listener": listener,
                "address": address,
                "ago_s": now.saturating_sub(*at).as_secs(),
            })
        };
        fresh.map(row).collect()
    }

    /// What has happened within the last minute: how often, since when, and how long ago the last time.
    pub(super) fn status(&self, now: Duration) -> Value {
        let counters = self.counters.iter().filter(|(_, rise)| rise.count > 0);
        let fresh = counters.filter(|(_, rise)| now.saturating_sub(rise.last) <= OVER_AFTER);
        let rows = fresh.map(|(name, rise)| {
            let ago = |at: Duration| now.saturating_sub(at).as_secs();
            let row = json!({
                "count": rise.count,
                "since_s": ago(rise.began),
                "ago_s": ago(rise.last),
            });
            (name.clone(), row)
        });
        Map::from_iter(rows).into()
    }

    /// Within which time 99 of 100 messages have lately found their handler, in microseconds; 0 without messages.
    pub(super) fn wait_bound(&self) -> u64 {
        self.waits.bound
    }
}

/// The upper end of the bucket in which the part ends.
fn bound(buckets: &[u64]) -> u64 {
    let all: u64 = buckets.iter().sum();
    let mut left = PART * all as f64;
    for (bits, count) in (0..).zip(buckets) {
        left -= *count as f64;
        if all > 0 && left <= 0.0 {
            return 1 << bits;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_rises_is_told_until_a_minute_after_the_last_time() {
        let mut lately = Lately::default();
        let see = |lately: &mut Lately, value, time| {
            lately.see(vec![("exits".to_owned(), value)], at(time));
        };
        see(&mut lately, 0, 0);
        assert_eq!(lately.status(at(0)), json!({}));
        see(&mut lately, 2, 10);
        see(&mut lately, 3, 40);
        see(&mut lately, 3, 41);
        let expected = json!({ "exits": { "count": 3, "since_s": 40, "ago_s": 10 } });
        assert_eq!(lately.status(at(50)), expected);
        assert_eq!(lately.status(at(101)), json!({}));
        // It begins anew, and a counter of a hostile process that falls is none.
        see(&mut lately, 4, 200);
        see(&mut lately, 1, 201);
        let expected = json!({ "exits": { "count": 1, "since_s": 2, "ago_s": 2 } });
        assert_eq!(lately.status(at(202)), expected);
    }

    #[test]
    fn sessions_that_are_full_for_a_moment_are_no_slow_readers() {
        let mut lately = Lately::default();
        let mut see = |sessions| {
            lately.see_full(sessions);
            lately.full()
        };
        assert_eq!([7, 7, 7, 7, 3].map(&mut see), [0, 0, 0, 0, 3]);
        assert_eq!([0, 9, 9, 9, 9, 9].map(&mut see), [0, 0, 0, 0, 0, 9]);
    }

    #[test]
    fn waits_are_those_of_the_last_seconds() {
        let mut lately = Lately::default();
        lately.see_waits(vec![0, 1000, 0, 0], at(0));
        assert_eq!(lately.wait_bound(), 0);
        lately.see_waits(vec![0, 1000, 0, 5], at(9));
        assert_eq!(lately.wait_bound(), 0);
        lately.see_waits(vec![0, 1000, 1, 5], at(10));
        assert_eq!(lately.wait_bound(), 8);
        lately.see_waits(vec![0, 1000, 1, 5], at(20));
        assert_eq!(lately.wait_bound(), 0);
    }
}
