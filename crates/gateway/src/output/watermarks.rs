//! The watermarks of a session's output queue: its senders learn when it is full, and when it has drained.

use bytes::Bytes;
use moorline_ipc::Header;
use moorline_net::watermark::Level;

use crate::ids::ProcessKey;
use crate::session::{End, Session};
use crate::timeouts::watch_output;
use crate::tools::Tools;
use moorline_protocol::session_id::SessionId;
use moorline_protocol::wire::{CloseReason, ToProcess};

/// How the sender of a message behaves while the session is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    /// It waits as soon as it knows. What is under way until then closes no session.
    Waits,
    /// It goes on.
    GoesOn,
}

/// Compares the queue with its marks, after it has grown.
///
/// # Errors
/// It has passed `hard_limit`, or, by a sender that waits, even what can be under way on top of that: the session ends.
pub(crate) fn weigh(session: &mut Session, sender: Sender, tools: &mut Tools) -> Result<(), End> {
    tools.memory.ask_for_relief(&tools.cx);
    let most = most_queued(tools);
    let listener = tools.cx.listener(session.listener);
    let queued = session.output.queued();
    let is_over = |limit: u64| queued > limit;
    if is_over(listener.hard_limit)
        && (sender == Sender::GoesOn || is_over(listener.hard_limit + under_way(session, tools)))
    {
        tracing::warn!(
            session = %SessionId::from(session.id), listener = %listener.name, peer = %session.peer, queued,
            reason = %CloseReason::Slow, "session closed: it reads too slowly, hard_limit is passed"
        );
        return Err(End::Now(CloseReason::Slow));
    }
    let high = listener.high_watermark.min(most);
    if !session.output.level.is_full() && queued > high {
        session.output.level = Level::Full;
        tell_watermark(session, tools);
    }
    watch_output(session, tools);
    Ok(())
}

/// What senders that wait can have sent before they learn that the session is full: each what its ring holds, and a message
/// behind that.
fn under_way(session: &Session, tools: &Tools) -> u64 {
    let queue = session.output.queue.as_ref();
    // Its own process, the others that know already, and one that is about to be told.
    let senders = 2 + queue.map_or(0, |queue| queue.others_told.len() as u64);
    let engine = &tools.cx.config.engine;
    let ring = engine.ring_memory / u64::from(engine.gateway_loops).max(1) / 2;
    let message = tools.cx.listener(session.listener).max_message();
    senders * (ring + 2 * message)
}

/// What a session may have queued because of the memory limit: near it no more than its share.
pub(crate) fn most_queued(tools: &mut Tools) -> u64 {
    if tools.memory.is_tight(&tools.cx) {
        tools.memory.share()
    } else {
        u64::MAX
    }
}

/// Compares the queue with marks that have changed. A queue over the new hard limit is left alone until it grows: a
/// reload closes no session.
pub(crate) fn weigh_anew(session: &mut Session, tools: &mut Tools) {
    let listener = tools.cx.listener(session.listener);
    let (high, low) = (listener.high_watermark, listener.low_watermark);
    let before = session.output.level;
    session.output.level = before.after(session.output.queued(), high, low);
    if session.output.level != before {
        tell_watermark(session, tools);
        if !session.output.level.is_full() {
            tell_other_senders(session, ToProcess::Drained, tools);
        }
    }
}

/// Tells the session's process when the queue has passed a watermark. False: there is no room for it.
pub(crate) fn tell_watermark(session: &mut Session, tools: &mut Tools) -> bool {
    let output = &mut session.output;
    if output.level == output.told {
        return true;
    }
    let Some(at) = session.placement.process() else {
        return true;
    };
    let kind = match output.level {
        Level::Full => ToProcess::Full,
        Level::Drained => ToProcess::Drained,
    };
    let process = &mut tools.processes[at];
    if !process.tell(kind, session.id) {
        tools.processes.park(session, at);
        return false;
    }
    output.told = output.level;
    // At once: while the turn goes on, the sender does, too.
    process.publish();
    true
}

/// A process that does not have the session sent to it: while the session is full it is told once, and when it has drained.
pub(crate) fn warn_other_sender(session: &mut Session, at: ProcessKey, tools: &mut Tools) {
    if !session.output.level.is_full() {
        return;
    }
    let Some(queue) = &mut session.output.queue else {
        return;
    };
    if queue.others_told.contains(&at) {
        return;
    }
    let process = &mut tools.processes[at];
    if process.tell(ToProcess::Full, session.id) {
        queue.others_told.push(at);
        process.publish();
    }
}

/// Tells the processes that wait to send to a session that is not theirs: it has drained, or has ended.
pub(crate) fn tell_other_senders(session: &mut Session, kind: ToProcess, tools: &mut Tools) {
    let Some(queue) = &mut session.output.queue else {
        return;
    };
    let header = Header {
        kind: kind as u8,
        session: session.id,
        ..Header::default()
    };
    let Tools {
        processes, memory, ..
    } = tools;
    for at in std::mem::take(&mut queue.others_told) {
        // They wait for this and nothing else would wake them, so it waits for room like a post.
        if processes.get(at).is_some() {
            processes.transfer(at, header, Bytes::new(), memory);
        }
    }
}
