//! The timers of a loop that are due.

use crate::alarms;
use crate::ending::act;
use crate::event_loop::Loop;
use crate::ids::SessionRef;
use crate::input::server::look_for_certificate;
use crate::input::slowloris;
use crate::pulse;
use crate::session::{End, Session};
use crate::timers::Alarm;
use crate::tools::Tools;

/// Timers that run in one turn: many sessions may have been accepted in one moment.
const TIMERS_PER_TURN: usize = 256;

impl Loop {
    /// Does what is due, a turn's share of it. True: there may be more.
    pub(super) fn run_timers(&mut self) -> bool {
        let Tools { cx, agenda, .. } = &mut self.tools;
        agenda.timers.prune(&self.sessions);
        // What is due again at once waits for the next turn.
        let mut due = std::mem::take(&mut self.due);
        while due.len() < TIMERS_PER_TURN
            && let Some(alarm) = agenda.timers.due(cx.clock.ms)
        {
            due.push(alarm);
        }
        let may_be_more = due.len() == TIMERS_PER_TURN;
        for alarm in due.drain(..) {
            self.run_timer(alarm);
        }
        self.due = due;
        let may_be_more = self.look_after_peers() || may_be_more;
        let may_be_more = self.look_after_relays() || may_be_more;
        let may_be_more = self.look_after_udp_relays() || may_be_more;
        self.relieve_if_asked();
        may_be_more
    }

    /// Looks after the peers that are due, a turn's share of them. True: there may be more.
    fn look_after_peers(&mut self) -> bool {
        let now = self.tools.cx.clock.ms;
        for _ in 0..TIMERS_PER_TURN {
            let Some(key) = self.tools.agenda.pulses.due(now) else {
                return false;
            };
            if let Some(name) = self.sessions.at(key).map(Session::name) {
                self.check(name, pulse::check);
            }
        }
        true
    }

    fn run_timer(&mut self, alarm: Alarm) {
        match alarm {
            Alarm::Idle(name) => self.check(name, alarms::check_idle),
            Alarm::Flush(name) => self.check(name, alarms::check_flush),
            Alarm::Handshake(name) => {
                self.check(name, alarms::check_handshake);
            }
            Alarm::Certificate(name) => self.check(name, look_for_certificate),
            Alarm::Slowloris(name) => self.check(name, slowloris::check),
            Alarm::Output(name) => self.check(name, alarms::check_output),
            Alarm::HalfClose(name) => {
                self.check(name, |it, tools| alarms::check_half_closed(it, tools));
            }
            Alarm::Linger(name) => {
                if self.sessions.named(name).is_some() {
                    self.forget(name.key);
                }
            }
            Alarm::Connect(name) => self.look_at_attempt(name),
            Alarm::Pace(name) => self.resume_pace(name),
            Alarm::Accept(listener) => self.resume_accepting(listener),
            Alarm::Requests => self.exchanges.timer_is_due(&mut self.tools),
            Alarm::Tasks => self.tasks.timer_is_due(&mut self.tools),
            Alarm::Drain(number) => self.go_on_draining(number),
            Alarm::Histories => self.look_after_histories(),
            Alarm::Stop => self.end_all(),
        }
    }

    /// Looks at a session whose timer is due, if it is still there.
    fn check(
        &mut self,
        name: SessionRef,
        look: impl Fn(&mut Session, &mut Tools) -> Result<(), End>,
    ) {
        let Some(session) = self.sessions.named_mut(name) else {
            return;
        };
        if let Err(end) = look(session, &mut self.tools) {
            act(session, end, &mut self.groups, &mut self.tools);
        }
    }
}
