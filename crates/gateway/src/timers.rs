//! Actions at some time.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ops::Bound;

use rustc_hash::FxHashSet;

use crate::ids::{ListenerId, RelayRef, SessionRef};
use crate::session::table::Table;

/// Timers that are checked for each new one, whether their session is gone: two, so that leftovers stay fewer than the
/// others without a search that stalls the loop.
const LOOKED_AT: usize = 2;

/// Actions at some time. Entries are not removed early: a due entry is checked again.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeSet<(u64, Alarm)>,
    /// How far the search for timers of gone sessions has got.
    looked_at: Option<(u64, Alarm)>,
    /// Timers of sessions that were set since that search.
    set: usize,
    /// Listeners that will be looked at again.
    accepting: FxHashSet<ListenerId>,
}

/// Something whose time comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Alarm {
    /// Has this session been idle for too long?
    Idle(SessionRef),
    /// Has the output of this session, which is ending, got stuck?
    Flush(SessionRef),
    /// Has this session's TLS handshake still not ended?
    Handshake(SessionRef),
    /// Was the certificate of this session's handshake read?
    Certificate(SessionRef),
    /// Has this session's unfinished message come fast enough?
    Slowloris(SessionRef),
    /// Has the peer of this session taken some of its output?
    Output(SessionRef),
    /// Has this session, which its peer has half-closed, gone on?
    HalfClose(SessionRef),
    /// Drop this socket.
    Linger(SessionRef),
    /// The attempt of this relay to connect has taken too long, or must be repeated.
    Connect(RelayRef),
    /// More bytes of this relay may pass.
    Pace(RelayRef),
    /// Accept from this listener again.
    Accept(ListenerId),
    /// Tasks that waited for one slot may go to any slot now.
    Tasks,
    /// Requests may have waited for a process for too long.
    Requests,
    /// The next sessions of the drain of this number should close.
    Drain(u64),
    /// Histories may have to end.
    Histories,
    /// Stopping takes too long.
    Stop,
}

impl Timers {
    /// When the next is due, in the loop's milliseconds.
    pub(crate) fn next(&self) -> Option<u64> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Adds an action for that time, in the loop's milliseconds.
    pub(crate) fn set(&mut self, at: u64, alarm: Alarm) {
        self.queue.insert((at, alarm));
        self.set += usize::from(alarm.session().is_some());
    }

    /// Removes an action that was set for that time.
    pub(crate) fn cancel(&mut self, at: u64, alarm: Alarm) {
        self.queue.remove(&(at, alarm));
    }

    /// Those of sessions.
    pub(crate) fn of_sessions(&self) -> Vec<(u64, Alarm)> {
        let all = self.queue.iter().copied();
        all.filter(|(_, alarm)| alarm.session().is_some()).collect()
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Checks a listener again then, unless an earlier check is due.
    pub(crate) fn accept_again(&mut self, at: u64, listener: ListenerId) {
        if self.accepting.insert(listener) {
            self.set(at, Alarm::Accept(listener));
        }
    }

    /// Whether it is not yet time to check this listener again.
    pub(crate) fn pauses(&self, listener: ListenerId) -> bool {
        self.accepting.contains(&listener)
    }

    /// The time to look at this listener again has come.
    pub(crate) fn resume(&mut self, listener: ListenerId) {
        self.accepting.remove(&listener);
    }

    /// The actions that are due at this time, the oldest first.
    pub(crate) fn due(&mut self, now: u64) -> Option<Alarm> {
        self.queue.first().filter(|(at, _)| *at <= now)?;
        self.queue.pop_first().map(|(_, alarm)| alarm)
    }

    /// Looks at some timers for each that was set since the last time, and forgets those of sessions that are gone.
    pub(crate) fn prune(&mut self, sessions: &Table) {
        for _ in 0..LOOKED_AT * std::mem::take(&mut self.set) {
            let from = self.looked_at.map_or(Bound::Unbounded, Bound::Excluded);
            self.looked_at = self.queue.range((from, Bound::Unbounded)).next().copied();
            let Some(entry) = self.looked_at else { return };
            let session = entry.1.session();
            if session.is_some_and(|name| sessions.named(name).is_none()) {
                self.queue.remove(&entry);
            }
        }
    }

    /// Forgets the timers that watch these sessions' waits: each session has one of each kind.
    pub(crate) fn forget_waits(&mut self, is_meant: impl Fn(SessionRef) -> bool) {
        self.queue.retain(|(_, alarm)| match alarm {
            Alarm::Idle(name)
            | Alarm::Flush(name)
            | Alarm::Output(name)
            | Alarm::HalfClose(name) => !is_meant(*name),
            _ => true,
        });
    }
}

impl Alarm {
    /// The session that it is for.
    pub(crate) fn session(self) -> Option<SessionRef> {
        match self {
            Alarm::Idle(name)
            | Alarm::Flush(name)
            | Alarm::Handshake(name)
            | Alarm::Certificate(name)
            | Alarm::Slowloris(name)
            | Alarm::Output(name)
            | Alarm::HalfClose(name)
            | Alarm::Linger(name) => Some(name),
            Alarm::Connect(_)
            | Alarm::Pace(_)
            | Alarm::Accept(_)
            | Alarm::Tasks
            | Alarm::Requests
            | Alarm::Drain(_)
            | Alarm::Histories
            | Alarm::Stop => None,
        }
    }
}
