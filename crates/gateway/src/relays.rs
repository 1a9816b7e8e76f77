//! Relays in the loop: how they begin, go on and end.

mod leaving;

use std::os::fd::{AsFd, OwnedFd};

use crate::arrival::Arrival;
use crate::cx::{Cx, unix_ms};
use crate::event_loop::Loop;
use crate::ids::{ListenerId, RelayKey, RelayRef, RelayTag, Side};
use crate::memory::{Class, TLS_BYTES};
use crate::poller::Readiness;
use crate::relay::attempts::Connecting;
use crate::relay::connecting::{
    Reached, ask_another, connect, forget_deadline, hear, keep_alive, look,
};
use crate::relay::destination::{Aim, aim, answer, first_upstream};
use crate::relay::flow::{Flow, LastWords, break_off, end, pump};
use crate::relay::pace::set_rates;
use crate::relay::sealed::say_farewell;
use crate::relay::way::WayPhase;
use crate::relay::{Cause, Fault, Relay, RelayEnd, RelayMeters, RelayPhase, RelaySide, RelayStage};
use crate::tools::Tools;
use moorline_protocol::control::LoopCounter;
use moorline_protocol::wire::{CloseReason, Peer};
use moorline_proxy::Text;
use rustix::io::Errno;

/// How long a relay waits, after one side has broken, for the other one to take what is left, in milliseconds: as long
/// as a closed session does for its peer.
const LINGER_MS: u64 = 2_000;
/// Relays that go on in one turn.
const RELAYS_PER_TURN: usize = 256;

impl Loop {
    /// A connection is relayed from now on. It may have ended already, also if it has a name.
    pub(crate) fn begin_relay(
        &mut self,
        socket: OwnedFd,
        (listener, client): (ListenerId, Peer),
        mut arrival: Arrival,
    ) -> Option<RelayRef> {
        let tools = &mut self.tools;
        let (settings, at) = (tools.cx.listener(listener), listener.index());
        let Some(upstream) = first_upstream(settings, at, &self.relays.targets) else {
            give_up((listener, client), arrival, &tools.cx);
            return None;
        };
        tools.welcome(&mut arrival, (listener, &client));
        let Arrival {
            received,
            tls,
            unsent,
            counted,
            mut notes,
        } = arrival;
        if tools.cx.listener(listener).uses.attempts {
            notes.get_or_insert_default().attempts = Some(Vec::new());
        }
        let held = received.len() + unsent.len();
        let key = self.relays.insert(|name| {
            let shared = tools.cx.clock.shared_ms();
            let meters = RelayMeters {
                begun_at: unix_ms(),
                active_at: tools.cx.clock.ms,
                spoke_last: (!received.is_empty()).then_some(Side::Client),
            };
            let mut relay = Relay {
                name,
                listener,
                client,
                counted,
                upstream,
                stage: RelayStage::Connecting(Box::new(Connecting::new(shared))),
                sides: [RelaySide::new(socket, tls), RelaySide::default()],
                ways: Default::default(),
                meters,
                notes,
                is_scheduled: false,
                phase: match tools.cx.is_stopping() {
                    true => RelayPhase::Leaving,
                    false => RelayPhase::Open,
                },
            };
            relay.way_mut(Side::Client).keep_uncounted(&received);
            relay.way_mut(Side::Upstream).keep(&unsent);
            relay
        });
        let relay = &mut self.relays[key];
        set_rates(relay, tools);
        tools.memory.hold(Class::Queued, held);
        tools.cx.note_relay(listener);
        let socket = relay.side(Side::Client).socket.as_ref();
        let watched = socket.map(|it| self.poller.watch_relay(relay.tag(Side::Client), it.as_fd()));
        if let Some(Err(error)) = watched {
            tracing::warn!(%error, "cannot watch a new connection");
            self.end_relay(key, RelayEnd::Unreachable);
            return None;
        }
        let name = relay.name;
        self.direct_relay(key);
        Some(name)
    }

