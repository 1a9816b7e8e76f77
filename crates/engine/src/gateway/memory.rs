//! The bytes that a loop holds, by what they are: the one place that counts them.

/// What bytes are held for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Class {
    /// Received from peers: unfinished tails, undecrypted records, messages that wait or may be delivered again.
    Received,
    /// Queued for one peer each.
    Queued,
    /// Lockers, keys and group memberships of sessions.
    State,
    /// Of a process's message whose other parts have not come.
    Parts,
    /// Broadcasts that have not reached every member.
    Broadcasts,
    /// Payloads of tasks that have not ended.
    Tasks,
    /// Posts, results and credits that wait for room in a ring or for a process.
    Transfers,
}

impl Class {
    /// All of them, in the order of their numbers.
    pub(super) const ALL: [Self; 7] = [
        Self::Received,
        Self::Queued,
        Self::State,
        Self::Parts,
        Self::Broadcasts,
        Self::Tasks,
        Self::Transfers,
    ];
}

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
