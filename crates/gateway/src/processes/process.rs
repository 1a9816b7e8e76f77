//! One process, as a loop sees it: its rings, and the records under way in them.

use serde::{Deserialize, Serialize};
mod kept;

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use moorline_ipc::{Chime, Consumer, Doorbell, Header, Marks, Producer, Region};
use rustc_hash::FxHashMap;

pub(crate) use kept::{KeptProcess, ProcessLinks};

use crate::ids::{ListenerId, SessionRef, SlotId};
use crate::processes::ledger::Ledger;
use crate::processes::pending_close::PendingClose;
use crate::transfer::{Post, Transfer};
use moorline_config::{Config, Listener};
use moorline_protocol::control::{ProcessId, Role, process_name};
use moorline_protocol::wire::{FromProcess, ToProcess};

/// The most records published together; a consumer on another core begins before the turn ends.
const PUBLISH_EVERY: u32 = 64;

/// A process with more than this in its ring, in bytes, is behind: what is added now has left the processor's cache when the
/// process reads it.
const BEHIND: u64 = 256 * 1024;

/// The phase of a process, as a loop sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Standing {
    /// Attached, not committed: nothing goes there, and nothing it writes is read. Its ring keeps that until the commit.
    Waiting,
    /// Serves its slot.
    Serving,
    /// Gives up its sessions.
    Retiring,
    /// Has given them up, and the main thread knows.
    Released,
    /// It wrote garbage: its records are not read any more, and it will be killed.
    Broken,
}

/// One process, as a loop sees it.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) id: ProcessId,
    pub(crate) pid: u32,
    pub(crate) role: Role,
    pub(crate) standing: Standing,
    /// It is silent: it gets nothing new while there is another process.
    pub(crate) is_silent: bool,
    pub(crate) producer: Producer,
    /// Taken out while its records are handled.
    pub(crate) consumer: Option<Consumer>,
    /// Wakes it.
    pub(crate) doorbell: Arc<Doorbell>,
    /// It wakes the loop through this.
    pub(crate) chime: Chime,
    /// Sessions that it has.
    pub(crate) sessions: usize,
    /// Messages of its sessions delivered and not done.
    pub(crate) in_hand: usize,
    /// It is asked about requests: it has not said that it leaves them to the rules.
    pub(crate) is_asked: bool,
    /// Requests that it was asked about and has not answered, also those whose client has left since.
    pub(crate) asked: usize,
    /// Plain requests that it was given and has not ended.
    pub(crate) exchanges: usize,
    /// Sessions that wait to ask, because it is asked about as many as may be.
    pub(crate) askers: VecDeque<SessionRef>,
    /// Sessions that wait for room in its ring, with their ids.
    pub(crate) waiters: VecDeque<SessionRef>,
    /// Full sessions of which it was not told, since there was no room. Its senders are held meanwhile.
    pub(crate) owed: BTreeSet<SessionRef>,
    marks: Marks,
    region: OwnedFd,
    /// The next session that is read need not wait until it has taken more.
    lets_one_go: bool,
    /// How far it had taken its records when a session that waited last went on.
    went_at: u64,
    /// How far it had taken its records, and when that was first seen, in the loop's milliseconds. Looked at while sessions
    /// wait for it.
    took: (u64, u64),
    /// Posts and tasks that wait for room in its ring.
    pub(crate) transfers: VecDeque<Transfer>,
    /// How many of them say that a session has drained.
    pub(crate) drained_waiting: usize,
    /// Messages from it of which some parts have arrived, by kind and session.
    pub(crate) partials: FxHashMap<(u8, u64), Partial>,
    /// Posts it has and has not done, by the slot that each came from and its number there.
    pub(crate) posts: FxHashMap<(SlotId, u64), Post>,
    /// Its unanswered requests.
    pub(crate) ledger: Ledger,
    /// Events of its that this loop has read, and that have not reached all members in all loops.
    pub(crate) events: usize,
    /// Tasks that it was given and has not ended.
    pub(crate) tasks: usize,
    /// Sessions whose end it was told, up to which place in its ring, and that it may not have taken yet.
    closings: VecDeque<(u64, PendingClose)>,
    /// The configuration by which it serves: its sessions' messages were delivered by this one while it is replaced. A
    /// process that does not serve yet may have another, which this loop does not know.
    pub(crate) rules: Arc<Config>,
    /// The largest message that it may send by that configuration.
    max_message: u64,
    /// How often it was woken for records since that was last asked.
    pub(crate) wakes: u64,
    /// It is on the loop's list of processes with records to publish.
    pub(crate) dirty: bool,
    /// The loop looks into its ring in each turn; else it rings.
    pub(crate) is_polled: bool,
    /// Something waits for room in its ring, and it is on the loop's list of those.
    pub(crate) is_blocked: bool,
}

