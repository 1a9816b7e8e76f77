//! The side of a ring that writes records.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;

use super::kept::{KeptProducer, Pushed};
use super::{
    Corrupt, Fault, HEADER, Header, Memory, PADDING, WORD, longest, record_size, store_header,
};
use crate::sync::{Ordering, fence};

/// Writes records into a ring.
///
/// A record is pushed, then published with all that were pushed since the last [`Producer::publish`]; until then the consumer
/// does not see it, unless [`Producer::show`] has let it. Dropping the producer publishes nothing.
#[derive(Debug)]
pub struct Producer {
    pub(super) memory: Memory,
    /// Where the next record goes.
    head: u64,
    /// The part of that which the consumer can see.
    shown: u64,
    /// The part of that which counts if this process dies, if it is more.
    settled: u64,
    /// The part of that for which a consumer that sleeps was looked for.
    published: u64,
    unpublished: u32,
    last: Last,
    /// The consumer's position when we last looked.
    tail: Cell<u64>,
    corrupt: Cell<Option<Corrupt>>,
    /// From where on it goes back to the front when it is empty.
    lap: u64,
    /// Where it went back the last time.
    lap_began: u64,
    /// What all records in the ring may take together, in bytes.
    most_held: u64,
    journal: Option<Journal>,
}

/// The records that were pushed and may not be taken yet, oldest first. The other side can change the ring, so the records
/// that a dead consumer has not taken are known from here. At most twice the records that fit into the ring.
#[derive(Debug)]
struct Journal {
    pushed: VecDeque<Pushed>,
    /// At this number of records, those that are taken are forgotten.
    look_at: usize,
}

/// Once so much of a ring is used, in bytes, and it is empty, the next record begins at the front again. Both sides then work
/// on memory that fits into a processor's second-level cache. In a small ring half of it.
const LAP: u64 = 256 * 1024;
/// Until the consumer has taken that record, what lies before its old place is all the room there is. It must hold this
/// many records of the same size: with room for one, a sender that goes on would leave none for others.
const RECORDS_OF_A_LAP: u64 = 4;
/// Records fit into a ring until they take this together, in bytes, or half of a larger ring: the bytes in the rings come on
/// top of other limits. Two messages of 1 MiB fit, with their headers. While half of this is free, a record of any length
/// fits.
const MOST_HELD: u64 = 2 * 1024 * 1024 + 64 * 1024;

/// The records that are remembered before a look at the consumer's position, which costs a cache miss.
pub(super) const JOURNAL: usize = 64;

/// The record pushed last. Kept here too, since what lies in the ring may be changed by the other side.
#[derive(Debug, Clone, Copy, Default)]
struct Last {
    header: Header,
    length: u32,
    position: u64,
}

impl Producer {
    /// The producer of a ring in which nothing has been written yet.
    pub(crate) fn new(memory: Memory) -> Self {
        Self {
            lap_began: 0,
            most_held: MOST_HELD.max(memory.capacity() / 2).min(memory.capacity()),
            lap: LAP.min(memory.capacity() / 2),
            memory,
            head: 0,
            shown: 0,
            settled: 0,
            published: 0,
            unpublished: 0,
            last: Last::default(),
            tail: Cell::new(0),
            corrupt: Cell::new(None),
            journal: None,
        }
    }

    /// The producer of a ring in which another one has written, which knew this. `None`: that cannot be.
    pub(crate) fn resume(memory: Memory, kept: KeptProducer) -> Option<Self> {
        if !kept.is_sound(memory.capacity()) {
            return None;
        }
        let journal = Journal {
            look_at: (2 * kept.pushed.len()).max(JOURNAL),
            pushed: kept.pushed.into(),
        };
        Some(Self {
            head: kept.head,
            shown: kept.head,
            settled: kept.head,
            published: kept.head,
            tail: Cell::new(kept.tail),
            lap_began: kept.lap_began,
            journal: Some(journal),
            ..Self::new(memory)
        })
    }

