//! Limits of connections: for a listener, and for one address.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rustc_hash::FxHashMap;

use moorline_config::Listener;
use moorline_protocol::control::Limit;
use moorline_protocol::wire::Peer;

/// The connections of one listener, counted for its limits by every thread.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    /// Those that have not ended, which count for the limits.
    open: AtomicU64,
    /// Those that are not released: sockets of ended ones may linger for a moment.
    connections: AtomicU64,
    /// Those of them that are only told that there is no room.
    turned_away: AtomicU64,
    most: AtomicU64,
    /// Those that wait for a loop to begin them, or to go on with their handshake.
    waiting: AtomicU64,
    /// Locked once a connection, and only where the configuration asks, or has asked, for it.
    by_address: OnceLock<Mutex<ByAddress>>,
    /// Admitted connections are counted there.
    counts: AtomicBool,
    /// The place of the listener that has the socket, and 1; 0: this one has it.
    host: AtomicU32,
}

/// This number of connections may linger at least.
const LINGERING: u64 = 1024;
/// The most connections of a listener that are told at the same time that there is no room: more are closed at once.
const MOST_TURNED_AWAY: u64 = 64;

/// What a connection counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Counted {
    /// Both limits: it was admitted.
    Admitted(Address),
    /// `max_sessions` alone: it is a trusted proxy's, which has not named its client yet.
    ForProxy,
    /// Both limits, its address as a trusted proxy has named it in a request.
    Forwarded(Address),
    /// Those that are told that there is no room.
    TurnedAway,
}

/// Whether the address of a connection is among those that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Address {
    Counted,
    /// No limit asked for it when the connection was admitted, or the peer has no address.
    Uncounted,
}

#[derive(Debug, Default)]
struct ByAddress {
    most: u32,
    /// Only addresses with a connection are in it.
    counts: FxHashMap<IpAddr, u32>,
}

impl Counted {
    /// Admitted by a limit that does not count addresses.
    pub(crate) const ADMITTED: Self = Self::Admitted(Address::Uncounted);

    fn address(&mut self) -> Option<&mut Address> {
        match self {
            Self::Admitted(address) | Self::Forwarded(address) => Some(address),
            Self::ForProxy | Self::TurnedAway => None,
        }
    }
}

impl Default for Counted {
    fn default() -> Self {
        Self::ADMITTED
    }
}

impl Admission {
    /// Prepares for these limits. True: present connections must be [counted](Self::count), which they have not been. Nothing
    /// else depends on whether these limits [come](Self::change).
    pub(crate) fn prepare(&self, listener: &Listener) -> bool {
        if listener.max_sessions_per_address.is_none() {
            return false;
        }
        self.by_address.get_or_init(Mutex::default);
        !self.counts.load(Ordering::Relaxed)
    }

    /// Admits connections by these limits from now on. Sessions that are open stay. The loop that admits calls it.
    pub(crate) fn change(&self, listener: &Listener) {
        self.most.store(listener.max_sessions, Ordering::Relaxed);
        if let Some(by_address) = self.by_address.get() {
            // Without a limit they are still counted: it may come back.
            let most = listener.max_sessions_per_address.unwrap_or(u32::MAX);
            by_address.locked().most = most;
            self.counts.store(true, Ordering::Relaxed);
        }
    }

    /// The place of the listener that its connections are counted for.
    pub(crate) fn host(&self) -> Option<usize> {
        let host = self.host.load(Ordering::Relaxed);
        host.checked_sub(1).map(|place| place as usize)
    }

    /// The same, from now on. No connection is open there, or it is the same listener.
    pub(crate) fn set_host(&self, place: Option<usize>) {
        let host = place.map_or(0, |place| place as u32 + 1);
        self.host.store(host, Ordering::Relaxed);
    }