    /// A new relay goes where its listener or its own text says.
    fn direct_relay(&mut self, key: RelayKey) {
        let (relays, tools) = (&mut self.relays, &mut self.tools);
        let facts = relays[key].facts(None, &tools.cx);
        match aim(&facts, &relays.targets) {
            None => {}
            Some(Aim::Upstream(upstream)) => relays[key].upstream = upstream,
            Some(Aim::Answer(text)) => return self.answer_relay(key, &text),
            Some(Aim::Nowhere(why)) => return self.misdirect_relay(key, &why),
        }
        let reached = connect(&mut self.relays[key], &self.poller, tools);
        self.after_attempt(key, reached);
    }

    /// The client of a relay gets a text, and then the end.
    fn answer_relay(&mut self, key: RelayKey, text: &Text) {
        let (relay, tools) = (&mut self.relays[key], &mut self.tools);
        // A client that does not end is not waited for any longer.
        let until = tools.cx.clock.ms + LINGER_MS;
        let answered = answer(relay, text, tools);
        self.relays.looks.set(key, until);
        match answered {
            Ok(()) => self.go_on_relaying(key),
            Err(fault) => self.break_relay(key, fault),
        }
    }

    /// The destination of a relay does not exist.
    fn misdirect_relay(&mut self, key: RelayKey, why: &str) {
        let relay = &self.relays[key];
        let Tools { cx, refusals, .. } = &mut self.tools;
        cx.count(LoopCounter::RelaysFailed, 1);
        if let Some(unlogged) = refusals.tells(relay.listener, cx.clock.ms) {
            tracing::warn!(
                listener = %cx.listener(relay.listener).name, client = %relay.client, unlogged,
                "connection closed: {why}"
            );
        }
        self.end_relay(key, RelayEnd::Misdirected);
    }

    /// Goes on where attempts to connect have got to.
    fn after_attempt(&mut self, key: RelayKey, reached: Reached) {
        match reached {
            Reached::Waits => {}
            Reached::Joined => {
                self.watch_idle_relay(key);
                self.go_on_relaying(key);
            }
            Reached::Nobody(why) => {
                let relay = &mut self.relays[key];
                let Tools { cx, refusals, .. } = &mut self.tools;
                let made = relay.attempts();
                if let Some(notes) = &mut relay.notes
                    && notes.attempts.is_some()
                    && relay.upstream.passed_over(why, made, cx.clock.shared_ms())
                {
                    notes.note_nobody(&relay.upstream.name, cx.clock.ms);
                }
                cx.count(LoopCounter::RelaysFailed, 1);
                if let Some(unlogged) = refusals.tells(relay.listener, cx.clock.ms) {
                    tracing::warn!(
                        listener = %cx.listener(relay.listener).name, client = %relay.client, upstream = %relay.upstream.name,
                        attempts = relay.attempts(), unlogged, "connection closed: {why}"
                    );
                }
                self.end_relay(key, RelayEnd::Unreachable);
            }
            Reached::Unready => {
                self.tools.cx.count(LoopCounter::RelaysFailed, 1);
                self.end_relay(key, RelayEnd::Unready);
            }
        }
    }

    /// Something has happened to a socket of a relay.
    pub(crate) fn relay_is_ready(&mut self, tag: RelayTag, readiness: Readiness) {
        let Some(relay) = self.relays.heard_mut(tag) else {
            return;
        };
        let (key, side) = (tag.key, tag.side);
        let tools = &mut self.tools;
        relay.side_mut(side).note(readiness);
        if let RelayStage::Connecting(_) = relay.stage {
            match side {
                Side::Client => {
                    // One that has closed may have sent something before.
                    if readiness.has_failed() {
                        self.end_relay(key, RelayEnd::Client);
                    }
                }
                Side::Upstream => {
                    let reached = hear(relay, readiness, &self.poller, tools);
                    self.after_attempt(key, reached);
                }
            }
            return;
        }
        let mut moved = Ok(Flow::Waits);
        if readiness.is_readable() {
            moved = pump(relay, side, tools);
        }
        if let Ok(flow) = moved
            && readiness.is_writable()
            && relay.way(side.other()).waits_for_room()
        {
            moved = pump(relay, side.other(), tools).map(|other| flow.and(other));
        }
        let way = relay.way(side);
        let is_held = way.has_kept() || relay.paced_until(side).is_some();
        let is_read_later = way.phase == WayPhase::Open && is_held;
        let is_news = relay.broken() != Some(side) && !is_read_later && !relay.is_over();
        if readiness.has_failed() && moved == Ok(Flow::Waits) && is_news {
            // Nothing is read there or sent there, so nothing else would say so.
            moved = Err(Fault::broken(side, Errno::CONNRESET));
        }
        self.after_pumping(key, moved);
    }

