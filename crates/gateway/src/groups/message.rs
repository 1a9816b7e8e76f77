//! What a broadcast brings to the members of its group, and where it comes from.

use std::sync::Arc;

use crate::history::{Content, Sent};
use crate::output::event::{Shown, show_event, show_message};
use crate::session::Kind;
use crate::shared::hub::Receipt;
use crate::transfer::Asker;
use moorline_protocol::wire::event::Event;

/// Where a broadcast comes from.
#[derive(Debug)]
pub(super) enum Origin {
    /// From a process, which has sent it to each loop.
    Process(Asker),
    /// From the hub of all loops.
    Hub(Arc<Receipt>),
}

/// What the members get.
#[derive(Debug)]
pub(super) enum Message {
    Own {
        bytes: Vec<u8>,
        text: bool,
        /// The ids of the sessions to leave out, sorted.
        left_out: Vec<u64>,
    },
    /// All loops have it.
    Shared(Arc<Sent>),
}

impl Message {
    /// Bytes that this loop holds of it.
    pub(super) fn held(&self) -> usize {
        match self {
            Message::Own {
                bytes, left_out, ..
            } => bytes.len() + size_of_val(&**left_out),
            Message::Shared(_) => 0,
        }
    }

    pub(super) fn leaves_out(&self, session: u64) -> bool {
        match self {
            Message::Own { left_out, .. } => left_out.binary_search(&session).is_ok(),
            Message::Shared(sent) => sent.leaves_out(session),
        }
    }

    /// Bytes that a member gets, about.
    pub(super) fn len(&self) -> usize {
        match self {
            Message::Own { bytes, .. } => bytes.len(),
            Message::Shared(sent) => sent.content().len(),
        }
    }

    /// What a session of this kind is sent for it.
    pub(super) fn shown(&self, kind: Kind) -> Shown<'_> {
        match self {
            Message::Own { bytes, text, .. } => show_message(kind, bytes, *text),
            Message::Shared(sent) => match sent.content() {
                Content::Message { bytes, text } => show_message(kind, bytes, *text),
                Content::Event { id, name, data } => show_event(kind, Event { id, name, data }),
            },
        }
    }
}