    /// What a process that goes on in this one's place must know. All that was pushed must be published.
    pub fn keep(&mut self) -> KeptProducer {
        debug_assert_eq!(self.head, self.published, "the other side does not see it");
        self.forget_taken();
        let journal = self.journal.iter().flat_map(|journal| &journal.pushed);
        KeptProducer {
            head: self.head,
            tail: self.tail.get(),
            lap_began: self.lap_began,
            pushed: journal.copied().collect(),
        }
    }

    /// The same one, which remembers what it pushes for [`Producer::untaken`].
    pub(crate) fn remembering(mut self) -> Self {
        self.journal = Some(Journal {
            pushed: VecDeque::with_capacity(JOURNAL),
            look_at: JOURNAL,
        });
        self
    }

    /// The longest payload of one record in bytes: half of the ring with its header.
    #[inline]
    pub fn max_payload(&self) -> usize {
        (longest(&self.memory) - HEADER) as usize
    }

    /// How many of the `left` bytes of a message its next record should take: all of them if they fit now, else at most a
    /// quarter of the ring, so that room is found soon.
    #[inline]
    pub fn next_part(&self, left: usize) -> usize {
        if self.fits(left) {
            left
        } else {
            left.min(self.max_payload() / 2)
        }
    }

    /// Writes a record whose payload is the parts, one after the other. The consumer sees it after
    /// [`Producer::publish`]. Never allocates.
    ///
    /// # Errors
    /// [`NoRoom`] when the consumer has not taken enough yet, or the payload is longer than
    /// [`Producer::max_payload`]. Nothing was written then.
    #[inline]
    pub fn push(&mut self, header: &Header, parts: &[&[u8]]) -> Result<(), NoRoom> {
        let length = parts
            .iter()
            .fold(0usize, |sum, part| sum.saturating_add(part.len()));
        let (position, _) = self.place(length).ok_or(NoRoom)?;
        let mut at = position + HEADER;
        for part in parts {
            self.memory.write(at, part);
            at += part.len() as u64;
        }
        // `place` has seen that it is at most half of a ring, which has at most MAX_CAPACITY bytes.
        self.begin_record(position, length as u32, header);
        Ok(())
    }

    /// Makes a record of the payload that was written for `position`, which [`Producer::place`] has found.
    #[inline]
    pub(super) fn begin_record(&mut self, position: u64, length: u32, header: &Header) {
        if position != self.head {
            self.memory.store(self.head, u64::from(PADDING));
            if self.tail.get() == self.head {
                self.lap_began = position;
            }
        }
        store_header(&self.memory, position, length, header);
        self.last = Last {
            header: *header,
            length,
            position,
        };
        if self.journal.is_some() {
            self.remember(*header, length, position);
        }
        self.head = position + record_size(u64::from(length));
        self.unpublished += 1;
    }

    /// Whether the ring holds more than `bytes` bytes of records, headers included, that the consumer has not taken.
    #[inline]
    pub fn holds_more_than(&self, bytes: u64) -> bool {
        self.held() > bytes && (!self.look() || self.held() > bytes)
    }

    /// Whether a push of `payload` bytes would succeed now.
    #[inline]
    pub fn fits(&self, payload: usize) -> bool {
        self.place(payload).is_some()
    }

