//! Requests that a service has taken and not answered.

use rustc_hash::FxHashSet;

use crate::id::ServiceId;
use crate::message::Session;

/// Who waits for an answer of a service. At its end each is told.
///
/// Most services owe one answer at a time, so that a short list is searched before a set is made.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    few: Vec<Caller>,
    many: Option<Box<FxHashSet<Caller>>>,
}

type Caller = (ServiceId, Session);

/// Up to here a list is faster than a set.
const FEW: usize = 8;

impl Owed {
    #[inline]
    pub(crate) fn add(&mut self, source: ServiceId, session: Session) {
        if self.few.len() < FEW {
            self.few.push((source, session));
        } else {
            let many = self.many.get_or_insert_default();
            many.insert((source, session));
        }
    }

    /// Removes it, if it is there.
    #[inline]
    pub(crate) fn remove(&mut self, source: ServiceId, session: Session) {
        let caller = (source, session);
        // Answers come in the order of requests more often than not, but the newest is answered most often of all.
        if let Some(at) = self.few.iter().rposition(|owed| *owed == caller) {
            self.few.swap_remove(at);
        } else if let Some(many) = &mut self.many {
            many.remove(&caller);
            if many.is_empty() {
                self.many = None;
            }
        }
    }

    pub(crate) fn into_callers(self) -> impl Iterator<Item = Caller> {
        let many = self.many.into_iter().flat_map(|many| *many);
        self.few.into_iter().chain(many)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_removed_is_left() {
        let mut owed = Owed::default();
        let caller = ServiceId::from_number(7);
        for session in 1..=100 {
            owed.add(caller, session);
        }
        for session in (1..=100).filter(|session| session % 3 != 0) {
            owed.remove(caller, session);
        }
        let mut left: Vec<_> = owed.into_callers().map(|(_, session)| session).collect();
        left.sort_unstable();
        let expected: Vec<_> = (1..=100).filter(|session| session % 3 == 0).collect();
        assert_eq!(left, expected);
    }
}
