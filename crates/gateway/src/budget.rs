//! The memory that all sessions together may hold.
//!
//! Near the limit those that hold more than a fair share are not read, and sends to them answer `Full`; whoever holds
//! little goes on as if nothing were. A fair share is less than what is left for it, so some room remains: one of
//! those that wait, and then the next, may use it to come to the end of its message. Over the limit the one that holds
//! most is closed, unless none holds more than its share: then it is not the sessions' fault. What apps send beside their
//! sessions (posts, tasks, broadcasts, in parts or whole) is refused where it would pass the limit.
//!
//! All loops share one budget: each tells the others what it holds, and how much the largest of its sessions does.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::event_loop::Loop;
use super::session::Phase;
use super::table::Key;
use crate::config::Config;
use crate::control::LoopCounter;
use crate::session_id::SessionId;
use crate::wire::{CloseReason, FromProcess};

/// From this part of the limit on it is near, in eighths.
const NEAR: u64 = 5;
/// Less than that by what may be in the rings already when apps are told to wait, but by no more than this, in eighths.
const MOST_COMING: u64 = 2;
/// All fair shares together, in eighths. Sessions that came late may still take theirs, so the room that is left for the
/// one that has the right of way are the two eighths above both.
const SHARES: u64 = 1;
/// The right of way is for who uses it: with nothing received or in hand for so long it passes on, in milliseconds.
const YIELD_MS: u64 = 250;
/// Who had a loop's session go first lets other loops take their turn, in milliseconds: they look every 5.
const PASS_MS: u64 = 10;
/// And for nobody longer than this, in milliseconds.
const GO_FIRST_MS: u64 = 2_000;
/// How often all sessions are looked through for the largest: so often, and less often the more there are. One costs
/// about 50 ns, so this never takes more than a twentieth of the time.
const SEARCH_EVERY: Duration = Duration::from_millis(1);
const SEARCH_EVERY_OF_EACH: Duration = Duration::from_micros(1);
/// A loop that has grown by this part of the limit tells the others, and looks how they have.
const STEPS: u64 = 64;
/// How often the log says that the limit is near, at the most, in milliseconds.
const SAY_MS: u64 = 10_000;

/// The budget as one loop sees it: what it may hold itself, the others holding what they held last.
#[derive(Debug)]
pub(super) struct Budget {
    limit: Option<u64>,
    /// From so many bytes of all loops on it is near.
    limit_near: u64,
    /// From so many bytes of this loop on it is near, and over.
    near: u64,
    over: u64,
    /// From so many on that may have changed: the others may have grown as well.
    measure_at: u64,
    /// A session's fair share.
    share: u64,
    /// Those that are not read, in the order they are to go on in.
    held_back: VecDeque<(Key, u64)>,
    right_of_way: Option<RightOfWay>,
    /// When this loop last gave the right of way away.
    yielded_at: u64,
    /// When to look for the largest again. Not by the loop's clock: a flood comes within a turn.
    search_at: Instant,
    level: Level,
    said_at: Option<u64>,
    /// When the last refusal was told.
    refusal_said_at: Option<u64>,
}

/// How things stood at the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Calm,
    Near,
    Over,
}

/// One of this loop's sessions may be read to the end of its message.
#[derive(Debug, Clone, Copy)]
struct RightOfWay {
    key: Key,
    id: u64,
    since: u64,
}

/// Who holds bytes, and can be made to let go of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    Session(Key),
    /// A message of a process of which some parts have arrived: it is for no session, so none is closed for it.
    Parts(u16, (u8, u64)),
}

impl Budget {
    /// Whether a refusal is to be told: not each of them is.
    pub(super) fn tells_of_refusals(&mut self, now: u64) -> bool {
        let is_due = self.refusal_said_at.is_none_or(|at| now - at > SAY_MS);
        if is_due {
            self.refusal_said_at = Some(now);
        }
        is_due
    }

