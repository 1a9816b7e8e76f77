//! How many are taken from one socket before the loop looks at the next one.

/// After this number of full bursts in a row the next is twice as long.
const FULL_BURSTS: u8 = 4;

/// How many connections, or datagrams, are taken from a socket before it is looked at again. It is reported as long as some wait,
/// and to find out that none does costs as much as to take one: the number follows the load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Burst {
    size: u8,
    /// How often in a row this number has waited.
    full: u8,
}

impl Default for Burst {
    fn default() -> Self {
        Self { size: 1, full: 0 }
    }
}

impl Burst {
    /// How many to take now.
    pub(crate) fn size(self) -> usize {
        self.size.into()
    }

    /// None waits any more.
    pub(crate) fn has_emptied(&mut self) {
        self.size = (self.size / 2).max(1);
        self.full = 0;
    }

    /// As many as a burst have waited. It never grows past `most`.
    pub(crate) fn may_have_more(&mut self, most: u8) {
        self.full += 1;
        if self.full == FULL_BURSTS {
            self.full = 0;
            self.size = self.size.saturating_mul(2).min(most);
        }
    }
}
