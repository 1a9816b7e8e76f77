//! Messages that a script holds: a pointer that it may only hand back, and a size.

use std::cell::RefCell;
use std::ptr;

use mlua::{LightUserData, Value};
use moorline_actor::Payload;
use rustc_hash::FxHashMap;

/// The packed messages of one service that are not sent yet, and the one that is being handled.
///
/// The pointer is a number that no other message of the service ever has: a script that keeps one too long gets an error, and nothing
/// else.
#[derive(Debug, Default)]
pub(crate) struct Held {
    messages: FxHashMap<usize, Payload>,
    last: usize,
    /// What they take, with what a place in the map takes.
    bytes: usize,
}

/// What a held message takes besides its bytes, about.
const PLACE: usize = 64;

/// Pointers look like pointers: they are multiples of this.
const STEP: usize = 16;

impl Held {
    /// Holds what a script has packed. None if more than this many bytes would be held.
    pub(crate) fn hold_within(&mut self, limit: usize, payload: Payload) -> Option<(Value, i64)> {
        let fits = self.bytes + payload.size() <= limit;
        fits.then(|| self.hold(payload))
    }

    /// Holds a message, and returns what a script gets for it.
    pub(crate) fn hold(&mut self, payload: Payload) -> (Value, i64) {
        self.last += STEP;
        let size = i64::try_from(payload.size()).unwrap_or(i64::MAX);
        self.bytes += payload.size() + PLACE;
        self.messages.insert(self.last, payload);
        let pointer = ptr::without_provenance_mut(self.last);
        (Value::LightUserData(LightUserData(pointer)), size)
    }

    /// The bytes of a message, from its pointer or from a string. What reads them may run a script, which may use messages.
    pub(crate) fn read<R>(
        held: &RefCell<Self>,
        message: &Value,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Option<R> {
        match message {
            Value::String(text) => Some(read(&text.as_bytes())),
            Value::LightUserData(LightUserData(pointer)) => {
                let payload = held.borrow_mut().messages.remove(&pointer.addr())?;
                let found = match &payload {
                    Payload::Bytes(bytes) => read(bytes),
                    Payload::Shared(bytes) => read(bytes),
                    Payload::Failure(text) => read(text.as_bytes()),
                    _ => read(&[]),
                };
                held.borrow_mut().messages.insert(pointer.addr(), payload);
                Some(found)
            }
            Value::Nil => Some(read(&[])),
            _ => None,
        }
    }

    /// Whether more than these bytes are held.
    pub(crate) fn is_above(&self, limit: usize) -> bool {
        self.bytes > limit
    }

    /// Takes a message to send it.
    pub(crate) fn take(&mut self, message: &Value) -> Option<Payload> {
        match message {
            Value::String(text) => Some(Payload::Bytes(text.as_bytes().to_vec())),
            Value::LightUserData(LightUserData(pointer)) => self.remove(pointer.addr()),
            Value::Nil => Some(Payload::Empty),
            _ => None,
        }
    }

    /// Drops a message, if it is still held.
    pub(crate) fn release(&mut self, message: &Value) {
        if let Value::LightUserData(LightUserData(pointer)) = message {
            self.remove(pointer.addr());
        }
    }

    fn remove(&mut self, pointer: usize) -> Option<Payload> {
        let payload = self.messages.remove(&pointer)?;
        self.bytes -= payload.size() + PLACE;
        Some(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_are_never_sent_are_bounded() {
        let mut held = Held::default();
        let message = || Payload::Bytes(vec![0; 100]);
        let limit = 10 * (100 + PLACE);
        let all: Vec<_> = std::iter::from_fn(|| held.hold_within(limit, message())).collect();
        assert_eq!(all.len(), 10);
        held.release(&all[3].0);
        assert!(held.take(&all[4].0).is_some() && held.take(&all[4].0).is_none());
        assert!(held.hold_within(limit, message()).is_some());
        assert!(held.hold_within(limit, message()).is_some());
        assert!(held.hold_within(limit, message()).is_none());
    }
}
