//! The task that empties the rings: the worker's own turn, from chime to publish.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Task, Poll};

use bytes::Bytes;
use moorline_ipc::Header;
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use super::core::{Core, Event};
use super::handlers::{Handlers, Origin};
use super::hook::HotHook;
use super::inlets::{Garbage, Inlets};
use super::{clock, pool};
use crate::app::{App, Datagram, Message, Opened, Session};
use crate::control::ProcessCounter;
use crate::flight::FlightKind;
use crate::wire::accept::Asking;
use crate::wire::exchange::split_request;
use crate::wire::{
    CloseReason, Closing, FAILED, FIRST, LAST, Opening, TEXT, ToProcess, WHOLE, split_datagram,
};

/// Records of one ring that one turn takes. Then other tasks have theirs, and the gateway sees the answers.
const RECORDS_PER_TURN: usize = 64;
/// Bytes of one ring that one turn takes, and one record more: the gateway writes out what is answered while it is still in
/// the processor's cache.
const BYTES_PER_TURN: u64 = 128 * 1024;

/// Takes records out of all rings and hands them to the app.
pub(super) struct RingTask<A, M, D> {
    core: Rc<Core>,
    handlers: Rc<Handlers<A, M, D>>,
    inlets: Inlets,
    /// Posts and tasks of which a part has arrived.
    partials: FxHashMap<Partial, Vec<u8>>,
}

/// What a part belongs to.
#[derive(PartialEq, Eq, Hash)]
struct Partial {
    kind: u8,
    link: usize,
    slot: u16,
    number: u64,
}

/// Follows the rings without taking anything, until the app has started, and runs its hooks from then on. Ends when a
/// ring holds garbage. If `handlers` never come the process is about to end.
pub(super) async fn run<A, M, D>(
    core: Rc<Core>,
    mut inlets: Inlets,
    mut handlers: oneshot::Receiver<Rc<Handlers<A, M, D>>>,
) -> Garbage
where
    A: App,
    M: HotHook<A, Session>,
    D: HotHook<A, Datagram>,
{
    poll_fn(|cx| {
        core.waits.follow_ring_task(cx.waker());
        Poll::Ready(())
    })
    .await;
    let started = poll_fn(|cx| match Pin::new(&mut handlers).poll(cx) {
        Poll::Ready(handlers) => Poll::Ready(Ok(handlers)),
        Poll::Pending => match inlets.idle_turn(cx) {
            Ok(()) => Poll::Pending,
            Err(garbage) => Poll::Ready(Err(garbage)),
        },
    });
    match started.await {
        Ok(Ok(handlers)) => {
            let mut ring_task = RingTask {
                core,
                handlers,
                inlets,
                partials: FxHashMap::default(),
            };
            poll_fn(|cx| ring_task.turn(cx)).await
        }
        Ok(Err(_never)) => pending().await,
        Err(garbage) => garbage,
    }
}

