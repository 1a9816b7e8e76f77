//! The memory that all sessions together may hold.
//!
//! Near the limit those sessions that hold more than a fair share are not read, and sends to them answer `Full`; whoever
//! holds little goes on as if nothing were. Over the limit, or when nothing gets better for a while (every
//! session waits for the rest of its message, or for a peer that does not read), the one that holds most is closed.

use std::sync::atomic::Ordering;

use super::event_loop::Loop;
use super::table::Key;
use crate::wire::CloseReason;

/// From this share of the limit on it is near, in eighths.
const NEAR: u64 = 6;
/// How long it may stay near with nothing getting better, in milliseconds: long for a peer that reads, short for the others.
const STUCK_MS: u64 = 2_000;
/// What is held in smaller amounts is not worth a session, in bytes.
const LEAST: u64 = 4 * 1024;

/// The budget as one loop sees it: what it may hold itself, the others holding what they held last.
#[derive(Debug)]
pub(super) struct Budget {
    limit: Option<u64>,
    /// From so many bytes of this loop on it is near, and over.
    near: u64,
    over: u64,
    /// A session's fair share.
    share: u64,
    held_back: Vec<(Key, u64)>,
    /// Since when it has been near, in the loop's milliseconds, and the least that was held since.
    tight_since: Option<(u64, u64)>,
}

impl Budget {
    pub(super) fn new(limit: Option<u64>) -> Self {
        Self {
            limit,
            near: u64::MAX,
            over: u64::MAX,
            share: u64::MAX,
            held_back: Vec::new(),
            tight_since: None,
        }
    }

    pub(super) fn share(&self) -> u64 {
        self.share
    }

    /// Sessions wait for memory, and nothing else wakes the loop for them.
    pub(super) fn holds_back(&self) -> bool {
        !self.held_back.is_empty() || self.tight_since.is_some()
    }
}

impl Loop {
    /// The limit is near.
    #[inline]
    pub(super) fn is_tight(&self) -> bool {
        self.held() >= self.budget.near
    }

    /// Looks how much all hold, once a turn.
    pub(super) fn look_at_memory(&mut self) {
        let Some(limit) = self.budget.limit else {
            return;
        };
        let (mine, index) = (self.held(), usize::from(self.index));
        self.shared.held[index].store(mine, Ordering::Relaxed);
        let of = |at: usize| self.shared.held[at].load(Ordering::Relaxed);
        let others = (0..self.shared.held.len()).filter(|at| *at != index);
        let (theirs, fullest) = others.fold((0, None), |(sum, fullest), at| {
            let is_more = of(at) > fullest.map_or(mine, of);
            (sum + of(at), if is_more { Some(at) } else { fullest })
        });
        let sessions = self
            .shared
            .loads
            .iter()
            .map(|load| load.load(Ordering::Relaxed));
        let budget = &mut self.budget;
        budget.share = limit / (sessions.sum::<usize>() as u64).max(1);
        budget.near = (limit / 8 * NEAR).saturating_sub(theirs).max(1);
        budget.over = limit.saturating_sub(theirs);
        if mine < budget.near {
            budget.tight_since = None;
            for (key, id) in std::mem::take(&mut budget.held_back) {
                if self.table.at(key).is_some_and(|session| session.id == id) {
                    self.table[key].held_back = false;
                    self.sweep.push_back((key, id));
                }
            }
        } else if mine > budget.over || self.is_stuck(theirs + mine) {
            match fullest {
                // What holds most is there.
                Some(other) => self.peers[other].wake(),
                None => self.relieve(),
            }
        }
    }

    /// Whether it has been near for long, and no better.
    fn is_stuck(&mut self, total: u64) -> bool {
        if !self.is_tight() {
            return false;
        }
        let now = self.clock.ms;
        let (since, least) = *self.budget.tight_since.get_or_insert((now, total));
        if total < least {
            self.budget.tight_since = Some((now, total));
        }
        now.saturating_sub(since) > STUCK_MS
    }

    /// Closes those that hold most, until there is room.
    fn relieve(&mut self) {
        let mut holders: Vec<(u64, Key)> = self
            .table
            .iter()
            .map(|(key, session)| (session.held(), key))
            .filter(|(held, _)| *held >= LEAST)
            .collect();
        holders.sort_unstable();
        self.budget.tight_since = None;
        while let Some((held, key)) = holders.pop() {
            let session = &self.table[key];
            let listener = &self.config.listeners[usize::from(session.listener)];
            tracing::warn!(
                session = session.id, listener = %listener.name, peer = %session.peer, held,
                reason = %CloseReason::Memory, "session closed: memory_limit is reached, and it holds most"
            );
            self.finish(key, CloseReason::Memory);
            if self.held() <= self.budget.over {
                return;
            }
        }
    }

    /// Holds a session back if it has more than its share. False: it may be read.
    pub(super) fn hold_back(&mut self, key: Key) -> bool {
        let share = self.budget.share;
        let session = &mut self.table[key];
        // Of a peer that has hung up no more comes than the kernel has, and then the session ends.
        if session.held() <= share || session.hangup {
            return false;
        }
        if !std::mem::replace(&mut session.held_back, true) {
            self.budget.held_back.push((key, session.id));
        }
        true
    }
}
