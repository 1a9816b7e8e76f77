//! How many bytes relays move before others have their turn.

/// The bytes of one share, in a turn: about a millisecond. One share is for the relays whose sockets have something, one for
/// those that go on from earlier turns.
const SHARE: usize = 2 * 1024 * 1024;

/// What is left of a share. Relays that move much wait once nothing is; others do not.
#[derive(Debug)]
pub(crate) struct Budget {
    left: usize,
}

impl Budget {
    /// A new share begins.
    pub(crate) fn renew(&mut self) {
        self.left = SHARE;
    }

    /// This number of bytes was moved.
    pub(crate) fn spend(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.left == 0
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: SHARE }
    }
}
