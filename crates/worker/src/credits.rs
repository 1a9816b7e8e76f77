//! Posts and tasks of this process that are not handled yet, both bounded.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use moorline_ipc::Header;
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use super::commitment::Commitment;
use super::outbox::{Outbox, Room};
use super::{clock, pool};
use crate::app::{Message, PostError, TaskError};
use crate::wire::{FromProcess, LARGEST_TRANSFER};

/// Posts to one slot that may be unhandled.
const POSTS: usize = 64;

/// Their bytes; a single larger one may go alone.
const POST_BYTES: usize = 1024 * 1024;

/// Tasks of this process that may be unfinished.
const TASKS: usize = 64;

/// The accounts of posts and tasks.
pub(crate) struct Credits {
    next: Cell<u64>,
    slots: RefCell<FxHashMap<u16, Outstanding>>,
    posts: RefCell<FxHashMap<u64, (u16, usize)>>,
    tasks: RefCell<FxHashMap<u64, Call>>,
    /// Posts of this process to itself.
    local: RefCell<VecDeque<(u64, Message)>>,
}

#[derive(Default)]
struct Outstanding {
    posts: usize,
    bytes: usize,
}

struct Call {
    /// `None` if no caller waits.
    answer: Option<oneshot::Sender<Result<Vec<u8>, TaskError>>>,
    partial: Vec<u8>,
}

impl Credits {
    /// Numbers begin with the process's own, so that two processes of one slot never use the same.
    pub(super) fn new(process: u32) -> Self {
        Self {
            next: Cell::new(u64::from(process) << 32),
            slots: RefCell::default(),
            posts: RefCell::default(),
            tasks: RefCell::default(),
            local: RefCell::default(),
        }
    }

    /// The credit of a post comes back. False if there was no such post.
    pub(super) fn post_done(&self, number: u64) -> bool {
        let Some((slot, size)) = self.posts.borrow_mut().remove(&number) else {
            return false;
        };
        if let Some(outstanding) = self.slots.borrow_mut().get_mut(&slot) {
            outstanding.posts -= 1;
            outstanding.bytes -= size;
        }
        true
    }

    /// A part of a task's result has arrived. False if there is no such task.
    pub(super) fn task_done(&self, number: u64, bytes: &[u8], last: bool, failed: bool) -> bool {
        let mut tasks = self.tasks.borrow_mut();
        let Some(call) = tasks.get_mut(&number) else {
            return false;
        };
        // A result that no caller waits for is not put together.
        if call.answer.is_some() {
            call.partial.extend_from_slice(bytes);
        }
        if !last {
            return true;
        }
        if let Some(Call {
            answer: Some(answer),
            partial,
        }) = tasks.remove(&number)
        {
            let result = match failed {
                true => Err(TaskError::Failed(
                    String::from_utf8_lossy(&partial).into_owned(),
                )),
                false => Ok(partial),
            };
            // The caller may have gone.
            let _ = answer.send(result);
        }
        true
    }

    /// The next post of this process to itself.
    pub(super) fn next_local(&self) -> Option<(u64, Message)> {
        self.local.borrow_mut().pop_front()
    }

    /// The gateway has died, and everything on its way with it. Posts to itself are not lost.
    pub(super) fn gateway_lost(&self) {
        self.tasks.borrow_mut().clear();
        let local: Vec<u64> = self
            .local
            .borrow()
            .iter()
            .map(|(number, _)| *number)
            .collect();
        let lost: Vec<u64> = self
            .posts
            .borrow()
            .keys()
            .copied()
            .filter(|number| !local.contains(number))
            .collect();
        for number in lost {
            self.post_done(number);
        }
    }

    fn number(&self) -> u64 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }

    /// Posts from this worker slot to another one, or to itself.
    pub(super) fn post(
        &self,
        outbox: &Outbox,
        own: u16,
        to: u16,
        bytes: &[u8],
    ) -> Result<(), PostError> {
        let (size, max) = (bytes.len() as u64, LARGEST_TRANSFER);
        if size > max {
            return Err(PostError::TooLarge { size, max });
        }
        let mut slots = self.slots.borrow_mut();
        let outstanding = slots.entry(to).or_default();
        if outstanding.posts > 0
            && (outstanding.posts >= POSTS || outstanding.bytes + bytes.len() > POST_BYTES)
        {
            return Err(PostError::Full);
        }
        outstanding.posts += 1;
        outstanding.bytes += bytes.len();
        let number = self.number();
        self.posts.borrow_mut().insert(number, (to, bytes.len()));
        if to == own {
            let now = clock::now();
            let mut buffer = pool::take(bytes.len());
            buffer.extend_from_slice(bytes);
            self.local
                .borrow_mut()
                .push_back((number, Message::new(buffer, false, now, now)));
            outbox.schedule();
            return Ok(());
        }
        let link = (usize::from(own) + usize::from(to)) % outbox.links().max(1);
        let header = Header {
            kind: FromProcess::Post as u8,
            aux: to,
            session: number,
            ..Header::default()
        };
        // Always: credits bound it.
        let _ = outbox.message(link, header, bytes, Room::Always);
        Ok(())
    }

    /// Gives a task to the task worker in this slot, or to any. Its result comes to `answer`.
    pub(super) fn begin_task(
        &self,
        outbox: &Outbox,
        commitment: &Commitment,
        own: u16,
        bytes: &[u8],
        slot: Option<u16>,
        answer: Option<oneshot::Sender<Result<Vec<u8>, TaskError>>>,
    ) -> Result<(), TaskError> {
        let (size, max) = (bytes.len() as u64, LARGEST_TRANSFER);
        if size > max {
            return Err(TaskError::TooLarge { size, max });
        }
        if answer.is_some() && commitment.is_deadlocked() {
            return Err(TaskError::NotServing);
        }
        if self.tasks.borrow().len() >= TASKS {
            return Err(TaskError::Full);
        }
        let number = self.number();
        let link = usize::from(own) % outbox.links().max(1);
        let header = Header {
            kind: FromProcess::Task as u8,
            aux: slot.map_or(0, |slot| slot + 1),
            session: number,
            ..Header::default()
        };
        outbox
            .message(link, header, bytes, Room::Bounded)
            .map_err(|_| TaskError::Full)?;
        // A caller that gives up leaves its entry: the task is outstanding until its result has come.
        let partial = Vec::new();
        self.tasks
            .borrow_mut()
            .insert(number, Call { answer, partial });
        Ok(())
    }
}
