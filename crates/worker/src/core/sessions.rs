//! The sessions of this process, and the handles it has to those of others.

mod closing;
mod data;
mod form;
mod remote;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::task::Waker;

use moorline_ipc::Header;
use rustc_hash::{FxHashMap, FxHashSet};

use super::Core;
use crate::app::{Message, Opened, SendError, Session};
use crate::flight::FlightKind;
use crate::outbox::{Burst, Needs, Outbox, Room};
use crate::pool;
use crate::session_id::SessionId;
use crate::waiters::Waiters;
use crate::wire::event::EVENT_OVERHEAD;
use crate::wire::{CloseReason, Closing, FromProcess, Opening, PUSHED, SessionData, SessionFacts};

pub(crate) use form::Form;

/// What is known of one session; every handle to it shares this.
pub(crate) struct SessionState {
    id: u64,
    core: Rc<Core>,
    phase: Cell<Phase>,
    is_full: Cell<bool>,
    /// What `try_send` has sent.
    burst: Cell<Burst>,
    /// `try_send` was refused before it was known whether it is full.
    is_refused: Cell<bool>,
    /// The app has asked for its end.
    is_closing: Cell<bool>,
    /// One of its ordered hooks runs.
    pub(crate) is_busy: Cell<bool>,
    /// The number of a message whose handler failed and that the gateway delivers again. What it had delivered
    /// after that one it delivers again as well, so until then messages are skipped.
    awaited: Cell<Option<u64>>,
    /// The gateway it belongs to.
    epoch: Cell<u32>,
    opening: OnceCell<Box<Opening>>,
    /// How it was when it ended here.
    closing: OnceCell<Box<Closing>>,
    /// The largest message that may be sent to it.
    max_message: Cell<u64>,
    inbox: RefCell<Option<Box<Inbox>>>,
    senders: RefCell<Option<Box<Waiters>>>,
    /// What the gateway notes of it for the app; meaningful while it is here.
    data: RefCell<Option<Box<SessionData>>>,
}

/// Where a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// With this process.
    Here,
    /// With another one, as far as is known.
    Elsewhere,
    /// It ended here.
    Closed,
    /// The gateway does not know it.
    Unknown,
    /// On another node.
    Remote,
}

/// What has arrived for a session and has not begun.
#[derive(Default)]
struct Inbox {
    events: VecDeque<Event>,
    partial: Option<Vec<u8>>,
}

/// Something that one of a session's ordered hooks is for.
pub(crate) enum Event {
    Open(Opened),
    Message { message: Message, sequence: u64 },
    Close(CloseReason),
}

/// Why a message was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The outbound queue is over its high watermark.
    Watermark,
    /// The ring has no room for this number of bytes.
    NoRoom(usize),
    /// Waiting would not help.
    Never(SendError),
}

impl SessionState {
    fn new(id: u64, core: Rc<Core>) -> Self {
        let node = SessionId::from(id).node();
        let phase = match node == core.node {
            true => Phase::Elsewhere,
            false if core.node == 0 || !(1..=SessionId::MOST_NODES).contains(&node) => {
                Phase::Unknown
            }
            false => Phase::Remote,
        };
        Self {
            id,
            phase: Cell::new(phase),
            is_full: Cell::new(false),
            burst: Cell::default(),
            is_refused: Cell::new(false),
            is_closing: Cell::new(false),
            is_busy: Cell::new(false),
            awaited: Cell::new(None),
            epoch: Cell::new(core.outbox.epoch()),
            opening: OnceCell::new(),
            closing: OnceCell::new(),
            max_message: Cell::new(core.max_message(None)),
            inbox: RefCell::new(None),
            senders: RefCell::new(None),
            data: RefCell::new(None),
            core,
        }
    }

    #[inline]
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The loop that holds it, which is also the link to it.
    #[inline]
    pub(crate) fn link(&self) -> usize {
        SessionId::from(self.id).event_loop()
    }

    #[inline]
    pub(crate) fn core(&self) -> &Rc<Core> {
        &self.core
    }

    pub(crate) fn opening(&self) -> Option<&Opening> {
        self.opening.get().map(|opening| &**opening)
    }

    pub(crate) fn listener(&self) -> Option<u16> {
        self.opening().map(|opening| opening.listener)
    }

    /// What was last known of it, once it has ended here. What a gateway knew that has died is lost.
    pub(crate) fn last_facts(&self) -> Option<SessionFacts> {
        let (opening, closing) = (self.opening()?, self.closing.get()?);
        Some(SessionFacts {
            id: self.id,
            listener: opening.listener,
            peer: opening.peer.clone(),
            connected_at: opening.connected_at,
            received_at: closing.received_at,
            sent_at: closing.sent_at,
            worker: self.core.slot(),
            key: self.data(|data| data.key.clone()),
            label: self.data(|data| data.label.clone()),
            paused: closing.paused,
            kept: closing.kept,
            messages: closing.messages,
            received: closing.received,
            sent: closing.sent,
            queued: 0,
            tls: opening.tls.clone(),
        })
    }

