//! The facts of a session for processes and the operator: when it begins somewhere, when it ends, and on request.

use crate::cx::{Cx, unix_ms};
use crate::ids::ListenerId;
use crate::session::Session;
use crate::session_request::head_length;
use crate::tls;
use moorline_protocol::control::SessionRow;
use moorline_protocol::wire::accept::Asking;
use moorline_protocol::wire::{Closing, Opening, SessionFacts};

/// The facts for the process where the session begins.
pub(crate) fn opening(session: &Session, adopted: bool) -> Vec<u8> {
    let opening = Opening {
        listener: session.listener.0,
        adopted,
        full: session.output.level.is_full(),
        peer: session.peer.clone(),
        connected_at: session.meters.connected_at,
        data: session.data(),
        tls: session.transport.tls.as_deref().map(tls::facts),
    };
    // Plain values only: there is nothing in it that could fail to be written.
    postcard::to_stdvec(&opening).unwrap_or_default()
}

/// The request that asks for the session, for the process that is asked about it.
pub(crate) fn asking(session: &Session) -> Vec<u8> {
    let head = &session.input.tail;
    let length = head_length(head).unwrap_or(head.len());
    let asking = Asking {
        listener: session.listener.0,
        peer: session.peer.clone(),
        connected_at: session.meters.connected_at,
        tls: session.transport.tls.as_deref().map(tls::facts),
        head: head[..length].to_vec(),
    };
    // Plain values only: there is nothing in it that could fail to be written.
    postcard::to_stdvec(&asking).unwrap_or_default()
}

/// The facts for a process at the session's end.
pub(crate) fn closing(session: &Session, cx: &Cx) -> Vec<u8> {
    let meters = &session.meters;
    let closing = Closing {
        received_at: unix(meters.received_at, cx),
        sent_at: unix(meters.sent_at, cx),
        paused: session.app.is_paused,
        kept: session.app.is_kept,
        messages: meters.messages,
        received: meters.bytes_in,
        sent: meters.bytes_out,
        code: session.input.farewell.code(),
        text: session.app.close_text().to_owned(),
    };
    // Plain values only: there is nothing in it that could fail to be written.
    postcard::to_stdvec(&closing).unwrap_or_default()
}

/// The facts for a process that asks. It knows the session's listener by this id.
pub(crate) fn facts(session: &Session, listener: ListenerId, cx: &Cx) -> SessionFacts {
    let meters = &session.meters;
    SessionFacts {
        id: session.id,
        listener: listener.0,
        peer: session.peer.clone(),
        connected_at: meters.connected_at,
        received_at: unix(meters.received_at, cx),
        sent_at: unix(meters.sent_at, cx),
        worker: session.placement.slot.0,
        key: session.app.key().to_vec(),
        label: session.app.label().to_vec(),
        paused: session.app.is_paused,
        kept: session.app.is_kept,
        messages: meters.messages,
        received: meters.bytes_in,
        sent: meters.bytes_out,
        queued: session.output.queued(),
        tls: session.transport.tls.as_deref().map(tls::facts),
    }
}

/// The facts for the operator.
pub(crate) fn row(session: &Session, now: u64, cx: &Cx) -> SessionRow {
    let meters = &session.meters;
    let placement = &session.placement;
    SessionRow {
        id: session.id.into(),
        listener: cx.listener(session.listener).name.clone(),
        peer: session.peer.to_string(),
        label: String::from_utf8_lossy(session.app.label()).into_owned(),
        worker: placement.process().map(|_| placement.slot.0),
        age_s: now.saturating_sub(meters.connected_at) / 1000,
        idle_s: (cx.clock.ms - meters.received_at.min(cx.clock.ms)) / 1000,
        messages: meters.messages,
        received: meters.bytes_in,
        sent: meters.bytes_out,
        queued: session.output.queued(),
        relay: None,
    }
}

/// The loop's milliseconds as those since the Unix epoch.
fn unix(ms: u64, cx: &Cx) -> u64 {
    unix_ms().saturating_sub(cx.clock.ms.saturating_sub(ms))
}
