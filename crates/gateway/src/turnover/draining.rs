//! Closes sessions a few at a time: all of them when the engine stops, or the present ones in a drain.

use crate::commands::Order;
use crate::commands::Report;
use crate::cx::Stop;
use crate::ending::{act, close_unfinished};
use crate::event_loop::Loop;
use crate::event_loop::drain::Drain;
use crate::event_loop::pace::Pace;
use crate::ids::SessionRef;
use crate::session::{End, Phase, Session};
use crate::timers::Alarm;
use crate::tools::Tools;
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
        self.acceptor.sockets.close();
        self.begin_drain(order);
        self.tools.agenda.timers.set(until, Alarm::Stop);
    }

    /// Begins to close sessions. A drain in progress is replaced by this one.
    pub(crate) fn begin_drain(&mut self, order: &Order) {
        let is_meant = |session: &&Session| {
            let listeners = order.listeners.as_ref();
            goes_on(session)
                && listeners.is_none_or(|listeners| listeners.contains(&session.listener))
        };
        let meant = self.sessions.iter().filter(is_meant);
        let mut sessions: Vec<_> = meant.map(Session::name).collect();
        let cx = &self.tools.cx;
        let now = cx.clock.ms;
        let pace = Pace::new(now, order.over, order.seed);
        pace.shuffle(&mut sessions);
        let count = sessions.len() as u64;
        cx.counters.set(LoopCounter::ClosingOf as usize, count);
        self.drain = Some(Drain {
            number: order.number,
            pace,
            sessions,
            told: 0,
            end: now + (order.over + order.max_wait).as_millis() as u64,
        });
        self.go_on_draining(order.number);
    }

    /// Closes those whose time has come.
    pub(crate) fn go_on_draining(&mut self, number: u64) {
        // The timer may belong to a drain that another has replaced.
        let Some(mut drain) = self.drain.take_if(|drain| drain.number == number) else {
            return;
        };
        let (now, count) = (self.tools.cx.clock.ms, drain.sessions.len());
        let again = self.close_due(&mut drain);
        if now >= drain.end {
            self.cut_off(&drain.sessions);
        }
        if again.is_none() {
            // All were told. The remaining sessions end their messages in progress.
            let sessions = &self.sessions;
            let stays = |name: &SessionRef| sessions.named(*name).is_some_and(goes_on);
            drain.sessions.retain(stays);
            drain.told = drain.sessions.len();
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
        let (groups, tools) = (&mut self.groups, &mut self.tools);
        let (now, count) = (tools.cx.clock.ms, drain.sessions.len());
        for closed in 0.. {
            let name = *drain.sessions.get(drain.told)?;
            let due = drain.pace.due(drain.told, count);
            if due > now || closed == CLOSED_PER_TURN {
                return Some(due);
            }
            drain.told += 1;
            if let Some(session) = self.sessions.named_mut(name) {
                let end = End::WhenFlushed(CloseReason::Stopped);
                act(session, end, groups, tools);
                tools.agenda.sweep.push_back(name);
            }
        }
        None
    }

    /// Time is over: sessions that are still open close.
    fn cut_off(&mut self, sessions: &[SessionRef]) {
        for name in sessions {
            if let Some(session) = self.sessions.named_mut(*name) {
                close_unfinished(session, &mut self.groups, &mut self.tools);
            }
        }
    }

    /// The time to stop is over: everything that is still open closes.
    pub(crate) fn end_all(&mut self) {
        for session in self.sessions.iter_mut() {
            close_unfinished(session, &mut self.groups, &mut self.tools);
        }
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
        if !is_over && (!is_told || self.sessions.iter().any(lives)) {
            return true;
        }
        cx.stop = Stop::Empty;
        cx.report(Report::Empty);
        false
    }
}
