//! Which slot a session or a message goes to.
//!
//! By load (`sticky`, `least-busy`), in turn (`round-robin`), or by rendezvous hashing of the peer's address or of the
//! key that the app has bound the session to (`ip-hash`, `key`): every loop comes to the same slot without asking
//! another, and when a slot is added or goes only the sessions that belong there move.

use std::hash::{BuildHasher, Hash};
use std::sync::atomic::Ordering;

use rustc_hash::FxBuildHasher;

use super::event_loop::Loop;
use super::session::Session;
use super::table::Key;
use crate::config::Dispatch;
use crate::wire::Peer;

/// The slot, of so many, that an address or a key belongs to; none where it is chosen by load.
pub(super) fn home(dispatch: Dispatch, peer: &Peer, key: &[u8], slots: usize) -> Option<u16> {
    match (dispatch, peer) {
        // Without the port: all of a machine's connections belong together.
        (Dispatch::IpHash, Peer::Ip(address)) => Some(rendezvous(address.ip(), slots)),
        (Dispatch::Key, _) if !key.is_empty() => Some(rendezvous(key, slots)),
        _ => None,
    }
}

/// The slot with the highest weight for this value.
fn rendezvous(value: impl Hash, slots: usize) -> u16 {
    let hash = FxBuildHasher.hash_one(value);
    (0..slots as u16)
        .max_by_key(|slot| mix(hash ^ mix(u64::from(*slot) + 1)))
        .unwrap_or_default()
}

/// Spreads every bit over all others (the finalizer of SplitMix64): weights of neighbours must have nothing in common.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

impl Loop {
    /// The slot that a session belongs to by its address or key, of so many.
    pub(super) fn home_of(&self, session: &Session, slots: usize) -> Option<u16> {
        let dispatch = self.config.listeners[usize::from(session.listener)].dispatch;
        let key = session
            .extras
            .as_ref()
            .map_or(&[][..], |extras| &extras.key);
        home(dispatch, &session.peer, key, slots)
    }

    /// A session was bound to another key: it goes where that belongs.
    pub(super) fn go_home(&mut self, key: Key) {
        if let Some(slot) = self.home_of(&self.table[key], self.slots.len()) {
            self.change_slot(key, slot);
            self.schedule(key);
        }
    }

    /// The slot for a new session, or for the next message of one that is in `now`.
    pub(super) fn choose_slot(&mut self, dispatch: Dispatch, now: Option<u16>) -> u16 {
        match (dispatch, now) {
            (Dispatch::Sticky | Dispatch::IpHash | Dispatch::Key, Some(now)) => now,
            (Dispatch::RoundRobin, _) => self.next_slot(now),
            // No other can have less.
            (Dispatch::LeastBusy, Some(now)) if self.is_free(now) => now,
            (_, _) => {
                let count = self.slots.len();
                let first = self.round % count;
                let least = (0..count)
                    .map(|at| (first + at) % count)
                    .min_by_key(|at| self.load(*at, dispatch, now));
                least.unwrap_or_default() as u16
            }
        }
    }

    /// The next slot in turn that has a process. While none has one, a session that is in `now` stays there.
    fn next_slot(&mut self, now: Option<u16>) -> u16 {
        let count = self.slots.len();
        // Sessions and messages have turns of their own: with one for both, of two workers one would have all messages of
        // sessions that bring one each.
        let round = match now {
            None => self.round,
            Some(_) => self.message_round,
        };
        let mut in_turn = (1..=count).map(|at| round.wrapping_add(at) % count);
        let is_served = |at: &usize| self.slots[*at].process.is_some();
        let served = in_turn
            .clone()
            .find(|at| is_served(at) && !self.is_silent(*at))
            .or_else(|| in_turn.find(is_served));
        if let (None, Some(now)) = (served, now) {
            return now;
        }
        let slot = served.unwrap_or((round + 1) % count);
        match now {
            None => self.round = slot,
            Some(_) => self.message_round = slot,
        }
        slot as u16
    }

    /// Whether a slot has a process, and nothing in hand.
    fn is_free(&self, slot: u16) -> bool {
        let at = usize::from(slot);
        self.slots[at].process.is_some() && self.in_hand(at) == 0
    }

    /// Messages in hand in a slot; in other loops as of their last turns.
    fn in_hand(&self, at: usize) -> usize {
        let slot = &self.slots[at];
        let process = slot.process.map(|at| &self.processes[usize::from(at)]);
        let here = process.map_or(0, |process| process.in_hand);
        here + slot.in_hand_elsewhere(&self.shared.slots[at])
    }

    /// What decides between slots, the least first. A slot without a process comes last, and before it one
    /// whose process does not answer; among equals a session that is in `now` stays there.
    fn load(&self, at: usize, dispatch: Dispatch, now: Option<u16>) -> impl Ord + use<> {
        let (slot, load) = (&self.slots[at], &self.shared.slots[at]);
        let in_hand = match dispatch {
            Dispatch::LeastBusy => self.in_hand(at),
            _ => 0,
        };
        (
            slot.process.is_none(),
            self.is_silent(at),
            in_hand,
            now.is_some_and(|now| usize::from(now) != at),
            load.sessions.load(Ordering::Relaxed),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: u16 = 10_000;

    fn slots_of(slots: usize) -> Vec<u16> {
        (0..KEYS).map(|key| rendezvous(key, slots)).collect()
    }

    #[test]
    fn keys_are_spread_evenly() {
        for slots in [1, 2, 3, 8] {
            let mut counts = vec![0_u16; slots];
            for slot in slots_of(slots) {
                counts[usize::from(slot)] += 1;
            }
            let share = KEYS / slots as u16;
            assert!(
                counts.iter().all(|count| count.abs_diff(share) < share / 5),
                "{counts:?}"
            );
        }
    }

    #[test]
    fn with_one_slot_more_only_those_move_that_go_there() {
        let moved: Vec<_> = slots_of(4)
            .into_iter()
            .zip(slots_of(5))
            .filter(|(before, after)| before != after)
            .collect();
        assert!(moved.iter().all(|(_, after)| *after == 4));
        assert!(
            moved.len().abs_diff(usize::from(KEYS) / 5) < 300,
            "{}",
            moved.len()
        );
    }
}
