//! The watermarks of a session's output queue: its senders learn when it is full, and when it has drained.

use bytes::Bytes;
use moorline_ipc::Header;
use moorline_net::watermark::Level;

use crate::ids::ProcessKey;
use crate::processes::Processes;
use crate::session::table::Table;
use crate::session::{End, Session};
use crate::timeouts::watch_output;
use crate::tools::Tools;
use moorline_protocol::control::LoopCounter;
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
    tools.agenda.await_room(session);
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
        set_level(session, Level::Full, tools);
        tell_watermark(session, tools);
    }
    watch_output(session, tools);
    Ok(())
}

/// What senders that wait can have sent before they learn that the session is full.
fn under_way(session: &Session, tools: &Tools) -> u64 {
    let queue = session.output.queue.as_ref();
    let (mut owed, mut most) = (0, 0);
    for (_, process) in tools.processes.iter() {
        owed += u64::from(process.owed.contains(&session.name()));
        most = most.max(process.under_way(session.listener));
    }
    // Its own process, the others that know already or are owed, and one that is about to be told.
    let senders = 2 + owed + queue.map_or(0, |queue| queue.others_told.len() as u64);
    senders * most
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
    set_level(
        session,
        before.after(session.output.queued(), high, low),
        tools,
    );
    if session.output.level != before {
        tell_watermark(session, tools);
        if !session.output.level.is_full() {
            tell_other_senders(session, ToProcess::Drained, tools);
        }
    }
}

/// The only place where a session becomes full, or is so no more: those that are full are counted.
pub(crate) fn set_level(session: &mut Session, level: Level, tools: &Tools) {
    let counters = &tools.cx.counters;
    match (session.output.level, level) {
        _ if session.has_ended() => {}
        (Level::Drained, Level::Full) => counters.add(LoopCounter::Full as usize, 1),
        (Level::Full, Level::Drained) => counters.sub(LoopCounter::Full as usize, 1),
        _ => {}
    }
    session.output.level = level;
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
    let level = output.level;
    let name = session.name();
    let process = &mut tools.processes[at];
    let is_told = match level {
        Level::Full => process.tell_full(name),
        Level::Drained => process.tell(ToProcess::Drained, name.id),
    };
    if !is_told {
        tools.processes.park(session, at);
        return false;
    }
    process.publish();
    session.output.told = level;
    true
}

/// Tells a process what it is owed: which sessions are full.
pub(crate) fn tell_owed(at: ProcessKey, sessions: &mut Table, processes: &mut Processes) {
    while let Some(&name) = processes[at].owed.first() {
        let session = sessions.named_mut(name);
        let session = session.filter(|session| session.output.level.is_full());
        let Some(session) = session else {
            processes[at].forgive(name);
            continue;
        };
        let is_its_own = session.placement.process() == Some(at);
        let knows = match &session.output.queue {
            _ if is_its_own => session.output.told.is_full(),
            Some(queue) => queue.others_told.contains(&at),
            None => true,
        };
        if knows {
            processes[at].forgive(name);
            continue;
        }
        if !processes[at].tell_full(name) {
            return;
        }
        match &mut session.output.queue {
            _ if is_its_own => session.output.told = Level::Full,
            Some(queue) => queue.others_told.push(at),
            None => {}
        }
    }
}

/// A process that does not have the session sent to it: while the session is full it is told once, and when it has drained.
pub(crate) fn warn_other_sender(session: &mut Session, at: ProcessKey, tools: &mut Tools) {
    if !session.output.level.is_full() {
        return;
    }
    let name = session.name();
    let Some(queue) = &mut session.output.queue else {
        return;
    };
    if queue.others_told.contains(&at) {
        return;
    }
    if tools.processes[at].tell_full(name) {
        queue.others_told.push(at);
    } else {
        tools.processes.block(at);
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
