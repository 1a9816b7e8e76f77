//! Whether a client may come in at all, by the rules of its listener.

use crate::ids::ListenerId;
use crate::tools::Tools;
use moorline_config::Listener;
use moorline_protocol::control::Limit;
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
pub(crate) fn note_denied(listener: ListenerId, client: &Peer, tools: &mut Tools) {
    let Tools { cx, refusals, .. } = tools;
    if let Some(unlogged) = refusals.tells(listener, cx.clock.ms) {
        tracing::warn!(
            listener = %cx.listener(listener).name, peer = %client, reason = %CloseReason::Handshake, unlogged,
            "connection refused: `access` denies it"
        );
    }
    cx.count_closed(CloseReason::Handshake);
    cx.count_limit(Limit::Access);
}
