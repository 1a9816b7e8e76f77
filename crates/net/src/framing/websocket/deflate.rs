//! permessage-deflate (RFC 7692), the server's side: what a handshake agrees on, and messages of it.
//!
//! Sans-io. [`negotiate`] answers a client's offer. A [`Deflater`] and an [`Inflater`] are the state of one direction: large,
//! and only between messages of a session with context takeover of any use to it. Without, one serves many sessions.

mod deflater;
mod inflater;
mod negotiation;

use serde::{Deserialize, Serialize};

pub use deflater::Deflater;
pub use inflater::{InflateError, Inflater};
pub use negotiation::negotiate;

/// The smallest LZ77 window that zlib can write, as a power of two: it has none of 8.
pub const MIN_WINDOW_BITS: u8 = 9;
/// The largest.
pub const MAX_WINDOW_BITS: u8 = 15;

/// How one direction is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Direction {
    /// Each message may refer to earlier ones.
    pub context_takeover: bool,
    /// The LZ77 window in bytes, as a power of two: [`MIN_WINDOW_BITS`] to [`MAX_WINDOW_BITS`].
    pub window_bits: u8,
}

impl Direction {
    /// The bits, limited to what there is.
    fn legal_bits(self) -> u8 {
        self.window_bits.clamp(MIN_WINDOW_BITS, MAX_WINDOW_BITS)
    }
}

/// The parameters of permessage-deflate: those that a server allows, or those that a handshake has agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    /// What the server sends.
    pub server: Direction,
    /// What the client sends.
    pub client: Direction,
}

/// What an empty block, which every message ends with and no frame has, looks like at its end (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
