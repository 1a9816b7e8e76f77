//! What was handed to the client of NATS and has not left its queue.

use std::collections::VecDeque;

/// Bytes that wait for the connection. More than the windows of a few slow nodes.
const MOST_QUEUED: u64 = 8 * 1024 * 1024;

/// What was handed to the client of NATS, oldest first. The client tells how many messages it has taken out of its queue, and it
/// takes them in order.
#[derive(Debug, Default)]
pub(crate) struct ClientQueue {
    sizes: VecDeque<u64>,
    bytes: u64,
    /// Messages that have left, of all.
    gone: u64,
}

impl ClientQueue {
    /// The client has taken this many messages out of its queue, since it began.
    pub(crate) fn taken(&mut self, gone: u64) {
        while self.gone < gone {
            self.gone += 1;
            if let Some(size) = self.sizes.pop_front() {
                self.bytes -= size;
            }
        }
    }

    /// Whether a message of this size may be handed to it now. One that is larger than all goes alone.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        self.sizes.is_empty() || self.bytes + bytes <= MOST_QUEUED
    }

    /// One was handed to it.
    pub(crate) fn hand(&mut self, bytes: u64) {
        self.sizes.push_back(bytes);
        self.bytes += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_however_much_was_sent_before() {
        let mut queue = ClientQueue::default();
        for round in 0..1000 {
            assert!(queue.has_room(MOST_QUEUED));
            queue.hand(MOST_QUEUED);
            assert!(!queue.has_room(1));
            queue.taken(round + 1);
        }
        let half = MOST_QUEUED / 2;
        queue.hand(half);
        queue.hand(half);
        assert!(!queue.has_room(1));
        // Told again, nothing has changed.
        queue.taken(1000);
        assert!(!queue.has_room(1));
        queue.taken(1001);
        assert!(queue.has_room(half) && !queue.has_room(half + 1));
    }

    #[test]
    fn one_that_is_larger_than_all_goes_alone() {
        let mut queue = ClientQueue::default();
        queue.hand(1);
        assert!(!queue.has_room(2 * MOST_QUEUED));
        queue.taken(1);
        assert!(queue.has_room(2 * MOST_QUEUED));
        queue.hand(2 * MOST_QUEUED);
        assert!(!queue.has_room(1));
    }
}
