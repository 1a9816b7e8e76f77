//! Messages that a script holds: a pointer that it may only hand back, and a size.

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
}

/// Pointers look like pointers: they are multiples of this.
const STEP: usize = 16;

impl Held {
    /// Holds a message, and returns what a script gets for it.
    pub(crate) fn hold(&mut self, payload: Payload) -> (Value, i64) {
        self.last += STEP;
        let size = i64::try_from(payload.size()).unwrap_or(i64::MAX);
        self.messages.insert(self.last, payload);
        let pointer = ptr::without_provenance_mut(self.last);
        (Value::LightUserData(LightUserData(pointer)), size)
    }

    /// The bytes of a message, from its pointer or from a string.
    pub(crate) fn with_bytes<R>(
        &self,
        message: &Value,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Option<R> {
        match message {
            Value::String(text) => Some(read(&text.as_bytes())),
            Value::LightUserData(LightUserData(pointer)) => {
                match self.messages.get(&pointer.addr())? {
                    Payload::Bytes(bytes) => Some(read(bytes)),
                    Payload::Shared(bytes) => Some(read(bytes)),
                    Payload::Failure(text) => Some(read(text.as_bytes())),
                    _ => Some(read(&[])),
                }
            }
            Value::Nil => Some(read(&[])),
            _ => None,
        }
    }

    /// Takes a message to send it.
    pub(crate) fn take(&mut self, message: &Value) -> Option<Payload> {
        match message {
            Value::String(text) => Some(Payload::Bytes(text.as_bytes().to_vec())),
            Value::LightUserData(LightUserData(pointer)) => self.messages.remove(&pointer.addr()),
            Value::Nil => Some(Payload::Empty),
            _ => None,
        }
    }

    /// Drops a message, if it is still held.
    pub(crate) fn release(&mut self, message: &Value) {
        if let Value::LightUserData(LightUserData(pointer)) = message {
            self.messages.remove(&pointer.addr());
        }
    }
}
