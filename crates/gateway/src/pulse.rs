//! Whether a session's peer still lives: a silent one is sent a ping, and one that does not answer has vanished.
//!
//! Bytes are what counts, whatever they say. Where an answer cannot come, because much output is on its way before the
//! ping or because the engine does not read the session, the peer lives as long as its system acknowledges something.

use std::os::fd::AsFd;

use moorline_net::unacknowledged;
use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::memory::{Class, Memory};
use crate::output::event::comment;
use crate::output::write::{farewell, write_raw};
use crate::session::{Asked, End, Kind, Phase, Session};
use crate::timeouts::{GOING_AWAY, watch_peer};
use crate::tools::Tools;

/// A ping without a payload.
const PING: [u8; 2] = [0x89, 0];

/// With more than this on its way, in bytes, the answer to a ping behind it may take longer than `pong_timeout`.
const MUCH: usize = 16 * 1024;

/// Looks at a session whose time on the wheel has come.
///
/// # Errors
/// Its peer has vanished, or the connection broke.
pub(crate) fn check(session: &mut Session, tools: &mut Tools) -> Result<(), End> {
    let link = session.transport.link;
    let listener = tools.cx.listener(session.listener);
    let Some(ping) = listener.liveness.ping else {
        return Ok(());
    };
    // Others have timers of their own.
    if session.phase != Phase::Open || link.is_read() || link.is_broken() {
        return Ok(());
    }
    let now = tools.cx.clock.ms;
    if let (Kind::Events { .. }, Some(asked)) = (session.kind, session.meters.asked)
        && acknowledged(session) != asked.acknowledged
    {
        // Its client says nothing: its system answers, and not later than now.
        let meters = &mut session.meters;
        meters.asked = None;
        meters.received_at = meters.received_at.max(now.saturating_sub(asked.since(now)));
    }
    let meters = &mut session.meters;
    let silence = now - meters.received_at;
    if let Some(asked) = meters.asked
        && silence <= asked.since(now)
    {
        meters.asked = None;
    }
    match meters.asked {
        None if silence >= ping.interval.as_millis() as u64 => {
            if now - meters.sent_at >= ping.interval.as_millis() as u64 {
                rest(session, &mut tools.memory);
            }
            ask(session, tools)?;
        }
        Some(asked) if asked.since(now) >= ping.timeout.as_millis() as u64 => {
            if !lives(session, asked) {
                farewell(session, GOING_AWAY, tools);
                return Err(End::Broken(Errno::TIMEDOUT));
            }
            ask(session, tools)?;
        }
        _ => {}
    }
    watch_peer(session, tools);
    Ok(())
}

/// A session that has sent nothing either gives back what it compresses with: its next message refers to no earlier one.
fn rest(session: &mut Session, memory: &mut Memory) {
    let Some(compression) = &mut session.compression else {
        return;
    };
    let before = compression.held();
    compression.deflater = None;
    memory.release(Class::Compression, before - compression.held());
}

/// Pings the peer, unless output is queued: it shows by taking that, too, that it lives.
fn ask(session: &mut Session, tools: &mut Tools) -> Result<(), End> {
    session.meters.asked = Some(Asked::new(tools.cx.clock.ms, acknowledged(session)));
    if session.output.queue.is_some() {
        return Ok(());
    }
    let Kind::Events { chunked } = session.kind else {
        return write_raw(session, &PING, tools);
    };
    write_raw(session, &comment(chunked), tools)
}

/// Whether a peer that has not answered in time lives all the same.
fn lives(session: &Session, asked: Asked) -> bool {
    let since = acknowledged(session).wrapping_sub(asked.acknowledged) as i32;
    if session.input.readable {
        // Its answer may be there already. A peer that waits until it is read may take nothing until then.
        return since > 0 || session.output.queue.is_some();
    }
    let is_behind = session.output.queue.is_some() || on_their_way(session) > MUCH;
    // After a pause of this process, events are still to be fetched.
    since > MUCH as i32 || (since > 0 && is_behind) || has_input(session)
}

/// Bytes that its system has acknowledged so far, up to a constant: what was sent, without what is on its way.
fn acknowledged(session: &Session) -> u32 {
    (session.meters.bytes_out as u32).wrapping_sub(on_their_way(session) as u32)
}

fn on_their_way(session: &Session) -> usize {
    let socket = session.transport.socket.as_ref();
    // No socket of a session refuses to tell.
    socket.map_or(0, |socket| unacknowledged(socket).unwrap_or(0))
}

/// Whether its socket has something to read.
fn has_input(session: &Session) -> bool {
    let Some(socket) = &session.transport.socket else {
        return false;
    };
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let peeked = rustix::net::recv(socket.as_fd(), &mut [0; 1], flags);
    peeked.is_ok_and(|(_, bytes)| bytes > 0)
}
