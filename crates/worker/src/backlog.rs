//! Records that wait for room in a ring, in order.

use std::collections::VecDeque;

use moorline_ipc::Header;

/// A queue of records, their payloads one after another in one buffer.
#[derive(Default)]
pub(super) struct Backlog {
    headers: VecDeque<(Header, usize)>,
    bytes: VecDeque<u8>,
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.headers.is_empty()
    }

    /// Payload bytes waiting.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn push(&mut self, header: Header, payload: &[u8]) {
        self.headers.push_back((header, payload.len()));
        self.bytes.extend(payload);
    }

    /// The record that is next, its payload in two parts.
    pub(super) fn front(&self) -> Option<(&Header, [&[u8]; 2])> {
        let (header, len) = self.headers.front()?;
        let (first, second) = self.bytes.as_slices();
        let split = first.len().min(*len);
        Some((header, [&first[..split], &second[..len - split]]))
    }

    pub(super) fn front_len(&self) -> Option<usize> {
        self.headers.front().map(|(_, len)| *len)
    }

    pub(super) fn pop(&mut self) {
        if let Some((_, len)) = self.headers.pop_front() {
            self.bytes.drain(..len);
        }
        if self.headers.is_empty() {
            // The memory of a burst is not kept.
            *self = Self::default();
        }
    }

    /// The header of the last record.
    pub(super) fn back_mut(&mut self) -> Option<&mut Header> {
        self.headers.back_mut().map(|(header, _)| header)
    }
}
