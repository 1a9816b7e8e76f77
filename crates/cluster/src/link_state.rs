//! How a connection is, and why it takes nothing.
#![cfg_attr(
    not(feature = "nats"),
    expect(dead_code, reason = "without NATS none is ever up")
)]

use crate::frame::HEADER_BYTES;
use crate::user::OfferError;

/// Why something was not handed to NATS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unpublished {
    /// There is no connection.
    Away,
    /// Too much waits for it.
    Full,
    /// It is larger than the server takes: that many bytes.
    TooLarge(usize),
}

impl Unpublished {
    /// The error of a send of this many bytes.
    pub(crate) fn for_payload(self, size: usize) -> OfferError {
        match self {
            Self::Away => OfferError::Unreachable,
            Self::Full => OfferError::Full,
            Self::TooLarge(most) => OfferError::TooLarge {
                size,
                max: most.saturating_sub(HEADER_BYTES),
            },
        }
    }
}

/// How the connection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LinkState {
    Up,
    /// There is none, for this reason if one is known.
    Away(Option<String>),
}
