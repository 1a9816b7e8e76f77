//! The way out: what this process writes to the gateway's loops.
//!
//! A record goes into the ring of its loop and stays unseen until a handler ends. Then a loop that is awake sees it. One that
//! sleeps is woken when the ring task publishes, once for all that a turn has written, or before that, as `pace` says. What finds no room either makes its sender wait or queues in the link's backlog;
//! while there is a backlog everything newer queues behind it, so order is kept by construction.

mod caller;
mod room_place;
mod taken;
mod unseen;

use std::cell::{Cell, RefCell};
use std::task::Waker;

use moorline_ipc::{Corrupt, Doorbell, Header, Marks, NoRoom, Producer};

use self::unseen::Unseen;
use super::backlog::Backlog;
use super::pace::Pace;
use super::waiters::Waiters;
pub(crate) use room_place::RoomPlace;

use crate::wire::exchange::NO_SESSION;
use crate::wire::{DONE, FIRST, FromProcess, LAST, WHOLE};

/// Payload bytes that `push` may leave in a link's backlog. Close to what the ring itself holds: the
/// gateway empties rings whatever happens, so that more than this waits only if it is badly behind.
const BACKLOG_BOUND_IN_LARGEST_RECORDS: usize = 2;

/// What a record does if there is no room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// It is refused, and its sender waits. Also while the gateway holds senders.
    Awaited,
    /// It is refused.
    Needed,
    /// It waits in the backlog, unless that is over its bound.
    Bounded,
    /// It waits in the backlog. For records whose number is bounded elsewhere.
    Always,
}

/// There is no room; what is needed, in bytes of payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Needs(pub(crate) usize);

/// The links to all loops of the gateway.
#[derive(Default)]
pub(crate) struct Outbox {
    links: RefCell<Vec<Link>>,
    /// The ring task runs now or will run: nobody need wake it.
    is_scheduled: Cell<bool>,
    ring_task: RefCell<Option<Waker>>,
    /// Rises when the gateway is replaced: what belongs to an older one is not said to the new one.
    epoch: Cell<u32>,
    unseen: Cell<Unseen>,
    /// Rises when the ring task looks.
    turn: Cell<u32>,
    pace: Pace,
}

/// What was sent to one session since the ring task last looked.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Burst {
    turn: u32,
    bytes: u32,
}

/// The bytes that may go to one session in a row. Then others have their turn, and the ring task looks whether the session
/// is full.
const RUN_BYTES: usize = 64 * 1024;
/// The bytes that may be sent to all sessions before it looks.
const UNSEEN_BYTES: usize = 256 * 1024;

/// The way to one loop.
pub(super) struct Link {
    producer: Producer,
    doorbell: Doorbell,
    marks: Marks,
    backlog: Backlog,
    waiters: Waiters,
    /// The place of the ring task among those who wait: it calls the sessions that were refused for want of room.
    caller: Option<u64>,
}

impl Outbox {
    /// Begins with these links, or anew with those to another gateway; what waited for the old ones is dropped.
    pub(super) fn connect(&self, links: Vec<Link>) {
        let old = self.links.replace(links);
        self.epoch.set(self.epoch.get() + 1);
        for mut link in old {
            link.waiters.wake_all();
        }
    }

    #[inline]
    pub(crate) fn links(&self) -> usize {
        self.links.borrow().len()
    }

