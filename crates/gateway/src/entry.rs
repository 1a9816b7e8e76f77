//! Whether a client may come in at all, by the rules of its listener.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use moorline_net::tls::TlsRecords;

use crate::commands::Report;
use crate::connection_facts::ConnectionFacts;
use crate::cx::{Cx, unix_ms};
use crate::ids::ListenerId;
use crate::notes::Notes;
use crate::refusal_log::{KeptOut, RefusalLog};
use crate::session::Session;
use crate::shared::limits::{LimitStatus, LimitTicket};
use crate::tools::Tools;
use moorline_config::Listener;
use moorline_protocol::control::{Limit, ListenerCounter};
use moorline_protocol::wire::{CloseReason, Peer};

/// Whether the listener's `access` lets this client in.
pub(crate) fn is_allowed(settings: &Listener, client: &Peer) -> bool {
    let ip = match client {
        Peer::Ip(address) => Some(address.ip()),
        _ => None,
    };
    settings.stream.access.allows(ip)
}

/// The listener's `access` keeps this client out.
pub(crate) fn note_denied(newcomer: &Newcomer<'_>, tools: &mut Tools) {
    let Tools { cx, refusals, .. } = tools;
    let (listener, client) = (newcomer.listener, newcomer.client);
    log_refusal(newcomer, EntryRefusal::DENIED, cx);
    if let Some(unlogged) = refusals.tells(listener, cx.clock.ms) {
        tracing::warn!(
            listener = %cx.listener(listener).name, peer = %client, reason = %CloseReason::Handshake, unlogged,
            "connection refused: `access` denies it"
        );
    }
    cx.count_closed(CloseReason::Handshake);
    cx.count_limit(Limit::Access);
}

/// The supervisor learns once a second where most of the connections come from that limits keep out.
pub(crate) fn report_refused(
    (listener, client, limit): (ListenerId, &Peer, Limit),
    refusals: &mut RefusalLog,
    cx: &Cx,
) {
    let Peer::Ip(address) = client else {
        return;
    };
    let address = address.ip();
    let refused = KeptOut {
        listener,
        limit,
        address,
    };
    if let Some(most) = refusals.note(refused, cx.clock.ms) {
        cx.report(Report::Refused(most));
    }
}

/// A connection whose client is known, and nothing else of it.
pub(crate) struct Newcomer<'a> {
    pub(crate) listener: ListenerId,
    pub(crate) client: &'a Peer,
    pub(crate) socket: Option<&'a OwnedFd>,
    pub(crate) notes: Option<&'a Notes>,
    /// Its TLS, before its handshake has begun.
    pub(crate) tls: Option<&'a TlsRecords>,
    /// The address that a datagram was sent to, where the socket has several.
    pub(crate) local: Option<IpAddr>,
    /// No other connection of its kind has it; 0: it has none yet.
    pub(crate) number: u64,
    /// In milliseconds since the Unix epoch. `None`: it begins now.
    pub(crate) begun_at: Option<u64>,
}

/// A connection that is in the table of sessions.
pub(crate) fn newcomer(session: &Session) -> Newcomer<'_> {
    Newcomer {
        listener: session.listener,
        client: &session.peer,
        socket: session.transport.socket.as_ref(),
        notes: session.notes.as_deref(),
        tls: None,
        local: None,
        number: session.id,
        begun_at: Some(session.meters.connected_at),
    }
}

/// It must be closed.
pub(crate) struct EntryRefused;

/// Why a connection got no further, as access logs tell it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EntryRefusal {
    /// As nginx's.
    status: u16,
    reason: &'static str,
}

impl EntryRefusal {
    /// `access` denies it, or it does not come from a trusted proxy.
    pub(crate) const DENIED: Self = Self::new(403, "denied");
    /// A limit is reached.
    pub(crate) const LIMITED: Self = Self::new(503, "limited");
    /// What the client has sent first cannot be read.
    pub(crate) const UNPARSED: Self = Self::new(400, "unparsed");
    /// Its TLS handshake has failed.
    pub(crate) const HANDSHAKE: Self = Self::new(500, "handshake");