/// A message of which some parts have arrived.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Partial {
    #[serde(with = "crate::kept::bytes")]
    pub(crate) bytes: Vec<u8>,
    /// There was no memory for all of it: its further parts are dropped, and its end is answered with a refusal.
    pub(crate) is_refused: bool,
}

impl Partial {
    /// There is no memory for it: what has come is dropped, and so is the rest. Returns the bytes that it held.
    pub(crate) fn refuse(&mut self) -> usize {
        self.is_refused = true;
        std::mem::take(&mut self.bytes).len()
    }
}

impl Process {
    pub(crate) fn new(
        (id, pid): (ProcessId, u32),
        role: Role,
        region: Region,
        doorbell: Arc<Doorbell>,
        chime: Chime,
        rules: Arc<Config>,
    ) -> Self {
        Self {
            id,
            pid,
            role,
            standing: Standing::Waiting,
            is_silent: false,
            producer: region.producer,
            consumer: Some(region.consumer),
            doorbell,
            chime,
            sessions: 0,
            in_hand: 0,
            is_asked: true,
            asked: 0,
            exchanges: 0,
            askers: VecDeque::new(),
            waiters: VecDeque::new(),
            owed: BTreeSet::new(),
            marks: region.marks,
            region: region.descriptor,
            lets_one_go: false,
            went_at: 0,
            took: (0, 0),
            transfers: VecDeque::new(),
            drained_waiting: 0,
            partials: FxHashMap::default(),
            posts: FxHashMap::default(),
            ledger: Ledger::default(),
            events: 0,
            closings: VecDeque::new(),
            tasks: 0,
            max_message: rules.max_message(),
            rules,
            wakes: 0,
            dirty: false,
            is_polled: false,
            is_blocked: false,
        }
    }

    /// Its name in logs.
    pub(crate) fn name(&self) -> String {
        process_name(self.role, self.pid)
    }

    /// It serves by these rules from now on.
    pub(crate) fn serve_by(&mut self, rules: Arc<Config>) {
        self.standing = Standing::Serving;
        self.max_message = rules.max_message();
        self.rules = rules;
    }

    /// The limit for any message of it, to any session.
    pub(crate) fn max_message(&self) -> u64 {
        self.max_message
    }

    /// Whether it does not serve by these rules, or gives up what it has.
    pub(crate) fn is_leaving(&self, rules: &Arc<Config>) -> bool {
        match self.standing {
            Standing::Waiting | Standing::Broken => false,
            Standing::Serving => !Arc::ptr_eq(&self.rules, rules),
            Standing::Retiring | Standing::Released => true,
        }
    }

    /// Whether its records are read.
    pub(crate) fn is_heard(&self) -> bool {
        !matches!(self.standing, Standing::Waiting | Standing::Broken)
    }

    /// Tells it of a session's end. The end is kept until it has taken that, for its successor. False: there is no
    /// room.
    pub(crate) fn push_close(&mut self, pending: PendingClose) -> bool {
        let header = pending.close();
        if self.producer.push(&header, &[&pending.closing]).is_err() {
            return false;
        }
        self.closings.push_back((self.producer.position(), pending));
        true
    }

    /// Forgets the ends of sessions that it has taken. Returns the bytes that they held.
    pub(crate) fn forget_taken_closings(&mut self) -> usize {
        let Some((first, _)) = self.closings.front() else {
            return 0;
        };
        let taken = self.producer.taken();
        if *first > taken {
            return 0;
        }
        let many = self.closings.partition_point(|(end, _)| *end <= taken);
        let forgotten = self.closings.drain(..many);
        let bytes = forgotten.map(|(_, pending)| pending.held()).sum();
        if self.closings.is_empty() {
            self.closings = VecDeque::new();
        }
        bytes
    }

    /// Bytes that the ends of sessions hold which it may not have taken.
    pub(crate) fn closings_held(&self) -> usize {
        self.closings
            .iter()
            .map(|(_, pending)| pending.held())
            .sum()
    }

    /// Whether there are ends of sessions that it may not have taken.
    pub(crate) fn has_closings(&self) -> bool {
        !self.closings.is_empty()
    }

    /// After its death: the closes of sessions that it did not take.
    pub(crate) fn pending(&mut self) -> impl Iterator<Item = PendingClose> {
        let taken = self.producer.taken();
        let closings = std::mem::take(&mut self.closings).into_iter();
        closings
            .filter(move |(end, _)| *end > taken)
            .map(|(_, pending)| pending)
    }

    /// Publishes the pushed records, and wakes the process if it sleeps.
    pub(crate) fn publish(&mut self) {
        if self.producer.publish() {
            self.wakes += 1;
            self.doorbell.ring();
        }
    }

    /// Whether something waits for room in its ring.
    pub(crate) fn is_waited_for(&self) -> bool {
        !self.transfers.is_empty() || !self.waiters.is_empty() || !self.owed.is_empty()
    }