    /// The text that its peer sent with the WebSocket close code, once it has ended here.
    pub(crate) fn close_text(&self) -> Option<&str> {
        let closing = self.closing.get()?;
        (!closing.text.is_empty()).then_some(&closing.text)
    }

    /// The WebSocket close code that its peer sent, once it has ended here.
    pub(crate) fn close_code(&self) -> Option<u16> {
        let closing = self.closing.get()?;
        (closing.code != 0).then_some(closing.code)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.is_full.get()
    }

    pub(crate) fn is_elsewhere(&self) -> bool {
        matches!(
            self.phase.get(),
            Phase::Elsewhere | Phase::Unknown | Phase::Remote
        )
    }

    /// It is on another node.
    #[inline]
    pub(crate) fn is_remote(&self) -> bool {
        self.phase.get() == Phase::Remote
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.phase.get(), Phase::Closed | Phase::Unknown)
    }

    /// It belongs to a gateway that has died.
    #[inline]
    pub(crate) fn is_orphaned(&self) -> bool {
        self.epoch.get() != self.core.outbox.epoch()
    }

    pub(crate) fn max_message(&self) -> u64 {
        self.max_message.get()
    }

    /// Sends a message or says why not.
    #[inline]
    pub(crate) fn offer(&self, bytes: &[u8], form: Form, room: Room) -> Result<(), Refusal> {
        if self.is_remote() {
            return self.offer_afar(bytes, form);
        }
        self.check_reachable().map_err(Refusal::Never)?;
        if self.is_closing.get() {
            return Err(Refusal::Never(SendError::Closing));
        }
        let (size, max) = (bytes.len() as u64, self.max_message.get());
        if size > max + u64::from(form.aux) * EVENT_OVERHEAD as u64 {
            let limit = self.core.size_limit(self.listener());
            return Err(Refusal::Never(SendError::TooLarge { limit, size, max }));
        }
        if self.is_full.get() && matches!(room, Room::Awaited | Room::Needed) {
            return Err(Refusal::Watermark);
        }
        let pace = match room {
            Room::Awaited | Room::Needed => 0,
            Room::Bounded | Room::Always => PUSHED,
        };
        let header = Header {
            kind: FromProcess::Send as u8,
            flags: form.flags | pace,
            aux: form.aux,
            session: self.id,
            ..Header::default()
        };
        self.core
            .outbox
            .message(self.link(), header, bytes, room)
            .map_err(|Needs(need)| Refusal::NoRoom(need))
    }

    /// [`offer`](Self::offer) for a sender that does not wait, and so hears nothing before its handler ends.
    pub(crate) fn offer_now(&self, bytes: &[u8], form: Form) -> Result<(), Refusal> {
        let (burst, outbox) = (self.burst.get(), &self.core.outbox);
        if outbox.is_past(burst, self.link()) {
            self.note_refused(0);
            return Err(Refusal::Watermark);
        }
        if let Err(refusal) = self.offer(bytes, form, Room::Needed) {
            if let Refusal::NoRoom(need) = refusal {
                self.note_refused(need);
            }
            return Err(refusal);
        }
        self.burst.set(outbox.lengthen(burst, bytes.len()));
        Ok(())
    }

    /// It learns when it may be sent to again: by its watermarks if it is full, else by [`SessionTable::take_allowed`]. `need`:
    /// the bytes of payload for which the ring had no room.
    #[cold]
    fn note_refused(&self, need: usize) {
        if self.phase.get() == Phase::Here && !self.is_refused.replace(true) {
            let refused = Refused { id: self.id, need };
            self.core.sessions.refused.borrow_mut().push(refused);
            if need > 0 {
                self.core.outbox.call_ring_task(self.link(), need);
            }
        }
        self.core.outbox.schedule();
    }

    /// Queues to be woken when the outbound queue is drained or the session ends.
    pub(crate) fn await_drained(&self, ticket: &mut Option<u64>, waker: &Waker) {
        self.senders
            .borrow_mut()
            .get_or_insert_default()
            .wait(ticket, 0, waker);
    }

    pub(crate) fn forget_waiter(&self, ticket: u64) {
        if let Some(senders) = &mut *self.senders.borrow_mut() {
            senders.forget(ticket);
        }
    }

    pub(crate) fn set_full(&self, is_full: bool) {
        self.is_full.set(is_full);
        self.is_refused.set(false);
        if !is_full {
            self.wake_senders();
        }
    }

    /// The handler of this message has failed, and the gateway delivers it again with all that followed it.
    pub(crate) fn await_again(&self, sequence: u64) {
        self.awaited.set(Some(sequence));
        if let Some(inbox) = &mut *self.inbox.borrow_mut() {
            inbox
                .events
                .retain(|event| !matches!(event, Event::Message { .. }));
            inbox.partial = None;
        }
    }

    /// A message or a part of one is here. False: it comes again, after the one that is awaited.
    #[inline]
    pub(crate) fn takes(&self, sequence: u64) -> bool {
        match self.awaited.get() {
            None => true,
            Some(awaited) if awaited == sequence => {
                self.awaited.set(None);
                true
            }
            Some(_) => false,
        }
    }

    /// A part of a message has arrived; the whole of it with the last one. `append` adds the part, which has `length`
    /// bytes. `None` as well for a part whose beginning was never seen.
    pub(crate) fn assemble(
        &self,
        (first, last): (bool, bool),
        length: usize,
        append: impl FnOnce(&mut Vec<u8>),
    ) -> Option<Vec<u8>> {
        let mut inbox = self.inbox.borrow_mut();
        let partial = &mut inbox.get_or_insert_default().partial;
        if first {
            // All parts but the last are as long as the first, and there are two at least.
            *partial = Some(pool::take(2 * length));
        }
        append(partial.as_mut()?);
        if last { partial.take() } else { None }
    }

    /// Keeps something until the hook that runs now has ended.
    pub(crate) fn keep(&self, event: Event) {
        self.inbox
            .borrow_mut()
            .get_or_insert_default()
            .events
            .push_back(event);
    }

    /// What is to begin next. With nothing left the queue's memory goes as well.
    pub(crate) fn next_event(&self) -> Option<Event> {
        let mut inbox = self.inbox.borrow_mut();
        let event = inbox.as_mut()?.events.pop_front();
        if event.is_none() && inbox.as_ref().is_some_and(|inbox| inbox.partial.is_none()) {
            *inbox = None;
        }
        event
    }

    #[inline]
    fn check_reachable(&self) -> Result<(), SendError> {
        match self.phase.get() {
            Phase::Closed => Err(SendError::Closed),
            Phase::Unknown => Err(SendError::NoSuchSession),
            Phase::Remote => Err(SendError::Elsewhere),
            Phase::Here | Phase::Elsewhere if self.link() >= self.core.outbox.links() => {
                Err(SendError::NoSuchSession)
            }
            Phase::Here | Phase::Elsewhere => Ok(()),
        }
    }

    fn leave(&self, phase: Phase) {
        self.phase.set(phase);
        self.is_full.set(false);
        self.is_refused.set(false);
        if phase != Phase::Closed {
            *self.data.borrow_mut() = None;
        }
        if let Some(inbox) = &mut *self.inbox.borrow_mut() {
            inbox.partial = None;
        }
        self.wake_senders();
    }

    fn wake_senders(&self) {
        if let Some(mut senders) = self.senders.take() {
            senders.wake_all();
        }
    }
}