    /// Its destination does not exist.
    pub(crate) const MISDIRECTED: Self = Self::new(500, "misdirected");

    const fn new(status: u16, reason: &'static str) -> Self {
        Self { status, reason }
    }
}

/// Leaves a line in the access logs of its listener.
pub(crate) fn log_refusal(newcomer: &Newcomer<'_>, refusal: EntryRefusal, cx: &Cx) {
    let listener = newcomer.listener;
    cx.count_of(listener, ListenerCounter::Refused, 1);
    if cx.listener(listener).stream.access_log.is_some() {
        let facts = newcomer.facts(Some(refusal), cx);
        cx.shared.access_logs.log(listener.index(), &facts);
    }
}

/// Counts a connection for the limits of its listener.
///
/// # Errors
/// It is over one of them, and counts for none.
pub(crate) fn take_tickets(
    newcomer: &Newcomer<'_>,
    tools: &mut Tools,
) -> Result<(Vec<LimitTicket>, LimitStatus), EntryRefused> {
    let Tools { cx, refusals, .. } = tools;
    let settings = cx.listener(newcomer.listener);
    if settings.stream.limits.is_empty() {
        return Ok((Vec::new(), LimitStatus::Uncounted));
    }
    let held = newcomer.notes.map_or(&[][..], |notes| &notes.tickets);
    let mut tickets = Vec::new();
    let mut is_over = false;
    for bound in &*cx.shared.limits.of(newcomer.listener.index()) {
        let key = newcomer.facts(None, cx).filled(&bound.counts.key);
        let why = match bound.take(key.as_bytes(), held) {
            Ok(ticket) => {
                tickets.extend(ticket);
                continue;
            }
            Err(why) => why,
        };
        let (limit, is_dry_run) = (&bound.counts.name, bound.is_dry_run);
        if let Some(unlogged) = refusals.tells(newcomer.listener, cx.clock.ms) {
            let outcome = match is_dry_run {
                true => "would be refused by a limit, but for `dry_run`",
                false => "refused by a limit",
            };
            tracing::warn!(
                listener = %settings.name, peer = %newcomer.client, reason = %CloseReason::Limit, limit, unlogged,
                "connection {outcome}: {}", why.as_str()
            );
        }
        if is_dry_run {
            cx.count_limit(Limit::KeysDryRun);
            is_over = true;
            continue;
        }
        log_refusal(newcomer, EntryRefusal::LIMITED, cx);
        cx.count_limit(Limit::Keys);
        let refused = (newcomer.listener, newcomer.client, Limit::Keys);
        report_refused(refused, refusals, cx);
        cx.count_closed(CloseReason::Limit);
        return Err(EntryRefused);
    }
    let status = match is_over {
        true => LimitStatus::OverInDryRun,
        false if tickets.is_empty() => LimitStatus::Uncounted,
        false => LimitStatus::Passed,
    };
    Ok((tickets, status))
}

/// Keeps them with the connection that they count, beside those that it has.
pub(crate) fn note_tickets(
    notes: &mut Option<Box<Notes>>,
    (tickets, status): (Vec<LimitTicket>, LimitStatus),
) {
    if status == LimitStatus::Uncounted {
        return;
    }
    let notes = notes.get_or_insert_default();
    notes.tickets.extend(tickets);
    if notes.limit_status != LimitStatus::OverInDryRun {
        notes.limit_status = status;
    }
}

impl Newcomer<'_> {
    pub(crate) fn facts<'a>(
        &'a self,
        refusal: Option<EntryRefusal>,
        cx: &'a Cx,
    ) -> ConnectionFacts<'a> {
        ConnectionFacts {
            cx,
            listener: self.listener,
            client: self.client,
            notes: self.notes,
            socket: self.socket,
            local: self.local,
            tls: self.tls,
            number: self.number,
            begun_at: self.begun_at.unwrap_or_else(unix_ms),
            relayed: None,
            status: refusal.map(|it| it.status),
            reason: refusal.map_or("", |it| it.reason),
        }
    }
}