    /// The record pushed last, to amend its header, while the consumer cannot see it and it is not settled.
    #[inline]
    pub fn last_unseen(&mut self) -> Option<LastRecord<'_>> {
        (self.head != self.shown && self.head != self.settled)
            .then_some(LastRecord { producer: self })
    }

    /// How many records wait for [`Producer::publish`].
    #[inline]
    pub fn unpublished(&self) -> u32 {
        self.unpublished
    }

    /// Lets the consumer see all that was pushed, if it is awake: a store and no more. [`Producer::publish`] must follow, or a
    /// consumer that sleeps is not woken.
    #[inline]
    pub fn show(&mut self) {
        if self.head != self.shown {
            let control = self.memory.control();
            control.head.0.store(self.head, Ordering::Release);
            self.shown = self.head;
        }
    }

    /// Has all that was pushed count if this process dies before it publishes: a consumer that is
    /// [closed](super::Consumer::close) takes it, and no other sees it. A store and no more.
    #[inline]
    pub fn settle(&mut self) {
        if self.head != self.shown && self.head != self.settled {
            let control = self.memory.control();
            control.settled.0.store(self.head, Ordering::Release);
            self.settled = self.head;
        }
    }

    /// Lets the consumer see all that was pushed. True: it sleeps, ring its doorbell. It is said once for each
    /// time that it fell asleep.
    #[inline]
    #[must_use = "the consumer sleeps on if nobody rings"]
    pub fn publish(&mut self) -> bool {
        if self.head == self.published {
            return false;
        }
        self.show();
        let control = self.memory.control();
        self.published = self.head;
        self.unpublished = 0;
        fence(Ordering::SeqCst);
        if control.sleeping.0.load(Ordering::Relaxed) == 0 {
            return false;
        }
        control.sleeping.0.store(0, Ordering::Relaxed);
        true
    }

    /// Asks to be woken when the consumer has taken something. True: there is room for `payload` bytes after
    /// all, push at once. False: when the doorbell rings, try again.
    ///
    /// Publish first: the consumer can only take what it sees. For a payload over
    /// [`Producer::max_payload`] there is never room. After false, look at
    /// [`Producer::check`]: a corrupt consumer never makes room either.
    #[must_use = "nobody rings if there is room already"]
    pub fn wait_for_room(&mut self, payload: usize) -> bool {
        self.wait(|this| this.fits(payload))
    }

    fn wait(&self, has_room: impl FnOnce(&Self) -> bool) -> bool {
        let waiting = &self.memory.control().waiting.0;
        waiting.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.look();
        let has_room = has_room(self);
        if has_room {
            waiting.store(0, Ordering::Relaxed);
        }
        has_room
    }

    /// Asks to be woken when the consumer has taken something. True: records of at most `left` bytes lie in the ring, and one
    /// of any length fits, go on at once. Otherwise as [`Producer::wait_for_room`].
    #[must_use = "nobody rings if there is room already"]
    pub fn wait_until_taken(&mut self, left: u64) -> bool {
        self.wait(|this| !this.holds_more_than(left) && this.fits(this.max_payload()))
    }

    /// Whether the consumer has taken all that it can see.
    #[inline]
    pub fn is_consumed(&mut self) -> bool {
        self.tail.get() == self.shown || (self.look() && self.tail.get() == self.shown)
    }

    /// Whether the consumer's position has been sound whenever it was looked at.
    ///
    /// # Errors
    /// [`Corrupt`] once it was not. From then on no room is given back.
    #[inline]
    pub fn check(&self) -> Result<(), Corrupt> {
        self.corrupt.get().map_or(Ok(()), Err)
    }

    #[inline]
    fn remember(&mut self, header: Header, length: u32, position: u64) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        journal.pushed.push_back(Pushed {
            header,
            length,
            position,
        });
        if journal.pushed.len() >= journal.look_at {
            self.forget_taken();
        }
    }

    #[cold]
    #[inline(never)]
    fn forget_taken(&mut self) {
        self.look();
        let taken = self.tail.get();
        if let Some(journal) = &mut self.journal {
            let many = journal
                .pushed
                .partition_point(|pushed| pushed.end() <= taken);
            journal.pushed.drain(..many);
            journal.look_at = (2 * journal.pushed.len()).max(JOURNAL);
        }
    }

    /// How many records it remembers.
    #[cfg(all(test, not(loom)))]
    pub(super) fn remembers(&self) -> usize {
        self.journal
            .as_ref()
            .map_or(0, |journal| journal.pushed.len())
    }

    /// How far this side has written: what is pushed next lies behind it.
    #[inline]
    pub fn position(&self) -> u64 {
        self.head
    }

    /// How far the consumer has taken what was written, as far as it has said so soundly.
    pub fn taken(&mut self) -> u64 {
        self.look();
        self.tail.get()
    }

    /// After the consumer's death: every record that it has not taken, published or not, oldest first. The headers are those
    /// that were pushed; the payloads are read from the ring, where the other side may have changed them.
    ///
    /// Only the gateway's side remembers what it has pushed; for another one there is nothing.
    ///
    /// # Errors
    /// [`Corrupt`] when the consumer's position is none: what it has taken cannot be known then.
    pub fn untaken(&mut self, each: &mut dyn FnMut(Header, &[u8])) -> Result<(), Corrupt> {
        self.forget_taken();
        self.check()?;
        let mut payload = Vec::new();
        for pushed in self.journal.iter().flat_map(|journal| &journal.pushed) {
            payload.clear();
            self.memory.append(
                pushed.position + HEADER,
                pushed.length as usize,
                &mut payload,
            );
            each(pushed.header, &payload);
        }
        Ok(())
    }

    /// Where a record would begin and end, if there is room for it.
    #[inline]
    pub(super) fn place(&self, length: usize) -> Option<(u64, u64)> {
        if length > self.max_payload() {
            return None;
        }
        let size = record_size(length as u64);
        let capacity = self.memory.capacity();
        let rest = self.memory.rest(self.head);
        let used = capacity - rest;
        let position = if size > rest
            || (used >= self.lap && RECORDS_OF_A_LAP * size <= used && self.is_empty())
        {
            self.head + rest
        } else {
            self.head
        };
        let end = position + size;
        let has_room = || {
            let held = self.held();
            end - self.tail.get() <= capacity
                && (held <= self.most_held / 2 || held + size <= self.most_held)
        };
        (has_room() || (self.look() && has_room())).then_some((position, end))
    }

    /// Bytes of records that the consumer had not taken when it was last looked at.
    #[inline]
    fn held(&self) -> u64 {
        self.head - self.tail.get().max(self.lap_began)
    }

    /// Whether nothing is pushed that the consumer has not taken.
    fn is_empty(&self) -> bool {
        self.unpublished == 0
            && (self.tail.get() == self.head || (self.look() && self.tail.get() == self.head))
    }

    /// Looks at the consumer's position again. False: it is corrupt, and the old one stays.
    #[cold]
    #[inline(never)]
    fn look(&self) -> bool {
        let found = self.memory.control().tail.0.load(Ordering::Acquire);
        let (least, most) = (self.tail.get(), self.shown);
        if found < least || found > most || !found.is_multiple_of(WORD) {
            self.corrupt
                .set(Some(Corrupt(Fault::Tail { found, least, most })));
        }
        if self.corrupt.get().is_some() {
            return false;
        }
        self.tail.set(found);
        true
    }
}

/// The record that was pushed last and that the consumer cannot see yet.
#[derive(Debug)]
pub struct LastRecord<'a> {
    producer: &'a mut Producer,
}

impl LastRecord<'_> {
    /// Its header, as it was pushed or last set.
    #[inline]
    pub fn header(&self) -> Header {
        self.producer.last.header
    }

    /// Replaces its header. The payload stays.
    #[inline]
    pub fn set_header(&mut self, header: Header) {
        let last = &mut self.producer.last;
        last.header = header;
        let journal = self.producer.journal.as_mut();
        if let Some(pushed) = journal.and_then(|journal| journal.pushed.back_mut()) {
            pushed.header = header;
        }
        store_header(&self.producer.memory, last.position, last.length, &header);
    }
}

/// There is no room for the record now (or ever, if it is longer than [`Producer::max_payload`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ring has no room for the record")
    }
}

impl std::error::Error for NoRoom {}
