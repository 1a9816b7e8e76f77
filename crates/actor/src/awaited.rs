//! What the futures of a service wait for.

use std::mem;

use rustc_hash::FxHashMap;

use crate::message::{Message, Payload, Session};

/// Answers and timers by their session, each with the place of the task that waits for it.
///
/// Most services wait for few at a time, so that a short list is searched before a map is made.
#[derive(Debug, Default)]
pub(crate) struct Awaiting {
    few: Vec<(Session, Awaited)>,
    many: Option<Box<FxHashMap<Session, Awaited>>>,
}

/// An answer or a timer that a task waits for.
#[derive(Debug)]
enum Awaited {
    By(usize),
    /// What it carries.
    Here(Payload),
}

/// Up to here a list is faster than a map.
const FEW: usize = 8;

impl Awaiting {
    /// The task at a place waits for it from now on.
    #[inline]
    pub(crate) fn expect(&mut self, session: Session, place: usize) {
        let by = Awaited::By(place);
        if self.few.len() < FEW {
            self.few.push((session, by));
        } else {
            let many = self.many.get_or_insert_default();
            many.insert(session, by);
        }
    }

    /// What has come, which is not awaited any more; else the task at a place waits for it.
    #[inline]
    pub(crate) fn take(&mut self, session: Session, place: usize) -> Option<Payload> {
        if let Some(at) = self.at(session) {
            if let Awaited::By(by) = &mut self.few[at].1 {
                *by = place;
                return None;
            }
            return self.few.swap_remove(at).1.payload();
        }
        match self.many.as_mut()?.get_mut(&session)? {
            Awaited::By(by) => {
                *by = place;
                None
            }
            Awaited::Here(_) => self.remove_of_many(session)?.payload(),
        }
    }

    /// Keeps what has come for its task, and tells the task's place. None if nobody waits for it, or it was there.
    #[inline]
    pub(crate) fn arrived(&mut self, message: Message) -> Option<usize> {
        let session = message.session;
        let awaited = match self.at(session) {
            Some(at) => &mut self.few[at].1,
            None => self.many.as_mut()?.get_mut(&session)?,
        };
        match mem::replace(awaited, Awaited::Here(message.payload)) {
            Awaited::By(place) => Some(place),
            Awaited::Here(_) => None,
        }
    }

    /// Nobody waits for it any more. Returns what has come, for the caller to drop: that may run any code.
    #[inline]
    pub(crate) fn forget(&mut self, session: Session) -> Option<Payload> {
        let removed = match self.at(session) {
            Some(at) => self.few.swap_remove(at).1,
            None => self.remove_of_many(session)?,
        };
        removed.payload()
    }

    #[inline]
    fn at(&self, session: Session) -> Option<usize> {
        self.few.iter().rposition(|(of, _)| *of == session)
    }

    fn remove_of_many(&mut self, session: Session) -> Option<Awaited> {
        let many = self.many.as_mut()?;
        let removed = many.remove(&session);
        if many.is_empty() {
            self.many = None;
        }
        removed
    }
}

impl Awaited {
    #[inline]
    fn payload(self) -> Option<Payload> {
        match self {
            Self::By(_) => None,
            Self::Here(payload) => Some(payload),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ServiceId;
    use crate::message::Kind;

    fn message(session: Session) -> Message {
        Message {
            source: ServiceId::NONE,
            session,
            kind: Kind::RESPONSE,
            payload: Payload::Service(ServiceId::from_number(session)),
        }
    }

    fn session_of(payload: Option<Payload>) -> Option<Session> {
        match payload? {
            Payload::Service(id) => Some(id.number()),
            _ => None,
        }
    }

    #[test]
    fn few_and_many_are_kept_for_the_task_that_waits_last() {
        for count in [1, 3, FEW as u32, 100] {
            let mut awaiting = Awaiting::default();
            for session in 1..=count {
                awaiting.expect(session, 0);
                assert!(awaiting.take(session, session as usize).is_none());
            }
            // In an order that is neither that of the calls nor its reverse.
            for session in (1..=count).filter(|session| session % 3 != 0) {
                let place = awaiting.arrived(message(session));
                assert_eq!(place, Some(session as usize));
                assert_eq!(awaiting.arrived(message(session)), None);
            }
            for session in 1..=count {
                let found = session_of(awaiting.take(session, 7));
                assert_eq!(found, (session % 3 != 0).then_some(session));
                assert!(awaiting.take(session, 8).is_none());
            }
            for session in (1..=count).filter(|session| session % 3 == 0) {
                assert_eq!(awaiting.arrived(message(session)), Some(8));
                assert!(awaiting.forget(session).is_some());
                assert_eq!(awaiting.arrived(message(session)), None);
            }
            assert!(awaiting.few.is_empty() && awaiting.many.is_none());
        }
    }
}
