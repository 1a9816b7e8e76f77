//! The ends of relays of datagrams.

use std::time::Duration;

use crate::cx::{Cx, unix_ms};
use crate::event_loop::Loop;
use crate::ids::{ListenerId, Side, UdpRelayKey, UdpRelayRef};
use crate::memory::Class;
use crate::tools::Tools;
use crate::udp_relay::{UdpEnd, UdpRelay};
use crate::udp_relays::fail;
use crate::upstreams::{Failure, NoPeer};
use moorline_config::{Config, Listener};
use moorline_protocol::control::LoopCounter;

impl Loop {
    /// Ends a relay.
    pub(crate) fn end_udp_relay(&mut self, key: UdpRelayKey, end: UdpEnd) {
        self.forget_kept(key);
        let Some(mut relay) = self.udp_relays.remove(key) else {
            return;
        };
        let Tools { cx, .. } = &self.tools;
        if end == UdpEnd::Unanswered {
            fail(&mut relay, Failure::TimedOut, &self.tools);
        }
        if let Some(peer) = &relay.peer {
            let lasted = Duration::from_millis(cx.clock.ms - peer.since);
            let now = cx.clock.shared_ms();
            if relay.meters.responses == 0 {
                relay.upstream.undisturbed(peer.key, peer.address, now);
            }
            relay.upstream.closed(peer.key, now, lasted);
        }
        let listener = relay.client.listener;
        cx.leaves(listener);
        cx.shared.release(listener, &relay.shown, relay.counted);
        log_access(&relay, end, cx);
        let settings = cx.config.listeners.get(listener.index());
        if settings.is_some_and(|it| it.is_retired) && self.udp_relays.count_of(listener) == 0 {
            self.stop_listening(listener);
        }
    }

    /// Another peer will not be needed.
    pub(super) fn forget_kept(&mut self, key: UdpRelayKey) {
        let relays = &mut self.udp_relays;
        if let Some(unanswered) = relays.at_mut(key).and_then(|relay| relay.unanswered.take()) {
            relays.kept -= unanswered.held();
            self.tools.memory.release(Class::Queued, unanswered.held());
        }
    }

    /// No peer can be reached.
    pub(super) fn tell_unreachable(&mut self, key: UdpRelayKey, why: NoPeer) {
        let relay = &mut self.udp_relays[key];
        let Tools { cx, refusals, .. } = &mut self.tools;
        if let Some(notes) = &mut relay.notes
            && notes.attempts.is_some()
            && relay
                .upstream
                .passed_over(why, relay.attempts, cx.clock.shared_ms())
        {
            notes.note_nobody(&relay.upstream.name, cx.clock.ms);
        }
        cx.count(LoopCounter::RelaysFailed, 1);
        if let Some(unlogged) = refusals.tells(relay.client.listener, cx.clock.ms) {
            tracing::warn!(
                listener = %cx.listener(relay.client.listener).name, client = %relay.client.address,
                upstream = %relay.upstream.name, attempts = relay.attempts, unlogged, "datagrams lost: {why}"
            );
        }
    }

    /// A relay ends as soon as its client has been answered.
    pub(crate) fn let_udp_relay_leave(&mut self, name: UdpRelayRef) {
        let Some(relay) = self.udp_relays.named_mut(name) else {
            return;
        };
        relay.is_leaving = true;
        if relay.is_quiet() {
            self.end_udp_relay(name.key, UdpEnd::Stopped);
        }
    }

    /// Ends all of them: the time to stop is over.
    pub(crate) fn end_udp_relays(&mut self) {
        let keys: Vec<_> = self.udp_relays.iter().map(|it| it.name.key).collect();
        for key in keys {
            self.end_udp_relay(key, UdpEnd::Stopped);
        }
    }

    /// Whether a removed listener still hears the clients that it has, because nobody else would.
    pub(crate) fn is_still_heard(&self, listener: ListenerId, config: &Config) -> bool {
        let Some(removed) = config.listeners.get(listener.index()) else {
            return false;
        };
        // A port that the system has chosen stays with its listener.
        let is_chosen = removed.address.host_port().is_some_and(|at| at.port == 0);
        let takes_over =
            |it: &Listener| !it.is_retired && !is_chosen && it.address == removed.address;
        self.udp_relays.count_of(listener) > 0 && !config.listeners.iter().any(takes_over)
    }
}

/// One line for each relay, as for those of connections.
fn log_access(relay: &UdpRelay, end: UdpEnd, cx: &Cx) {
    let place = relay.client.listener.index();
    let listener = cx.config.listeners.get(place);
    let logs = &cx.shared.access_logs;
    if listener.is_some_and(|listener| listener.stream.access_log.is_some())
        && logs.log(place, &relay.facts(Some(end), cx))
    {
        return;
    }
    let meters = &relay.meters;
    tracing::info!(
        target: "access",
        relay = relay.name.serial,
        listener = listener.map_or("", |listener| &listener.name),
        client = %relay.client.address,
        upstream = %relay.upstream.name,
        peer = relay.last_peer.map(tracing::field::display),
        attempts = relay.attempts,
        reason = end.as_str(),
        received = meters.bytes[Side::Client as usize],
        sent = meters.bytes[Side::Upstream as usize],
        requests = meters.requests,
        responses = meters.responses,
        duration_ms = unix_ms().saturating_sub(meters.begun_at),
        "datagrams relayed"
    );
}