    /// A connection that its host counts is there from now on, until it is [released](Self::release).
    pub(crate) fn join(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the address of a connection that was admitted while addresses were not counted, unless it is counted
    /// already.
    pub(crate) fn count(&self, peer: &Peer, counted: &mut Counted) {
        let Some(address @ Address::Uncounted) = counted.address() else {
            return;
        };
        if let Some((by_address, host)) = self.by_address.get().zip(host(peer)) {
            *by_address.locked().counts.entry(host).or_default() += 1;
            *address = Address::Counted;
        }
    }

    /// Connections that were admitted and not released.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Connections that wait for a loop.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// One more waits for a loop.
    pub(crate) fn wait(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// A loop has begun with one that waited, or it is gone.
    pub(crate) fn begin(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Admits one more to count for this, or says which limit forbids it. It counts as the result says until it has
    /// [ended](Self::end), and must be given back with [`release`](Self::release).
    pub(crate) fn admit(&self, peer: &Peer, mut counted: Counted) -> Result<Counted, Limit> {
        let most = self.most.load(Ordering::Relaxed);
        let connections = self.connections.fetch_add(1, Ordering::Relaxed);
        if self.open.fetch_add(1, Ordering::Relaxed) >= most
            || connections >= most.saturating_add(most.max(LINGERING))
        {
            self.forget();
            return Err(Limit::Sessions);
        }
        if let Some(address) = counted.address() {
            *address = self.admit_address(peer).inspect_err(|_| self.forget())?;
        }
        Ok(counted)
    }

    /// Counts the address of a connection that was admitted without it, or says which limit forbids it.
    pub(crate) fn admit_address(&self, peer: &Peer) -> Result<Address, Limit> {
        let by_address = self.by_address.get();
        let by_address = by_address.filter(|_| self.counts.load(Ordering::Relaxed));
        let Some((by_address, host)) = by_address.zip(host(peer)) else {
            return Ok(Address::Uncounted);
        };
        let mut by_address = by_address.locked();
        let most = by_address.most;
        let count = by_address.counts.entry(host).or_default();
        if *count >= most {
            return Err(Limit::SessionsPerAddress);
        }
        *count += 1;
        Ok(Address::Counted)
    }

    /// Counts a connection that another process has admitted. `has_ended`: it counts for the limits no more.
    pub(crate) fn readmit(&self, peer: &Peer, mut counted: Counted, has_ended: bool) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        if counted == Counted::TurnedAway {
            self.turned_away.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if has_ended {
            return;
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        let is_counted = counted.address() == Some(&mut Address::Counted);
        if let (true, Some((by_address, host))) =
            (is_counted, self.by_address.get().zip(host(peer)))
        {
            *by_address.locked().counts.entry(host).or_default() += 1;
        }
    }

    fn forget(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.release(Counted::ADMITTED);
    }

    /// Whether one more may be told that there is no room. It must be given back with [`release`](Self::release).
    pub(crate) fn turn_away(&self) -> bool {
        if self.turned_away.fetch_add(1, Ordering::Relaxed) >= MOST_TURNED_AWAY {
            self.turned_away.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.connections.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// An ended connection is gone, with its socket.
    pub(crate) fn release(&self, counted: Counted) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
        if counted == Counted::TurnedAway {
            self.turned_away.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A connection has ended. It does not count for the limits any more.
    pub(crate) fn end(&self, peer: &Peer, mut counted: Counted) {
        if counted == Counted::TurnedAway {
            return;
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
        if counted.address() != Some(&mut Address::Counted) {
            return;
        }
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
    /// Code under the lock cannot panic, so a poisoned one is still consistent.
    fn locked(&self) -> MutexGuard<'_, T> {
        self.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The host that a connection counts for. One customer has a whole /64 of IPv6 addresses (RFC 6177), so that is one host.
fn host(peer: &Peer) -> Option<IpAddr> {
    match peer {
        Peer::Ip(address) => Some(match address.ip().to_canonical() {
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
            ip => ip,
        }),
        _ => None,
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

    const COUNTED: Counted = Counted::Admitted(Address::Counted);

    fn peer(address: &str) -> Peer {
        Peer::Ip(SocketAddr::new(address.parse().expect("an address"), 1))
    }

    /// With a limit of two connections for an address.
    fn limited() -> Listener {
        let text = "[[listen]]\naddress = \"tcp://127.0.0.1:0\"\nmax_sessions_per_address = 2\n";
        let loaded = moorline_config::load_text(text, std::path::Path::new("/a.toml"));
        loaded.expect("it is right").config.listeners.remove(0)
    }

    #[test]
    fn a_released_connection_makes_room_and_leaves_nothing_counted() {
        let admission = admission(3, Some(2));
        let (one, other) = (peer("192.0.2.1"), peer("192.0.2.2"));
        assert_eq!(admission.admit(&one, Counted::ADMITTED), Ok(COUNTED));
        assert_eq!(admission.admit(&one, Counted::ADMITTED), Ok(COUNTED));
        assert_eq!(
            admission.admit(&one, Counted::ADMITTED),
            Err(Limit::SessionsPerAddress)
        );
        assert_eq!(
            admission.admit(&peer("::ffff:192.0.2.1"), Counted::ADMITTED),
            Err(Limit::SessionsPerAddress)
        );
        assert_eq!(admission.admit(&other, Counted::ADMITTED), Ok(COUNTED));
        assert_eq!(
            admission.admit(&other, Counted::ADMITTED),
            Err(Limit::Sessions)
        );
        admission.end(&one, COUNTED);
        assert_eq!(admission.admit(&one, Counted::ADMITTED), Ok(COUNTED));
        for peer in [&one, &one, &other] {
            admission.end(peer, COUNTED);
        }
        assert_eq!(admission.connections(), 4);
        (0..4).for_each(|_| admission.release(Counted::ADMITTED));
        assert_eq!(admission.connections(), 0);
        let by_address = admission.by_address.get().expect("it counts them");
        assert!(by_address.locked().counts.is_empty());
    }

    #[test]
    fn a_connection_of_a_proxy_counts_for_its_client_once_that_is_known() {
        let admission = admission(10, Some(1));
        let (proxy, client) = (peer("10.0.0.1"), peer("192.0.2.1"));
        for _ in 0..3 {
            assert_eq!(
                admission.admit(&proxy, Counted::ForProxy),
                Ok(Counted::ForProxy)
            );
        }
        assert_eq!(admission.admit_address(&client), Ok(Address::Counted));
        assert_eq!(
            admission.admit_address(&client),
            Err(Limit::SessionsPerAddress)
        );
        admission.end(&client, Counted::Forwarded(Address::Counted));
        for _ in 0..2 {
            admission.end(&proxy, Counted::ForProxy);
        }
        assert_eq!(admission.admit(&client, Counted::ADMITTED), Ok(COUNTED));
        assert_eq!(admission.open.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn those_that_are_turned_away_take_no_room_and_are_few() {
        let admission = admission(1, None);
        let one = peer("192.0.2.1");
        let told = std::iter::repeat_with(|| admission.turn_away());
        let told = told.take_while(|is_told| *is_told).take(1000).count();
        assert_eq!(told as u64, MOST_TURNED_AWAY);
        assert_eq!(
            admission.admit(&one, Counted::ADMITTED),
            Ok(Counted::ADMITTED)
        );
        admission.end(&one, Counted::TurnedAway);
        assert_eq!(
            admission.admit(&one, Counted::ADMITTED),
            Err(Limit::Sessions)
        );
        admission.release(Counted::TurnedAway);
        assert!(admission.turn_away() && !admission.turn_away());
    }

    #[test]
    fn ended_connections_make_room_until_too_many_linger() {
        let admission = admission(2, None);
        let one = peer("192.0.2.1");
        for _ in 0..2 + LINGERING {
            assert_eq!(
                admission.admit(&one, Counted::ADMITTED),
                Ok(Counted::ADMITTED)
            );
            admission.end(&one, Counted::ADMITTED);
        }
        assert_eq!(
            admission.admit(&one, Counted::ADMITTED),
            Err(Limit::Sessions)
        );
        admission.release(Counted::ADMITTED);
        assert_eq!(
            admission.admit(&one, Counted::ADMITTED),
            Ok(Counted::ADMITTED)
        );
    }

    #[test]
    fn connections_from_before_the_limit_count_once() {
        let admission = admission(10, None);
        let one = peer("192.0.2.1");
        assert_eq!(
            admission.admit(&one, Counted::ADMITTED),
            Ok(Counted::ADMITTED)
        );
        let mut listener = limited();
        assert!(admission.prepare(&listener));
        let mut early = Counted::ADMITTED;
        for _ in 0..2 {
            // Another time it is known.
            admission.count(&one, &mut early);
            assert_eq!(early, COUNTED);
        }
        admission.change(&listener);
        assert_eq!(admission.admit(&one, Counted::ADMITTED), Ok(COUNTED));
        assert_eq!(
            admission.admit(&one, Counted::ADMITTED),
            Err(Limit::SessionsPerAddress)
        );
        // Without the limit for a while, and with it again.
        listener.max_sessions_per_address = None;
        assert!(!admission.prepare(&listener));
        admission.change(&listener);
        assert_eq!(admission.admit(&one, Counted::ADMITTED), Ok(COUNTED));
        listener.max_sessions_per_address = Some(3);
        assert!(!admission.prepare(&listener));
        admission.change(&listener);
        assert_eq!(
            admission.admit(&one, Counted::ADMITTED),
            Err(Limit::SessionsPerAddress)
        );
        admission.end(&one, COUNTED);
        admission.release(Counted::ADMITTED);
        assert_eq!(admission.admit(&one, Counted::ADMITTED), Ok(COUNTED));
    }

    #[test]
    fn a_preparation_that_nothing_follows_leaves_the_next_one_to_count() {
        let admission = admission(10, None);
        let mut listener = limited();
        assert!(admission.prepare(&listener));
        // That reload has failed, and another one brings other limits.
        listener.max_sessions_per_address = None;
        assert!(!admission.prepare(&listener));
        admission.change(&listener);
        let one = peer("192.0.2.1");
        let mut early = admission
            .admit(&one, Counted::ADMITTED)
            .expect("there is room");
        listener.max_sessions_per_address = Some(1);
        if admission.prepare(&listener) {
            admission.count(&one, &mut early);
        }
        admission.change(&listener);
        assert_eq!(early, COUNTED);
        assert_eq!(
            admission.admit(&one, Counted::ADMITTED),
            Err(Limit::SessionsPerAddress)
        );
    }

    #[test]
    fn neighbours_in_one_ipv6_network_count_as_one_host_and_unix_peers_as_none() {
        let admission = admission(100, Some(1));
        assert_eq!(
            admission.admit(&peer("2001:db8::1"), Counted::ADMITTED),
            Ok(COUNTED)
        );
        assert_eq!(
            admission.admit(&peer("2001:db8::ffff:2"), Counted::ADMITTED),
            Err(Limit::SessionsPerAddress)
        );
        assert_eq!(
            admission.admit(&peer("2001:db8:0:1::1"), Counted::ADMITTED),
            Ok(COUNTED)
        );
        assert_eq!(
            admission.admit(&Peer::Unix, Counted::ADMITTED),
            Ok(Counted::ADMITTED)
        );
        assert_eq!(
            admission.admit(&Peer::Unix, Counted::ADMITTED),
            Ok(Counted::ADMITTED)
        );
    }

    #[test]
    fn the_end_of_a_connection_that_was_not_counted_leaves_those_of_its_address_counted() {
        let admission = admission(10, Some(1));
        let one = peer("192.0.2.1");
        assert_eq!(admission.admit(&one, Counted::ADMITTED), Ok(COUNTED));
        for _ in 0..2 {
            let admitted = admission.admit(&Peer::Unix, Counted::ADMITTED);
            assert_eq!(admitted, Ok(Counted::ADMITTED));
        }
        admission.end(&one, Counted::ADMITTED);
        admission.end(&one, Counted::Forwarded(Address::Uncounted));
        assert_eq!(
            admission.admit(&one, Counted::ADMITTED),
            Err(Limit::SessionsPerAddress)
        );
    }
}
