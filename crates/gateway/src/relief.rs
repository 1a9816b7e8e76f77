//! What a loop does when memory runs out. Near the limit it tells the others. Over the limit the largest session is
//! closed, unless none holds more than its share: then the sessions are not the cause. Other data of apps (posts,
//! tasks, broadcasts, in parts or whole) is refused if it would pass the limit.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::ending::finish;
use crate::event_loop::Loop;
use crate::event_loop::pressure::{Pressed, Pressure};
use crate::ids::{ProcessKey, RelayKey, SessionKey};
use crate::memory::Class;
use crate::relay::RelayEnd;
use crate::session::Phase;
use crate::tools::Tools;
use moorline_protocol::control::LoopCounter;
use moorline_protocol::session_id::SessionId;
use moorline_protocol::wire::{CloseReason, FromProcess};

/// The shortest time between two searches of all sessions for the largest, and how much longer it is for each session. A
/// look at one costs about 50 ns, so this never takes more than a twentieth of the time.
const SEARCH_EVERY: Duration = Duration::from_millis(1);
const SEARCH_EVERY_OF_EACH: Duration = Duration::from_micros(1);

/// The holders of bytes that can be made to release them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    Session(SessionKey),
    Relay(RelayKey),
    /// A message of a process of which some parts have arrived: it belongs to no session, so no session is closed for
    /// it.
    Parts(ProcessKey, (u8, u64)),
}

impl Loop {
    /// The limit, or the reserve for rings, may change from now on.
    pub(crate) fn change_memory_limit(&mut self) {
        let Tools {
            cx,
            memory,
            throttle,
            agenda,
            ..
        } = &mut self.tools;
        if !memory.change_limit(&cx.config) {
            return;
        }
        // The new limit decides whether they are held back again.
        throttle.read_all_again(&mut self.sessions, agenda, cx);
        cx.shared.largest[usize::from(cx.index)].store(0, Ordering::Relaxed);
        cx.counters.set(LoopCounter::Throttled as usize, 0);
        self.pressure = Pressure::new();
    }

    /// Compares what all loops hold with the limit, once a turn.
    pub(crate) fn look_at_memory(&mut self) {
        let Tools {
            cx,
            memory,
            throttle,
            agenda,
            ..
        } = &mut self.tools;
        if memory.limit().is_none() {
            return;
        }
        let index = usize::from(cx.index);
        let mut mine = memory.measure(cx);
        if memory.is_near(mine) && memory.history() > 0 {
            // The loop that counts them makes room before a session is held back.
            cx.shared.hub.give_way(memory.over_near(mine));
            mine = memory.measure(cx);
        }
        let before = self.pressure.standing;
        let after = match mine {
            _ if !memory.is_near(mine) => Pressed::Calm,
            _ if memory.is_over(mine) => Pressed::Over,
            _ => Pressed::Near,
        };
        self.pressure.standing = after;
        if before != Pressed::Calm && after == Pressed::Calm {
            cx.shared.largest[index].store(0, Ordering::Relaxed);
        }
        match after {
            Pressed::Calm => {
                // Some may have been held back since the last look, even if it was calm then, too.
                if before != Pressed::Calm || !throttle.held_back().is_empty() {
                    throttle.read_all_again(&mut self.sessions, agenda, cx);
                }
            }
            Pressed::Near => {
                self.publish_largest();
                let tools = &mut self.tools;
                tools.throttle.pass_right_of_way(
                    &mut self.sessions,
                    &tools.memory,
                    &mut tools.agenda,
                    &tools.cx,
                );
            }
            Pressed::Over => self.relieve(),
        }
        if before == Pressed::Calm && after != Pressed::Calm {
            self.say_near();
        }
        let held_back = self.tools.throttle.held_back().len() as u64;
        let counters = &self.tools.cx.counters;
        counters.set(LoopCounter::Throttled as usize, held_back);
    }

    fn say_near(&mut self) {
        let Tools { cx, memory, .. } = &self.tools;
        let now = cx.clock.ms;
        if let Some((limit, near)) = memory.limit()
            && self.pressure.is_to_be_said(now)
        {
            tracing::warn!(
                near,
                limit,
                fair_share = memory.share(),
                "memory_limit is near: sessions over their fair share are not read for now"
            );
        }
        // Another loop may sleep and have the largest session.
        let peers = cx.peers.iter().enumerate();
        let others = peers.filter(|(at, _)| *at != usize::from(cx.index));
        others.for_each(|(_, peer)| peer.wake());
    }

