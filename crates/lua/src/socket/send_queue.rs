//! What waits to be sent.

use std::borrow::Cow;
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

/// Small writes to a stream are joined up to this size, so that they cost what is in them.
const JOINED_BYTES: usize = 16 << 10;
/// What a write costs beside its bytes, about.
const CHUNK_BYTES: usize = size_of::<SendChunk>() + 16;

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
        let chunks = self.high.len() + self.low.len();
        self.bytes + chunks * CHUNK_BYTES > MOST_QUEUED_BYTES
    }

    /// Puts a write behind the others of its priority.
    pub(crate) fn push(&mut self, chunk: SendChunk, priority: SendPriority) {
        self.bytes += chunk.bytes.len();
        self.of(priority).push_back(chunk);
    }

    /// Puts bytes of a stream behind the others of their priority. The first `sent` bytes are sent, if nothing was there before.
    pub(crate) fn append(&mut self, bytes: Cow<'_, [u8]>, sent: usize, priority: SendPriority) {
        self.bytes += bytes.len() - sent;
        if sent == 0
            && let Some(last) = self.of(priority).back_mut()
            && last.bytes.len() + bytes.len() <= JOINED_BYTES
        {
            return last.bytes.extend_from_slice(&bytes);
        }
        let bytes = bytes.into_owned();
        let chunk = SendChunk { bytes, to: None };
        match sent {
            0 => self.of(priority).push_back(chunk),
            sent => self.begun = Some((chunk, sent)),
        }
    }

    fn of(&mut self, priority: SendPriority) -> &mut VecDeque<SendChunk> {
        match priority {
            SendPriority::High => &mut self.high,
            SendPriority::Low => &mut self.low,
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
        queue.push(chunk("low"), SendPriority::Low);
        assert_eq!(queue.next().map(|next| next.0), Some(&b"low"[..]));
        queue.sent(1);
        queue.push(chunk("low 2"), SendPriority::Low);
        queue.push(chunk("high"), SendPriority::High);
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
    fn small_writes_to_a_stream_cost_what_is_in_them_and_stay_in_order() {
        let mut queue = SendQueue::default();
        let mut expected = Vec::new();
        for number in 0..1_000_000_u32 {
            let [byte, ..] = number.to_le_bytes();
            queue.append(Cow::Borrowed(&[byte]), 0, SendPriority::High);
            expected.push(byte);
        }
        let room = queue.high.iter().map(|chunk| chunk.bytes.capacity());
        assert!(room.sum::<usize>() <= 2 * 1_000_000);
        assert!(queue.high.len() <= 1_000_000 / JOINED_BYTES + 1);
        queue.append(Cow::Borrowed(b"low"), 0, SendPriority::Low);
        expected.extend(b"low");
        let mut sent = Vec::new();
        while let Some((bytes, _)) = queue.next() {
            let count = bytes.len().div_ceil(2);
            sent.extend_from_slice(&bytes[..count]);
            queue.sent(count);
        }
        assert_eq!(sent, expected);
    }

    #[test]
    fn datagrams_are_never_joined_and_count_for_what_they_cost() {
        let mut queue = SendQueue::default();
        let mut count = 0;
        while !queue.is_full() {
            queue.push(chunk("x"), SendPriority::High);
            count += 1;
        }
        assert!(count * CHUNK_BYTES <= MOST_QUEUED_BYTES, "{count}");
        assert_eq!(queue.next().map(|next| next.0), Some(&b"x"[..]));
    }

    #[test]
    fn the_owner_is_warned_at_doubling_lengths_and_when_it_is_over() {
        let mut queue = SendQueue::default();
        let mut mebibyte = || {
            let bytes = vec![0; 1 << 20];
            queue.push(SendChunk { bytes, to: None }, SendPriority::High);
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
