//! What is sent to groups once for all loops: events, and what is published over HTTP. It gets its place in one order for all
//! loops, and a history if its group keeps one.
//!
//! There is one lock, which nothing else takes: no broadcast, no message, and no loop that has nothing new in its queue.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::history::{
    Content, Draft, Histories, HistoryLimits, KeptHistories, Missed, Sent, TooMany,
};
use crate::transfer::Asker;
use moorline_config::{Config, Engine};
use moorline_protocol::control::ProcessId;

/// The part of `memory_limit` that histories may have.
const PART: u64 = 8;

/// The unit of room for what is published, in bytes, and how many there are: 16 MiB, or 256 small messages.
const UNIT: usize = 64 * 1024;
const ROOM: usize = 256;

/// What the loops share of groups.
#[derive(Debug)]
pub(crate) struct Hub {
    state: Mutex<State>,
    /// The number of the last that was sent. A loop that has not taken it has something in its queue.
    last: AtomicU64,
    /// Bytes of histories, and of what is in queues.
    held: Arc<AtomicU64>,
    /// Room for what is published over HTTP, in units.
    room: Arc<Semaphore>,
}

#[derive(Debug)]
struct State {
    histories: Histories,
    /// For each loop what it has not taken, oldest first.
    queues: Vec<VecDeque<Coming>>,
}

/// Something in the queue of a loop.
#[derive(Debug)]
pub(crate) struct Coming {
    pub(crate) sent: Arc<Sent>,
    /// The process that has sent it, and how far that had written to this loop by then.
    pub(crate) sender: Option<(ProcessId, u64)>,
    pub(crate) receipt: Arc<Receipt>,
}

/// What waits until all members in all loops have been sent something.
#[derive(Debug)]
pub(crate) enum Receipt {
    /// The credit of a process, which this loop returns.
    Process { home: u8, from: Asker, bytes: usize },
    /// The room that a request has.
    Request(#[allow(dead_code, reason = "it returns when it is dropped")] OwnedSemaphorePermit),
}

impl Hub {
    pub(crate) fn new(config: &Config, loops: usize) -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let epoch = since.map_or(0, |since| since.as_millis() as u64);
        // Two gateways that begin in one millisecond, by a clock that was set back, are two all the same.
        let epoch = format!("{epoch:x}{:04x}", fastrand::u16(..));
        let histories = Histories::new(epoch, limits(&config.engine));
        Self {
            last: AtomicU64::new(0),
            held: histories.held().clone(),
            room: Arc::new(Semaphore::new(ROOM)),
            state: Mutex::new(State {
                histories,
                queues: (0..loops).map(|_| VecDeque::new()).collect(),
            }),
        }
    }

    /// Nothing that holds the lock can panic halfway.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Histories may have what this configuration says from now on.
    pub(crate) fn change(&self, config: &Config, now: u64) {
        self.state()
            .histories
            .change_limits(limits(&config.engine), now);
    }

    /// Counts the bytes that it holds.
    pub(crate) fn held(&self) -> &Arc<AtomicU64> {
        &self.held
    }

    /// The number of the last that was sent.
    #[inline]
    pub(crate) fn last(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    /// Sends something to all loops. The caller wakes them. `positions`: how far its sender had written to each loop. False: it
    /// is a repetition, which nobody gets.
    pub(crate) fn send(
        &self,
        draft: Draft,
        sender: Option<(ProcessId, &[u64])>,
        receipt: Receipt,
        now: u64,
    ) -> bool {
        let mut state = self.state();
        let Some(sent) = state.histories.send(draft, now) else {
            return false;
        };
        let number = sent.number();
        let receipt = Arc::new(receipt);
        for (at, queue) in state.queues.iter_mut().enumerate() {
            let position = |(process, positions): (_, &[u64])| {
                (process, positions.get(at).copied().unwrap_or_default())
            };
            queue.push_back(Coming {
                sent: sent.clone(),
                sender: sender.map(position),
                receipt: receipt.clone(),
            });
        }
        // Release: a loop that sees a record which its sender wrote later sees this, too.
        self.last.store(number, Ordering::Release);
        true
    }

    /// Waits for room for something of this many bytes that comes over HTTP. It is given back when all members have it.
    pub(crate) async fn room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = (bytes / UNIT + 1).min(ROOM) as u32;
        self.room.clone().acquire_many_owned(units).await.ok()
    }

    /// Whether nothing that came over HTTP is on its way.
    #[cfg(test)]
    pub(crate) fn has_all_room(&self) -> bool {
        self.room.available_permits() == ROOM
    }

    /// All that the loop of this number has not taken, oldest first.
    pub(crate) fn take(&self, index: u8) -> VecDeque<Coming> {
        let mut state = self.state();
        let queue = state.queues.get_mut(usize::from(index));
        queue.map(std::mem::take).unwrap_or_default()
    }

    /// A group keeps its last events from now on. True: it is the only one that does.
    ///
    /// # Errors
    /// There are too many.
    pub(crate) fn keep(&self, group: &[u8], most: usize, now: u64) -> Result<bool, TooMany> {
        let histories = &mut self.state().histories;
        let was_empty = histories.is_empty();
        histories.keep(group, most, now)?;
        Ok(was_empty && !histories.is_empty())
    }

    /// How many groups keep their last events.
    pub(crate) fn histories(&self) -> usize {
        self.state().histories.len()
    }

    /// The histories, for the next gateway. Nothing is in a queue then.
    pub(crate) fn keep_all(&self) -> KeptHistories {
        self.state().histories.keep_all()
    }

    /// Goes on with the histories of another gateway, and with its numbers. False: they cannot be.
    #[must_use]
    pub(crate) fn take_up(&self, kept: KeptHistories) -> bool {
        let histories = &mut self.state().histories;
        let is_taken = histories.take_up(kept);
        self.last.store(histories.last(), Ordering::Release);
        is_taken
    }

    /// What a client missed of a group.
    pub(crate) fn missed(&self, group: &[u8], last_id: &str, now: u64) -> Missed {
        self.state().histories.missed(group, last_id, now)
    }

    /// Ends the histories whose time is over. `has_members`: whether a group has members in the loop that asks. False: no group
    /// keeps events.
    pub(crate) fn look_after(&self, has_members: impl Fn(&[u8]) -> bool, now: u64) -> bool {
        let histories = &mut self.state().histories;
        histories.note_members(has_members, now);
        histories.expire(now);
        !histories.is_empty()
    }

    /// Forgets this many bytes of events, if there are as many.
    pub(crate) fn give_way(&self, bytes: u64) {
        let histories = &mut self.state().histories;
        histories.give_way(histories.kept_bytes().saturating_sub(bytes));
    }
}

fn limits(engine: &Engine) -> HistoryLimits {
    let part = engine.memory_limit.map_or(u64::MAX, |limit| limit / PART);
    HistoryLimits {
        bytes: engine.history_memory.min(part),
        timeout: engine.history_timeout.as_millis() as u64,
    }
}

/// An event as a draft.
pub(crate) fn event(group: &[u8], id: &str, name: &str, data: &str, left_out: Vec<u64>) -> Draft {
    Draft {
        group: group.into(),
        content: Content::Event {
            id: id.into(),
            name: name.into(),
            data: data.into(),
        },
        left_out: left_out.into(),
    }
}