    pub(super) fn new(config: &Config) -> Self {
        let limit = config.engine.memory_limit;
        let processes = u64::from(config.workers.count) + u64::from(config.tasks.count);
        // Each process has as much memory for the ring to it as for the one from it.
        let coming = processes * config.engine.ring_memory / 2;
        let limit_near = limit.map_or(u64::MAX, |limit| {
            limit / 8 * NEAR - coming.min(limit / 8 * MOST_COMING)
        });
        Self {
            limit,
            limit_near,
            near: u64::MAX,
            over: u64::MAX,
            measure_at: u64::MAX,
            share: u64::MAX,
            held_back: VecDeque::new(),
            right_of_way: None,
            yielded_at: 0,
            search_at: Instant::now(),
            level: Level::Calm,
            said_at: None,
            refusal_said_at: None,
        }
    }

    /// A session's fair share, in bytes.
    pub(super) fn share(&self) -> u64 {
        self.share
    }

    /// Those that are not read because the limit is near.
    pub(super) fn held_back_keys(&self) -> impl Iterator<Item = &(Key, u64)> {
        self.held_back.iter()
    }

    /// Others may make room, and nothing wakes this loop when they do.
    pub(super) fn is_watchful(&self) -> bool {
        self.level != Level::Calm || !self.held_back.is_empty()
    }
}

impl Loop {
    /// The limit, or what may come on top of it, may be another from now on.
    pub(super) fn change_memory_limit(&mut self) {
        let anew = Budget::new(&self.config);
        let before = &self.budget;
        if (anew.limit, anew.limit_near) == (before.limit, before.limit_near) {
            return;
        }
        // By the new one they are held back again, if at all.
        self.read_all_again();
        let index = usize::from(self.index);
        self.shared.largest[index].store(0, Ordering::Relaxed);
        self.counters.set(LoopCounter::HeldBack as usize, 0);
        self.budget = Budget {
            yielded_at: self.budget.yielded_at,
            ..anew
        };
    }

    /// Whether the limit is near.
    #[inline]
    pub(super) fn is_tight(&mut self) -> bool {
        self.held() >= self.budget.measure_at && self.measure() >= self.budget.near
    }

    /// Whether so many bytes more would pass the limit.
    pub(super) fn would_pass_limit(&self, more: usize) -> bool {
        self.held().saturating_add(more as u64) > self.budget.over
    }

    /// Looks how much all hold, once a turn.
    pub(super) fn look_at_memory(&mut self) {
        if self.budget.limit.is_none() {
            return;
        }
        let (mine, index) = (self.measure(), usize::from(self.index));
        let budget = &mut self.budget;
        let before = budget.level;
        budget.level = match mine {
            _ if mine < budget.near => Level::Calm,
            _ if mine > budget.over => Level::Over,
            _ => Level::Near,
        };
        let after = budget.level;
        if before != Level::Calm && after == Level::Calm {
            self.shared.largest[index].store(0, Ordering::Relaxed);
        }
        match after {
            Level::Calm => {
                // Some may have been held back since the last look although it was calm then as well.
                if before != Level::Calm || !self.budget.held_back.is_empty() {
                    self.read_all_again();
                }
            }
            Level::Near => {
                self.publish_largest();
                self.pass_right_of_way();
            }
            Level::Over => self.relieve(),
        }
        if before == Level::Calm && after != Level::Calm {
            self.say_near();
            // Another loop may sleep, and the largest be there.
            let peers = self.peers.iter().enumerate();
            let others = peers.filter(|(at, _)| *at != index);
            others.for_each(|(_, peer)| peer.wake());
        }
        self.counters.set(
            LoopCounter::HeldBack as usize,
            self.budget.held_back.len() as u64,
        );
    }

