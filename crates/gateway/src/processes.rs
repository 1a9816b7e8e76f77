//! The processes that a loop serves, and which of them serves which slot.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use moorline_ipc::{Chime, Consumer, Doorbell, Header, Producer, Region};
use rustc_hash::FxHashMap;

use super::ledger::Ledger;
use super::shared::SlotLoad;
use super::table::Key;
use crate::config::Config;
use crate::control::{ProcessId, Role};
use crate::wire::{ADOPTED, CloseReason, ToProcess};

/// Records published together at the most; a consumer on another core begins before the turn ends.
const PUBLISH_EVERY: u32 = 64;

/// What a process is doing, as a loop sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Attached, not committed: nothing goes there, and nothing it writes is read. Its ring keeps that until the commit.
    Waiting,
    /// Serves its slot.
    Serving,
    /// Gives up its sessions.
    Retiring,
    /// Has given them up, and the main thread knows.
    Released,
    /// Wrote garbage: nothing it writes is read any more, its death will follow.
    Broken,
}

/// One process, as a loop sees it.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) id: ProcessId,
    pub(super) role: Role,
    pub(super) standing: Standing,
    /// It gives no sign of life: nothing new goes there while there is another.
    pub(super) is_silent: bool,
    pub(super) producer: Producer,
    /// Taken out while its records are handled.
    pub(super) consumer: Option<Consumer>,
    /// What wakes it.
    pub(super) doorbell: Arc<Doorbell>,
    /// What it wakes the loop by.
    pub(super) chime: Chime,
    /// Sessions that it has.
    pub(super) sessions: usize,
    /// Messages of its sessions delivered and not done.
    pub(super) in_hand: usize,
    /// Sessions that wait for room in its ring, with their ids.
    pub(super) waiters: VecDeque<(Key, u64)>,
    /// Posts and tasks that wait for room in its ring.
    pub(super) parcels: VecDeque<Parcel>,
    /// Messages from it of which some parts have arrived, by kind and session.
    pub(super) partials: FxHashMap<(u8, u64), Partial>,
    /// Posts it has and has not done, by the slot that each came from and its number there.
    pub(super) posts: FxHashMap<(u16, u64), Post>,
    /// What it has asked for and was not answered.
    pub(super) ledger: Ledger,
    /// Tasks that it was given and has not ended.
    pub(super) tasks: usize,
    /// Sessions of whose end it was told, up to where in its ring that was said, and that it may not have taken yet.
    closings: VecDeque<(u64, Untold)>,
    /// The configuration by which it serves: what its sessions' messages were delivered by while it is replaced. One
    /// that waits may have another, which this loop does not know yet.
    pub(super) rules: Arc<Config>,
    /// The largest message that it may send by them.
    max_message: u64,
    /// Was pushed to and is on the loop's list of those that are to be shown it.
    pub(super) dirty: bool,
    /// The loop looks into its ring in each turn; else it rings.
    pub(super) is_polled: bool,
    /// Something waits for room in its ring, and it is on the loop's list of those.
    pub(super) is_blocked: bool,
}

/// A message of which some parts have arrived.
#[derive(Debug, Default)]
pub(super) struct Partial {
    pub(super) bytes: Vec<u8>,
    /// There was no memory for all of it: what comes of it is dropped, and its end answered so.
    pub(super) is_refused: bool,
}

/// A post, a task or a result on its way to a process.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) header: Header,
    pub(super) bytes: Bytes,
    pub(super) offset: usize,
    /// Of a post, who gets the credit for it.
    pub(super) post: Option<Post>,
}

impl Parcel {
    /// Bytes that it holds. A task's payload is counted with the task.
    pub(super) fn held(&self) -> usize {
        let is_task = self.header.kind == ToProcess::Task as u8;
        size_of::<Self>() + if is_task { 0 } else { self.bytes.len() }
    }
}

/// A post that is not done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Post {
    /// Who has sent it: its place, and its name.
    pub(super) sender: (u16, ProcessId),
    /// The slot that it is for.
    pub(super) to: u16,
    pub(super) bytes: usize,
}

impl Process {
    pub(super) fn new(
        id: ProcessId,
        role: Role,
        region: Region,
        doorbell: Arc<Doorbell>,
        chime: Chime,
        rules: Arc<Config>,
    ) -> Self {
        Self {
            id,
            role,
            standing: Standing::Waiting,
            is_silent: false,
            producer: region.producer,
            consumer: Some(region.consumer),
            doorbell,
            chime,
            sessions: 0,
            in_hand: 0,
            waiters: VecDeque::new(),
            parcels: VecDeque::new(),
            partials: FxHashMap::default(),
            posts: FxHashMap::default(),
            ledger: Ledger::default(),
            closings: VecDeque::new(),
            tasks: 0,
            max_message: rules.max_message(),
            rules,
            dirty: false,
            is_polled: false,
            is_blocked: false,
        }
    }

    /// It serves by these rules from now on.
    pub(super) fn serve_by(&mut self, rules: Arc<Config>) {
        self.standing = Standing::Serving;
        self.max_message = rules.max_message();
        self.rules = rules;
    }

    /// The size that no message of its passes, to whichever session it goes.
    pub(super) fn max_message(&self) -> u64 {
        self.max_message
    }

    /// Whether what it writes is read.
    pub(super) fn is_heard(&self) -> bool {
        !matches!(self.standing, Standing::Waiting | Standing::Broken)
    }

