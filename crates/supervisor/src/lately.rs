//! What has happened lately, from counters that only rise: their present value does not say when they rose.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

/// What has happened no more for this long is over. A person who looks at once still sees it.
const OVER_AFTER: Duration = Duration::from_secs(60);
/// The time over which the waits of messages are looked at.
const WAITS: Duration = Duration::from_secs(10);
/// The part of the messages that waits no longer than what is told.
const PART: f64 = 0.99;

/// Counters that rise while something is wrong, and how long messages wait now.
#[derive(Debug, Default)]
pub(super) struct Lately {
    counters: BTreeMap<String, Rise>,
    waits: Waits,
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
