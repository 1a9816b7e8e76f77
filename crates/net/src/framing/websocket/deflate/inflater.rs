//! Decompresses messages.

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};

use super::{Direction, TAIL};

/// Room for a message that is shorter than it was, in bytes.
const ROOM: usize = 256;
/// What a compressed message often grows by.
const GROWTH: usize = 4;

/// Decompresses messages, one after the other. Without context takeover one serves any number of sessions.
pub struct Inflater {
    stream: Decompress,
    direction: Direction,
}

/// Why a message cannot be decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InflateError {
    /// It is not compressed as RFC 1951 has it.
    Corrupt,
    /// It is larger than it may be.
    TooLarge,
}

impl Inflater {
    /// An inflater for messages that are compressed so.
    pub fn new(direction: Direction) -> Self {
        let window_bits = direction.legal_bits();
        Self {
            stream: Decompress::new_with_window_bits(false, window_bits),
            direction,
        }
    }

    /// The memory of one in bytes, about: zlib-rs has the largest window for each.
    pub fn bytes() -> usize {
        48 * 1024
    }

    /// Decompresses the payload of a message's frames. With context takeover it may refer to the messages before it.
    ///
    /// # Errors
    /// As soon as it is known that the message has more than `max` bytes, and when it is corrupt. The stream has no next
    /// message then.
    pub fn inflate(&mut self, payload: &[u8], max: u64) -> Result<Vec<u8>, InflateError> {
        if !self.direction.context_takeover {
            self.reset();
        }
        // One byte more shows that it is too large.
        let limit = usize::try_from(max).unwrap_or(usize::MAX).saturating_add(1);
        let guess = payload.len().saturating_mul(GROWTH).max(ROOM);
        let mut message = Vec::with_capacity(guess.min(limit));
        self.inflate_part(payload, limit, &mut message)?;
        let length = message.len();
        self.inflate_part(&TAIL, limit, &mut message)?;
        // The tail belongs to an empty block (RFC 7692 §7.2.1). Inside another one it is taken for content.
        match message.len() == length {
            true => Ok(message),
            false => Err(InflateError::Corrupt),
        }
    }

    fn inflate_part(
        &mut self,
        mut rest: &[u8],
        limit: usize,
        message: &mut Vec<u8>,
    ) -> Result<(), InflateError> {
        loop {
            if message.len() == message.capacity() {
                let more = message.len().max(ROOM).min(limit - message.len());
                message.reserve_exact(more);
            }
            let before = (self.stream.total_in(), message.len());
            let status = self
                .stream
                .decompress_vec(rest, message, FlushDecompress::Sync)
                .map_err(|_| InflateError::Corrupt)?;
            let taken = (self.stream.total_in() - before.0) as usize;
            rest = &rest[taken..];
            if message.len() >= limit {
                return Err(InflateError::TooLarge);
            }
            if status == Status::StreamEnd {
                // A block that says that it is the last one (RFC 7692 §7.2.3.4). What follows refers to nothing before it.
                self.reset();
                if rest.is_empty() {
                    return Ok(());
                }
                continue;
            }
            if rest.is_empty() && message.len() < message.capacity() {
                return Ok(());
            }
            let is_stuck = taken == 0 && message.len() == before.1;
            if is_stuck && message.len() < message.capacity() {
                return Err(InflateError::Corrupt);
            }
        }
    }

    fn reset(&mut self) {
        self.stream.reset(false);
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater")
            .field("direction", &self.direction)
            .finish_non_exhaustive()
    }
}