    /// Tells the other loops how much this one holds, and works out how much it may. Returns the former.
    fn measure(&mut self) -> u64 {
        let mine = self.held();
        let shared = &self.shared;
        shared.held[usize::from(self.index)].store(mine, Ordering::Relaxed);
        let held = shared.held.iter().map(|it| it.load(Ordering::Relaxed));
        let theirs = held.sum::<u64>().saturating_sub(mine);
        let sessions = shared.loads.iter().map(|it| it.load(Ordering::Relaxed));
        let sessions = sessions.sum::<usize>().max(1) as u64;
        let budget = &mut self.budget;
        if let Some(limit) = budget.limit {
            budget.share = limit / 8 * SHARES / sessions;
            budget.near = budget.limit_near.saturating_sub(theirs).max(1);
            budget.over = limit.saturating_sub(theirs);
            budget.measure_at = budget.near.min(mine + limit / STEPS);
        }
        mine
    }

    fn say_near(&mut self) {
        let (now, budget) = (self.clock.ms, &mut self.budget);
        if budget.said_at.is_none_or(|at| now - at > SAY_MS) {
            budget.said_at = Some(now);
            tracing::warn!(
                near = budget.limit_near,
                limit = budget.limit,
                fair_share = budget.share,
                "memory_limit is near: sessions over their fair share are not read for now"
            );
        }
    }

    /// Holds a session back if it has more than its share. False: it may be read.
    pub(super) fn hold_back(&mut self, key: Key) -> bool {
        let is_over = self.held() > self.budget.over;
        let session = &mut self.table[key];
        // Of a peer that has hung up no more comes than the kernel has, and then the session ends.
        if session.under_way() <= self.budget.share || session.hangup {
            return false;
        }
        if !is_over && self.shared.right_of_way.load(Ordering::Relaxed) == session.id {
            return false;
        }
        if !std::mem::replace(&mut session.held_back, true) {
            self.budget.held_back.push_back((key, session.id));
        }
        true
    }

    /// There is room again for all that were not read.
    fn read_all_again(&mut self) {
        self.yield_right_of_way();
        while let Some(key) = self.next_held_back() {
            let id = self.table[key].id;
            self.sweep.push_back((key, id));
        }
    }

    /// The next one that is not read, which will be.
    fn next_held_back(&mut self) -> Option<Key> {
        while let Some((key, id)) = self.budget.held_back.pop_front() {
            if self.table.at(key).is_some_and(|session| session.id == id) {
                self.table[key].held_back = false;
                return Some(key);
            }
        }
        None
    }

