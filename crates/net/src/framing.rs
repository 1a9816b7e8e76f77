//! How a byte stream is cut into messages.

use serde::{Deserialize, Serialize};

/// How a byte stream is cut into messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Framing {
    /// What arrives is delivered as it arrives.
    Raw,
    /// A length field in a header.
    Length(Length),
    /// Messages end with a delimiter.
    Delimiter(Delimiter),
    /// Messages end with a line feed.
    Line {
        /// The longest line, in bytes.
        max: u64,
    },
    /// RFC 6455.
    WebSocket {
        /// The largest message, in bytes.
        max: u64,
    },
}

/// A length field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Length {
    /// Its width: 1, 2, 4 or 8 bytes.
    pub width: u8,
    /// Its byte order.
    pub endian: Endian,
    /// Where it begins.
    pub offset: u32,
    /// Where the bytes begin that it counts.
    pub body: u32,
    /// The largest packet.
    pub max: u64,
    /// The app sees and sends whole packets.
    pub keep_header: bool,
}

/// A byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Endian {
    /// Most significant byte first.
    Big,
    /// Least significant byte first.
    Little,
}

/// A delimiter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delimiter {
    /// Its bytes; not empty.
    pub delimiter: Vec<u8>,
    /// The message includes it.
    pub keep: bool,
    /// The largest message.
    pub max: u64,
}
