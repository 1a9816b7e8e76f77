//! Posts and tasks of this process that are not handled yet, both bounded.
//!
//! Each post and each task takes credit. Who waits for credit gets it in the order of the waits, and nobody passes them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use moorline_ipc::Header;
use rustc_hash::FxHashMap;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use super::commitment::Commitment;
use super::outbox::{Needs, Outbox, Room, RoomPlace};
use super::{clock, pool};
use crate::app::{Message, PostError, TaskError};
use crate::wire::{FromProcess, LARGEST_TRANSFER};

/// Posts to one slot that may be unhandled.
const POSTS: usize = 64;

/// Their bytes; a larger one goes when no others are unhandled.
const POST_BYTES: usize = 1024 * 1024;

/// Tasks of this process that may be unfinished.
pub(crate) const TASKS: usize = 64;

/// The accounts of posts and tasks.
pub(crate) struct Credits {
    next: Cell<u64>,
    slots: RefCell<FxHashMap<u16, Rc<SlotCredit>>>,
    posts: RefCell<FxHashMap<u64, Posted>>,
    task_credit: Semaphore,
    tasks: RefCell<FxHashMap<u64, Call>>,
    /// Posts of this process to itself.
    local: RefCell<VecDeque<(u64, Message)>>,
}

/// What may be posted to one slot.
struct SlotCredit {
    posts: Semaphore,
    bytes: Semaphore,
}

/// A post that is not handled.
struct Posted {
    credit: Rc<SlotCredit>,
    bytes: u32,
}

/// The credit for one post, until it is sent.
type PostPermit<'a> = (SemaphorePermit<'a>, SemaphorePermit<'a>);

struct Call {
    /// `None` if no caller waits.
    answer: Option<Answer>,
    partial: Vec<u8>,
}

/// Where the result of a task goes.
pub(crate) type Answer = oneshot::Sender<Result<Vec<u8>, TaskError>>;

/// A task that is to be given out.
pub(crate) struct TaskOrder<'a> {
    pub(crate) bytes: &'a [u8],
    /// The slot of its task worker; none: any.
    pub(crate) slot: Option<u16>,
    /// None: its result is not waited for.
    pub(crate) answer: Option<Answer>,
}

impl Credits {
    /// Numbers begin with the process's own, so that two processes of one slot never use the same.
    pub(super) fn new(process: u32) -> Self {
        Self {
            next: Cell::new(u64::from(process) << 32),
            slots: RefCell::default(),
            posts: RefCell::default(),
            task_credit: Semaphore::new(TASKS),
            tasks: RefCell::default(),
            local: RefCell::default(),
        }
    }

