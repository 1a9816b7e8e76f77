//! Which slot a session or a message goes to.
//!
//! By load (`sticky`, `least-busy`), in turn (`round-robin`), or by rendezvous hashing of the peer's address or of the
//! key that the app has bound the session to (`ip-hash`, `key`): every loop comes to the same slot without asking
//! another, and when a slot is added or goes only the sessions that belong there move.

use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, Hash};

use rustc_hash::FxBuildHasher;

use crate::ids::SlotId;
use moorline_config::Dispatch;
use moorline_protocol::wire::Peer;

/// The slot, out of this many, that an address or a key belongs to; none where it is chosen by load.
pub(crate) fn home(dispatch: Dispatch, peer: &Peer, key: &[u8], slots: usize) -> Option<SlotId> {
    match (dispatch, peer) {
        // Without the port: all connections of a machine belong together.
        (Dispatch::IpHash, Peer::Ip(address)) => {
            Some(rendezvous(address.ip().to_canonical(), slots))
        }
        (Dispatch::Key, _) if !key.is_empty() => Some(rendezvous(key, slots)),
        _ => None,
    }
}

/// The slot with the highest weight for this value.
pub(crate) fn rendezvous(value: impl Hash, slots: usize) -> SlotId {
    let hash = FxBuildHasher.hash_one(value);
    let highest = (0..slots as u16).max_by_key(|slot| mix(hash ^ mix(u64::from(*slot) + 1)));
    SlotId(highest.unwrap_or_default())
}

/// Spreads every bit over all others (the finalizer of SplitMix64): weights of neighbours must have nothing in common.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The loads of the slots to choose from. There is at least one.
pub(crate) trait Slots {
    fn count(&self) -> usize;
    /// Whether a process serves the slot.
    fn is_served(&self, slot: SlotId) -> bool;
    /// Whether that one does not answer.
    fn is_silent(&self, slot: SlotId) -> bool;
    /// Messages in progress there.
    fn in_hand(&self, slot: SlotId) -> usize;
    /// Sessions that belong there.
    fn sessions(&self, slot: SlotId) -> usize;
}

/// The next slot of dispatch in turn. Sessions and messages have turns of their own. With one turn for both, one of two
/// workers would get all messages of sessions that bring one message each.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Turns {
    sessions: usize,
    messages: usize,
}

impl Turns {
    /// Each loop begins elsewhere, so that few sessions spread as well as many.
    pub(crate) fn new(first: usize) -> Self {
        Self {
            sessions: first,
            messages: first,
        }
    }

    /// The slot for a new session, or for the next message of a session that is in `now`.
    pub(crate) fn choose(
        &mut self,
        dispatch: Dispatch,
        now: Option<SlotId>,
        slots: &impl Slots,
    ) -> SlotId {
        match (dispatch, now) {
            (Dispatch::Sticky | Dispatch::IpHash | Dispatch::Key, Some(now)) => now,
            (Dispatch::RoundRobin, _) => self.next(now, slots),
            // No other can have less.
            (Dispatch::LeastBusy, Some(now)) if slots.is_served(now) && slots.in_hand(now) == 0 => {
                now
            }
            (_, _) => {
                let count = slots.count();
                let first = self.sessions % count;
                let least = (0..count)
                    .map(|at| SlotId(((first + at) % count) as u16))
                    .min_by_key(|slot| rank(*slot, dispatch, now, slots));
                least.unwrap_or(SlotId(0))
            }
        }
    }

    /// The next slot in turn that has a process. While none has one, a session that is in `now` stays there.
    fn next(&mut self, now: Option<SlotId>, slots: &impl Slots) -> SlotId {
        let count = slots.count();
        let turn = match now {
            None => &mut self.sessions,
            Some(_) => &mut self.messages,
        };
        let from = *turn;
        let mut in_turn = (1..=count).map(|at| SlotId((from.wrapping_add(at) % count) as u16));
        let is_served = |slot: &SlotId| slots.is_served(*slot);
        let served = in_turn
            .clone()
            .find(|slot| is_served(slot) && !slots.is_silent(*slot))
            .or_else(|| in_turn.find(is_served));
        let slot = match (served, now) {
            (Some(slot), _) => slot,
            (None, Some(now)) => return now,
            (None, None) => SlotId(((from + 1) % count) as u16),
        };
        *turn = slot.index();
        slot
    }
}

/// The comparison between slots, the least first: a slot without a process comes last, and before it one whose process
/// is silent; then messages in progress, whether a session would move, and sessions.
type Rank = (bool, bool, usize, bool, usize);

