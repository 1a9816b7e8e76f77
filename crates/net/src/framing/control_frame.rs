//! The control frames of a WebSocket. They are here without the feature too, so that a match of what a decoder finds has
//! the same cases with it and without it.

use std::fmt;

/// The longest payload of a control frame, in bytes (RFC 6455 §5.5).
pub(super) const MAX_PAYLOAD_BYTES: usize = 125;

/// A frame to be sent as it is: a pong or a close.
#[derive(Clone, Copy)]
pub struct ControlFrame {
    pub(super) bytes: [u8; 2 + MAX_PAYLOAD_BYTES],
    pub(super) len: u8,
}

impl ControlFrame {
    /// Its bytes, header included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl std::ops::Deref for ControlFrame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq for ControlFrame {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for ControlFrame {}

impl fmt::Debug for ControlFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ControlFrame({})", self.as_bytes().escape_ascii())
    }
}
