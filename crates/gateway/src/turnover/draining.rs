//! Closes sessions and relays a few at a time: all of them when the engine stops, or the present ones in a drain.

use crate::commands::Order;
use crate::commands::Report;
use crate::cx::Stop;
use crate::ending::{act, close_unfinished};
use crate::event_loop::Loop;
use crate::event_loop::drain::{Drain, Leaver};
use crate::event_loop::pace::Pace;
use crate::ids::ListenerId;
use crate::relay::{RelayEnd, number};
use crate::session::{End, Phase, Session};
use crate::timers::Alarm;
use crate::tools::Tools;
use crate::udp_relay::UdpEnd;
use moorline_protocol::control::LoopCounter;
use moorline_protocol::wire::CloseReason;

/// The most sessions that one turn closes: with very many and little time the others must be served meanwhile.
const CLOSED_PER_TURN: usize = 256;
/// How often a drain that has asked all its sessions to close looks whether they have.
const LOOK_MS: u64 = 100;

/// How long after the deadline of a stop a loop reports that it is empty, even with sessions left, in milliseconds.
const STOP_GRACE_MS: u64 = 100;

/// Whether a session is not over yet.
fn goes_on(session: &Session) -> bool {
    !matches!(session.phase, Phase::Ended(_) | Phase::Lingering)
}

impl Loop {
    /// The engine stops: there are no new connections, and the sessions close one after the other, each when no message
    /// of it is in progress.
    pub(crate) fn stop(&mut self, order: &Order) {
        let cx = &mut self.tools.cx;
        if cx.is_stopping() {
            return;
        }
        let until = cx.clock.ms + (order.over + order.max_wait).as_millis() as u64;
        cx.stop = Stop::Until(until);
        for listener in (0..)
            .map(ListenerId)
            .take(self.tools.cx.config.listeners.len())
        {
            if let Some(socket) = self.acceptor.sockets.waited_for(listener) {
                self.poller.ignore_listener(socket);
            }
        }
        self.acceptor.sockets.close();
        self.begin_drain(order);
        self.tools.agenda.timers.set(until, Alarm::Stop);
    }

    /// Begins to close sessions. A drain in progress is replaced by this one.
    pub(crate) fn begin_drain(&mut self, order: &Order) {
        let cx = &self.tools.cx;
        let now = cx.clock.ms;
        let mut drain = Drain {
            number: order.number,
            pace: Pace::new(now, order.over, order.seed),
            members: Vec::new(),
            told: 0,
            listeners: order.listeners.clone(),
            last: self.sessions.last_id(),
            end: now + (order.over + order.max_wait).as_millis() as u64,
        };
        let sessions = self.sessions.iter();
        let sessions = sessions.filter(|session| goes_on(session) && drain.is_of(session.listener));
        let sessions = sessions.map(|session| Leaver::Session(session.name()));
        let relays = self.relays.iter();
        let relays = relays.filter(|relay| drain.is_of(relay.listener));
        let relays = relays.map(|relay| Leaver::Relay(relay.name));
        let of_datagrams = self.udp_relays.iter();
        let of_datagrams = of_datagrams.filter(|relay| drain.is_of(relay.client.listener));
        let of_datagrams = of_datagrams.map(|relay| Leaver::UdpRelay(relay.name));
        let mut members: Vec<_> = sessions.chain(relays).chain(of_datagrams).collect();
        drain.pace.shuffle(&mut members);
        let count = members.len() as u64;
        cx.counters.set(LoopCounter::ClosingOf as usize, count);
        drain.members = members;
        self.drain = Some(drain);
        self.go_on_draining(order.number);
    }

    /// Closes the session or relay with this id, when nothing of it is in progress. False: there is none.
    pub(crate) fn close_by_order(&mut self, id: u64) -> bool {
        let (groups, tools) = (&mut self.groups, &mut self.tools);
        if let Some(session) = self.sessions.find_mut(id).filter(|it| goes_on(it)) {
            act(
                session,
                End::WhenFlushed(CloseReason::Stopped),
                groups,
                tools,
            );
            tools.agenda.sweep.push_back(session.name());
            return true;
        }
        let is_it = |serial| number(serial, &tools.cx) == id;
        let relay = self.relays.iter().find(|it| is_it(it.name.serial));
        let of_datagrams = self.udp_relays.iter().find(|it| is_it(it.name.serial));
        match (relay.map(|it| it.name), of_datagrams.map(|it| it.name)) {
            (Some(name), _) => self.let_relay_leave(name),
            (None, Some(name)) => self.let_udp_relay_leave(name),
            (None, None) => return false,
        }
        true
    }