    /// Goes on with those that are due, a turn's share of them.
    pub(crate) fn work_for_relays(&mut self) {
        self.tools.budget.renew();
        for _ in 0..self.relays.work.len().min(RELAYS_PER_TURN) {
            if self.tools.budget.is_spent() {
                // Those that are left are the first ones of the next turn.
                break;
            }
            let Some(name) = self.relays.work.pop_front() else {
                break;
            };
            if let Some(relay) = self.relays.named_mut(name) {
                relay.is_scheduled = false;
                self.go_on_relaying(name.key);
            }
        }
        self.tools.budget.renew();
        self.leave_peers();
        self.empty_stalled_pipes();
    }

    /// Takes pipes away from relays whose sinks have stopped reading, if others want them.
    fn empty_stalled_pipes(&mut self) {
        let tools = &mut self.tools;
        for (name, from) in tools.scratch.pipes.stalled(tools.cx.clock.ms) {
            let Some(relay) = self.relays.named_mut(name) else {
                continue;
            };
            if tools.memory.is_tight(&tools.cx) {
                return;
            }
            let way = relay.way_mut(from);
            let before = way.held();
            let left = way.leave_pipe(&mut tools.scratch.pipes);
            tools.memory.change(Class::Queued, before, way.held());
            if let Err(error) = left {
                self.break_relay(name.key, Fault::broken(from.other(), error));
                return;
            }
        }
    }

    /// Moves what can be moved now.
    fn go_on_relaying(&mut self, key: RelayKey) {
        let moved = pump_both(&mut self.relays[key], &mut self.tools);
        self.after_pumping(key, moved);
    }

    fn after_pumping(&mut self, key: RelayKey, moved: Result<Flow, Fault>) {
        let flow = match moved {
            Ok(flow) => flow,
            Err(fault) => {
                self.break_relay(key, fault);
                return;
            }
        };
        if flow == Flow::More {
            self.relays.schedule(key);
        }
        let (relay, tools) = (&mut self.relays[key], &self.tools);
        relay.note_first_bytes(&tools.cx);
        relay.let_go_of_broken();
        if relay.is_over() {
            let reason = relay.reason();
            self.end_relay(key, reason);
        } else if flow == Flow::Waits && relay.phase == RelayPhase::Leaving && relay.is_quiet() {
            self.end_relay(key, RelayEnd::Stopped);
        }
    }

    /// A side is gone. Another peer is asked if nothing has passed, or else what the side has sent is delivered.
    fn break_relay(&mut self, key: RelayKey, fault: Fault) {
        let (relay, tools) = (&mut self.relays[key], &mut self.tools);
        tracing::debug!(relay = relay.name.serial, ?fault, "connection broke");
        // A peer that ended before it was reset has said all: that is a broken pipe. After another error its socket ends, too.
        let before = relay.phase;
        if matches!(fault.cause, Cause::Error(error) if error != Errno::PIPE) {
            relay.phase = RelayPhase::CutOff;
        }
        let words = take_last_words(relay, fault, tools);
        if before != RelayPhase::Leaving && ask_another(relay, fault, tools) {
            relay.phase = before;
            self.go_to_next_peer(key);
            return;
        }
        if fault.cause == Cause::EndedAtOnce {
            // It may still receive.
            end(relay, fault.side, tools);
            self.go_on_relaying(key);
            return;
        }
        if relay.broken() == Some(fault.side) && relay.way(fault.side).phase == WayPhase::Open {
            // That was the end of what it had sent.
            end(relay, fault.side, tools);
            self.go_on_relaying(key);
            return;
        }
        if relay.is_broken() {
            let reason = relay.reason();
            self.end_relay(key, reason);
            return;
        }
        if let RelayStage::Joined(joined) = &mut relay.stage {
            joined.broken = Some(fault.side);
        }
        break_off(relay, fault.side, words, tools);
        let moved = pump_both(relay, tools);
        relay.let_go_of_broken();
        if moved.is_err() || relay.is_over() {
            let reason = relay.reason();
            self.end_relay(key, reason);
            return;
        }
        self.relays.looks.set(key, tools.cx.clock.ms + LINGER_MS);
        if moved == Ok(Flow::More) {
            self.relays.schedule(key);
        }
    }