    #[inline]
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.get()
    }

    /// Sends a message, in as many records as it takes. It goes or waits as a whole, so that
    /// no other message of this process comes between its parts.
    #[inline]
    pub(crate) fn message(
        &self,
        link: usize,
        header: Header,
        payload: &[u8],
        room: Room,
    ) -> Result<(), Needs> {
        let session = header.session;
        let result = match self.links.borrow_mut().get_mut(link) {
            Some(link) => link.message(header, payload, room),
            None => Ok(()),
        };
        if result.is_ok() {
            self.unseen
                .set(self.unseen.get().after(session, payload.len()));
        }
        self.schedule();
        result
    }

    /// Sends one record that has no parts.
    pub(crate) fn record(
        &self,
        link: usize,
        header: Header,
        parts: &[&[u8]],
        room: Room,
    ) -> Result<(), Needs> {
        let result = match self.links.borrow_mut().get_mut(link) {
            Some(link) => link.record(header, parts, room),
            None => Ok(()),
        };
        self.schedule();
        result
    }

    /// Says that the handler of message `sequence` of `session`, which had `size` bytes, has ended, and with these flags how.
    #[inline]
    pub(crate) fn done(&self, link: usize, session: u64, sequence: u64, size: u64, flags: u8) {
        let mut links = self.links.borrow_mut();
        if let Some(link) = links.get_mut(link) {
            link.done(session, sequence, size, flags);
        }
        show(&mut links, link);
        drop(links);
        self.schedule();
    }

    /// A handler has ended: what it has sent is not lost with this process, and its loop sees it if it is awake.
    #[inline]
    pub(crate) fn show(&self) {
        show(&mut self.links.borrow_mut(), 0);
    }

    /// Publishes and wakes loops if the turn has run for long, so that what has been sent does not wait for the next handler.
    #[inline]
    pub(super) fn keep_pace(&self, now: u64) {
        if self.pace.is_due(now) {
            self.publish_early();
        }
    }

    #[cold]
    fn publish_early(&self) {
        let mut links = self.links.borrow_mut();
        let waits = refill(&mut links);
        // The ring task flushes, too, and sees what is wrong.
        for link in &mut *links {
            if !waits || !link.backlog.is_empty() {
                link.flush();
            }
        }
    }

    /// Remembers in the shared region whose handler is being polled; 0 when none is.
    #[inline]
    pub(crate) fn mark_polling(&self, link: usize, session: u64) {
        if let Some(link) = self.links.borrow().get(link) {
            link.marks.set_polling(session);
        }
    }

    /// The session whose handler is being polled, as far as can be seen now.
    pub(super) fn polled(&self) -> Option<u64> {
        let links = self.links.try_borrow().ok()?;
        let mut polled = links.iter().map(|link| link.marks.polling());
        polled.find(|&session| !matches!(session, 0 | NO_SESSION))
    }

    /// Whether enough was sent, above all to this session, that a sender which can wait lets others and the ring task run
    /// first.
    #[inline]
    pub(crate) fn is_ahead(&self, session: u64) -> bool {
        let unseen = self.unseen.get();
        let is_ahead =
            unseen.bytes > UNSEEN_BYTES || (unseen.run > RUN_BYTES && unseen.session == session);
        if is_ahead {
            self.schedule();
        }
        is_ahead
    }

    /// Whether a session that may be full should be sent nothing more by a sender that does not wait: it was sent much since the
    /// ring task looked, and the gateway has said meanwhile that some session is full.
    #[inline]
    pub(crate) fn is_past(&self, burst: Burst, link: usize) -> bool {
        burst.turn == self.turn.get() && burst.bytes as usize > RUN_BYTES && self.holds(link)
    }

    /// What was sent to a session, with these bytes.
    #[inline]
    pub(crate) fn lengthen(&self, burst: Burst, bytes: usize) -> Burst {
        let turn = self.turn.get();
        let before = if burst.turn == turn { burst.bytes } else { 0 };
        let bytes = before.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        Burst { turn, bytes }
    }

    /// Whether the gateway has said that a session of this loop is full, and this process has not taken that yet.
    pub(crate) fn holds(&self, link: usize) -> bool {
        let links = self.links.borrow();
        links
            .get(link)
            .is_some_and(|link| link.marks.holds_senders())
    }

    /// Queues for room, to be woken when `need` bytes of payload fit.
    pub(crate) fn await_room(
        &self,
        link: usize,
        need: usize,
        ticket: &mut Option<u64>,
        waker: &Waker,
    ) {
        if let Some(link) = self.links.borrow_mut().get_mut(link) {
            link.waiters.wait(ticket, need, waker);
        }
        self.schedule();
    }

    pub(crate) fn forget_waiter(&self, link: usize, ticket: u64) {
        if let Some(link) = self.links.borrow_mut().get_mut(link) {
            link.waiters.forget(ticket);
        }
    }

    /// The largest payload of one record.
    pub(crate) fn max_payload(&self, link: usize) -> usize {
        self.links
            .borrow()
            .get(link)
            .map_or(0, |link| link.producer.max_payload())
    }

    /// Wakes the ring task unless it is awake.
    #[inline]
    pub(crate) fn schedule(&self) {
        if !self.is_scheduled.get() {
            self.wake_ring_task();
        }
    }

    fn wake_ring_task(&self) {
        self.is_scheduled.set(true);
        if let Some(waker) = &*self.ring_task.borrow() {
            waker.wake_by_ref();
        }
    }

    /// The ring task begins a poll: all that is sent until it sleeps, it will publish.
    pub(super) fn turn_begins(&self, waker: &Waker) {
        self.is_scheduled.set(true);
        self.unseen.set(Unseen::default());
        self.turn.set(self.turn.get().wrapping_add(1));
        self.pace.rest();
        // What timers and other tasks have sent: a handler's end is shown at once only if nothing waits on other links.
        let waits = |link: &Link| link.producer.unpublished() > 0;
        let links = self.links.borrow();
        let is_due = links.len() > 1 && links.iter().any(waits);
        drop(links);
        if is_due {
            self.publish_early();
        }
        let mut ring_task = self.ring_task.borrow_mut();
        if !ring_task.as_ref().is_some_and(|old| old.will_wake(waker)) {
            *ring_task = Some(waker.clone());
        }
    }

    /// The ring task sleeps; the next record must wake it.
    pub(super) fn sleeps(&self) {
        self.is_scheduled.set(false);
    }

    /// Shows the gateway all that was sent, and wakes those of its loops that sleep; also the loop whose ring had a turn, if
    /// that waits for the room that was made.
    pub(super) fn end_turn(&self, link: usize, waits_for_room: bool) {
        let mut links = self.links.borrow_mut();
        let waits = refill(&mut links);
        for (number, it) in links.iter_mut().enumerate() {
            let has_rung = (!waits || !it.backlog.is_empty()) && it.publish();
            if !has_rung && waits_for_room && number == link {
                it.doorbell.ring();
            }
        }
    }

    /// Publishes, moves what waits into the rings as far as there is room and asks for more where there is not. True:
    /// some of those who wait for room were called, and the others' turn is after theirs.
    ///
    /// # Errors
    /// A loop's position in its ring is none.
    pub(super) fn flush(&self) -> Result<bool, Corrupt> {
        self.pace.rest();
        let mut others_wait = false;
        let mut links = self.links.borrow_mut();
        refill(&mut links);
        for link in &mut *links {
            others_wait |= link.flush();
            link.producer.check()?;
        }
        Ok(others_wait)
    }

    /// Publishes all that was sent, and writes how far each link is written then, eight bytes for each.
    ///
    /// # Errors
    /// Something waits for room on this link.
    pub(crate) fn positions(&self, out: &mut [u8]) -> Result<(), usize> {
        let mut links = self.links.borrow_mut();
        for (number, (link, out)) in links.iter_mut().zip(out.chunks_exact_mut(8)).enumerate() {
            if !link.backlog.is_empty() {
                return Err(number);
            }
            link.publish();
            out.copy_from_slice(&link.producer.position().to_le_bytes());
        }
        Ok(())
    }

    /// All that was sent is published; nothing waits in a backlog.
    pub(super) fn is_flushed(&self) -> bool {
        self.links
            .borrow()
            .iter()
            .all(|link| link.backlog.is_empty() && link.producer.unpublished() == 0)
    }
}

