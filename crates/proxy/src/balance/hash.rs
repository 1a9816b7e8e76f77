//! The peer that a key means. An empty key, or one whose peers cannot be used, gets a peer in turn.

use super::Sight;
use super::crc::Crc;
use super::maglev::{self, Table};
use super::ring::Ring;

/// Peers that one key may mean in vain.
pub(super) const MOST_MISSES: u8 = 20;

impl Sight<'_> {
    /// CRC-32 of the key modulo all weights. A key whose peer cannot be used is hashed again, with a number before it. The
    /// choices are those of nginx, and of memcached clients in Perl.
    pub(super) fn plain(&mut self, key: &[u8]) -> Option<usize> {
        let weight = |at: &usize| u64::from(self.peers.at(*at).weight());
        let total: u64 = self.group().iter().map(weight).sum();
        while !key.is_empty() && self.attempts.hash.misses <= MOST_MISSES {
            let way = &mut self.attempts.hash;
            let crc = match way.rounds {
                0 => Crc::new(),
                round => Crc::new().with(round.to_string().as_bytes()),
            };
            let hash = (crc.with(key).sum() >> 16) & 0x7fff;
            let sum = way.at.unwrap_or(0).wrapping_add(hash);
            way.at = Some(sum);
            way.rounds += 1;
            let place = self.numbered(u64::from(sum).checked_rem(total)?)?;
            if self.is_usable(place) {
                return Some(place);
            }
            self.attempts.hash.misses += 1;
        }
        self.smooth(|_, _| true)
    }

    /// The peers of the next point on the ring. A point whose peers cannot be used is left for the one after it.
    pub(super) fn ketama(&mut self, ring: &Ring, key: &[u8]) -> Option<usize> {
        while !key.is_empty() && self.attempts.hash.misses <= MOST_MISSES {
            let at = self.attempts.hash.at;
            let at = at.unwrap_or_else(|| ring.point(Crc::new().with(key).sum()));
            let Some(entry) = ring.entry(at) else {
                break;
            };
            let is_its = |sight: &Self, place| sight.peers.at(place).settings.entry == *entry;
            if let Some(place) = self.smooth(is_its) {
                self.attempts.hash.at = Some(at);
                return Some(place);
            }
            self.attempts.hash.at = Some(at.wrapping_add(1));
            self.attempts.hash.misses += 1;
        }
        self.smooth(|_, _| true)
    }

    /// The peer of the key's place in the table. A key whose peer cannot be used is hashed again.
    pub(super) fn maglev(&mut self, table: &Table, key: &[u8]) -> Option<usize> {
        while !key.is_empty() && self.attempts.hash.misses <= MOST_MISSES {
            let round = self.attempts.hash.rounds;
            self.attempts.hash.rounds += 1;
            let Some(place) = table.place(maglev::hash(key, round)) else {
                break;
            };
            if self.is_usable(place) {
                return Some(place);
            }
            self.attempts.hash.misses += 1;
        }
        self.smooth(|_, _| true)
    }
}
