//! The end of a session that a process may not have taken yet.

use moorline_ipc::Header;
use serde::{Deserialize, Serialize};

use moorline_protocol::wire::{ADOPTED, CloseReason, ToProcess};

/// The end of a session, as its process is told: none of it is ever read back from a ring.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PendingClose {
    pub(crate) id: u64,
    pub(crate) reason: CloseReason,
    /// How it was at its end.
    #[serde(with = "crate::kept::bytes")]
    pub(crate) closing: Vec<u8>,
    /// The payload that opens it in another process, which had it from the one before.
    #[serde(with = "crate::kept::bytes")]
    pub(crate) opening: Vec<u8>,
}

impl PendingClose {
    /// Bytes that it holds.
    pub(crate) fn held(&self) -> usize {
        size_of::<Self>() + self.closing.len() + self.opening.len()
    }

    /// The record that begins it in another process.
    pub(crate) fn open(&self) -> Header {
        Header {
            kind: ToProcess::Open as u8,
            aux: ADOPTED,
            session: self.id,
            ..Header::default()
        }
    }

    /// The record that ends it.
    pub(crate) fn close(&self) -> Header {
        Header {
            kind: ToProcess::Close as u8,
            aux: self.reason as u16,
            session: self.id,
            ..Header::default()
        }
    }
}
