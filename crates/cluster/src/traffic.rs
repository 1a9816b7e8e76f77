//! What was counted of a link.

use std::cell::Cell;

/// What was counted of a link.
#[derive(Debug, Default)]
pub struct Traffic {
    counts: Cell<TrafficCounts>,
}

/// The counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrafficCounts {
    /// Frames that were sent to other nodes.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Frames that came.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Sends that were refused because NATS was away or the node was not there.
    pub unreachable: u64,
    /// Times that something before a frame was missing.
    pub gaps: u64,
    /// Frames that came a second time, and were dropped.
    pub repeated: u64,
    /// Messages that no process of this version writes, which were dropped.
    pub garbage: u64,
    /// Answers that nobody waited for any more.
    pub late: u64,
    /// Messages that a session here could not take, which were dropped.
    pub dropped: u64,
}

impl Traffic {
    /// The counts so far.
    pub fn counts(&self) -> TrafficCounts {
        self.counts.get()
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.change(|counts| {
            counts.sent += 1;
            counts.sent_bytes += bytes as u64;
        });
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.change(|counts| {
            counts.received += 1;
            counts.received_bytes += bytes as u64;
        });
    }

    pub(crate) fn unreachable(&self) {
        self.change(|counts| counts.unreachable += 1);
    }

    pub(crate) fn gap(&self) {
        self.change(|counts| counts.gaps += 1);
    }

    pub(crate) fn repeated(&self) {
        self.change(|counts| counts.repeated += 1);
    }

    pub(crate) fn garbage(&self) {
        self.change(|counts| counts.garbage += 1);
    }

    pub(crate) fn late(&self) {
        self.change(|counts| counts.late += 1);
    }

    /// A session here could not take a message. The count so far.
    pub fn drop_one(&self) -> u64 {
        self.change(|counts| counts.dropped += 1);
        self.counts.get().dropped
    }

    fn change(&self, change: impl FnOnce(&mut TrafficCounts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }
}