    /// The credit of a post comes back. False if there was no such post.
    pub(super) fn post_done(&self, number: u64) -> bool {
        let Some(Posted { credit, bytes }) = self.posts.borrow_mut().remove(&number) else {
            return false;
        };
        credit.posts.add_permits(1);
        credit.bytes.add_permits(bytes as usize);
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
        let call = tasks.remove(&number);
        self.task_credit.add_permits(1);
        if let Some(Call {
            answer: Some(answer),
            partial,
        }) = call
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
        let lost = std::mem::take(&mut *self.tasks.borrow_mut());
        self.task_credit.add_permits(lost.len());
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

    fn slot_credit(&self, slot: u16) -> Rc<SlotCredit> {
        let new = || {
            Rc::new(SlotCredit {
                posts: Semaphore::new(POSTS),
                bytes: Semaphore::new(POST_BYTES),
            })
        };
        let mut slots = self.slots.borrow_mut();
        slots.entry(slot).or_insert_with(new).clone()
    }

    /// Posts to a worker slot, if there is credit now. `own` is the slot of this process.
    pub(super) fn try_post(
        &self,
        outbox: &Outbox,
        own: OwnSlot,
        to: u16,
        bytes: &[u8],
    ) -> Result<(), PostError> {
        let size = post_credit(bytes)?;
        let credit = self.slot_credit(to);
        let permits = credit.posts.try_acquire().and_then(|post| {
            let bytes = credit.bytes.try_acquire_many(size)?;
            Ok((post, bytes))
        });
        let permits = permits.map_err(|_| PostError::Full)?;
        self.send_post(outbox, own, to, bytes, &credit, permits);
        Ok(())
    }

    /// Posts to a worker slot, waiting for credit. Cancel-safe: it is sent whole or not at all.
    pub(super) async fn post(
        &self,
        outbox: &Outbox,
        own: OwnSlot,
        to: u16,
        bytes: &[u8],
    ) -> Result<(), PostError> {
        let size = post_credit(bytes)?;
        let credit = self.slot_credit(to);
        // The semaphores are never closed.
        let post = credit.posts.acquire().await;
        let post = post.map_err(|_| PostError::Full)?;
        let room = credit.bytes.acquire_many(size).await;
        let room = room.map_err(|_| PostError::Full)?;
        self.send_post(outbox, own, to, bytes, &credit, (post, room));
        Ok(())
    }

    fn send_post(
        &self,
        outbox: &Outbox,
        own: OwnSlot,
        to: u16,
        bytes: &[u8],
        credit: &Rc<SlotCredit>,
        (post, room): PostPermit<'_>,
    ) {
        let number = self.number();
        let posted = Posted {
            credit: credit.clone(),
            bytes: room.num_permits() as u32,
        };
        post.forget();
        room.forget();
        self.posts.borrow_mut().insert(number, posted);
        if own == OwnSlot::Worker(to) {
            let now = clock::now();
            let mut buffer = pool::take(bytes.len());
            buffer.extend_from_slice(bytes);
            self.local
                .borrow_mut()
                .push_back((number, Message::new(buffer, false, now, now)));
            outbox.schedule();
            return;
        }
        let link = (own.number() + usize::from(to)) % outbox.links().max(1);
        let header = Header {
            kind: FromProcess::Post as u8,
            aux: to,
            session: number,
            ..Header::default()
        };
        // Always: credits bound it.
        let _ = outbox.message(link, header, bytes, Room::Always);
    }

    /// Gives out a task, if there is room now.
    pub(super) fn try_task(
        &self,
        outbox: &Outbox,
        commitment: &Commitment,
        own: u16,
        order: TaskOrder<'_>,
    ) -> Result<(), TaskError> {
        check_task(&order, commitment)?;
        let credit = self.task_credit.try_acquire();
        let credit = credit.map_err(|_| TaskError::Full)?;
        let link = usize::from(own) % outbox.links().max(1);
        let number = self.number();
        send_task(outbox, link, number, &order).map_err(|_| TaskError::Full)?;
        self.begun(number, order.answer, credit);
        Ok(())
    }

    /// Gives out a task, waiting for credit and room. Cancel-safe: it is given out whole or not at all.
    pub(super) async fn task(
        &self,
        outbox: &Outbox,
        commitment: &Commitment,
        own: u16,
        order: TaskOrder<'_>,
    ) -> Result<(), TaskError> {
        check_task(&order, commitment)?;
        // The semaphore is never closed.
        let credit = self.task_credit.acquire().await;
        let credit = credit.map_err(|_| TaskError::Full)?;
        let link = usize::from(own) % outbox.links().max(1);
        let number = self.number();
        let mut place = RoomPlace::new(outbox, link);
        poll_fn(|cx| match send_task(outbox, link, number, &order) {
            Ok(()) => Poll::Ready(()),
            Err(Needs(need)) => {
                place.wait(need, cx.waker());
                Poll::Pending
            }
        })
        .await;
        self.begun(number, order.answer, credit);
        Ok(())
    }

    /// A caller that gives up leaves its entry: the task is outstanding until its result has come.
    fn begun(&self, number: u64, answer: Option<Answer>, credit: SemaphorePermit<'_>) {
        credit.forget();
        let partial = Vec::new();
        self.tasks
            .borrow_mut()
            .insert(number, Call { answer, partial });
    }
}

/// The slot of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OwnSlot {
    Worker(u16),
    Task(u16),
}

impl OwnSlot {
    fn number(self) -> usize {
        let (Self::Worker(slot) | Self::Task(slot)) = self;
        usize::from(slot)
    }
}

/// The bytes of credit that a post takes.
fn post_credit(bytes: &[u8]) -> Result<u32, PostError> {
    let (size, max) = (bytes.len() as u64, LARGEST_TRANSFER);
    match size > max {
        true => Err(PostError::TooLarge { size, max }),
        false => Ok(bytes.len().clamp(1, POST_BYTES) as u32),
    }
}

fn check_task(order: &TaskOrder<'_>, commitment: &Commitment) -> Result<(), TaskError> {
    let (size, max) = (order.bytes.len() as u64, LARGEST_TRANSFER);
    if size > max {
        return Err(TaskError::TooLarge { size, max });
    }
    if order.answer.is_some() && commitment.is_deadlocked() {
        return Err(TaskError::NotServing);
    }
    Ok(())
}

fn send_task(
    outbox: &Outbox,
    link: usize,
    number: u64,
    order: &TaskOrder<'_>,
) -> Result<(), Needs> {
    let header = Header {
        kind: FromProcess::Task as u8,
        aux: order.slot.map_or(0, |slot| slot + 1),
        session: number,
        ..Header::default()
    };
    outbox.message(link, header, order.bytes, Room::Bounded)
}
