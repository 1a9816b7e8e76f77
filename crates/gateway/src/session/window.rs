//! The window: how much of a session may be delivered and not done.

use serde::{Deserialize, Serialize};

/// The most messages of one session that are delivered and not done.
pub(crate) const WINDOW_MESSAGES: u32 = 16;
/// The most bytes of them (one message, if larger).
pub(crate) const WINDOW_BYTES: usize = 64 * 1024;

/// Messages delivered and not done.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Window {
    /// Messages delivered, ever; the sequence of the last one.
    pub(crate) sent: u32,
    /// Messages done, ever.
    pub(crate) done: u32,
    /// Bytes of the messages delivered and not done.
    pub(crate) bytes: usize,
}

impl Window {
    /// Whether these counts, which have come from another process, can be.
    pub(crate) fn is_sound(&self) -> bool {
        self.in_hand() <= WINDOW_MESSAGES
    }

    /// Messages delivered and not done.
    pub(crate) fn in_hand(&self) -> u32 {
        self.sent.wrapping_sub(self.done)
    }

    /// Whether one more message of unknown size may be cut now.
    pub(crate) fn has_room(&self) -> bool {
        self.in_hand() < WINDOW_MESSAGES && self.bytes < WINDOW_BYTES
    }

    /// Whether a message of this size may be delivered now.
    pub(crate) fn takes(&self, bytes: usize) -> bool {
        let in_hand = self.in_hand();
        in_hand == 0
            || (in_hand < WINDOW_MESSAGES && self.bytes.saturating_add(bytes) <= WINDOW_BYTES)
    }

    /// The sequence of the next message.
    pub(crate) fn next(&self) -> u32 {
        self.sent.wrapping_add(1)
    }

    /// A message of this size was delivered.
    pub(crate) fn deliver(&mut self, bytes: usize) {
        self.sent = self.next();
        self.bytes += bytes;
    }

    /// The oldest message in progress is done; `bytes` is its size as its process reports it.
    pub(crate) fn end_one(&mut self, bytes: u64) {
        self.done = self.done.wrapping_add(1);
        self.bytes = match self.in_hand() {
            0 => 0,
            _ => self
                .bytes
                .saturating_sub(usize::try_from(bytes).unwrap_or(usize::MAX)),
        };
    }

    /// No message is in progress any more: they are delivered again, or lost.
    pub(crate) fn take_back(&mut self) {
        self.sent = self.done;
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_a_bound_and_takes_one_message_of_any_size_alone() {
        let mut window = Window::default();
        assert!(window.takes(10 * WINDOW_BYTES));
        for _ in 0..WINDOW_MESSAGES {
            assert!(window.has_room() && window.takes(1));
            window.deliver(1);
        }
        assert!(!window.has_room() && !window.takes(1));
        window.end_one(1);
        assert!(window.takes(1));
    }

    #[test]
    fn a_window_without_messages_in_progress_is_empty_whatever_sizes_were_reported() {
        let mut window = Window::default();
        window.deliver(WINDOW_BYTES);
        assert!(!window.has_room());
        window.end_one(7);
        assert_eq!((window.in_hand(), window.bytes), (0, 0));
        window.deliver(10);
        window.take_back();
        assert_eq!((window.sent, window.done, window.bytes), (1, 1, 0));
    }

    #[test]
    fn sequences_wrap_around() {
        let mut window = Window {
            sent: u32::MAX,
            done: u32::MAX,
            bytes: 0,
        };
        window.deliver(1);
        assert_eq!((window.sent, window.in_hand()), (0, 1));
    }
}
