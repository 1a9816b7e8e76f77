//! What a side of a ring knows in private, for a process that goes on with the ring in its place.
//!
//! Nothing of it can be read from the ring: the other side may write whatever it likes there.

use serde::{Deserialize, Serialize};

use super::{Header, WORD, record_size};

/// What a [`Producer`](super::Producer) knows beside its ring.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeptProducer {
    pub(super) head: u64,
    pub(super) tail: u64,
    pub(super) lap_began: u64,
    /// The records that may not be taken yet, oldest first; none where none are remembered.
    pub(super) pushed: Vec<Pushed>,
}

/// What a [`Consumer`](super::Consumer) knows beside its ring.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct KeptConsumer {
    pub(super) tail: u64,
    pub(super) told: u64,
}

/// One record that was pushed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Pushed {
    pub(super) header: Header,
    pub(super) length: u32,
    pub(super) position: u64,
}

impl Pushed {
    pub(super) fn end(&self) -> u64 {
        self.position
            .saturating_add(record_size(u64::from(self.length)))
    }
}

impl KeptProducer {
    /// Whether these can be the positions of a ring of this capacity.
    pub(super) fn is_sound(&self, capacity: u64) -> bool {
        let are_words = [self.head, self.tail, self.lap_began]
            .iter()
            .all(|position| position.is_multiple_of(WORD));
        let records = self.pushed.iter();
        let are_records = records.clone().all(|pushed| {
            pushed.position.is_multiple_of(WORD)
                && pushed.end() <= self.head
                && self.head - pushed.position <= capacity
                && record_size(u64::from(pushed.length)) <= capacity - pushed.position % capacity
        });
        are_words
            && are_records
            && records.is_sorted_by(|one, next| one.end() <= next.position)
            && self.tail <= self.head
            && self.lap_began <= self.head
            && self.head - self.tail <= capacity
    }
}

impl KeptConsumer {
    /// Whether these can be the positions of a ring.
    pub(super) fn is_sound(&self) -> bool {
        self.tail.is_multiple_of(WORD) && self.told <= self.tail
    }
}
