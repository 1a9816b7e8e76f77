//! The messages of a session that are kept.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Messages that were cut and are kept: those that wait for their process, and under `redeliver` (or when they
/// travel in fragments) also those that it has not done yet.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Inbound {
    /// First the delivered ones, oldest first, then those that wait.
    pub(crate) queue: VecDeque<Kept>,
    /// How many at the front were delivered.
    pub(crate) delivered: usize,
    /// How much of the first that waits has been sent in fragments.
    pub(crate) offset: usize,
}

impl Inbound {
    /// Has bytes come before all messages that wait. None is with a process.
    pub(crate) fn put_first(&mut self, bytes: Vec<u8>, time: u64) {
        self.queue.push_front(Kept {
            sequence: 0,
            time,
            text: false,
            deaths: 0,
            named_others: 0,
            bytes,
        });
    }

    /// Whether these counts, which have come from another process, fit together.
    pub(crate) fn is_sound(&self) -> bool {
        let next = self.queue.get(self.delivered);
        self.delivered <= self.queue.len() && self.offset <= next.map_or(0, |kept| kept.bytes.len())
    }

    /// The first message that waits.
    pub(crate) fn next(&self) -> Option<&Kept> {
        self.queue.get(self.delivered)
    }

    /// Bytes of that message that have not been sent.
    pub(crate) fn left(&self) -> usize {
        let next = self.next();
        next.map_or(0, |kept| kept.bytes.len() - self.offset)
    }

    /// Bytes of all of them.
    pub(crate) fn bytes(&self) -> usize {
        self.queue.iter().map(|kept| kept.bytes.len()).sum()
    }
}

/// One message that is kept.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Its place among the session's messages, once delivered.
    pub(crate) sequence: u32,
    /// When it was received, nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) time: u64,
    pub(crate) text: bool,
    /// How many processes died while they had it in progress.
    pub(crate) deaths: u32,
    /// How many more died so and named another session.
    pub(crate) named_others: u8,
    #[serde(with = "crate::kept::bytes")]
    pub(crate) bytes: Vec<u8>,
}
