//! What is sent over TLS: encrypted, sent, queued.
//!
//! A session's queue holds plaintext, so that watermarks mean what they say and a file can stand in it; what was
//! encrypted and not taken by the socket goes ahead of it.

use moorline_net::tls::{MAX_PLAINTEXT, RecordsError};
use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::file::Copied;
use crate::memory::Class;
use crate::output::watermarks::{Sender, weigh};
use crate::session::queue::Piece;
use crate::session::{End, Session};
use crate::tools::Tools;
use moorline_protocol::session_id::SessionId;

/// Plaintext that is encrypted before the socket is asked whether it takes any.
const SEALED_AT_ONCE: usize = 4 * MAX_PLAINTEXT;
/// … at the least, in bytes, so that a record's own bytes and a call to the kernel remain worth it.
const LEAST_SEALED: usize = 1024;

/// Sends plaintext, or queues it: all of it where something is queued already.
///
/// # Errors
/// The session ends: its connection broke, or its queue has passed the hard limit.
pub(crate) fn write_plaintext(
    session: &mut Session,
    bytes: &[u8],
    sender: Sender,
    tools: &mut Tools,
) -> Result<(), End> {
    let sealed = seal_now(session, bytes, tools)?;
    let rest = &bytes[sealed..];
    if rest.is_empty() {
        return Ok(());
    }
    let queue = session.output.queue.get_or_insert_default();
    queue.piece(rest.len()).extend_from_slice(rest);
    tools.memory.hold(Class::Queued, rest.len());
    weigh(session, sender, tools)
}

/// Encrypts and sends plaintext until the socket takes no more, or none where something is queued already. Returns how
/// much was encrypted.
///
/// # Errors
/// As for [`write_plaintext`].
pub(crate) fn seal_now(
    session: &mut Session,
    bytes: &[u8],
    tools: &mut Tools,
) -> Result<usize, End> {
    let (mut done, most) = (0, sealed_at_once(tools));
    while session.output.queue.is_none() && done < bytes.len() {
        let chunk = &bytes[done..bytes.len().min(done + most)];
        seal(session, chunk, tools)?;
        done += chunk.len();
    }
    Ok(done)
}

/// Plaintext that is encrypted at once: near the memory limit so little that no session passes its share by it.
fn sealed_at_once(tools: &mut Tools) -> usize {
    if tools.memory.is_tight(&tools.cx) {
        let share = usize::try_from(tools.memory.share() / 8 * 7).unwrap_or(usize::MAX);
        share.clamp(LEAST_SEALED, SEALED_AT_ONCE)
    } else {
        SEALED_AT_ONCE
    }
}

/// Encrypts and sends.
fn seal(session: &mut Session, plaintext: &[u8], tools: &mut Tools) -> Result<(), End> {
    let mut sealed = std::mem::take(&mut tools.scratch.sealed);
    sealed.clear();
    session.meters.sent_at = tools.cx.clock.ms;
    session.meters.bytes_out += plaintext.len() as u64;
    tools
        .cx
        .count_sent(session.listener, plaintext.len() as u64);
    let tls = session.transport.tls.as_mut();
    let result = match tls.map(|tls| tls.seal(plaintext, &mut sealed)) {
        Some(Err(error)) => Err(failed(session, &error)),
        _ => send_sealed(session, &sealed, tools),
    };
    tools.scratch.sealed = sealed;
    result
}

fn failed(session: &Session, error: &RecordsError) -> End {
    tracing::debug!(session = %SessionId::from(session.id), %error, "tls failed");
    End::Broken(Errno::PROTO)
}

/// Sends what is encrypted, behind what was encrypted before.
///
/// # Errors
/// As for [`write_plaintext`].
pub(crate) fn send_sealed(
    session: &mut Session,
    bytes: &[u8],
    tools: &mut Tools,
) -> Result<(), End> {
    if session.transport.link.is_broken() {
        return Ok(());
    }
    let mut sent = 0;
    if session.output.queue.is_none()
        && let Some(socket) = &session.transport.socket
    {
        match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL) {
            Ok(count) => sent = count,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(End::Broken(error)),
        }
    }
    let rest = &bytes[sent..];
    if rest.is_empty() {
        return Ok(());
    }
    let queue = session.output.queue.get_or_insert_default();
    queue.push_sealed(rest);
    tools.memory.hold(Class::Queued, rest.len());
    weigh(session, Sender::Waits, tools)
}

/// Encrypts what is next in the queue.
///
/// # Errors
/// The session ends: TLS failed, or a file cannot be read.
pub(crate) fn seal_queued(session: &mut Session, tools: &mut Tools) -> Result<(), Unsealed> {
    let mut plaintext = std::mem::take(&mut tools.scratch.frame);
    let mut sealed = std::mem::take(&mut tools.scratch.sealed);
    plaintext.clear();
    sealed.clear();
    let most = sealed_at_once(tools);
    let own = |session: &Session| session.output.queue.as_ref().map_or(0, |queue| queue.own);
    let before = own(session);
    let sent = session.meters.bytes_out;
    let result = seal_next(session, most, &mut plaintext, &mut sealed);
    let sent = session.meters.bytes_out - sent;
    tools.cx.count_sent(session.listener, sent);
    let after = own(session);
    let memory = &mut tools.memory;
    memory.change(Class::Queued, before as usize, after as usize);
    tools.scratch.frame = plaintext;
    tools.scratch.sealed = sealed;
    result
}

/// Why something that is queued could not be encrypted.
pub(crate) enum Unsealed {
    File(String),
    Tls(End),
}

/// Moves what is next in a session's queue, `most` bytes of it, encrypted to the front of it: bytes, or a part of a file.
fn seal_next(
    session: &mut Session,
    most: usize,
    plaintext: &mut Vec<u8>,
    sealed: &mut Vec<u8>,
) -> Result<(), Unsealed> {
    let queue = &mut session.output.queue;
    let (Some(queue), Some(tls)) = (queue, &mut session.transport.tls) else {
        return Ok(());
    };
    let mut is_file = false;
    if let Some(Piece::File(piece)) = queue.queue.front_mut() {
        is_file = true;
        match piece.read(plaintext, most) {
            Ok(()) => {}
            Err(Copied::File(problem)) => return Err(Unsealed::File(problem)),
            Err(Copied::Socket(error)) => return Err(Unsealed::File(error.to_string())),
        }
    } else {
        queue.take(plaintext, most);
    }
    if let Err(error) = tls.seal(plaintext, sealed) {
        return Err(Unsealed::Tls(failed(session, &error)));
    }
    if is_file {
        queue.push_sealed_file(sealed);
    } else {
        queue.push_sealed(sealed);
    }
    session.meters.bytes_out += plaintext.len() as u64;
    Ok(())
}

/// Says that nothing more comes, if everything before it has gone.
pub(crate) fn close_sealed(session: &mut Session) {
    let transport = &mut session.transport;
    if session.output.queue.is_some() || transport.link.is_broken() {
        return;
    }
    if let (Some(tls), Some(socket)) = (&mut transport.tls, &transport.socket) {
        let mut farewell = Vec::new();
        tls.close(&mut farewell);
        // A peer that does not take it sees the end of the stream instead.
        let _ = rustix::net::send(socket, &farewell, SendFlags::NOSIGNAL);
    }
}
