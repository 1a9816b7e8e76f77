//! The times at which relays of datagrams are looked at.

use crate::cx::Cx;
use crate::event_loop::Loop;
use crate::ids::UdpRelayKey;
use crate::udp_relay::{UdpEnd, UdpRelay};
use crate::upstreams::NAMES_MS;

/// Relays that are looked at in one turn.
const LOOKS_PER_TURN: usize = 256;

impl Loop {
    /// Looks after those that are due, a turn's share of them. True: there may be more.
    pub(crate) fn look_after_udp_relays(&mut self) -> bool {
        let now = self.tools.cx.clock.ms;
        for _ in 0..LOOKS_PER_TURN {
            let Some(key) = self.udp_relays.looks.due(now) else {
                return false;
            };
            self.look_after_udp_relay(key, now);
        }
        true
    }

    fn look_after_udp_relay(&mut self, key: UdpRelayKey, now: u64) {
        let relay = &self.udp_relays[key];
        let name = relay.name;
        if relay.peer.is_none() {
            self.reach(key);
            if self
                .udp_relays
                .named(name)
                .is_some_and(|it| it.peer.is_some())
            {
                self.after_request(key);
            }
            return;
        }
        if relay.unanswered.as_ref().is_some_and(|it| it.until <= now) {
            self.forget_kept(key);
        }
        let relay = &self.udp_relays[key];
        let is_idle = idle_at(relay, &self.tools.cx).is_some_and(|at| at <= now);
        if !is_idle {
            self.watch_udp_relay(key);
            return;
        }
        let rules = self.tools.cx.listener(relay.client.listener).datagrams;
        let meters = &relay.meters;
        let is_answered = rules.is_answered(meters.requests, meters.responses);
        let end = match rules.responses.is_none() || is_answered {
            true => UdpEnd::Idle,
            false => UdpEnd::Unanswered,
        };
        self.end_udp_relay(key, end);
    }

    /// Looks at a relay when it may be idle for too long, or needs no other peer any more.
    pub(super) fn watch_udp_relay(&mut self, key: UdpRelayKey) {
        let relay = &self.udp_relays[key];
        let until = relay.unanswered.as_ref().map(|it| it.until);
        let at = [until, idle_at(relay, &self.tools.cx)]
            .into_iter()
            .flatten();
        match at.min() {
            Some(at) => self.udp_relays.looks.set(key, at),
            None => self.udp_relays.looks.remove(key),
        }
    }

    /// Looks soon whether a name is resolved.
    pub(super) fn look_for_names(&mut self, key: UdpRelayKey) {
        let at = self.tools.cx.clock.ms + NAMES_MS;
        self.udp_relays.looks.set(key, at);
    }

    /// The timeouts of listeners have changed.
    pub(crate) fn watch_udp_relays_anew(&mut self) {
        let joined = self.udp_relays.iter().filter(|it| it.peer.is_some());
        let joined: Vec<_> = joined.map(|relay| relay.name.key).collect();
        for key in joined {
            self.watch_udp_relay(key);
        }
    }
}

/// When a relay has been idle for too long, in the loop's milliseconds.
fn idle_at(relay: &UdpRelay, cx: &Cx) -> Option<u64> {
    let timeout = cx.listener(relay.client.listener).idle_timeout?;
    Some(relay.meters.active_at + timeout.as_millis() as u64)
}
