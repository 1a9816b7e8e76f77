//! Who may connect: so many sessions for a listener, so many for one address, so many a second, and no more than
//! there are descriptors for.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rustc_hash::FxHashMap;

use crate::config::Listener;
use crate::control::Limit;
use crate::wire::Peer;

/// The connections of one listener, counted for its limits by every thread.
#[derive(Debug, Default)]
pub(super) struct Admission {
    connections: AtomicU64,
    most: AtomicU64,
    /// Locked once a connection, and only where the configuration asks, or has asked, for it.
    by_address: OnceLock<Mutex<ByAddress>>,
    /// Those that are let in are counted there.
    counts: AtomicBool,
}

#[derive(Debug, Default)]
struct ByAddress {
    most: u32,
    /// Only addresses that have a connection are in it.
    counts: FxHashMap<IpAddr, u32>,
}

impl Admission {
    /// Makes ready for what this asks for. True: those that are in are to be [counted](Self::count), which they have
    /// not been.
    pub(super) fn prepare(&self, listener: &Listener) -> bool {
        if listener.max_sessions_per_address.is_none() {
            return false;
        }
        let mut is_new = false;
        self.by_address.get_or_init(|| {
            is_new = true;
            Mutex::default()
        });
        is_new
    }

    /// Lets in whom this lets in, from now on. Who is in stays in. To be called by whoever admits.
    pub(super) fn change(&self, listener: &Listener) {
        self.most.store(listener.max_sessions, Ordering::Relaxed);
        if let Some(by_address) = self.by_address.get() {
            // Without a limit they go on being counted: it may come back.
            let most = listener.max_sessions_per_address.unwrap_or(u32::MAX);
            by_address.locked().most = most;
            self.counts.store(true, Ordering::Relaxed);
        }
    }

    /// Counts one that was let in while addresses were not counted yet. One that is not a session by then is missed: its
    /// release may take another one of its address out of the count, and one more is let in.
    pub(super) fn count(&self, peer: &Peer) {
        if let Some((by_address, host)) = self.by_address.get().zip(host(peer)) {
            *by_address.locked().counts.entry(host).or_default() += 1;
        }
    }

    /// Those that were let in and not released.
    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Lets one more in, to be given back with [`release`](Self::release), or says which limit forbids it.
    pub(super) fn admit(&self, peer: &Peer) -> Result<(), Limit> {
        if self.connections.fetch_add(1, Ordering::Relaxed) >= self.most.load(Ordering::Relaxed) {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return Err(Limit::Sessions);
        }
        let by_address = self.by_address.get();
        let by_address = by_address.filter(|_| self.counts.load(Ordering::Relaxed));
        if let Some((by_address, host)) = by_address.zip(host(peer)) {
            let mut by_address = by_address.locked();
            let most = by_address.most;
            let count = by_address.counts.entry(host).or_default();
            if *count >= most {
                self.connections.fetch_sub(1, Ordering::Relaxed);
                return Err(Limit::SessionsPerAddress);
            }
            *count += 1;
        }
        Ok(())
    }

    /// One that was let in is no more.
    pub(super) fn release(&self, peer: &Peer) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some((by_address, host)) = self.by_address.get().zip(host(peer)) {
            let mut by_address = by_address.locked();
            if let Some(count) = by_address.counts.get_mut(&host) {
                *count -= 1;
                if *count == 0 {
                    by_address.counts.remove(&host);
                }
            }
        }
    }
}

trait Locked<T> {
    fn locked(&self) -> MutexGuard<'_, T>;
}

impl<T> Locked<T> for Mutex<T> {
    /// Nothing under the lock can panic, so a poisoned one has nothing wrong in it.
    fn locked(&self) -> MutexGuard<'_, T> {
        self.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom a connection counts for. One customer has a whole /64 of IPv6 addresses (RFC 6177), so that is one host.
fn host(peer: &Peer) -> Option<IpAddr> {
    match peer {
        Peer::Ip(address) => Some(match address.ip().to_canonical() {
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
            ip => ip,
        }),
        Peer::Unix | Peer::Unknown => None,
    }
}

/// When a loop accepts.
#[derive(Debug)]
pub(super) struct AcceptGate {
    /// How fast each listener accepts, where that is limited.
    rates: Vec<Option<AcceptRate>>,
    /// The last descriptor for a connection is taken: until one is free none is accepted.
    is_shut: bool,
    /// Since when accepting has failed or stood still, in the loop's milliseconds.
    paused_since: Option<u64>,
}

impl AcceptGate {
    pub(super) fn new(listeners: &[Listener]) -> Self {
        let rates = listeners
            .iter()
            .map(|listener| listener.accept_rate.map(AcceptRate::new));
        Self {
            rates: rates.collect(),
            is_shut: false,
            paused_since: None,
        }
    }

    /// Accepts as fast as these say, from now on.
    pub(super) fn change(&mut self, listeners: &[Listener]) {
        self.rates.resize_with(listeners.len(), || None);
        for (rate, listener) in self.rates.iter_mut().zip(listeners) {
            // Whoever has the place of a retired one next begins with a full bucket.
            let per_second = listener.accept_rate.filter(|_| !listener.is_retired);
            if rate.as_ref().map(|rate| rate.per_second) != per_second {
                *rate = per_second.map(AcceptRate::new);
            }
        }
    }