fn rank(slot: SlotId, dispatch: Dispatch, now: Option<SlotId>, slots: &impl Slots) -> Rank {
    let in_hand = match dispatch {
        Dispatch::LeastBusy => slots.in_hand(slot),
        _ => 0,
    };
    (
        !slots.is_served(slot),
        slots.is_silent(slot),
        in_hand,
        now.is_some_and(|now| now != slot),
        slots.sessions(slot),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: u16 = 10_000;

    fn slots_of(slots: usize) -> Vec<SlotId> {
        (0..KEYS).map(|key| rendezvous(key, slots)).collect()
    }

    #[test]
    fn keys_are_spread_evenly() {
        for slots in [1, 2, 3, 8] {
            let mut counts = vec![0_u16; slots];
            for slot in slots_of(slots) {
                counts[slot.index()] += 1;
            }
            let share = KEYS / slots as u16;
            assert!(
                counts.iter().all(|count| count.abs_diff(share) < share / 5),
                "{counts:?}"
            );
        }
    }

    #[test]
    fn a_mapped_address_goes_where_the_one_goes_that_it_maps() {
        let home = |text: String| {
            let peer = Peer::Ip(text.parse().expect("an address"));
            home(Dispatch::IpHash, &peer, &[], 64)
        };
        for last in 0..20 {
            let mapped = home(format!("[::ffff:192.0.2.{last}]:1"));
            assert_eq!(mapped, home(format!("192.0.2.{last}:2")));
        }
    }

    #[test]
    fn with_one_slot_more_only_those_move_that_go_there() {
        let moved: Vec<_> = slots_of(4)
            .into_iter()
            .zip(slots_of(5))
            .filter(|(before, after)| before != after)
            .collect();
        assert!(moved.iter().all(|(_, after)| *after == SlotId(4)));
        assert!(
            moved.len().abs_diff(usize::from(KEYS) / 5) < 300,
            "{}",
            moved.len()
        );
    }

    /// For each slot: whether it is served, whether it is silent, messages in progress, and sessions.
    struct Loads(Vec<(bool, bool, usize, usize)>);

    impl Slots for Loads {
        fn count(&self) -> usize {
            self.0.len()
        }

        fn is_served(&self, slot: SlotId) -> bool {
            self.0[slot.index()].0
        }

        fn is_silent(&self, slot: SlotId) -> bool {
            self.0[slot.index()].1
        }

        fn in_hand(&self, slot: SlotId) -> usize {
            self.0[slot.index()].2
        }

        fn sessions(&self, slot: SlotId) -> usize {
            self.0[slot.index()].3
        }
    }

    fn chosen(dispatch: Dispatch, now: Option<u16>, loads: &[(bool, bool, usize, usize)]) -> u16 {
        let slots = Loads(loads.to_vec());
        Turns::new(0).choose(dispatch, now.map(SlotId), &slots).0
    }

    #[test]
    fn a_new_session_goes_to_the_slot_with_the_fewest_that_answers() {
        let loads = [
            (true, false, 0, 5),
            (true, true, 0, 1),
            (true, false, 9, 3),
            (false, false, 0, 0),
        ];
        assert_eq!(chosen(Dispatch::Sticky, None, &loads), 2);
        assert_eq!(chosen(Dispatch::Sticky, Some(1), &loads), 1, "it stays");
    }

    #[test]
    fn a_message_goes_to_the_least_busy_slot_and_stays_among_equals() {
        let loads = [
            (true, false, 2, 0),
            (true, false, 1, 9),
            (true, false, 1, 9),
        ];
        assert_eq!(chosen(Dispatch::LeastBusy, Some(0), &loads), 1);
        assert_eq!(chosen(Dispatch::LeastBusy, Some(2), &loads), 2);
        let free = [(true, false, 0, 9), (true, false, 0, 0)];
        assert_eq!(chosen(Dispatch::LeastBusy, Some(0), &free), 0);
    }

    #[test]
    fn sessions_and_messages_take_turns_of_their_own() {
        let slots = Loads(vec![(true, false, 0, 0); 3]);
        let mut turns = Turns::new(0);
        let mut next = |now: Option<u16>| {
            let now = now.map(SlotId);
            turns.choose(Dispatch::RoundRobin, now, &slots).0
        };
        let chosen = [next(None), next(Some(1)), next(None), next(Some(2))];
        assert_eq!(chosen, [1, 1, 2, 2]);
    }

    #[test]
    fn while_no_slot_is_served_a_session_stays_and_new_ones_spread() {
        let slots = Loads(vec![(false, false, 0, 0); 3]);
        let mut turns = Turns::new(0);
        assert_eq!(
            turns.choose(Dispatch::RoundRobin, Some(SlotId(2)), &slots),
            SlotId(2)
        );
        let spread = [(); 3].map(|()| turns.choose(Dispatch::RoundRobin, None, &slots).0);
        assert_eq!(spread, [1, 2, 0]);
    }
}
