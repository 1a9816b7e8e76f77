//! Transfers to a process without a session: posts, tasks, results and answers.

use bytes::Bytes;
use moorline_ipc::Header;
use serde::{Deserialize, Serialize};

use crate::ids::{ProcessKey, SlotId};
use moorline_protocol::control::ProcessId;
use moorline_protocol::wire::ToProcess;

/// A post, a task or a result on its way to a process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Transfer {
    pub(crate) header: Header,
    pub(crate) bytes: Bytes,
    pub(crate) offset: usize,
    /// Of a post: the process that gets the credit for it.
    pub(crate) post: Option<Post>,
}

impl Transfer {
    /// The name of a post in its receiver: the slot that it comes from, and its sender's number for it.
    pub(crate) fn post_name(header: &Header) -> (SlotId, u64) {
        (SlotId(header.aux), header.session)
    }

    /// Whether it says that a session has drained.
    pub(crate) fn is_drained(&self) -> bool {
        self.header.kind == ToProcess::Drained as u8
    }

    /// Bytes that it holds. The payload of a task or a request is counted with that.
    pub(crate) fn held(&self) -> usize {
        let kind = ToProcess::from_u8(self.header.kind);
        let is_counted = matches!(kind, Some(ToProcess::Task | ToProcess::Request));
        size_of::<Self>() + if is_counted { 0 } else { self.bytes.len() }
    }

    /// Whether it is the request of this number.
    pub(crate) fn is_request(&self, number: u64) -> bool {
        self.header.kind == ToProcess::Request as u8 && self.header.session == number
    }
}

/// A post that is not done.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Post {
    /// Its sender.
    pub(crate) sender: Asker,
    /// The slot that it is for.
    pub(crate) to: SlotId,
    pub(crate) bytes: usize,
}

/// A process that waits for an answer: its place, its id (because the place may have another process by then), and its
/// number for the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asker {
    pub(crate) at: ProcessKey,
    pub(crate) process: ProcessId,
    pub(crate) number: u64,
}
