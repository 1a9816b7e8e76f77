//! What must hold of relays between two turns.

use rustc_hash::FxHashSet;

use crate::event_loop::Loop;
use crate::ids::Side;
use crate::relay::way::{Way, WayPhase};
use crate::relay::{Relay, RelaySide, RelayStage};
use crate::udp_relay::UdpRelay;

/// What relays hold.
#[derive(Debug, Default)]
pub(super) struct RelayedBytes {
    /// What was read and not taken.
    pub(super) kept: usize,
    /// Records of TLS that are not whole.
    pub(super) unopened: usize,
    /// Sides that are encrypted.
    pub(super) encrypted: usize,
}

impl Loop {
    /// What relays hold.
    pub(super) fn relayed_bytes(&self) -> RelayedBytes {
        let mut bytes = RelayedBytes::default();
        for relay in self.relays.iter() {
            bytes.kept += relay.ways.iter().map(Way::held).sum::<usize>();
            let sealed = relay.sides.iter().filter_map(|side| side.tls.as_ref());
            for tls in sealed {
                bytes.unopened += tls.unfinished();
                bytes.encrypted += 1;
            }
        }
        bytes.kept += self.udp_relays.iter().map(UdpRelay::held).sum::<usize>();
        bytes
    }

    /// What is counted of relays of datagrams is what they have, and each has something that will end it.
    pub(super) fn check_udp_relays(&self) {
        let relays = &self.udp_relays;
        let held = relays.iter().map(UdpRelay::held).sum::<usize>();
        assert_eq!(relays.kept, held, "bytes counted (left), and held (right)");
        let bound = relays.iter().filter(|relay| relay.is_bound).count();
        assert_eq!(relays.bound(), bound, "clients, and relays that are theirs");
        for relay in relays.iter() {
            let name = relay.name;
            let of_client = relays.of_client(&relay.client);
            assert!(
                !relay.is_bound || of_client == Some(name.key),
                "its client's datagrams go elsewhere: {relay:?}"
            );
            let cx = &self.tools.cx;
            let has_timeout = cx.listener(relay.client.listener).idle_timeout.is_some();
            assert!(
                relays.looks.has(name.key) || relay.peer.is_some() && !has_timeout,
                "nothing ends it: {relay:?}"
            );
        }
    }

    /// Each relay that can go on is on the list of those that do, once, and each has something that will end it.
    pub(super) fn check_relays(&self) {
        let mut listed = FxHashSet::default();
        for name in &self.relays.work {
            let is_here = self.relays.named(*name).is_some();
            assert!(
                !is_here || listed.insert(name.serial),
                "relay {} is scheduled twice",
                name.serial
            );
        }
        let mut watched = 0;
        for relay in self.relays.iter() {
            let is_listed = listed.contains(&relay.name.serial);
            assert_eq!(
                relay.is_scheduled, is_listed,
                "scheduled: what the relay says (left), and the list (right): {relay:?}"
            );
            let is_watched = self.relays.looks.has(relay.name.key);
            watched += usize::from(is_watched);
            if let RelayStage::Connecting(_) = &relay.stage {
                // A timer looks after it.
                continue;
            }
            let idle_timeout = self.tools.cx.listener(relay.listener).idle_timeout;
            assert!(
                is_watched || idle_timeout.is_none(),
                "nothing ends it: {relay:?}"
            );
            assert!(!relay.is_over(), "it is over: {relay:?}");
            let goes_on = [Side::Client, Side::Upstream]
                .into_iter()
                .any(|from| can_go_on(relay, from));
            assert!(is_listed || !goes_on, "nothing moves its bytes: {relay:?}");
        }
        assert_eq!(watched, self.relays.looks.len(), "relays that are watched");
    }
}

/// Whether what this side sends could be moved without an event.
fn can_go_on(relay: &Relay, from: Side) -> bool {
    let source: &RelaySide = &relay.sides[from as usize];
    let way = &relay.ways[from as usize];
    if relay.paced_until(from).is_some() {
        // An alarm is set.
        return false;
    }
    match way.phase {
        WayPhase::Over => false,
        _ if way.has_kept() => false,
        WayPhase::Ending => true,
        WayPhase::Open | WayPhase::Discarding(_) => source.is_readable,
    }
}
