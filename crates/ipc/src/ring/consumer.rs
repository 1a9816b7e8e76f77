//! The side of a ring that takes records.

use std::io;
use std::os::fd::BorrowedFd;

use super::kept::KeptConsumer;
use super::{Corrupt, Fault, Found, Header, Memory, WORD, find};
use crate::sync::{Ordering, fence};
use crate::sys::{Piece, send_pieces};

/// Stands between the announcements of a sleep and the looks whether it may begin: a producer that has missed the
/// announcement has published what the look finds. One fence does for any number of rings.
#[derive(Debug)]
pub struct SleepFence(());

impl SleepFence {
    /// To be made after all announcements.
    #[inline]
    #[allow(clippy::new_without_default)] // It does something.
    pub fn new() -> Self {
        fence(Ordering::SeqCst);
        Self(())
    }
}

/// Takes records out of a ring, oldest first.
///
/// A turn of a consumer takes what it likes with [`Consumer::next`], then calls [`Consumer::end_turn`], and
/// [`Consumer::begin_sleep`] before it waits for its doorbell.
#[derive(Debug)]
pub struct Consumer {
    memory: Memory,
    /// Up to where records are taken.
    tail: u64,
    /// Up to where they were taken when a waiting producer was last looked for.
    told: u64,
    /// The producer's position when we last looked.
    head: u64,
    /// The producer is dead: nothing that is published from now on is taken.
    is_closed: bool,
}

impl Consumer {
    /// The consumer of a ring of which nothing has been taken yet.
    pub(crate) fn new(memory: Memory) -> Self {
        Self {
            memory,
            tail: 0,
            told: 0,
            head: 0,
            is_closed: false,
        }
    }

    /// The consumer of a ring of which another one has taken something, and knew this. `None`: that cannot be.
    pub(crate) fn resume(memory: Memory, kept: KeptConsumer) -> Option<Self> {
        kept.is_sound().then(|| Self {
            tail: kept.tail,
            told: kept.told,
            head: kept.tail,
            ..Self::new(memory)
        })
    }

    /// What a process that goes on in this one's place must know.
    pub fn keep(&self) -> KeptConsumer {
        KeptConsumer {
            tail: self.tail,
            told: self.told,
        }
    }

    /// Looks a last time: what is published or settled by now can be taken, and nothing after it. For a producer that has died,
    /// and may have left somebody who goes on writing: there is at most one ring's capacity to take.
    pub fn close(&mut self) {
        // The next take finds what is corrupt.
        if self.look().is_ok() {
            let settled = self.memory.control().settled.0.load(Ordering::Acquire);
            // It is older than the head if all was published since.
            let is_more = settled.wrapping_sub(self.tail) > self.head - self.tail;
            if is_more && self.is_sound(settled) {
                self.head = settled;
            }
        }
        self.is_closed = true;
    }

    /// The next record, if one is published. It is taken when it is dropped (one that is forgotten comes
    /// again).
    ///
    /// # Errors
    /// [`Corrupt`] when what the producer wrote is no record, or its position is none. The ring stays as it is
    /// then, and the next call says so again.
    // Not an iterator: what it lends must be given back before the next.
    #[allow(clippy::should_implement_trait)]
    #[inline]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, Corrupt> {
        if self.tail == self.head && !self.look()? {
            return Ok(None);
        }
        let found = find(&self.memory, self.tail, self.head)?;
        Ok(Some(Record {
            consumer: self,
            found,
        }))
    }

    /// Whether there is a record to take. Up to the end of those that are seen now, [`next`](Self::next) looks no more.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    #[inline]
    pub fn see(&mut self) -> Result<bool, Corrupt> {
        Ok(self.tail != self.head || self.look()?)
    }

    /// The size of the ring in bytes: no record lies further behind another.
    pub fn capacity(&self) -> u64 {
        self.memory.capacity()
    }

    /// Up to where records are taken, in bytes since the ring began.
    #[inline]
    pub fn position(&self) -> u64 {
        self.tail
    }

    /// Whether all that was seen is taken: the next call looks again.
    #[inline]
    pub fn is_spent(&self) -> bool {
        self.tail == self.head
    }

    /// Ends a turn in which records may have been taken. True: the producer waits for room, ring its doorbell.
    #[inline]
    #[must_use = "the producer waits on if nobody rings"]
    pub fn end_turn(&mut self) -> bool {
        // A producer that began to wait after the last look has seen all that was taken by then.
        if self.tail == self.told {
            return false;
        }
        self.told = self.tail;
        fence(Ordering::SeqCst);
        let waiting = &self.memory.control().waiting.0;
        if waiting.load(Ordering::Relaxed) == 0 {
            return false;
        }
        waiting.store(0, Ordering::Relaxed);
        true
    }

    /// Asks to be woken by the next record. False: there is something already, don't sleep. True: when the
    /// doorbell rings (or whatever else wakes), call [`Consumer::awake`] and look. End the turn first, or a
    /// producer that waits for room is forgotten.
    #[inline]
    #[must_use = "who sleeps although there is something may sleep for ever"]
    pub fn begin_sleep(&mut self) -> bool {
        self.announce_sleep();
        self.stays_asleep(&SleepFence::new())
    }

    /// The first half of [`Consumer::begin_sleep`], for who sleeps on many rings: announce it to all of them, make one
    /// [`SleepFence`], then ask each whether it [stays asleep](Consumer::stays_asleep).
    #[inline]
    pub fn announce_sleep(&mut self) {
        self.memory.control().sleeping.0.store(1, Ordering::Relaxed);
    }

    /// The second half: false if there is something already.
    #[inline]
    #[must_use = "who sleeps although there is something may sleep for ever"]
    pub fn stays_asleep(&mut self, _after: &SleepFence) -> bool {
        let is_empty = self.is_empty();
        if !is_empty {
            self.awake();
        }
        is_empty
    }

    /// Takes back [`Consumer::begin_sleep`], so that the doorbell is not rung for nothing.
    #[inline]
    pub fn awake(&mut self) {
        self.memory.control().sleeping.0.store(0, Ordering::Relaxed);
    }

    /// Whether there is nothing to take. False also when the producer is corrupt, which
    /// [`Consumer::next`] then says.
    #[inline]
    pub fn is_empty(&mut self) -> bool {
        self.tail == self.head && matches!(self.look(), Ok(false))
    }

    /// Looks at the producer's position again. True: there is something to take.
    #[inline]
    fn look(&mut self) -> Result<bool, Corrupt> {
        if self.is_closed {
            return Ok(self.head != self.tail);
        }
        let found = self.memory.control().head.0.load(Ordering::Acquire);
        if !self.is_sound(found) {
            let (least, most) = (self.tail, self.tail.saturating_add(self.memory.capacity()));
            return Err(Corrupt(Fault::Head { found, least, most }));
        }
        self.head = found;
        Ok(found != self.tail)
    }

    /// Whether a producer's position can be one. Below the old one the difference wraps around to more than any capacity.
    #[inline]
    fn is_sound(&self, position: u64) -> bool {
        position.wrapping_sub(self.tail) <= self.memory.capacity() && position.is_multiple_of(WORD)
    }
}

