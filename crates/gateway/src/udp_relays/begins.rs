//! The beginnings of relays of datagrams: whether a new client gets one.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::burst::Burst;
use crate::cx::unix_ms;
use crate::entry::{
    EntryRefusal, EntryRefused, Newcomer, is_allowed, log_refusal, note_denied, note_tickets,
    take_tickets,
};
use crate::event_loop::Loop;
use crate::ids::{Side, UdpRelayKey};
use crate::notes::Notes;
use crate::relay::destination::{Aim, aim};
use crate::relay::number;
use crate::shared::admission::Counted;
use crate::tools::Tools;
use crate::udp_relay::kept::Unanswered;
use crate::udp_relay::{UdpClient, UdpEnd, UdpMeters, UdpRelay, socket};
use crate::upstreams::{Attempts, SharedUpstream, Targets};
use moorline_protocol::control::LoopCounter;
use moorline_protocol::wire::{CloseReason, Peer};
use moorline_proxy::Text;

impl Loop {
    /// A client without a relay gets one, unless its listener forbids it. Then its datagram is lost.
    pub(super) fn begin_udp_relay(
        &mut self,
        client: UdpClient,
        front: &Arc<OwnedFd>,
        datagram: &[u8],
    ) -> Option<UdpRelayKey> {
        let serial = self.relays.next_serial();
        let tools = &mut self.tools;
        let settings = tools.cx.listener(client.listener);
        let is_closed = settings.is_retired || tools.cx.is_stopping();
        let shown = Peer::Ip(client.address);
        let number = number(serial, &tools.cx);
        let admitted = match is_closed {
            false => admit(&newcomer(&client, &shown, front, number), tools),
            true => None,
        };
        let Some((counted, mut notes)) = admitted else {
            tools.cx.count(LoopCounter::DatagramsDropped, 1);
            return None;
        };
        let newcomer = newcomer(&client, &shown, front, number);
        let Some((upstream, answer)) = destination(&newcomer, &self.relays.targets, tools) else {
            tools.cx.count(LoopCounter::DatagramsDropped, 1);
            tools.cx.shared.release(client.listener, &shown, counted);
            return None;
        };
        let cx = &tools.cx;
        if cx.listener(client.listener).uses.attempts {
            notes.get_or_insert_default().attempts = Some(Vec::new());
        }
        cx.note_relay(client.listener);
        let meters = UdpMeters {
            begun_at: unix_ms(),
            active_at: cx.clock.ms,
            spoke_last: Side::Client,
            requests: 0,
            responses: 0,
            bytes: [0; 2],
        };
        let attempts = Attempts::new(cx.clock.shared_ms());
        let key = self.udp_relays.insert(serial, |name| UdpRelay {
            name,
            client,
            shown,
            notes,
            counted,
            front: front.clone(),
            upstream,
            peer: None,
            last_peer: None,
            unanswered: Some(Box::new(Unanswered::new(attempts))),
            attempts: 0,
            meters,
            burst: Burst::default(),
            is_bound: true,
            is_leaving: false,
        });
        match answer {
            None => Some(key),
            Some(text) => {
                self.answer_client(key, datagram, &text);
                None
            }
        }
    }

    /// A client's datagram is answered with a text, which nginx's `return` does, too.
    fn answer_client(&mut self, key: UdpRelayKey, datagram: &[u8], text: &Text) {
        let (relay, tools) = (&mut self.udp_relays[key], &mut self.tools);
        relay.note(Side::Client, datagram.len(), tools);
        let client = &relay.client;
        let text = text.as_bytes();
        if !text.is_empty() {
            match socket::answer(&relay.front, &client.address, client.local, text) {
                Ok(()) => relay.note(Side::Upstream, text.len(), tools),
                Err(error) => {
                    tracing::debug!(client = %client.address, %error, "a datagram was not sent");
                    tools.cx.count(LoopCounter::DatagramsDropped, 1);
                }
            }
        }
        self.end_udp_relay(key, UdpEnd::Finished);
    }
}

/// A client that has no relay so far.
fn newcomer<'a>(
    client: &UdpClient,
    shown: &'a Peer,
    front: &'a OwnedFd,
    number: u64,
) -> Newcomer<'a> {
    Newcomer {
        tls: None,
        listener: client.listener,
        client: shown,
        socket: Some(front),
        notes: None,
        local: client.local,
        number,
        begun_at: None,
    }
}

/// The upstream that a new client's datagrams go to, or the text that it gets.
fn destination(
    newcomer: &Newcomer<'_>,
    targets: &Targets,
    tools: &mut Tools,
) -> Option<(Arc<SharedUpstream>, Option<Text>)> {
    let Tools { cx, refusals, .. } = tools;
    let listener = newcomer.listener;
    let why = match aim(&newcomer.facts(None, cx), targets) {
        None => {
            let upstream = targets.of_listener(listener.index()).cloned();
            return upstream.map(|upstream| (upstream, None));
        }
        Some(Aim::Upstream(upstream)) => return Some((upstream, None)),
        Some(Aim::Answer(text)) => return Some((SharedUpstream::nowhere(), Some(text))),
        Some(Aim::Nowhere(why)) => why,
    };
    log_refusal(newcomer, EntryRefusal::MISDIRECTED, cx);
    cx.count(LoopCounter::RelaysFailed, 1);
    if let Some(unlogged) = refusals.tells(listener, cx.clock.ms) {
        tracing::warn!(
            listener = %cx.listener(listener).name, client = %newcomer.client, unlogged,
            "datagram dropped: {why}"
        );
    }
    None
}

/// Counts a new client for the limits of its listener. `None`: one of them, or `access`, forbids it.
fn admit(newcomer: &Newcomer<'_>, tools: &mut Tools) -> Option<(Counted, Option<Box<Notes>>)> {
    let (listener, shown) = (newcomer.listener, newcomer.client);
    if !is_allowed(tools.cx.listener(listener), shown) {
        note_denied(newcomer, tools);
        return None;
    }
    let Tools { cx, refusals, .. } = tools;
    let admitted = cx.shared.admissions[listener.index()].admit(shown, Counted::ADMITTED);
    let mut counted = match admitted {
        Ok(counted) => counted,
        Err(limit) => {
            cx.count_limit(limit);
            log_refusal(newcomer, EntryRefusal::LIMITED, cx);
            if let Some(unlogged) = refusals.tells(listener, cx.clock.ms) {
                tracing::warn!(
                    listener = %cx.listener(listener).name, peer = %shown, reason = %CloseReason::Limit, unlogged,
                    "datagram dropped: {} is reached", limit.as_str()
                );
            }
            return None;
        }
    };
    cx.count_address(listener, shown, &mut counted);
    let mut notes = None;
    match take_tickets(newcomer, tools) {
        Ok(tickets) => note_tickets(&mut notes, tickets),
        Err(EntryRefused) => {
            tools.cx.shared.release(listener, shown, counted);
            return None;
        }
    }
    Some((counted, notes))
}