    /// Asks to be woken when there is room for the sessions that wait for it. True: there is, go on at once.
    ///
    /// Room for any record, or a full ring would have all of them try after each one that is taken; and little in the ring,
    /// or those that leave their input in the socket until then would.
    pub(crate) fn has_room_for_waiters(&mut self) -> bool {
        self.producer.wait_until_taken(BEHIND / 2)
    }

    /// Whether so much lies in its ring that long messages for it are better left in their sockets until it has taken more.
    #[inline]
    pub(crate) fn is_behind(&mut self) -> bool {
        if std::mem::take(&mut self.lets_one_go) {
            return false;
        }
        // Sessions that wait already go first, and they wait for half of that.
        let most = if self.waiters.is_empty() {
            BEHIND
        } else {
            BEHIND / 2
        };
        self.producer.holds_more_than(most)
    }

    /// Lets the first session that waits go on although the process is behind, if its next record of `needs` bytes fits the
    /// ring, and others have filled the ring again and again since the last one went: a flood of short messages would keep it
    /// waiting for ever. True: it goes.
    pub(crate) fn lets_one_go(&mut self, needs: usize) -> bool {
        let taken_since = self.took.0.saturating_sub(self.went_at);
        let is_its_turn = taken_since >= BEHIND.min(self.producer.max_payload() as u64);
        self.lets_one_go = is_its_turn && self.producer.fits(needs);
        self.lets_one_go
    }

    /// A session that waited has gone on.
    pub(crate) fn one_has_gone(&mut self) {
        self.lets_one_go = false;
        self.went_at = self.took.0;
    }

    /// Notes whether it has taken anything.
    pub(crate) fn note_progress(&mut self, now: u64) {
        let taken = self.producer.taken();
        if taken != self.took.0 {
            self.took = (taken, now);
        }
    }

    /// When it was last seen to have taken something while sessions waited for it, in the loop's milliseconds.
    pub(crate) fn took_at(&self) -> u64 {
        self.took.1
    }

    /// Whether enough records wait to publish them now.
    pub(crate) fn is_ripe(&self) -> bool {
        self.producer.unpublished() >= PUBLISH_EVERY
    }

    /// Whether the process has taken every pushed record, including those that are not published yet.
    pub(crate) fn is_told(&mut self) -> bool {
        self.producer.unpublished() == 0 && self.producer.is_consumed()
    }

    /// Whether nothing of a session or transfer is left between this loop and the process.
    pub(crate) fn is_clear(&mut self) -> bool {
        self.sessions == 0
            && self.exchanges == 0
            && self.transfers.is_empty()
            && self.posts.is_empty()
            && self.partials.is_empty()
            && self.is_told()
            && self.consumer.as_mut().is_none_or(Consumer::is_empty)
    }

    /// Whether some parts of a message for this session have come from it, and not the last.
    pub(crate) fn is_sending_to(&self, session: u64) -> bool {
        let place = (FromProcess::Send as u8, session);
        self.partials.contains_key(&place)
    }

    /// The slot that it is for.
    pub(crate) fn slot(&self) -> SlotId {
        match self.role {
            Role::Worker(slot) | Role::Task(slot) => SlotId(slot),
            Role::Gateway => SlotId(0),
        }
    }

    /// Tells it that a session is full; its senders wait until they know. False: there is no room, and it is owed.
    pub(crate) fn tell_full(&mut self, name: SessionRef) -> bool {
        // The same session may have drained before: that must not arrive later.
        let is_told = self.drained_waiting == 0 && self.tell(ToProcess::Full, name.id);
        match is_told {
            true => drop(self.owed.remove(&name)),
            false => drop(self.owed.insert(name)),
        }
        self.hold_senders();
        // At once: while the turn goes on, the senders do, too.
        self.publish();
        is_told
    }

    /// Nothing is owed any more about this session.
    pub(crate) fn forgive(&mut self, name: SessionRef) {
        self.owed.remove(&name);
        self.hold_senders();
        if self.owed.is_empty() {
            // No record tells its senders that they may go on.
            self.doorbell.ring();
        }
    }

    fn hold_senders(&self) {
        self.marks.hold_senders(match self.owed.is_empty() {
            true => self.producer.position(),
            false => u64::MAX,
        });
    }

    /// What its senders can have sent to a session before they wait: what its ring holds, and a message behind that.
    pub(crate) fn under_way(&self, listener: ListenerId) -> u64 {
        let ring = 2 * (self.producer.max_payload() + size_of::<Header>()) as u64;
        // Its sizes, which a reload may have changed for others.
        let listener = self.rules.listeners.get(listener.index());
        let message = listener.map_or(self.max_message, Listener::max_message);
        ring + 2 * message
    }

    /// Tells it something about a session. False: there is no room.
    pub(crate) fn tell(&mut self, kind: ToProcess, session: u64) -> bool {
        let header = Header {
            kind: kind as u8,
            session,
            ..Header::default()
        };
        self.producer.push(&header, &[]).is_ok()
    }
}
