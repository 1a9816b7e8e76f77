//! What a message to a session is.

use crate::wire::TEXT;
use crate::wire::event::EVENT;

/// What a message to a session is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    pub(super) flags: u8,
    pub(super) aux: u16,
}

impl Form {
    /// What another node sends: nothing but what is known here.
    pub(crate) fn of(flags: u8, aux: u16) -> Self {
        Self {
            flags: flags & TEXT,
            aux: if aux == EVENT { EVENT } else { 0 },
        }
    }

    /// As it travels to another node.
    pub(crate) fn parts(self) -> (u8, u16) {
        (self.flags, self.aux)
    }

    pub(crate) const BYTES: Self = Self { flags: 0, aux: 0 };
    pub(crate) const TEXT: Self = Self {
        flags: TEXT,
        aux: 0,
    };
    /// As `write_event` writes it.
    pub(crate) const EVENT: Self = Self {
        flags: 0,
        aux: EVENT,
    };
}