    /// Tells it of a session's end. Kept until it has taken that, for whoever comes after it. False: there is no room.
    pub(super) fn push_close(&mut self, untold: Untold) -> bool {
        let header = untold.close();
        if self.producer.push(&header, &[&untold.closing]).is_err() {
            return false;
        }
        self.closings.push_back((self.producer.position(), untold));
        true
    }

    /// Forgets the ends of sessions that it has taken. Returns the bytes that they held.
    pub(super) fn forget_taken_closings(&mut self) -> usize {
        let Some((first, _)) = self.closings.front() else {
            return 0;
        };
        let taken = self.producer.taken();
        if *first > taken {
            return 0;
        }
        let many = self.closings.partition_point(|(end, _)| *end <= taken);
        let forgotten = self.closings.drain(..many);
        let bytes = forgotten.map(|(_, untold)| untold.held()).sum();
        if self.closings.is_empty() {
            self.closings = VecDeque::new();
        }
        bytes
    }

    /// Bytes that the ends of sessions hold which it may not have taken.
    pub(super) fn closings_held(&self) -> usize {
        self.closings.iter().map(|(_, untold)| untold.held()).sum()
    }

    /// Whether there are ends of sessions that it may not have taken.
    pub(super) fn has_closings(&self) -> bool {
        !self.closings.is_empty()
    }

    /// After its death: the ends of sessions that it was not told of.
    pub(super) fn untold(&mut self) -> impl Iterator<Item = Untold> {
        let taken = self.producer.taken();
        let closings = std::mem::take(&mut self.closings).into_iter();
        closings
            .filter(move |(end, _)| *end > taken)
            .map(|(_, untold)| untold)
    }

    /// Makes what was pushed visible, and wakes the process if it sleeps.
    pub(super) fn publish(&mut self) {
        if self.producer.publish() {
            self.doorbell.ring();
        }
    }

    /// Whether so many records wait that they are better published now.
    pub(super) fn is_ripe(&self) -> bool {
        self.producer.unpublished() >= PUBLISH_EVERY
    }

    /// Whether the process has taken everything that was pushed for it, what is not yet published included.
    pub(super) fn is_told(&mut self) -> bool {
        self.producer.unpublished() == 0 && self.producer.is_consumed()
    }

    /// Whether nothing of a session or parcel is left between this loop and the process.
    pub(super) fn is_clear(&mut self) -> bool {
        self.sessions == 0
            && self.parcels.is_empty()
            && self.posts.is_empty()
            && self.partials.is_empty()
            && self.is_told()
            && self.consumer.as_mut().is_none_or(Consumer::is_empty)
    }
}

/// A worker slot, as a loop sees it.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The process that serves it.
    pub(super) process: Option<u16>,
    /// When it lost its process, in the loop's milliseconds.
    pub(super) empty_since: Option<u64>,
    /// Sessions that belong here.
    pub(super) sessions: usize,
    /// Messages in hand here, as the other loops know.
    in_hand_told: usize,
    /// Sessions that wait for a process to serve it, with their ids.
    pub(super) waiters: VecDeque<(Key, u64)>,
    /// Sessions whose next message was in hand when a process died. Only one such is delivered at a time.
    pub(super) suspects: BTreeSet<(Key, u64)>,
    /// The session whose suspect message is out now.
    pub(super) suspect: Option<u64>,
    /// Posts that wait for a process to serve it.
    pub(super) parcels: VecDeque<Parcel>,
    /// Sessions that ended while their process died, before it took the news.
    pub(super) untold: VecDeque<Untold>,
}

impl Slot {
    /// One more session belongs here. `load` is what all loops have with this slot.
    pub(super) fn enter(&mut self, load: &SlotLoad) {
        self.sessions += 1;
        load.sessions.fetch_add(1, Ordering::Relaxed);
    }

    /// One that belonged here does so no more.
    pub(super) fn leave(&mut self, load: &SlotLoad) {
        self.sessions -= 1;
        load.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    /// Tells the other loops how many messages are in hand here.
    pub(super) fn tell_in_hand(&mut self, in_hand: usize, load: &SlotLoad) {
        let told = std::mem::replace(&mut self.in_hand_told, in_hand);
        if told != in_hand {
            // The sum wraps around, and comes out right.
            let change = in_hand.wrapping_sub(told);
            load.in_hand.fetch_add(change, Ordering::Relaxed);
        }
    }

    /// Messages that the other loops have in hand here.
    pub(super) fn in_hand_elsewhere(&self, load: &SlotLoad) -> usize {
        let all = load.in_hand.load(Ordering::Relaxed);
        all.wrapping_sub(self.in_hand_told)
    }
}

/// A session that has ended, as a process is told of it: nothing of this is ever read back from a ring.
#[derive(Debug)]
pub(super) struct Untold {
    pub(super) id: u64,
    pub(super) reason: CloseReason,
    /// How it was at its end.
    pub(super) closing: Vec<u8>,
    /// The payload that opens it in another process, which had it from the one before.
    pub(super) opening: Vec<u8>,
}

impl Untold {
    /// Bytes that it holds.
    pub(super) fn held(&self) -> usize {
        size_of::<Self>() + self.closing.len() + self.opening.len()
    }

    /// The record that begins it in another process.
    pub(super) fn open(&self) -> Header {
        Header {
            kind: ToProcess::Open as u8,
            aux: ADOPTED,
            session: self.id,
            ..Header::default()
        }
    }

    /// The record that ends it.
    fn close(&self) -> Header {
        Header {
            kind: ToProcess::Close as u8,
            aux: self.reason as u16,
            session: self.id,
            ..Header::default()
        }
    }
}
