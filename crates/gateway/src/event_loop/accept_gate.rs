//! When a loop accepts: a limited number of connections a second, and no more than there are descriptors for.

use crate::burst::Burst;
use crate::ids::ListenerId;
use moorline_config::Listener;

/// The most connections that are accepted from one listener in one turn.
const ACCEPTS_PER_TURN: u8 = 64;

/// When a loop accepts.
#[derive(Debug)]
pub(crate) struct AcceptGate {
    /// How fast each listener accepts, where that is limited.
    rates: Vec<Option<AcceptRate>>,
    /// The last descriptor for a connection is taken: until one is free none is accepted.
    is_shut: bool,
    /// Since when accepting has failed or stood still, in the loop's milliseconds.
    paused_since: Option<u64>,
    /// By listener.
    bursts: Vec<Burst>,
    /// Those that accept nothing, by an order.
    stopped: Vec<ListenerId>,
}

impl AcceptGate {
    pub(crate) fn new(listeners: &[Listener]) -> Self {
        let rates = listeners
            .iter()
            .map(|listener| listener.accept_rate.map(AcceptRate::new));
        Self {
            rates: rates.collect(),
            is_shut: false,
            paused_since: None,
            bursts: listeners.iter().map(|_| Burst::default()).collect(),
            stopped: Vec::new(),
        }
    }

    /// These listeners, and no others, accept nothing from now on. Returns those that did not until now.
    pub(crate) fn stop(&mut self, listeners: Vec<ListenerId>) -> Vec<ListenerId> {
        std::mem::replace(&mut self.stopped, listeners)
    }

    /// Whether the listener accepts nothing, by an order.
    pub(crate) fn is_stopped(&self, listener: ListenerId) -> bool {
        self.stopped.contains(&listener)
    }

    /// Accepts as fast as these say, from now on.
    pub(crate) fn change(&mut self, listeners: &[Listener]) {
        self.rates.resize_with(listeners.len(), || None);
        self.bursts.resize_with(listeners.len(), Burst::default);
        for (rate, listener) in self.rates.iter_mut().zip(listeners) {
            // The next listener at a retired one's place begins with a full bucket.
            let per_second = listener.accept_rate.filter(|_| !listener.is_retired);
            if rate.as_ref().map(|rate| rate.per_second) != per_second {
                *rate = per_second.map(AcceptRate::new);
            }
        }
    }

    fn rate(&mut self, listener: ListenerId) -> Option<&mut AcceptRate> {
        self.rates.get_mut(listener.index())?.as_mut()
    }

    /// When the listener's rate lets the next connection in, if not now.
    pub(crate) fn waits_until(&mut self, listener: ListenerId, now: u64) -> Option<u64> {
        self.rate(listener)?.waits_until(now)
    }

    /// The listener has accepted one.
    pub(crate) fn spend(&mut self, listener: ListenerId) {
        if let Some(rate) = self.rate(listener) {
            rate.spend();
        }
    }

    /// The last descriptor for a connection is taken.
    pub(crate) fn shut(&mut self) {
        self.is_shut = true;
    }

    /// Whether there is no descriptor for one more connection. Only asked after there was none.
    pub(crate) fn is_shut(&mut self, has_free: impl Fn() -> bool) -> bool {
        self.is_shut = self.is_shut && !has_free();
        self.is_shut
    }

    /// How many connections to accept before the listener is looked at again.
    pub(crate) fn burst(&self, listener: ListenerId) -> usize {
        match (self.paused_since, self.bursts.get(listener.index())) {
            (None, Some(burst)) => burst.size(),
            // Only when none is left a pause is over.
            _ => ACCEPTS_PER_TURN.into(),
        }
    }

    /// None waits any more.
    pub(crate) fn has_emptied(&mut self, listener: ListenerId) {
        if let Some(burst) = self.bursts.get_mut(listener.index()) {
            burst.has_emptied();
        }
    }

    /// As many as a burst have waited.
    pub(crate) fn may_have_more(&mut self, listener: ListenerId) {
        if let Some(burst) = self.bursts.get_mut(listener.index()) {
            burst.may_have_more(ACCEPTS_PER_TURN);
        }
    }