/// A record that lies in the ring. Dropping it takes it: the producer may use its place again.
///
/// The header was copied and checked. The payload may be changed by the other side at any time, so it is
/// copied out, or handed to the kernel by its address, and never borrowed.
#[derive(Debug)]
pub struct Record<'a> {
    consumer: &'a mut Consumer,
    found: Found,
}

impl Record<'_> {
    /// What stands before the payload.
    #[inline]
    pub fn header(&self) -> &Header {
        &self.found.header
    }

    /// The length of the payload in bytes.
    #[inline]
    #[allow(clippy::len_without_is_empty)] // An empty payload is nothing special.
    pub fn len(&self) -> usize {
        self.found.length
    }

    /// Appends the payload to `out`.
    #[inline]
    pub fn copy_to(&self, out: &mut Vec<u8>) {
        self.consumer
            .memory
            .append(self.found.payload, self.found.length, out);
    }

    /// Appends the payload from `offset` on to `out`; nothing, if it is not that long.
    #[inline]
    pub fn copy_from(&self, offset: usize, out: &mut Vec<u8>) {
        let (position, length) = self.after(offset);
        self.consumer.memory.append(position, length, out);
    }

    /// Copies the first bytes of the payload into `out`, as many as there are and fit; returns how many.
    #[inline]
    pub fn head(&self, out: &mut [u8]) -> usize {
        let length = out.len().min(self.found.length);
        self.consumer
            .memory
            .read(self.found.payload, &mut out[..length]);
        length
    }

    /// Sends `prefix`, the payload without its first `skip` bytes, and `suffix` to a socket, from where they
    /// lie. Returns how many bytes of the three together the socket took, which may be fewer. Never blocks.
    /// With nothing to send there is no call, and the answer is 0.
    ///
    /// # Errors
    /// What the socket says: `WouldBlock` when it is full, `BrokenPipe` when it is closed.
    #[inline]
    pub fn send(
        &self,
        socket: BorrowedFd<'_>,
        prefix: &[u8],
        skip: usize,
        suffix: &[u8],
    ) -> io::Result<usize> {
        let (position, length) = self.after(skip);
        let payload = self.consumer.memory.piece(position, length);
        send_pieces(socket, [Piece::own(prefix), payload, Piece::own(suffix)])
    }

    #[inline]
    fn after(&self, offset: usize) -> (u64, usize) {
        let offset = offset.min(self.found.length);
        (
            self.found.payload + offset as u64,
            self.found.length - offset,
        )
    }
}

impl Drop for Record<'_> {
    #[inline]
    fn drop(&mut self) {
        // Stored at once and for each record: should this process die, the other side knows from it what
        // was taken. Release, so that what is read from the record is read before its place is given back.
        self.consumer.tail = self.found.end;
        self.consumer
            .memory
            .control()
            .tail
            .0
            .store(self.found.end, Ordering::Release);
    }
}
