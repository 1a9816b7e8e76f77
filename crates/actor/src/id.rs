//! Ids of services.

use std::fmt;

/// A service of this process: a slot, and how often the slot was used before.
///
/// It prints as a colon and eight hexadecimal digits. An id comes back after more than a hundred million launches at the earliest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId(u32);

/// The slots: the most services that live at once, and one, since slot 0 is nobody's.
pub(crate) const SLOTS: u32 = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 21;
/// How often a slot is used before its ids come back.
pub(crate) const GENERATIONS: u32 = 1 << (u32::BITS - SLOT_BITS);

impl ServiceId {
    /// The sender of messages that no service sent, such as those of timers.
    pub const NONE: Self = Self(0);

    pub(crate) fn new(slot: u32, generation: u32) -> Self {
        Self(generation << SLOT_BITS | slot)
    }

    /// The id with this number. Nobody may have it.
    pub fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// Its number.
    pub fn number(self) -> u32 {
        self.0
    }

    pub(crate) fn slot(self) -> u32 {
        self.0 & (SLOTS - 1)
    }

    pub(crate) fn generation(self) -> u32 {
        self.0 >> SLOT_BITS
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ":{:08x}", self.0)
    }
}

impl fmt::Debug for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