    /// Accepting cannot continue. True: it could until now.
    pub(crate) fn pause(&mut self, now: u64) -> bool {
        let is_new = self.paused_since.is_none();
        self.paused_since.get_or_insert(now);
        is_new
    }

    /// Accepting can continue: returns how long it had paused, if it had.
    pub(crate) fn resume(&mut self, now: u64) -> Option<u64> {
        Some(now - self.paused_since.take()?)
    }
}

/// How many connections a second are accepted: a bucket that holds one second's worth.
#[derive(Debug)]
struct AcceptRate {
    per_second: u32,
    /// Thousandths of a connection that may be accepted now.
    tokens: u64,
    /// When they were counted, in the loop's milliseconds.
    counted_at: u64,
}

impl AcceptRate {
    fn new(per_second: u32) -> Self {
        Self {
            per_second,
            tokens: u64::from(per_second) * 1000,
            counted_at: 0,
        }
    }

    /// Says when one may be accepted, if not now.
    fn waits_until(&mut self, now: u64) -> Option<u64> {
        let rate = u64::from(self.per_second);
        let passed = now.saturating_sub(self.counted_at);
        self.tokens = (self.tokens + passed.saturating_mul(rate)).min(rate * 1000);
        self.counted_at = now;
        let lacking = 1000_u64.saturating_sub(self.tokens);
        (lacking > 0).then(|| now + lacking.div_ceil(rate))
    }

    /// One was accepted.
    fn spend(&mut self) {
        self.tokens = self.tokens.saturating_sub(1000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_brings_no_more_than_the_rate_after_a_burst_of_one_seconds_worth() {
        let mut rate = AcceptRate::new(20);
        let mut now = 10_000;
        let mut burst = 0;
        while rate.waits_until(now).is_none() {
            rate.spend();
            burst += 1;
        }
        assert_eq!(burst, 20);
        let end = now + 3000;
        let mut accepted = 0;
        while now < end {
            match rate.waits_until(now) {
                None => {
                    rate.spend();
                    accepted += 1;
                }
                Some(again) => {
                    assert!(again > now, "it would be asked for ever");
                    now = again;
                }
            }
        }
        assert!((59..=60).contains(&accepted), "{accepted}");
    }

    #[test]
    fn a_gate_that_is_shut_opens_when_a_descriptor_is_free() {
        let mut gate = AcceptGate::new(&[]);
        assert!(!gate.is_shut(|| unreachable!("nobody looks while it is open")));
        gate.shut();
        assert!(gate.is_shut(|| false));
        assert!(gate.pause(100), "it is new");
        assert!(!gate.pause(200), "it is known");
        assert!(!gate.is_shut(|| true));
        assert!(!gate.is_shut(|| false), "once open it stays open");
        assert_eq!(gate.resume(350), Some(250));
        assert_eq!(gate.resume(350), None);
    }

    #[test]
    fn a_burst_grows_while_as_many_wait_and_shrinks_when_none_is_left() {
        let mut gate = AcceptGate::new(&[]);
        gate.bursts = vec![Burst::default(), Burst::default()];
        let (one, other) = (ListenerId(0), ListenerId(1));
        assert_eq!(gate.burst(one), 1);
        for _ in 0..8 {
            gate.may_have_more(one);
        }
        assert_eq!(gate.burst(one), 4);
        gate.has_emptied(other);
        assert_eq!(gate.burst(one), 4, "another listener has none left");
        gate.has_emptied(one);
        assert_eq!(gate.burst(one), 2);
        gate.pause(5);
        assert_eq!(gate.burst(one), 64, "until none waits");
        gate.resume(6);
        for _ in 0..100 {
            gate.may_have_more(one);
        }
        assert_eq!((gate.burst(one), gate.burst(other)), (64, 1));
    }

    #[test]
    fn asking_without_accepting_spends_nothing() {
        let mut rate = AcceptRate::new(1);
        assert_eq!(rate.waits_until(5000), None);
        assert_eq!(rate.waits_until(5000), None);
        rate.spend();
        assert_eq!(rate.waits_until(5000), Some(6000));
        assert_eq!(rate.waits_until(5999), Some(6000));
        assert_eq!(rate.waits_until(6000), None);
    }
}
