//! What this process has sent without a look at what the gateway says.

/// What was sent since the ring task last looked at what the gateway says.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Unseen {
    pub(super) bytes: usize,
    /// The session that was sent something last, and how much with nothing to another between.
    pub(super) session: u64,
    pub(super) run: usize,
}

impl Unseen {
    #[inline]
    pub(super) fn after(self, session: u64, bytes: usize) -> Self {
        let run = if self.session == session { self.run } else { 0 };
        Self {
            bytes: self.bytes.saturating_add(bytes),
            session,
            run: run.saturating_add(bytes),
        }
    }
}