/// Shows the loop what a handler has sent. What went to several loops waits until all of it is published, but is not lost with this
/// process: a loop that knew early that the handler has ended could move its session, and another process could pass what is on
/// the way through other loops. What waits for room in one ring is lost with this process, so nothing in the others counts yet.
/// The link on which the end of the handler is said comes `last`.
#[inline]
fn show(links: &mut [Link], last: usize) {
    let mut sent = links.iter_mut().filter(|link| link.has_unseen());
    match (sent.next(), sent.next()) {
        (Some(only), None) => only.producer.show(),
        (Some(_), Some(_)) => settle(links, last),
        _ => {}
    }
}

fn settle(links: &mut [Link], last: usize) {
    if links.iter().any(|link| !link.backlog.is_empty()) {
        return;
    }
    for (number, link) in links.iter_mut().enumerate() {
        if number != last {
            link.producer.settle();
        }
    }
    if let Some(link) = links.get_mut(last) {
        link.producer.settle();
    }
}

/// Moves what waits for room into the rings. True: there are several loops, and for one of them some waits yet, so that only the
/// end of the turn shows the others what they have.
fn refill(links: &mut [Link]) -> bool {
    let waits = |links: &[Link]| links.iter().any(|link| !link.backlog.is_empty());
    if links.len() == 1 || !waits(links) {
        return false;
    }
    links.iter_mut().for_each(Link::empty_backlog);
    settle(links, links.len());
    waits(links)
}

impl Link {
    pub(super) fn new(producer: Producer, doorbell: Doorbell, marks: Marks) -> Self {
        Self {
            producer,
            doorbell,
            marks,
            backlog: Backlog::default(),
            waiters: Waiters::default(),
            caller: None,
        }
    }

    /// Where it is noted which session is being polled.
    pub(super) fn marks(&self) -> Marks {
        self.marks.clone()
    }

    #[inline]
    fn message(&mut self, mut header: Header, payload: &[u8], room: Room) -> Result<(), Needs> {
        if room == Room::Awaited && self.marks.holds_senders() {
            return Err(Needs(payload.len().min(self.producer.max_payload())));
        }
        if payload.len() <= self.producer.max_payload() {
            header.flags |= WHOLE;
            return self.record(header, &[payload], room);
        }
        self.long_message(header, payload, room)
    }

    fn long_message(
        &mut self,
        mut header: Header,
        payload: &[u8],
        room: Room,
    ) -> Result<(), Needs> {
        let flags = header.flags;
        let max = self.producer.max_payload();
        let (first, mut rest) = payload.split_at(payload.len().min(max));
        header.flags = flags | FIRST | if rest.is_empty() { LAST } else { 0 };
        self.record(header, &[first], room)?;
        while !rest.is_empty() {
            let part;
            (part, rest) = rest.split_at(rest.len().min(max));
            header.flags = flags | if rest.is_empty() { LAST } else { 0 };
            self.queue(header, &[part]);
        }
        Ok(())
    }

