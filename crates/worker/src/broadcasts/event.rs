//! Events on their way to the gateway. One loop gets an event and gives it to the others, so that all events have one order.

use std::future::poll_fn;
use std::hash::BuildHasher;
use std::ops::Range;
use std::task::{Poll, Waker};

use moorline_ipc::Header;
use rustc_hash::FxBuildHasher;

use super::{Broadcasts, Sending};
use crate::app::SendError;
use crate::commitment::Commitment;
use crate::outbox::{Needs, Outbox, Room};
use crate::wire::FromProcess;
use crate::wire::event::EVENT;

/// An event for a group. Its parts are within their limits.
pub(crate) struct EventDraft<'a> {
    pub(crate) group: &'a [u8],
    /// The ids of the sessions to leave out.
    pub(crate) left_out: Vec<u64>,
    /// As it is written in a record.
    pub(crate) event: &'a [u8],
}

/// What the gateway has said about an event.
pub(super) enum EventAnswer {
    /// Nothing yet.
    Awaited(Option<Waker>),
    /// It has the event.
    Taken,
    /// It had no memory for it.
    Refused,
    /// It has died.
    Lost,
}

impl Broadcasts {
    /// Sends an event, waiting for credit and room, and until the gateway has it.
    pub(crate) async fn send_event(
        &self,
        outbox: &Outbox,
        commitment: &Commitment,
        draft: EventDraft<'_>,
    ) -> Result<(), SendError> {
        commitment.committed_after_start().await;
        let links = outbox.links();
        let (mut payload, positions) = draft.payload(links);
        let permits = self.take_credit(commitment, payload.len()).await?;
        let number = self.next_number();
        self.under_way.borrow_mut().insert(number, (permits, 1));
        let awaited = self
            .answers
            .borrow_mut()
            .insert(number, EventAnswer::Awaited(None));
        debug_assert!(awaited.is_none(), "no two have the same number");
        let _awaiting = Awaiting(self, number);
        let mut sending = Sending {
            broadcasts: self,
            outbox,
            number,
            left: 1,
            epoch: outbox.epoch(),
            ticket: None,
            link: group_link(draft.group, links),
        };
        let header = Header {
            kind: FromProcess::Broadcast as u8,
            aux: EVENT,
            session: number,
            ..Header::default()
        };
        let home = sending.link;
        poll_fn(|cx| {
            if sending.epoch != outbox.epoch() {
                return Poll::Ready(Err(SendError::GatewayLost));
            }
            // What was sent to other loops before comes before it there, too.
            let (link, need) = match outbox.positions(&mut payload[positions.clone()]) {
                Err(busy) => (busy, 0),
                Ok(()) => match outbox.message(home, header, &payload, Room::Needed) {
                    Ok(()) => return Poll::Ready(Ok(())),
                    Err(Needs(need)) => (home, need),
                },
            };
            if commitment.is_deadlocked() {
                return Poll::Ready(Err(SendError::NotServing));
            }
            sending.wait_at(link);
            outbox.await_room(link, need, &mut sending.ticket, cx.waker());
            Poll::Pending
        })
        .await?;
        sending.leave_queue();
        sending.left = 0;
        if commitment.is_deadlocked() {
            // The gateway reads it after `start`.
            return Ok(());
        }
        poll_fn(|cx| self.poll_answer(number, cx.waker())).await
    }

    /// The gateway has an event, or had no memory for it. False if there was no such event.
    pub(crate) fn taken(&self, number: u64, is_refused: bool) -> bool {
        let answer = match is_refused {
            true => EventAnswer::Refused,
            false => EventAnswer::Taken,
        };
        // In `start`, or if its sender has given it up, nobody waits for it.
        self.answer(number, answer);
        self.under_way.borrow().contains_key(&number) || is_refused
    }

    pub(super) fn answer(&self, number: u64, answer: EventAnswer) {
        if let Some(waiting) = self.answers.borrow_mut().get_mut(&number)
            && let EventAnswer::Awaited(Some(waker)) = std::mem::replace(waiting, answer)
        {
            waker.wake();
        }
    }

    fn poll_answer(&self, number: u64, waker: &Waker) -> Poll<Result<(), SendError>> {
        match self.answers.borrow_mut().get_mut(&number) {
            Some(EventAnswer::Awaited(waiting)) => {
                *waiting = Some(waker.clone());
                Poll::Pending
            }
            Some(EventAnswer::Taken) => Poll::Ready(Ok(())),
            Some(EventAnswer::Refused) => Poll::Ready(Err(SendError::Full)),
            Some(EventAnswer::Lost) | None => Poll::Ready(Err(SendError::GatewayLost)),
        }
    }
}

impl EventDraft<'_> {
    /// The record's payload, and where the positions in it are.
    fn payload(&self, links: usize) -> (Vec<u8>, Range<usize>) {
        let mut payload = Vec::with_capacity(
            self.group.len() + 8 * (self.left_out.len() + links) + 4 + self.event.len(),
        );
        payload.push(self.group.len() as u8);
        payload.extend_from_slice(self.group);
        payload.extend_from_slice(&(self.left_out.len() as u16).to_le_bytes());
        for id in &self.left_out {
            payload.extend_from_slice(&id.to_le_bytes());
        }
        // There are at most 64.
        payload.push(links as u8);
        let begin = payload.len();
        payload.resize(begin + 8 * links, 0);
        let positions = begin..payload.len();
        payload.extend_from_slice(self.event);
        (payload, positions)
    }
}

/// The loop that gets a group's events, always the same one: so the loops need not wait for each other.
pub(crate) fn group_link(group: &[u8], links: usize) -> usize {
    FxBuildHasher.hash_one(group) as usize % links.max(1)
}

/// Forgets what is awaited when it is dropped.
struct Awaiting<'a>(&'a Broadcasts, u64);

impl Drop for Awaiting<'_> {
    fn drop(&mut self) {
        self.0.answers.borrow_mut().remove(&self.1);
    }
}
