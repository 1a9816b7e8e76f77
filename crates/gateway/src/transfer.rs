//! Transfers to a process without a session: posts, tasks, results and answers.

use bytes::Bytes;
use moorline_ipc::Header;

use crate::ids::{ProcessKey, SlotId};
use moorline_protocol::control::ProcessId;
use moorline_protocol::wire::ToProcess;

/// A post, a task or a result on its way to a process.
#[derive(Debug)]
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

    /// Bytes that it holds. A task's payload is counted with the task.
    pub(crate) fn held(&self) -> usize {
        let is_task = self.header.kind == ToProcess::Task as u8;
        size_of::<Self>() + if is_task { 0 } else { self.bytes.len() }
    }
}

/// A post that is not done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Post {
    /// Its sender.
    pub(crate) sender: Asker,
    /// The slot that it is for.
    pub(crate) to: SlotId,
    pub(crate) bytes: usize,
}

/// A process that waits for an answer: its place, its id (because the place may have another process by then), and its
/// number for the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) at: ProcessKey,
    pub(crate) process: ProcessId,
    pub(crate) number: u64,
}