    /// Sees that one of those that wait comes further: else all could wait for ever, each for the rest of its message.
    fn pass_right_of_way(&mut self) {
        let now = self.clock.ms;
        if let Some(right) = self.budget.right_of_way {
            let RightOfWay { key, id, since } = right;
            let session = self.table.at(key).filter(|session| session.id == id);
            let goes_on = now - since < GO_FIRST_MS
                && session.is_some_and(|session| {
                    session.phase == Phase::Open
                        && session.under_way() > self.budget.share
                        && (session.in_hand() > 0
                            || now.saturating_sub(session.received_at.max(since)) < YIELD_MS)
                });
            if goes_on {
                // While the limit was passed it was held back like the others.
                if std::mem::take(&mut self.table[key].held_back) {
                    self.budget.held_back.retain(|(_, other)| *other != id);
                    self.schedule(key);
                }
                return;
            }
            self.yield_right_of_way();
        }
        if self.budget.held_back.is_empty()
            || (self.peers.len() > 1 && now - self.budget.yielded_at < PASS_MS)
        {
            return;
        }
        let claim = &self.shared.right_of_way;
        // Ids begin above zero, which stands for nobody.
        if claim.load(Ordering::Relaxed) == 0
            && let Some(key) = self.next_held_back()
        {
            let id = self.table[key].id;
            let claimed = self.shared.right_of_way.compare_exchange(
                0,
                id,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            if claimed.is_ok() {
                let since = now;
                self.budget.right_of_way = Some(RightOfWay { key, id, since });
                self.schedule(key);
            } else {
                self.table[key].held_back = true;
                self.budget.held_back.push_front((key, id));
            }
        }
    }

    fn yield_right_of_way(&mut self) {
        if self.budget.right_of_way.take().is_some() {
            self.shared.right_of_way.store(0, Ordering::Relaxed);
            self.budget.yielded_at = self.clock.ms;
        }
    }

    /// Whether the limit is passed.
    pub(super) fn is_over_limit(&mut self) -> bool {
        self.is_tight() && self.measure() > self.budget.over
    }

    /// Whether there is memory for so many bytes more of what an app asks for beside its sessions. Those that hold too much
    /// make room first.
    pub(super) fn has_memory_for(&mut self, bytes: usize) -> bool {
        if !self.would_pass_limit(bytes) {
            return true;
        }
        self.measure();
        if self.held() > self.budget.over {
            self.relieve();
        }
        !self.would_pass_limit(bytes)
    }

    /// Closes those that hold most, until there is room or another loop has a larger one.
    pub(super) fn relieve(&mut self) {
        let (mut holders, mut leaving) = self.publish_largest();
        let index = usize::from(self.index);
        let others = self.shared.largest.iter().enumerate();
        let theirs = others
            .filter(|(at, _)| *at != index)
            .map(|(_, largest)| largest.load(Ordering::Relaxed))
            .max()
            .unwrap_or(0);
        while let Some((held, holder)) = holders.pop() {
            let before = self.held();
            if held < theirs || before.saturating_sub(leaving) <= self.budget.over {
                return;
            }
            let next = holders.last().map_or(0, |(held, _)| *held);
            let key = match holder {
                Holder::Session(key) => key,
                Holder::Parts(at, name) => {
                    self.refuse_parts(at, name);
                    self.shared.largest[index].store(next, Ordering::Relaxed);
                    continue;
                }
            };
            let session = &self.table[key];
            let listener = &self.config.listeners[usize::from(session.listener)];
            tracing::warn!(
                session = %SessionId::from(session.id), listener = %listener.name, peer = %session.peer, held,
                reason = %CloseReason::Memory, "session closed: memory_limit is reached, and it holds most"
            );
            self.finish(key, CloseReason::Memory);
            leaving += held.saturating_sub(before.saturating_sub(self.held()));
            self.shared.largest[index].store(next, Ordering::Relaxed);
        }
    }

    /// Those that hold more than their share, the largest last; and tells the other loops how much that one holds.
    /// With it what those that have ended hold until their process is told: that goes without closing another.
    /// Nothing if it has only just looked.
    fn publish_largest(&mut self) -> (Vec<(u64, Holder)>, u64) {
        let now = self.clock.now();
        if now < self.budget.search_at {
            return (Vec::new(), 0);
        }
        self.budget.search_at = now + SEARCH_EVERY + SEARCH_EVERY_OF_EACH * self.table.len() as u32;
        let mut arriving: FxHashMap<u64, u64> = FxHashMap::default();
        let (mut holders, mut leaving) = (Vec::new(), 0);
        for (at, process) in &self.processes {
            for ((kind, id), message) in &process.partials {
                let held = message.bytes.len() as u64;
                if *kind == FromProcess::Send as u8 {
                    *arriving.entry(*id).or_default() += held;
                } else if held > self.budget.share {
                    holders.push((held, Holder::Parts(at as u16, (*kind, *id))));
                }
            }
        }
        for (key, session) in self.table.iter() {
            let arriving = arriving.get(&session.id).copied().unwrap_or(0);
            let held = session.held() + arriving;
            match session.phase {
                Phase::Ended(_) => leaving += held,
                Phase::Open | Phase::Ending(_) if held > self.budget.share => {
                    holders.push((held, Holder::Session(key)));
                }
                _ => {}
            }
        }
        holders.sort_unstable();
        let largest = holders.last().map_or(0, |(held, _)| *held);
        self.shared.largest[usize::from(self.index)].store(largest, Ordering::Relaxed);
        (holders, leaving)
    }
}
