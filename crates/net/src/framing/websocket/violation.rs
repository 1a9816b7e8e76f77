//! How a frame breaks the protocol.

use std::fmt;

use crate::framing::control_frame::MAX_PAYLOAD_BYTES;

/// The longest payload of a control frame, in bytes (RFC 6455 §5.5).
pub const MAX_CONTROL_BYTES: usize = MAX_PAYLOAD_BYTES;

/// How a frame breaks the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// A reserved bit is set, and no extension was agreed on (§5.2).
    ReservedBits,
    /// An opcode without meaning (§5.2).
    ReservedOpcode(u8),
    /// A client's frame must be masked (§5.1).
    Unmasked,
    /// A length written in more bytes than it needs (§5.2).
    LengthNotMinimal,
    /// A length whose highest bit is set (§5.2).
    LengthNegative,
    /// A control frame in fragments (§5.5).
    ControlFragmented,
    /// A control frame of more than 125 bytes (§5.5).
    ControlTooLong,
    /// A continuation, and nothing to continue (§5.4).
    NothingToContinue,
    /// A new message before the fragments of the last one ended (§5.4).
    FragmentsUnfinished,
    /// A close frame with half a status code (§5.5.1).
    CloseTruncated,
    /// A status code that must not be sent (§7.4).
    CloseCode(u16),
    /// Text that is not UTF-8 (§8.1).
    NotUtf8,
    /// A message that is not compressed as it says (RFC 7692 §7.2.2).
    Corrupt,
}

impl Violation {
    /// The status code to close with (§7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            Self::NotUtf8 | Self::Corrupt => 1007,
            _ => 1002,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("websocket: ")?;
        match self {
            Self::ReservedBits => f.write_str("a reserved bit is set"),
            Self::ReservedOpcode(opcode) => write!(f, "opcode {opcode:#x} has no meaning"),
            Self::Unmasked => f.write_str("a frame is not masked"),
            Self::LengthNotMinimal => f.write_str("a length has more bytes than it needs"),
            Self::LengthNegative => f.write_str("a length has its highest bit set"),
            Self::ControlFragmented => f.write_str("a control frame is fragmented"),
            Self::ControlTooLong => {
                write!(f, "a control frame has more than {MAX_CONTROL_BYTES} bytes")
            }
            Self::NothingToContinue => f.write_str("a continuation has nothing to continue"),
            Self::FragmentsUnfinished => {
                f.write_str("a message begins before the fragments of the last one ended")
            }
            Self::CloseTruncated => f.write_str("a close frame has half a status code"),
            Self::CloseCode(code) => write!(f, "status code {code} must not be sent"),
            Self::NotUtf8 => f.write_str("text is not UTF-8"),
            Self::Corrupt => f.write_str("a compressed message is damaged"),
        }
    }
}

impl std::error::Error for Violation {}
