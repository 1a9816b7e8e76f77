//! Broadcasts on their way to the gateway, and the credit that each takes.

mod event;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::Poll;

use moorline_ipc::Header;
use rustc_hash::FxHashMap;
use tokio::sync::Semaphore;

use super::commitment::Commitment;
use super::outbox::{Needs, Outbox, Room};
use crate::app::SendError;
use crate::wire::{FromProcess, LARGEST_BROADCAST, MOST_LEFT_OUT};
use event::EventAnswer;
pub(crate) use event::{EventDraft, group_link};

/// Bytes of a broadcast for which one permit is needed.
const PERMIT_BYTES: usize = 64 * 1024;
/// All permits: the largest broadcast takes all of them. The gateway holds no more than this of one worker in each
/// loop. It is enough for many small ones, so that the way to all members and back costs no time.
const PERMITS: usize = (LARGEST_BROADCAST + MOST_LEFT_OUT * 8 + 1024) / PERMIT_BYTES + 1;

/// The broadcasts that have not reached all their members.
pub(crate) struct Broadcasts {
    credit: Semaphore,
    /// The permits of each, and the number of loops that have not finished it.
    under_way: RefCell<FxHashMap<u64, (usize, u32)>>,
    /// What the gateway has said about the events whose senders wait for it.
    answers: RefCell<FxHashMap<u64, EventAnswer>>,
    last: Cell<u64>,
}

impl Default for Broadcasts {
    fn default() -> Self {
        Self {
            credit: Semaphore::new(PERMITS),
            under_way: RefCell::default(),
            answers: RefCell::default(),
            last: Cell::new(0),
        }
    }
}

impl Broadcasts {
    /// One loop has reached all its members. False if there was no such broadcast.
    pub(super) fn done(&self, number: u64) -> bool {
        let mut under_way = self.under_way.borrow_mut();
        let Some((permits, loops)) = under_way.get_mut(&number) else {
            return false;
        };
        *loops -= 1;
        if *loops == 0 {
            self.credit.add_permits(*permits);
            under_way.remove(&number);
        }
        true
    }

    /// The gateway has died, and all sessions with it.
    pub(super) fn gateway_lost(&self) {
        for (_, (permits, _)) in self.under_way.borrow_mut().drain() {
            self.credit.add_permits(permits);
        }
        let awaited: Vec<u64> = self.answers.borrow().keys().copied().collect();
        for number in awaited {
            self.answer(number, EventAnswer::Lost);
        }
    }

    /// Waits for credit for this many bytes. Returns the permits that it took.
    async fn take_credit(&self, commitment: &Commitment, bytes: usize) -> Result<usize, SendError> {
        let permits = bytes / PERMIT_BYTES + 1;
        let is_short = self.credit.available_permits() < permits;
        if is_short && commitment.is_deadlocked() {
            return Err(SendError::NotServing);
        }
        let credit = self.credit.acquire_many(permits as u32).await;
        // The semaphore is never closed.
        credit.map_err(|_| SendError::Full)?.forget();
        Ok(permits)
    }

    fn next_number(&self) -> u64 {
        self.last.set(self.last.get() + 1);
        self.last.get()
    }

    /// Sends a broadcast to every loop, waiting for credit and room.
    pub(super) async fn send(
        &self,
        outbox: &Outbox,
        commitment: &Commitment,
        flags: u8,
        payload: &[u8],
    ) -> Result<(), SendError> {
        commitment.committed_after_start().await;
        let permits = self.take_credit(commitment, payload.len()).await?;
        let loops = outbox.links();
        let number = self.next_number();
        let mut sending = Sending {
            broadcasts: self,
            outbox,
            number,
            left: loops as u32,
            epoch: outbox.epoch(),
            ticket: None,
            link: 0,
        };
        self.under_way
            .borrow_mut()
            .insert(number, (permits, loops as u32));
        let header = Header {
            kind: FromProcess::Broadcast as u8,
            flags,
            session: number,
            ..Header::default()
        };
        while sending.left > 0 && sending.epoch == outbox.epoch() {
            poll_fn(
                |cx| match outbox.message(sending.link, header, payload, Room::Needed) {
                    Err(_) if commitment.is_deadlocked() => Poll::Ready(Err(SendError::NotServing)),
                    Err(Needs(need)) if sending.epoch == outbox.epoch() => {
                        let link = sending.link;
                        outbox.await_room(link, need, &mut sending.ticket, cx.waker());
                        Poll::Pending
                    }
                    _ => Poll::Ready(Ok(())),
                },
            )
            .await?;
            sending.leave_queue();
            sending.link += 1;
            sending.left -= 1;
        }
        Ok(())
    }
}

/// A broadcast that has not gone to every loop. Dropping it returns the credit for the other loops.
struct Sending<'a> {
    broadcasts: &'a Broadcasts,
    outbox: &'a Outbox,
    number: u64,
    left: u32,
    epoch: u32,
    ticket: Option<u64>,
    link: usize,
}

impl Sending<'_> {
    /// It waits for this link from now on.
    fn wait_at(&mut self, link: usize) {
        if self.link != link {
            self.leave_queue();
            self.link = link;
        }
    }

    fn leave_queue(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.outbox.forget_waiter(self.link, ticket);
        }
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.leave_queue();
        for _ in 0..self.left {
            self.broadcasts.done(self.number);
        }
    }
}
