//! What is sent to a group once for all loops.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The memory of an event beside its bytes, in bytes, about: its place in a history and in the queue of each loop.
const OVERHEAD: usize = 192;

/// Something for all members of a group, before it has a number.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) group: Box<[u8]>,
    pub(crate) content: Content,
    /// The ids of the sessions to leave out, sorted.
    pub(crate) left_out: Box<[u64]>,
}

/// What the members get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// An event. Without an id or a name, that is empty.
    Event {
        id: Box<str>,
        name: Box<str>,
        data: Box<str>,
    },
    /// A message.
    Message { bytes: Box<[u8]>, text: bool },
}

impl Content {
    /// Bytes that a member gets, about.
    pub(crate) fn len(&self) -> usize {
        match self {
            Content::Event { data, .. } => data.len(),
            Content::Message { bytes, .. } => bytes.len(),
        }
    }
}

/// Something for all members of a group. All loops share it.
#[derive(Debug)]
pub(crate) struct Sent {
    number: u64,
    draft: Draft,
    counted: HeldBytes,
}

impl Sent {
    pub(super) fn new(
        number: u64,
        group: Box<[u8]>,
        content: Content,
        left_out: Box<[u64]>,
        held: &Arc<AtomicU64>,
    ) -> Arc<Self> {
        let bytes = match &content {
            // An id is kept in two places.
            Content::Event { id, name, data } => 2 * id.len() + name.len() + data.len(),
            Content::Message { bytes, .. } => bytes.len(),
        };
        let bytes = OVERHEAD + group.len() + size_of_val(&*left_out) + bytes;
        Arc::new(Self {
            number,
            draft: Draft {
                group,
                content,
                left_out,
            },
            counted: HeldBytes::new(bytes, held),
        })
    }

    /// Its place in the order of all that is sent to groups in this way.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn group(&self) -> &[u8] {
        &self.draft.group
    }

    pub(crate) fn content(&self) -> &Content {
        &self.draft.content
    }

    /// The ids of the sessions that do not get it, sorted.
    pub(super) fn left_out(&self) -> &[u64] {
        &self.draft.left_out
    }

    /// Whether the session of this id does not get it.
    pub(crate) fn leaves_out(&self, session: u64) -> bool {
        self.draft.left_out.binary_search(&session).is_ok()
    }

    /// Bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.counted.bytes
    }
}

/// Bytes that are counted as long as this lives.
#[derive(Debug)]
pub(super) struct HeldBytes {
    bytes: usize,
    held: Arc<AtomicU64>,
}

impl HeldBytes {
    pub(super) fn new(bytes: usize, held: &Arc<AtomicU64>) -> Self {
        held.fetch_add(bytes as u64, Ordering::Relaxed);
        Self {
            bytes,
            held: held.clone(),
        }
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes as u64, Ordering::Relaxed);
    }
}
