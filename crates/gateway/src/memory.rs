//! The bytes that a loop holds, by what they are: the one place that counts them.

pub(super) use crate::control::MemoryClass as Class;

/// What a TLS connection costs at rest, in bytes: keys and the state of its library. Measured, for both versions.
pub(super) const TLS_BYTES: usize = 3_400;
/// What a session's membership of a group costs, in bytes, about.
pub(super) const MEMBERSHIP_BYTES: usize = 64;
/// What a group costs beside its name, in bytes, about.
pub(super) const GROUP_BYTES: usize = 256;

/// The bytes that one loop holds.
#[derive(Debug, Default)]
pub(super) struct Memory {
    by_class: [u64; Class::ALL.len()],
    total: u64,
}

impl Memory {
    /// So many more are held.
    pub(super) fn hold(&mut self, class: Class, bytes: usize) {
        self.by_class[class as usize] += bytes as u64;
        self.total += bytes as u64;
    }

    /// So many are held no more.
    pub(super) fn release(&mut self, class: Class, bytes: usize) {
        self.change(class, bytes, 0);
    }

    /// Something that had `before` bytes has `after` now.
    #[inline]
    pub(super) fn change(&mut self, class: Class, before: usize, after: usize) {
        self.hold(class, after);
        let held = &mut self.by_class[class as usize];
        // Never more than was held: the invariants prove it after each turn of every test. A release build goes on.
        debug_assert!(
            *held >= before as u64,
            "{before} bytes of {class:?} are released, {held} were held"
        );
        let released = (before as u64).min(*held);
        *held -= released;
        self.total -= released;
    }

    /// Bytes of one class.
    pub(super) fn of(&self, class: Class) -> u64 {
        self.by_class[class as usize]
    }

    /// Bytes of all classes.
    #[inline]
    pub(super) fn total(&self) -> u64 {
        self.total
    }
}
