//! Compresses messages.

use std::fmt;

use flate2::{Compress, Compression, FlushCompress, Status};

use super::{Direction, TAIL};

/// Room that a message of this kind of data rarely needs more of at once, in bytes.
const ROOM: usize = 256;

/// Compresses messages, one after the other. Without context takeover one serves any number of sessions.
///
/// It has up to 380 KB of memory ([`bytes`](Self::bytes)). Dropping it gives them back, and the next message may be
/// compressed by a new one, whatever was agreed on: no client can rely on a reference to an earlier message.
pub struct Deflater {
    stream: Compress,
    level: u8,
    direction: Direction,
}

impl Deflater {
    /// A deflater of `level` 1 (fast) to 9 (small), others being limited to these.
    pub fn new(level: u8, direction: Direction) -> Self {
        let level = level.clamp(1, 9);
        let (compression, bits) = (Compression::new(level.into()), direction.legal_bits());
        Self {
            stream: Compress::new_with_window_bits(compression, false, bits),
            level,
            direction,
        }
    }

    /// Whether it compresses at this level and so.
    pub fn is_of(&self, level: u8, direction: Direction) -> bool {
        self.level == level.clamp(1, 9) && self.direction == direction
    }

    /// The memory of one for such messages in bytes, about: the window and its chains, the table of hashes, the symbols.
    pub fn bytes(direction: Direction) -> usize {
        // Measured: zlib-rs has the same hashes and symbols for each window.
        const FIXED: usize = 244 * 1024;
        FIXED + (4 << direction.legal_bits())
    }

    /// Appends a compressed message to `out`, as the payload of its frames. With context takeover it may refer to the
    /// messages before it.
    pub fn deflate(&mut self, message: &[u8], out: &mut Vec<u8>) {
        if !self.direction.context_takeover {
            self.reset();
        }
        let start = out.len();
        let mut rest = message;
        loop {
            if out.capacity() - out.len() < ROOM {
                out.reserve((rest.len() / 2).max(ROOM));
            }
            let before = self.stream.total_in();
            let status = self.stream.compress_vec(rest, out, FlushCompress::Sync);
            rest = &rest[(self.stream.total_in() - before) as usize..];
            // With room left, everything is flushed. `BufError`: there was nothing to be.
            let is_over = rest.is_empty() && out.len() < out.capacity();
            if is_over || !matches!(status, Ok(Status::Ok)) {
                break;
            }
        }
        match out[start..].ends_with(&TAIL) {
            true => out.truncate(out.len() - TAIL.len()),
            // A message of nothing (RFC 7692 §7.2.3.6).
            false => out.push(0),
        }
    }

    /// Forgets the messages so far: the next one refers to none of them.
    pub fn reset(&mut self) {
        self.stream.reset();
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater")
            .field("level", &self.level)
            .field("direction", &self.direction)
            .finish_non_exhaustive()
    }
}
