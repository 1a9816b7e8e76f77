//! The log of refused connections: a flood of them must not flood the log.

use std::net::IpAddr;

use rustc_hash::FxHashMap;

use crate::ids::ListenerId;
use moorline_protocol::control::Limit;

/// How often refused connections of one listener are logged, in milliseconds.
const TELL_EVERY_MS: u64 = 1000;

/// When refused connections were logged, for each listener that has refused some.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog {
    listeners: FxHashMap<ListenerId, Refusals>,
    crowd: Crowd,
}

/// Where most refused connections come from: by a vote that needs no table of addresses (Boyer and Moore).
#[derive(Debug, Default)]
struct Crowd {
    candidate: Option<KeptOut>,
    votes: u32,
    told_at: Option<u64>,
}

/// A connection that a limit keeps out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeptOut {
    pub(crate) listener: ListenerId,
    pub(crate) limit: Limit,
    pub(crate) address: IpAddr,
}

/// A crowd that is gone is outvoted by this many others.
const MOST_VOTES: u32 = 1000;

#[derive(Debug)]
struct Refusals {
    told_at: u64,
    /// How many were not logged since.
    unlogged: u64,
}

impl RefusalLog {
    /// A limit has kept a connection out. Once a second this returns the one that stands for most of them.
    pub(crate) fn note(&mut self, refused: KeptOut, now: u64) -> Option<KeptOut> {
        let crowd = &mut self.crowd;
        if crowd.candidate == Some(refused) {
            crowd.votes = (crowd.votes + 1).min(MOST_VOTES);
        } else if crowd.votes == 0 {
            (crowd.candidate, crowd.votes) = (Some(refused), 1);
        } else {
            crowd.votes -= 1;
        }
        let is_due = crowd.told_at.is_none_or(|at| now >= at + TELL_EVERY_MS);
        if !is_due || crowd.votes == 0 {
            return None;
        }
        crowd.told_at = Some(now);
        crowd.candidate
    }

    /// The listener has refused a connection. Returns how many were not logged since the last line, or `None` if this
    /// one is not logged either.
    pub(crate) fn tells(&mut self, listener: ListenerId, now: u64) -> Option<u64> {
        let fresh = Refusals {
            told_at: now,
            unlogged: 0,
        };
        let Some(refusals) = self.listeners.get_mut(&listener) else {
            self.listeners.insert(listener, fresh);
            return Some(0);
        };
        if now < refusals.told_at + TELL_EVERY_MS {
            refusals.unlogged += 1;
            return None;
        }
        Some(std::mem::replace(refusals, fresh).unlogged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_most_refusals_is_told_once_a_second() {
        let from = |last: u8| KeptOut {
            listener: ListenerId(0),
            limit: Limit::SessionsPerAddress,
            address: [10, 0, 0, last].into(),
        };
        let mut log = RefusalLog::default();
        assert_eq!(log.note(from(1), 5), Some(from(1)));
        for at in 0..900_u64 {
            // Two of three are of one address.
            let last = if at % 3 == 0 {
                (at % 200) as u8 + 10
            } else {
                2
            };
            assert_eq!(log.note(from(last), 6 + at), None);
        }
        assert_eq!(log.note(from(9), 1005), Some(from(2)));
    }

    #[test]
    fn a_flood_of_refusals_is_told_once_a_second_with_their_number() {
        let mut log = RefusalLog::default();
        let one = ListenerId(3);
        assert_eq!(log.tells(one, 100), Some(0));
        assert_eq!(log.tells(one, 100), None);
        assert_eq!(log.tells(ListenerId(4), 100), Some(0));
        assert_eq!(log.tells(one, 1099), None);
        assert_eq!(log.tells(one, 1100), Some(2));
        assert_eq!(log.tells(one, 1101), None);
    }
}