impl Drop for SessionState {
    fn drop(&mut self) {
        if self.is_elsewhere() {
            self.core.sessions.elsewhere.borrow_mut().remove(&self.id);
        }
    }
}

/// All sessions of this process, by id.
#[derive(Default)]
pub(crate) struct SessionTable {
    here: RefCell<FxHashMap<u64, Session>>,
    /// Those of other processes to which the app has handles.
    elsewhere: RefCell<FxHashMap<u64, Weak<SessionState>>>,
    /// Those of `here` that refused a message and are perhaps not full, in that order. Each once, or again after news of its
    /// watermarks.
    refused: RefCell<Vec<Refused>>,
}

/// A session that refused a message.
#[derive(Debug, Clone, Copy)]
struct Refused {
    id: u64,
    /// Bytes of payload for which the ring had no room; 0 if the session was perhaps full.
    need: usize,
}

impl SessionTable {
    pub(crate) fn len(&self) -> usize {
        self.here.borrow().len()
    }

    #[inline]
    pub(crate) fn here(&self, id: u64) -> Option<Session> {
        self.here.borrow().get(&id).cloned()
    }

    /// The listener of a session that is here, as far as can be seen now.
    pub(crate) fn listener_of(&self, id: u64) -> Option<u16> {
        self.here.try_borrow().ok()?.get(&id)?.shared().listener()
    }

    /// Notes the watermark of a session of another process, for those who wait to send to it. False: nobody here does.
    pub(crate) fn set_full_elsewhere(&self, id: u64, is_full: bool) -> bool {
        let state = self.elsewhere.borrow().get(&id).and_then(Weak::upgrade);
        if let Some(state) = &state {
            state.set_full(is_full);
        }
        state.is_some()
    }

