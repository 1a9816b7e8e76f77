//! TLS handshakes that fail.

use crate::entry::{EntryRefusal, log_refusal, newcomer};
use crate::session::{End, Session};
use crate::tools::Tools;
use moorline_protocol::session_id::SessionId;
use moorline_protocol::wire::CloseReason;

/// A handshake has failed, or has taken too long.
pub(crate) fn refused(session: &Session, reason: &str, tools: &Tools) -> End {
    let listener = tools.cx.listener(session.listener);
    tracing::info!(
        session = %SessionId::from(session.id), listener = %listener.name, peer = %session.peer, error = reason,
        reason = %CloseReason::Handshake, "tls handshake failed"
    );
    log_refusal(&newcomer(session), EntryRefusal::HANDSHAKE, &tools.cx);
    End::Now(CloseReason::Handshake)
}