    /// More bytes of a relay may pass.
    pub(crate) fn resume_pace(&mut self, name: RelayRef) {
        let now = self.tools.cx.clock.ms;
        if let Some(relay) = self.relays.named_mut(name)
            && let Some(pace) = relay.pace_mut()
        {
            pace.resume(now);
            // One that asks another peer goes on once that one has answered.
            if let RelayStage::Joined(_) = relay.stage {
                self.go_on_relaying(name.key);
            }
        }
    }

    /// The timer of an attempt to connect has come.
    pub(crate) fn look_at_attempt(&mut self, name: RelayRef) {
        if let Some(relay) = self.relays.named_mut(name)
            && let RelayStage::Connecting(_) = relay.stage
        {
            let reached = look(relay, &self.poller, &mut self.tools);
            self.after_attempt(name.key, reached);
        }
    }

    /// Looks after those that are due, a turn's share of them. True: there may be more.
    pub(crate) fn look_after_relays(&mut self) -> bool {
        let now = self.tools.cx.clock.ms;
        for _ in 0..RELAYS_PER_TURN {
            let Some(key) = self.relays.looks.due(now) else {
                return false;
            };
            let relay = &mut self.relays[key];
            keep_alive(relay, &self.tools.cx);
            if relay.is_broken() {
                let until = relay.meters.active_at + LINGER_MS;
                if until > now {
                    // The other side takes what is left.
                    self.relays.looks.set(key, until);
                    continue;
                }
                let reason = relay.reason();
                self.end_relay(key, reason);
                continue;
            }
            if let RelayStage::Connecting(_) = relay.stage {
                // A timer of its own looks after it.
                continue;
            }
            match idle_at(relay, &self.tools.cx) {
                Some(at) if at <= now => self.end_relay(key, RelayEnd::Idle),
                Some(at) => self.relays.looks.set(key, at),
                None => {}
            }
        }
        true
    }

    /// Watches whether a relay becomes idle for too long.
    fn watch_idle_relay(&mut self, key: RelayKey) {
        if let Some(at) = idle_at(&self.relays[key], &self.tools.cx) {
            self.relays.looks.set(key, at);
        }
    }

    /// The timeouts of listeners have changed.
    pub(crate) fn watch_idle_relays(&mut self) {
        let is_watched =
            |relay: &&Relay| matches!(relay.stage, RelayStage::Joined(_)) && !relay.is_broken();
        let watched = self.relays.iter().filter(is_watched);
        let watched: Vec<_> = watched.map(|relay| relay.name.key).collect();
        for key in watched {
            self.relays.looks.remove(key);
            self.watch_idle_relay(key);
        }
    }

    /// A relay closes as soon as nothing is cut off by that.
    pub(crate) fn let_relay_leave(&mut self, name: RelayRef) {
        let Some(relay) = self.relays.named_mut(name) else {
            return;
        };
        if relay.phase == RelayPhase::Open {
            relay.phase = RelayPhase::Leaving;
        }
        if let RelayStage::Joined(_) = relay.stage {
            // A question or an answer may have come, whose event has not.
            for side in &mut relay.sides {
                side.is_readable = true;
            }
            self.go_on_relaying(name.key);
        }
    }