impl<A, M, D> RingTask<A, M, D>
where
    A: App,
    M: HotHook<A, Session>,
    D: HotHook<A, Datagram>,
{
    fn turn(&mut self, cx: &mut Task<'_>) -> Poll<Garbage> {
        if self.inlets.begin_turn(cx) {
            self.partials.clear();
            self.handlers.exchanges.gateway_lost();
            // The sessions of the old gateway have died with it.
            let now = clock::now();
            for id in self.core.sessions.ids() {
                self.session_closed(id, CloseReason::GatewayLost, None, now);
            }
        }
        let taken = self.take_records();
        for session in self.core.sessions.take_allowed(&self.core) {
            self.handlers.watermark(session, false);
        }
        match taken.and_then(|has_more| self.inlets.end_turn(has_more, cx)) {
            Ok(()) => Poll::Pending,
            Err(garbage) => Poll::Ready(garbage),
        }
    }

    /// One turn of each ring. True if there may be more.
    fn take_records(&mut self) -> Result<bool, Garbage> {
        let mut has_more = false;
        for link in 0..self.inlets.len() {
            let mut taken = 0;
            // The clock is read for each record: a handler that ran for the one before may have taken long.
            let end = self.inlets.ring(link).position() + BYTES_PER_TURN;
            let mut is_over = false;
            while !is_over {
                let now = clock::now();
                self.core.outbox.keep_pace(now);
                if !self.take_record(link, now)? {
                    break;
                }
                taken += 1;
                is_over = taken == RECORDS_PER_TURN || self.inlets.ring(link).position() >= end;
            }
            has_more |= is_over;
            if taken > 0 {
                let waits_for_room = self.inlets.ring(link).end_turn();
                self.core.outbox.end_turn(link, waits_for_room);
            }
        }
        if !self.core.commitment.is_committed() {
            return Ok(has_more);
        }
        for _ in 0..RECORDS_PER_TURN {
            let Some((number, message)) = self.core.credits.next_local() else {
                return Ok(has_more);
            };
            self.core.outbox.keep_pace(clock::now());
            self.handlers.post(
                Origin::Local {
                    slot: self.core.slot(),
                    number,
                },
                message,
            );
        }
        Ok(true)
    }

    /// Copies one record out, takes it, and then lets the app have it. False if there is none.
    fn take_record(&mut self, link: usize, now: u64) -> Result<bool, Garbage> {
        let garbage = |error: moorline_ipc::Corrupt| Garbage(error.to_string());
        let Some(record) = self.inlets.ring(link).next().map_err(garbage)? else {
            return Ok(false);
        };
        // Field by field: to copy the header whole, the processor would have to wait until it is written.
        let &Header {
            kind,
            flags,
            session,
            sequence,
            time,
            ..
        } = record.header();
        if kind == ToProcess::Message as u8 {
            let Some(session) = self.core.sessions.here(session) else {
                self.core.counters.add(ProcessCounter::Discarded);
                return Ok(true);
            };
            if !session.shared().takes(sequence) {
                return Ok(true);
            }
            let bytes = if flags & WHOLE == WHOLE {
                let mut bytes = pool::take(record.len());
                record.copy_to(&mut bytes);
                bytes
            } else {
                let place = (flags & FIRST != 0, flags & LAST != 0);
                let state = session.shared();
                match state.assemble(place, record.len(), |partial| record.copy_to(partial)) {
                    Some(bytes) => bytes,
                    None => return Ok(true),
                }
            };
            drop(record);
            let message = Message::new(bytes, flags & TEXT != 0, time, now);
            self.handlers.message(session, message, sequence);
            return Ok(true);
        }
        let header = *record.header();
        let kind = ToProcess::from_u8(kind)
            .ok_or_else(|| Garbage(format!("a record of the unknown kind {kind}")))?;
        let mut payload = match record.len() {
            0 => Vec::new(),
            length => pool::take(length),
        };
        record.copy_to(&mut payload);
        drop(record);
        self.dispatch(link, kind, &header, payload, now)?;
        Ok(true)
    }

    fn dispatch(
        &mut self,
        link: usize,
        kind: ToProcess,
        header: &Header,
        payload: Vec<u8>,
        now: u64,
    ) -> Result<(), Garbage> {
        let id = header.session;
        let is_failed = header.flags & FAILED != 0;
        let is_known = match kind {
            ToProcess::Open => self.open(id, payload, now)?,
            ToProcess::Accept => self.accept(link, id, payload)?,
            ToProcess::Close => self.close(header, payload, now)?,
            ToProcess::Full | ToProcess::Drained => self.watermark(id, kind == ToProcess::Full),
            ToProcess::Moved => self.handlers.forget_request(id) || self.core.sessions.moved(id),
            ToProcess::Datagram => self.datagram(link, header, payload, now)?,
            ToProcess::Post => self.post(link, header, payload, now),
            ToProcess::FileHere => self.core.file_is_there(id),
            ToProcess::FileDone => self.core.files.done(id, is_failed),
            ToProcess::BroadcastDone => self.core.broadcasts.done(id),
            ToProcess::EventTaken => self.core.broadcasts.taken(id, is_failed),
            ToProcess::PostDone => self.core.credits.post_done(id),
            ToProcess::Task => self.task(link, header, payload, now),
            ToProcess::TaskDone => {
                let is_last = header.flags & LAST != 0;
                let credits = &self.core.credits;
                let is_known = credits.task_done(id, &payload, is_last, is_failed);
                pool::give_back(payload);
                is_known
            }
            ToProcess::Unknown => {
                self.core.sessions.unknown(id);
                if let Some(neighbours) = self.core.neighbours.get() {
                    neighbours.unknown(id);
                }
                true
            }
            ToProcess::Answer => self.answer(link, header, payload)?,
            ToProcess::Request => self.request(link, header, payload, now)?,
            ToProcess::BodyTaken => {
                self.handlers.exchanges.taken(id, header.sequence);
                true
            }
            ToProcess::RequestGone => {
                self.handlers.exchanges.gone(id);
                true
            }
            ToProcess::Message => unreachable!("`take_record` keeps messages to itself"),
        };
        if !is_known {
            self.core.counters.add(ProcessCounter::Discarded);
        }
        Ok(())
    }

    fn open(&self, id: u64, payload: Vec<u8>, now: u64) -> Result<bool, Garbage> {
        let opening: Opening = postcard::from_bytes(&payload)
            .map_err(|error| Garbage(format!("the opening of session {id}: {error}")))?;
        pool::give_back(payload);
        let opened = if opening.adopted {
            Opened::Adopted
        } else {
            Opened::Fresh
        };
        let session = self.core.sessions.open(&self.core, id, opening);
        self.handlers.ordered(session, Event::Open(opened), now);
        Ok(true)
    }

    fn accept(&self, link: usize, id: u64, payload: Vec<u8>) -> Result<bool, Garbage> {
        let asking: Asking = postcard::from_bytes(&payload)
            .map_err(|error| Garbage(format!("the request for session {id}: {error}")))?;
        pool::give_back(payload);
        self.handlers.accept(link, id, asking);
        Ok(true)
    }

    /// False: there is no such session.
    fn close(&self, header: &Header, payload: Vec<u8>, now: u64) -> Result<bool, Garbage> {
        let (id, reason) = (header.session, header.aux);
        let reason = CloseReason::from_u16(reason).ok_or_else(|| {
            Garbage(format!(
                "session {id} closed for the unknown reason {reason}"
            ))
        })?;
        let closing: Closing = postcard::from_bytes(&payload)
            .map_err(|error| Garbage(format!("the end of session {id}: {error}")))?;
        pool::give_back(payload);
        Ok(self.session_closed(id, reason, Some(closing), now))
    }

    fn session_closed(
        &self,
        id: u64,
        reason: CloseReason,
        closing: Option<Closing>,
        now: u64,
    ) -> bool {
        let Some(session) = self.core.sessions.close(id, closing) else {
            return false;
        };
        let flight = &self.core.flight;
        flight.note(FlightKind::Ends, reason as u16, id, 0);
        self.handlers.ordered(session, Event::Close(reason), now);
        true
    }

    /// False: there is no such session.
    fn watermark(&self, id: u64, is_full: bool) -> bool {
        match self.core.sessions.here(id) {
            Some(session) => {
                self.handlers.watermark(session, is_full);
                true
            }
            None => self.core.sessions.set_full_elsewhere(id, is_full),
        }
    }

    fn datagram(
        &self,
        link: usize,
        header: &Header,
        payload: Vec<u8>,
        now: u64,
    ) -> Result<bool, Garbage> {
        let (peer, bytes) =
            split_datagram(&payload).ok_or_else(|| Garbage("a datagram's address".into()))?;
        let mut buffer = pool::take(bytes.len());
        buffer.extend_from_slice(bytes);
        pool::give_back(payload);
        let message = Message::new(buffer, false, header.time, now);
        let from = Datagram::new(self.core.clone(), link, header.aux, peer);
        self.handlers.datagram(from, message);
        Ok(true)
    }

    fn post(&mut self, link: usize, header: &Header, payload: Vec<u8>, now: u64) -> bool {
        if let Some(bytes) = self.assemble(link, header, payload) {
            let origin = Origin::Loop {
                link,
                slot: header.aux,
                number: header.session,
            };
            let message = Message::new(bytes, false, now, now);
            self.handlers.post(origin, message);
        }
        true
    }

    fn task(&mut self, link: usize, header: &Header, payload: Vec<u8>, now: u64) -> bool {
        let (id, sequence) = (header.session, header.sequence);
        if let Some(bytes) = self.assemble(link, header, payload) {
            let message = Message::new(bytes, false, now, now);
            self.handlers.task(link, id, sequence, message);
        }
        true
    }

    fn request(
        &mut self,
        link: usize,
        header: &Header,
        payload: Vec<u8>,
        now: u64,
    ) -> Result<bool, Garbage> {
        let number = header.session;
        if let Some(bytes) = self.assemble(link, header, payload) {
            let (asking, begins_at) =
                split_request(&bytes).ok_or_else(|| Garbage(format!("request {number}")))?;
            let body = match bytes.len() == begins_at {
                true => Bytes::new(),
                false => Bytes::from(bytes).slice(begins_at..),
            };
            let queued_ns = now.saturating_sub(header.time);
            self.handlers
                .request(link, number, (asking, body), queued_ns);
        }
        Ok(true)
    }

    /// False: nobody has asked that.
    fn answer(&mut self, link: usize, header: &Header, payload: Vec<u8>) -> Result<bool, Garbage> {
        let id = header.session;
        let Some(bytes) = self.assemble(link, header, payload) else {
            return Ok(true);
        };
        let answer = postcard::from_bytes(&bytes)
            .map_err(|error| Garbage(format!("the answer to question {id}: {error}")))?;
        Ok(self.core.questions.answered(id, answer))
    }

    /// A part of a post or a task has arrived; the whole of it with the last.
    fn assemble(&mut self, link: usize, header: &Header, payload: Vec<u8>) -> Option<Vec<u8>> {
        if header.flags & WHOLE == WHOLE {
            return Some(payload);
        }
        let key = Partial {
            kind: header.kind,
            link,
            slot: header.aux,
            number: header.session,
        };
        if header.flags & FIRST != 0 {
            self.partials.insert(key, payload);
            return None;
        }
        self.partials.get_mut(&key)?.extend_from_slice(&payload);
        pool::give_back(payload);
        if header.flags & LAST != 0 {
            self.partials.remove(&key)
        } else {
            None
        }
    }
}