    /// Whether there is memory for this many bytes more of an app's data beside its sessions. Sessions that hold too
    /// much make room first.
    pub(crate) fn has_memory_for(&mut self, bytes: usize) -> bool {
        let Tools { cx, memory, .. } = &mut self.tools;
        if !memory.would_pass_limit(bytes) {
            return true;
        }
        let held = memory.measure(cx);
        if memory.is_over(held) {
            self.relieve();
        }
        !self.tools.memory.would_pass_limit(bytes)
    }

    /// Makes room if a step has found that the limit is passed.
    #[inline]
    pub(crate) fn relieve_if_asked(&mut self) {
        if self.tools.memory.takes_relief() {
            self.relieve();
        }
    }

    /// Closes the largest sessions, until there is room or another loop has a larger one.
    #[cold]
    fn relieve(&mut self) {
        let (mut holders, mut leaving) = self.publish_largest();
        let tools = &self.tools;
        let index = usize::from(tools.cx.index);
        let others = tools.cx.shared.largest.iter().enumerate();
        let theirs = others
            .filter(|(at, _)| *at != index)
            .map(|(_, largest)| largest.load(Ordering::Relaxed))
            .max()
            .unwrap_or(0);
        while let Some((held, holder)) = holders.pop() {
            let (groups, tools) = (&mut self.groups, &mut self.tools);
            let before = tools.memory.held();
            if held < theirs || !tools.memory.is_over(before.saturating_sub(leaving)) {
                return;
            }
            let next = holders.last().map_or(0, |(held, _)| *held);
            match holder {
                Holder::Parts(at, name) => {
                    if let Some(message) = tools.processes[at].partials.get_mut(&name) {
                        tools.memory.release(Class::Parts, message.refuse());
                    }
                }
                Holder::Relay(key) => {
                    let relay = &self.relays[key];
                    let listener = tools.cx.listener(relay.listener);
                    tracing::warn!(
                        relay = relay.name.serial, listener = %listener.name, client = %relay.client, held,
                        "relay closed: memory_limit is reached, and it holds most"
                    );
                    self.end_relay(key, RelayEnd::Memory);
                }
                Holder::Session(key) => {
                    let session = &mut self.sessions[key];
                    let listener = tools.cx.listener(session.listener);
                    tracing::warn!(
                        session = %SessionId::from(session.id), listener = %listener.name, peer = %session.peer, held,
                        reason = %CloseReason::Memory, "session closed: memory_limit is reached, and it holds most"
                    );
                    finish(session, CloseReason::Memory, groups, tools);
                    let freed = before.saturating_sub(tools.memory.held());
                    leaving += held.saturating_sub(freed);
                }
            }
            self.tools.cx.shared.largest[index].store(next, Ordering::Relaxed);
        }
    }

    /// Sessions that hold more than their share, the largest last. Tells the other loops how much that one holds.
    /// Including ended sessions whose process is not told yet: that memory comes back without closing another session.
    /// Nothing if it has only just measured.
    fn publish_largest(&mut self) -> (Vec<(u64, Holder)>, u64) {
        let Tools {
            cx,
            memory,
            processes,
            ..
        } = &self.tools;
        let now = cx.clock.now();
        if now < self.pressure.search_at {
            return (Vec::new(), 0);
        }
        let sessions = (self.sessions.len() + self.relays.len()) as u32;
        self.pressure.search_at = now + SEARCH_EVERY + SEARCH_EVERY_OF_EACH * sessions;
        let share = memory.share();
        let mut arriving: FxHashMap<u64, u64> = FxHashMap::default();
        let (mut holders, mut leaving) = (Vec::new(), 0);
        for (at, process) in processes.iter() {
            for ((kind, id), message) in &process.partials {
                let held = message.bytes.len() as u64;
                if *kind == FromProcess::Send as u8 {
                    *arriving.entry(*id).or_default() += held;
                } else if held > share {
                    holders.push((held, Holder::Parts(at, (*kind, *id))));
                }
            }
        }
        for session in self.sessions.iter() {
            let arriving = arriving.get(&session.id).copied().unwrap_or(0);
            let held = session.held() + arriving;
            match session.phase {
                Phase::Ended(_) => leaving += held,
                Phase::Open
                | Phase::Ending(_)
                | Phase::Request
                | Phase::Asking { .. }
                | Phase::Refused(_)
                    if held > share =>
                {
                    holders.push((held, Holder::Session(session.key)));
                }
                _ => {}
            }
        }
        for relay in self.relays.iter() {
            let held = relay.held() as u64;
            if held > share {
                holders.push((held, Holder::Relay(relay.name.key)));
            }
        }
        holders.sort_unstable();
        let largest = holders.last().map_or(0, |(held, _)| *held);
        cx.shared.largest[usize::from(cx.index)].store(largest, Ordering::Relaxed);
        (holders, leaving)
    }
}