    /// Closes those whose time has come.
    pub(crate) fn go_on_draining(&mut self, number: u64) {
        // The timer may belong to a drain that another has replaced.
        let Some(mut drain) = self.drain.take_if(|drain| drain.number == number) else {
            return;
        };
        let (now, count) = (self.tools.cx.clock.ms, drain.members.len());
        let again = self.close_due(&mut drain);
        if now >= drain.end {
            self.cut_off(&drain.members);
        }
        if again.is_none() {
            // All were told. The remaining sessions end their messages in progress, and the remaining relays have something
            // to deliver, or their clients wait for an answer.
            let (sessions, relays) = (&self.sessions, &self.relays);
            let of_datagrams = &self.udp_relays;
            drain.members.retain(|member| match member {
                Leaver::Session(name) => sessions.named(*name).is_some_and(goes_on),
                Leaver::Relay(name) => relays.named(*name).is_some(),
                Leaver::UdpRelay(name) => of_datagrams.named(*name).is_some(),
            });
            drain.told = drain.members.len();
        }
        let left = match again {
            Some(_) => count - drain.told,
            None => drain.told,
        };
        let Tools { cx, agenda, .. } = &mut self.tools;
        cx.counters.set(LoopCounter::Closing as usize, left as u64);
        if left == 0 {
            cx.report(Report::Drained(number));
            return;
        }
        let again = again.unwrap_or(now + LOOK_MS).max(now + 1);
        agenda.timers.set(again, Alarm::Drain(number));
        self.drain = Some(drain);
    }

    /// Tells those whose time has come to close, one turn's share of them. Returns when the next is due, if one is left.
    fn close_due(&mut self, drain: &mut Drain) -> Option<u64> {
        let (now, count) = (self.tools.cx.clock.ms, drain.members.len());
        for closed in 0.. {
            let member = *drain.members.get(drain.told)?;
            let due = drain.pace.due(drain.told, count);
            if due > now || closed == CLOSED_PER_TURN {
                return Some(due);
            }
            drain.told += 1;
            match member {
                Leaver::Session(name) => {
                    let (groups, tools) = (&mut self.groups, &mut self.tools);
                    if let Some(session) = self.sessions.named_mut(name) {
                        let end = End::WhenFlushed(CloseReason::Stopped);
                        act(session, end, groups, tools);
                        tools.agenda.sweep.push_back(name);
                    }
                }
                Leaver::Relay(name) => self.let_relay_leave(name),
                Leaver::UdpRelay(name) => self.let_udp_relay_leave(name),
            }
        }
        None
    }

    /// Time is over: those that are still open close.
    fn cut_off(&mut self, members: &[Leaver]) {
        for member in members {
            match member {
                Leaver::Session(name) => {
                    if let Some(session) = self.sessions.named_mut(*name) {
                        close_unfinished(session, &mut self.groups, &mut self.tools);
                    }
                }
                Leaver::Relay(name) => {
                    if self.relays.named(*name).is_some() {
                        self.end_relay(name.key, RelayEnd::Stopped);
                    }
                }
                Leaver::UdpRelay(name) => {
                    if self.udp_relays.named(*name).is_some() {
                        self.end_udp_relay(name.key, UdpEnd::Stopped);
                    }
                }
            }
        }
    }

    /// The time to stop is over: everything that is still open closes.
    pub(crate) fn end_all(&mut self) {
        for session in self.sessions.iter_mut() {
            close_unfinished(session, &mut self.groups, &mut self.tools);
        }
        let relays: Vec<_> = self.relays.iter().map(|relay| relay.name.key).collect();
        for key in relays {
            self.end_relay(key, RelayEnd::Stopped);
        }
        self.end_udp_relays();
    }

    /// Reports once that no session is left after `Stop`. True: look again soon.
    pub(crate) fn look_whether_empty(&mut self) -> bool {
        let Tools { cx, processes, .. } = &mut self.tools;
        let Stop::Until(until) = cx.stop else {
            return false;
        };
        let is_over = cx.clock.ms > until + STOP_GRACE_MS;
        let is_told = processes.iter_mut().all(|(_, process)| process.is_told());
        let lives = |session: &Session| session.phase != Phase::Lingering;
        let is_relaying = self.relays.len() + self.udp_relays.len() > 0;
        let is_empty = !is_relaying && !self.sessions.iter().any(lives);
        if !(is_over || is_told && is_empty) {
            return true;
        }
        cx.stop = Stop::Empty;
        cx.report(Report::Empty);
        false
    }
}
