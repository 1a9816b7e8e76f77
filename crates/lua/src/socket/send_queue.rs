//! What waits to be sent.

use std::collections::VecDeque;
use std::net::SocketAddr;

/// What is sent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendPriority {
    High,
    /// Only when nothing of high priority waits.
    Low,
}

/// One write.
#[derive(Debug)]
pub(crate) struct SendChunk {
    pub(crate) bytes: Vec<u8>,
    /// The receiver of a datagram. None for the peer.
    pub(crate) to: Option<SocketAddr>,
}

/// The writes of a socket that the system did not take yet, in order.
#[derive(Debug)]
pub(crate) struct SendQueue {
    high: VecDeque<SendChunk>,
    low: VecDeque<SendChunk>,
    /// The write that has begun, and how much of it is sent.
    begun: Option<(SendChunk, usize)>,
    bytes: usize,
    /// The length at which the owner is warned next.
    warn_at: usize,
}

/// From this size on the owner is warned, and again each time they have doubled.
const WARN_BYTES: usize = 1 << 20;
/// A queue that is longer takes no further write, and the socket ends: its peer does not read, and memory ends somewhere. A single write
/// may be longer.
pub(crate) const MOST_QUEUED_BYTES: usize = 128 << 20;

impl Default for SendQueue {
    fn default() -> Self {
        Self {
            high: VecDeque::new(),
            low: VecDeque::new(),
            begun: None,
            bytes: 0,
            warn_at: WARN_BYTES,
        }
    }
}

impl SendQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes > MOST_QUEUED_BYTES
    }

    /// Puts a write behind the others of its priority, of which `sent` bytes are sent.
    pub(crate) fn push(&mut self, chunk: SendChunk, sent: usize, priority: SendPriority) {
        self.bytes += chunk.bytes.len() - sent;
        match priority {
            // It was tried with nothing before it.
            _ if sent > 0 => self.begun = Some((chunk, sent)),
            SendPriority::High => self.high.push_back(chunk),
            SendPriority::Low => self.low.push_back(chunk),
        }
    }

    /// The length in KiB, if the owner is to be warned of it.
    pub(crate) fn warning(&mut self) -> Option<usize> {
        if self.bytes < self.warn_at {
            return None;
        }
        while self.bytes >= self.warn_at {
            self.warn_at *= 2;
        }
        Some(self.bytes.div_ceil(1024))
    }

    /// Whether the owner was warned and nothing waits any more. True once.
    pub(crate) fn is_over_warning(&mut self) -> bool {
        let is_over = self.bytes == 0 && self.warn_at > WARN_BYTES;
        if is_over {
            self.warn_at = WARN_BYTES;
        }
        is_over
    }

    /// What is sent next.
    pub(crate) fn next(&mut self) -> Option<(&[u8], Option<SocketAddr>)> {
        if self.begun.is_none() {
            let chunk = self.high.pop_front().or_else(|| self.low.pop_front());
            self.begun = chunk.map(|chunk| (chunk, 0));
        }
        let (chunk, sent) = self.begun.as_ref()?;
        Some((&chunk.bytes[*sent..], chunk.to))
    }

    /// What is sent next was sent up to this size.
    pub(crate) fn sent(&mut self, count: usize) {
        let Some((chunk, sent)) = &mut self.begun else {
            return;
        };
        *sent += count;
        self.bytes -= count;
        if *sent >= chunk.bytes.len() {
            self.begun = None;
        }
    }

    /// Drops what is sent next: a datagram that cannot be sent.
    pub(crate) fn skip(&mut self) {
        if let Some((chunk, sent)) = self.begun.take() {
            self.bytes -= chunk.bytes.len() - sent;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(text: &str) -> SendChunk {
        SendChunk {
            bytes: text.as_bytes().to_vec(),
            to: None,
        }
    }

    #[test]
    fn high_priority_goes_first_but_never_into_the_middle_of_a_write() {
        let mut queue = SendQueue::default();
        queue.push(chunk("low"), 0, SendPriority::Low);
        assert_eq!(queue.next().map(|next| next.0), Some(&b"low"[..]));
        queue.sent(1);
        queue.push(chunk("low 2"), 0, SendPriority::Low);
        queue.push(chunk("high"), 0, SendPriority::High);
        let mut order = Vec::new();
        while let Some((bytes, _)) = queue.next() {
            order.push(String::from_utf8_lossy(bytes).into_owned());
            let count = bytes.len();
            queue.sent(count);
        }
        assert_eq!(order, ["ow", "high", "low 2"]);
        assert!(queue.is_empty());
    }

    #[test]
    fn the_owner_is_warned_at_doubling_lengths_and_when_it_is_over() {
        let mut queue = SendQueue::default();
        let mut mebibyte = || {
            let bytes = vec![0; 1 << 20];
            queue.push(SendChunk { bytes, to: None }, 0, SendPriority::High);
            queue.warning()
        };
        let warnings: Vec<_> = (0..4).map(|_| mebibyte()).collect();
        assert_eq!(warnings, [Some(1024), Some(2048), None, Some(4096)]);
        while queue.next().is_some() {
            assert!(!queue.is_over_warning());
            queue.skip();
        }
        assert!(queue.is_over_warning());
        assert!(!queue.is_over_warning());
    }
}
