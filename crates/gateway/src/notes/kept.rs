//! The notes of a session on their way to another process.

use std::net::SocketAddr;

use moorline_protocol::wire::Peer;
use serde::{Deserialize, Serialize};

use super::Notes;
use crate::shared::limits::{ConnectionLimits, KeptTicket, LimitStatus};

/// What a session still needs of its notes: for its facts, and for limits by key.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeptNotes {
    connection: Option<Peer>,
    #[serde(with = "crate::kept::bytes")]
    header: Vec<u8>,
    server: Option<SocketAddr>,
    tickets: Vec<KeptTicket>,
    limit_status: LimitStatus,
}

impl Notes {
    /// Whether all of it can go to another process.
    pub(crate) fn can_move(&self) -> bool {
        self.hello.is_none()
            && self.offer.is_none()
            && self.attempts.is_none()
            && self.pace.is_none()
    }

    pub(crate) fn keep(&self, limits: &ConnectionLimits) -> KeptNotes {
        KeptNotes {
            connection: self.connection.clone(),
            header: self.header.as_deref().unwrap_or_default().to_vec(),
            server: self.server,
            tickets: limits.keep(&self.tickets),
            limit_status: self.limit_status,
        }
    }
}

impl KeptNotes {
    /// The notes again. Limits count the session again, also if it is over them by now. `None`: there is no such limit.
    pub(crate) fn take_up(self, limits: &ConnectionLimits) -> Option<Notes> {
        Some(Notes {
            connection: self.connection,
            header: (!self.header.is_empty()).then(|| self.header.into()),
            server: self.server,
            tickets: limits.take_up(self.tickets)?,
            limit_status: self.limit_status,
            ..Notes::default()
        })
    }
}