    #[inline]
    fn record(&mut self, header: Header, parts: &[&[u8]], room: Room) -> Result<(), Needs> {
        if self.backlog.is_empty() && self.push(&header, parts).is_ok() {
            return Ok(());
        }
        self.record_later(header, parts, room)
    }

    /// There is no room for it now.
    #[cold]
    fn record_later(&mut self, header: Header, parts: &[&[u8]], room: Room) -> Result<(), Needs> {
        let bound = BACKLOG_BOUND_IN_LARGEST_RECORDS * self.producer.max_payload();
        match room {
            Room::Always => {}
            Room::Bounded if self.backlog.len() < bound => {}
            Room::Bounded | Room::Needed | Room::Awaited => {
                return Err(Needs(parts.iter().map(|part| part.len()).sum()));
            }
        }
        self.queue(header, parts);
        Ok(())
    }

    #[inline]
    fn done(&mut self, session: u64, sequence: u64, size: u64, flags: u8) {
        if flags == 0 && self.amend_last(session, sequence, size) {
            return;
        }
        let header = Header {
            kind: FromProcess::Done as u8,
            flags,
            session,
            sequence,
            time: size,
            ..Header::default()
        };
        self.queue(header, &[]);
    }

    /// Adds the news to what was sent last, if that is the end of a message to this session and still unseen.
    #[inline]
    fn amend_last(&mut self, session: u64, sequence: u64, size: u64) -> bool {
        let amended = |header: &Header| {
            let is_its_last = header.kind == FromProcess::Send as u8
                && header.session == session
                && header.flags & (LAST | DONE) == LAST;
            is_its_last.then_some(Header {
                flags: header.flags | DONE,
                sequence,
                time: size,
                ..*header
            })
        };
        if let Some(header) = self.backlog.back_mut() {
            return amended(header).map(|new| *header = new).is_some();
        }
        let Some(mut last) = self.producer.last_unseen() else {
            return false;
        };
        amended(&last.header())
            .map(|new| last.set_header(new))
            .is_some()
    }

    /// Into the ring, or else to the end of the backlog.
    fn queue(&mut self, header: Header, parts: &[&[u8]]) {
        if self.backlog.is_empty() && self.push(&header, parts).is_ok() {
            return;
        }
        match parts {
            [] => self.backlog.push(header, &[]),
            [payload] => self.backlog.push(header, payload),
            parts => self.backlog.push(header, &parts.concat()),
        }
    }

    #[inline]
    fn push(&mut self, header: &Header, parts: &[&[u8]]) -> Result<(), NoRoom> {
        let pushed = self.producer.push(header, parts);
        if pushed.is_err() {
            // The gateway makes room only by taking what it can see.
            self.publish();
        }
        pushed
    }

    /// Something was sent that its loop may not see yet.
    #[inline]
    fn has_unseen(&self) -> bool {
        self.producer.unpublished() > 0 || !self.backlog.is_empty()
    }

    /// Into the ring with what waits, as far as there is room.
    fn empty_backlog(&mut self) {
        while let Some((header, parts)) = self.backlog.front() {
            if self.producer.push(header, &parts).is_err() {
                break;
            }
            self.backlog.pop();
        }
    }

    /// True: it has rung.
    fn publish(&mut self) -> bool {
        let must_ring = self.producer.unpublished() > 0 && self.producer.publish();
        if must_ring {
            self.doorbell.ring();
        }
        must_ring
    }

    /// True: some who waited were called, and others wait yet.
    fn flush(&mut self) -> bool {
        loop {
            self.empty_backlog();
            self.publish();
            let Some(need) = self
                .backlog
                .front_len()
                .or_else(|| self.waiters.first_need())
            else {
                return false;
            };
            if !self.producer.fits(need) && !self.producer.wait_for_room(need) {
                return false;
            }
            if self.backlog.is_empty() {
                // A turn follows that takes what they are held for.
                return !self.marks.holds_senders() && self.call_waiters(need);
            }
        }
    }

    /// Calls as many as there is room for; the first needs `need` bytes. The others keep their places: a sender that
    /// finds no more room waits behind them. True: there are others.
    fn call_waiters(&mut self, need: usize) -> bool {
        let mut needed = need;
        loop {
            self.waiters.wake_first();
            let Some(need) = self.waiters.first_need() else {
                return false;
            };
            needed += size_of::<Header>() + need;
            // Those who are called may take more than they need: with all of a ring for one, others would get none.
            let quarter = self.producer.max_payload() / 2;
            if needed > quarter || !self.producer.fits(needed) {
                return true;
            }
        }
    }
}
