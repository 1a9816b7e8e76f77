//! Smooth weighted round-robin: each peer in turn, as often as it weighs, and never many times in a row.
//!
//! Each peer's credit grows by its weight; the one with the most is chosen, and pays what all together have gained. A
//! peer that has failed gains less for a while. The choices are those of nginx.

use super::Sight;
use crate::peer::WHOLE;

impl Sight<'_> {
    /// The next of the usable peers for which `fits` holds.
    pub(crate) fn smooth(&mut self, fits: impl Fn(&Self, usize) -> bool) -> Option<usize> {
        let (mut total, mut best) = (0, None);
        for at in 0..self.group().len() {
            let place = self.group()[at];
            if !self.is_usable(place) || !fits(self, place) {
                continue;
            }
            let (gain, credit) = self.gain(place);
            total += gain;
            if best.is_none_or(|(_, most)| credit > most) {
                best = Some((place, credit));
            }
        }
        let (best, _) = best?;
        self.peers.at_mut(best).turns.current -= total;
        Some(best)
    }

    /// Gives a peer its weight. Returns that, and all that it has.
    pub(super) fn gain(&mut self, place: usize) -> (i64, i64) {
        let (now, slow_start) = (self.now, self.slow_start);
        let peer = self.peers.at_mut(place);
        let weight = peer.weight();
        let parts = u64::from(peer.turns.effective) * peer.warmth(now, slow_start);
        debug_assert!(parts <= u64::from(u32::MAX) * WHOLE, "weights are 32 bits");
        let gain = i64::try_from(parts).unwrap_or(i64::MAX);
        let turns = &mut peer.turns;
        turns.current = turns.current.saturating_add(gain);
        if turns.effective < weight {
            turns.effective += 1;
        }
        (gain, turns.current)
    }
}