    /// A handle to any session, wherever it is.
    pub(crate) fn any(&self, core: &Rc<Core>, id: u64) -> Session {
        if let Some(session) = self.here(id) {
            return session;
        }
        let mut elsewhere = self.elsewhere.borrow_mut();
        if let Some(state) = elsewhere.get(&id).and_then(Weak::upgrade) {
            return Session::new(state);
        }
        let state = Rc::new(SessionState::new(id, core.clone()));
        elsewhere.insert(id, Rc::downgrade(&state));
        Session::new(state)
    }

    /// A session begins here. Handles that the app had to it go on with it.
    pub(crate) fn open(&self, core: &Rc<Core>, id: u64, mut opening: Opening) -> Session {
        let known = self
            .elsewhere
            .borrow_mut()
            .remove(&id)
            .and_then(|state| state.upgrade());
        let state = known.unwrap_or_else(|| Rc::new(SessionState::new(id, core.clone())));
        state.phase.set(Phase::Here);
        state.is_closing.set(false);
        state.awaited.set(None);
        state.is_full.set(opening.full);
        state
            .max_message
            .set(core.max_message(Some(opening.listener)));
        *state.data.borrow_mut() = opening.data.take();
        // Where it was here before, its facts are the same as they were.
        let is_adopted = u16::from(opening.adopted);
        let _ = state.opening.set(Box::new(opening));
        let session = Session::new(state);
        core.flight.note(FlightKind::Begins, is_adopted, id, 0);
        self.here.borrow_mut().insert(id, session.clone());
        core.counters.set_sessions(self.len());
        session
    }

    /// A session has ended.
    pub(crate) fn close(&self, id: u64, closing: Option<Closing>) -> Option<Session> {
        let session = self.remove(id)?;
        if let Some(closing) = closing {
            // It ends once.
            let _ = session.shared().closing.set(Box::new(closing));
        }
        session.shared().leave(Phase::Closed);
        Some(session)
    }

    /// A session is with another process now. False if it was not here.
    pub(crate) fn moved(&self, id: u64) -> bool {
        let Some(session) = self.remove(id) else {
            return false;
        };
        session.shared().leave(Phase::Elsewhere);
        let flight = &session.shared().core.flight;
        flight.note(FlightKind::Leaves, 0, id, 0);
        self.elsewhere
            .borrow_mut()
            .insert(id, Rc::downgrade(session.shared()));
        true
    }

    /// Sessions that refused a message and may be sent to again: none of them is full, as is known now, and there is room.
    pub(crate) fn take_allowed(&self, core: &Core) -> Vec<Session> {
        if self.refused.borrow().is_empty() {
            return Vec::new();
        }
        let outbox = &core.outbox;
        let mut rooms: Vec<Option<usize>> = (0..outbox.links())
            .map(|link| outbox.takes_call(link).then_some(0))
            .collect();
        let mut refused = self.refused.take();
        let (mut allowed, mut waiting) = (Vec::new(), FxHashSet::default());
        refused.retain(|&Refused { id, need }| {
            let session = self.here(id);
            let session =
                session.filter(|it| it.shared().is_refused.get() && !waiting.contains(&id));
            let Some(session) = session else {
                return false;
            };
            let link = session.shared().link();
            if outbox.holds(link) || !has_room(outbox, &mut rooms, link, need) {
                return waiting.insert(id);
            }
            session.shared().is_refused.set(false);
            allowed.push(session);
            false
        });
        self.refused.borrow_mut().append(&mut refused);
        allowed
    }

    /// The gateway does not know a session. Says nothing about one that is here: its end is on its way.
    pub(crate) fn unknown(&self, id: u64) {
        let state = self.elsewhere.borrow().get(&id).and_then(Weak::upgrade);
        if let Some(state) = state {
            state.leave(Phase::Unknown);
        }
    }

    /// The ids of all that are here.
    pub(crate) fn ids(&self) -> Vec<u64> {
        self.here.borrow().keys().copied().collect()
    }

    fn remove(&self, id: u64) -> Option<Session> {
        let session = self.here.borrow_mut().remove(&id)?;
        session.shared().core.counters.set_sessions(self.len());
        Some(session)
    }
}

/// Whether there is room for a session that needs it, behind those that were allowed before it. `rooms`: the bytes that these
/// need, for each loop whose ring has made room.
fn has_room(outbox: &Outbox, rooms: &mut [Option<usize>], link: usize, need: usize) -> bool {
    if need == 0 {
        return true;
    }
    if let Some(Some(used)) = rooms.get_mut(link) {
        let all = *used + size_of::<Header>() + need;
        if outbox.fits(link, all) || (*used == 0 && outbox.fits(link, need)) {
            *used = all;
            return true;
        }
    }
    outbox.call_ring_task(link, need);
    false
}