    fn rate(&mut self, listener: u16) -> Option<&mut AcceptRate> {
        self.rates.get_mut(usize::from(listener))?.as_mut()
    }

    /// When the listener's rate lets the next connection in, if not now.
    pub(super) fn waits_until(&mut self, listener: u16, now: u64) -> Option<u64> {
        self.rate(listener)?.waits_until(now)
    }

    /// The listener has accepted one.
    pub(super) fn spend(&mut self, listener: u16) {
        if let Some(rate) = self.rate(listener) {
            rate.spend();
        }
    }

    /// The last descriptor for a connection is taken.
    pub(super) fn shut(&mut self) {
        self.is_shut = true;
    }

    /// Whether there is no descriptor for one more connection. It is only asked for one where there was none.
    pub(super) fn is_shut(&mut self, has_free: impl Fn() -> bool) -> bool {
        self.is_shut = self.is_shut && !has_free();
        self.is_shut
    }

    /// Accepting cannot go on. True: it could until now.
    pub(super) fn pause(&mut self, now: u64) -> bool {
        let is_new = self.paused_since.is_none();
        self.paused_since.get_or_insert(now);
        is_new
    }

    /// Nobody waits any more: says for how long accepting had paused, if it had.
    pub(super) fn resume(&mut self, now: u64) -> Option<u64> {
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
    use std::net::SocketAddr;

    use super::*;

    fn admission(most: u64, per_address: Option<u32>) -> Admission {
        let admission = Admission::default();
        admission.most.store(most, Ordering::Relaxed);
        if let Some(most) = per_address {
            admission
                .by_address
                .get_or_init(Mutex::default)
                .locked()
                .most = most;
            admission.counts.store(true, Ordering::Relaxed);
        }
        admission
    }

    fn peer(address: &str) -> Peer {
        Peer::Ip(SocketAddr::new(address.parse().expect("an address"), 1))
    }

    #[test]
    fn what_is_released_may_be_admitted_again_and_nothing_is_left_of_it() {
        let admission = admission(3, Some(2));
        let (one, other) = (peer("192.0.2.1"), peer("192.0.2.2"));
        assert_eq!(admission.admit(&one), Ok(()));
        assert_eq!(admission.admit(&one), Ok(()));
        assert_eq!(admission.admit(&one), Err(Limit::SessionsPerAddress));
        assert_eq!(
            admission.admit(&peer("::ffff:192.0.2.1")),
            Err(Limit::SessionsPerAddress)
        );
        assert_eq!(admission.admit(&other), Ok(()));
        assert_eq!(admission.admit(&other), Err(Limit::Sessions));
        admission.release(&one);
        assert_eq!(admission.admit(&one), Ok(()));
        for peer in [&one, &one, &other] {
            admission.release(peer);
        }
        assert_eq!(admission.connections(), 0);
        let by_address = admission.by_address.get().expect("it counts them");
        assert!(by_address.locked().counts.is_empty());
    }

    #[test]
    fn who_is_in_when_addresses_begin_to_be_counted_counts_too_and_only_once() {
        let admission = admission(10, None);
        let one = peer("192.0.2.1");
        assert_eq!(admission.admit(&one), Ok(()));
        let mut listener = crate::config::load_text(
            "[[listen]]\naddress = \"tcp://127.0.0.1:0\"\nmax_sessions_per_address = 2\n",
            std::path::Path::new("/a.toml"),
        )
        .expect("it is right")
        .config
        .listeners
        .remove(0);
        assert!(admission.prepare(&listener));
        admission.count(&one);
        admission.change(&listener);
        assert_eq!(admission.admit(&one), Ok(()));
        assert_eq!(admission.admit(&one), Err(Limit::SessionsPerAddress));
        // Without the limit for a while, and with it again.
        listener.max_sessions_per_address = None;
        assert!(!admission.prepare(&listener));
        admission.change(&listener);
        assert_eq!(admission.admit(&one), Ok(()));
        listener.max_sessions_per_address = Some(3);
        assert!(!admission.prepare(&listener));
        admission.change(&listener);
        assert_eq!(admission.admit(&one), Err(Limit::SessionsPerAddress));
        admission.release(&one);
        assert_eq!(admission.admit(&one), Ok(()));
    }

    #[test]
    fn neighbours_in_one_ipv6_network_count_as_one_host_and_unix_peers_as_none() {
        let admission = admission(100, Some(1));
        assert_eq!(admission.admit(&peer("2001:db8::1")), Ok(()));
        assert_eq!(
            admission.admit(&peer("2001:db8::ffff:2")),
            Err(Limit::SessionsPerAddress)
        );
        assert_eq!(admission.admit(&peer("2001:db8:0:1::1")), Ok(()));
        assert_eq!(admission.admit(&Peer::Unix), Ok(()));
        assert_eq!(admission.admit(&Peer::Unix), Ok(()));
    }

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
