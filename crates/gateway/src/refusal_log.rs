//! The log of refused connections: a flood of them must not flood the log.

use rustc_hash::FxHashMap;

use crate::ids::ListenerId;

/// How often refused connections of one listener are logged, in milliseconds.
const TELL_EVERY_MS: u64 = 1000;

/// When refused connections were logged, for each listener that has refused some.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog {
    listeners: FxHashMap<ListenerId, Refusals>,
}

#[derive(Debug)]
struct Refusals {
    told_at: u64,
    /// How many were not logged since.
    unlogged: u64,
}

impl RefusalLog {
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