    /// Closes a relay.
    pub(crate) fn end_relay(&mut self, key: RelayKey, end: RelayEnd) {
        let Some(mut relay) = self.relays.remove(key) else {
            return;
        };
        let tools = &mut self.tools;
        // What was cut off must not look complete.
        if matches!(
            end,
            RelayEnd::Finished | RelayEnd::Stopped | RelayEnd::Unreachable | RelayEnd::Unready
        ) {
            say_farewell(&mut relay, Side::Client, tools);
        }
        let memory = &mut tools.memory;
        for side in [Side::Client, Side::Upstream] {
            memory.release(Class::Queued, relay.way(side).held());
            if let Some(tls) = &relay.side(side).tls {
                memory.release(Class::Received, tls.unfinished());
                memory.release(Class::Tls, TLS_BYTES);
            }
        }
        match &relay.stage {
            RelayStage::Connecting(connecting) => {
                if let Some(attempt) = &connecting.present {
                    forget_deadline(relay.name, attempt, tools);
                    relay.upstream.abandoned(attempt.peer);
                }
            }
            RelayStage::Joined(joined) => {
                let clock = &tools.cx.clock;
                let (shared, lasted) = (clock.shared_ms(), clock.since(joined.since));
                relay.upstream.closed(joined.peer, shared, lasted);
            }
            RelayStage::Answered => {}
        }
        let cx = &tools.cx;
        cx.leaves(relay.listener);
        cx.shared
            .release(relay.listener, &relay.client, relay.counted);
        log_access(&relay, end, cx);
    }
}

/// A reload has taken the upstream of a listener while this connection was on its way.
fn give_up((listener, client): (ListenerId, Peer), arrival: Arrival, cx: &Cx) {
    tracing::info!(
        listener = %cx.listener(listener).name, %client, reason = %CloseReason::Handshake,
        "connection closed: its listener relays no more"
    );
    cx.count_closed(CloseReason::Handshake);
    cx.shared.release(listener, &client, arrival.counted);
}

/// Moves what a side that is gone had sent before: the error may be older than the event that tells of it.
fn take_last_words(relay: &mut Relay, fault: Fault, tools: &mut Tools) -> LastWords {
    // Where TLS itself has failed, nothing more can be read.
    if fault.cause == Cause::EndedAtOnce || relay.is_broken() {
        return LastWords::Read;
    }
    relay.side_mut(fault.side).is_readable = true;
    if let Some(pace) = relay.pace_mut() {
        pace.lift(fault.side);
    }
    match pump(relay, fault.side, tools) {
        Ok(Flow::Waits) if !relay.way(fault.side).has_kept() => LastWords::Read,
        Ok(_) => LastWords::Left,
        // That it is gone is known.
        Err(_) => LastWords::Read,
    }
}

/// Moves what both sides have sent.
fn pump_both(relay: &mut Relay, tools: &mut Tools) -> Result<Flow, Fault> {
    let ahead = pump(relay, Side::Client, tools)?;
    Ok(ahead.and(pump(relay, Side::Upstream, tools)?))
}

/// When a relay has been idle for too long, in the loop's milliseconds.
fn idle_at(relay: &Relay, cx: &Cx) -> Option<u64> {
    let timeout = cx.listener(relay.listener).idle_timeout?;
    let held = [Side::Client, Side::Upstream].map(|side| relay.paced_until(side));
    let active_at = held
        .into_iter()
        .flatten()
        .fold(relay.meters.active_at, u64::max);
    Some(active_at + timeout.as_millis() as u64)
}

/// One line for each relay, under the target of those for sessions.
fn log_access(relay: &Relay, end: RelayEnd, cx: &Cx) {
    let listener = cx.config.listeners.get(relay.listener.index());
    let logs = &cx.shared.access_logs;
    if listener.is_some_and(|listener| listener.stream.access_log.is_some())
        && logs.log(relay.listener.index(), &relay.facts(Some(end), cx))
    {
        return;
    }
    let peer = match &relay.stage {
        RelayStage::Joined(joined) => Some(&joined.address),
        RelayStage::Connecting(_) | RelayStage::Answered => None,
    };
    let meters = &relay.meters;
    tracing::info!(
        target: "access",
        relay = relay.name.serial,
        listener = listener.map_or("", |listener| &listener.name),
        client = %relay.client,
        upstream = %relay.upstream.name,
        peer = peer.map(tracing::field::display),
        attempts = relay.attempts(),
        reason = end.as_str(),
        received = relay.way(Side::Client).bytes,
        sent = relay.way(Side::Upstream).bytes,
        duration_ms = unix_ms().saturating_sub(meters.begun_at),
        "relay closed"
    );
}
