//! What is queued for sockets: sent when they take it.

use std::io::IoSlice;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use moorline_net::watermark::Level;
use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::file::Copied;
use crate::memory::Class;
use crate::output::sealing::{Unsealed, seal_queued};
use crate::output::watermarks::{most_queued, set_level, tell_other_senders};
use crate::session::queue::{Outbound, Piece};
use crate::session::{End, Session};
use crate::tools::Tools;
use moorline_protocol::session_id::SessionId;
use moorline_protocol::wire::{CloseReason, ToProcess};

/// Pieces handed to the kernel in one call.
const PIECES: usize = 16;
/// Calls that copy from a file, for one session in one turn: with what each copies at the most, a millisecond or so.
const FILE_CALLS_PER_TURN: usize = 4;

/// Sends what is queued, as far as the socket takes it and the turn's share of files goes.
///
/// # Errors
/// The session ends: its connection broke, or a file cannot be sent whole.
pub(crate) fn flush(session: &mut Session, tools: &mut Tools) -> Result<(), End> {
    let mut file_calls = FILE_CALLS_PER_TURN;
    while let Some(step) = next(session, &mut file_calls, tools) {
        let (sent, freed) = match step {
            Step::Sent(sent) => match sent {
                Ok(sent) => sent,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(End::Broken(error)),
            },
            Step::Again => continue,
            Step::Ends(end) => return Err(end),
        };
        session.meters.bytes_out += sent as u64;
        tools.cx.count_sent(session.listener, sent as u64);
        session.meters.sent_at = tools.cx.clock.ms;
        tools.memory.release(Class::Queued, freed);
    }
    note_drained(session, tools);
    Ok(())
}

/// What one step of flushing has done.
enum Step {
    /// Bytes that the socket took, and how many of those were in memory for the session alone.
    Sent(Result<(usize, usize), Errno>),
    /// Something else was done for what is next in the queue.
    Again,
    Ends(End),
}

/// Goes one step on. `None`: nothing is left, or the turn's share is used up.
fn next(session: &mut Session, file_calls: &mut usize, tools: &mut Tools) -> Option<Step> {
    let Some(queue) = &mut session.output.queue else {
        return None;
    };
    let socket = session.transport.socket.as_ref()?;
    queue.again = false;
    if !queue.sealed().is_empty() {
        return Some(Step::Sent(send_sealed(socket, queue)));
    }
    if let Some(Piece::File(piece)) = queue.queue.front() {
        if piece.left == 0 {
            let from = piece.from;
            queue.queue.pop_front();
            let Tools {
                processes, memory, ..
            } = tools;
            processes.answer(from, ToProcess::FileDone, 0, Bytes::new(), memory);
            return Some(Step::Again);
        }
        if *file_calls == 0 {
            queue.again = true;
            tools.agenda.schedule(session);
            return None;
        }
        *file_calls -= 1;
    }
    let step = match queue.queue.front_mut()? {
        _ if session.transport.tls.is_some() => match seal_queued(session, tools) {
            Ok(()) => Step::Again,
            Err(Unsealed::Tls(end)) => Step::Ends(end),
            Err(Unsealed::File(problem)) => Step::Ends(give_up_file(session, &problem)),
        },
        Piece::Bytes(_) | Piece::Shared(_) => Step::Sent(send_pieces(socket, queue)),
        Piece::File(piece) => match piece.copy_to(socket) {
            Ok(sent) => Step::Sent(Ok((sent, 0))),
            Err(Copied::Socket(error)) => Step::Sent(Err(error)),
            Err(Copied::File(problem)) => Step::Ends(give_up_file(session, &problem)),
        },
    };
    Some(step)
}

/// Tells the senders if the queue has drained. An empty queue is removed.
fn note_drained(session: &mut Session, tools: &mut Tools) {
    if session.transport.socket.is_none() || session.output.queue.is_none() {
        return;
    }
    // Else those over their share would hear that they may go on whenever a little has gone.
    let most = most_queued(tools);
    let low = tools.cx.listener(session.listener).low_watermark.min(most);
    let output = &session.output;
    let queued = output.queued();
    let is_empty = output.queue.as_ref().is_none_or(|queue| queue.is_empty());
    if is_empty || (output.level.is_full() && queued <= low) {
        if queued <= low {
            set_level(session, Level::Drained, tools);
        }
        tools.agenda.schedule(session);
        tell_other_senders(session, ToProcess::Drained, tools);
    }
    if is_empty {
        session.output.queue = None;
    }
}

/// Discards the queue. The senders of its files get an answer.
pub(crate) fn drop_output(session: &mut Session, tools: &mut Tools) {
    let Some(queue) = session.output.queue.take() else {
        return;
    };
    let Tools {
        processes, memory, ..
    } = tools;
    memory.release(Class::Queued, queue.own as usize);
    for from in queue.file_owners() {
        processes.answer(from, ToProcess::FileDone, 0, Bytes::new(), memory);
    }
}

/// A file could not be sent to its end: what the peer has of it is of no use.
fn give_up_file(session: &Session, problem: &str) -> End {
    tracing::warn!(
        session = %SessionId::from(session.id),
        problem,
        "session closed: a file could not be sent whole"
    );
    End::Now(CloseReason::Server)
}

/// Hands the bytes at the front to the socket in one call. Returns how many it took, and how many of those were the
/// session's alone.
fn send_pieces(socket: &OwnedFd, queue: &mut Outbound) -> Result<(usize, usize), Errno> {
    let mut pieces = [IoSlice::new(&[]); PIECES];
    let mut count = 0;
    let mut offset = queue.offset;
    for (slice, piece) in pieces.iter_mut().zip(&queue.queue) {
        let Some(bytes) = piece.bytes() else { break };
        *slice = IoSlice::new(&bytes[offset..]);
        offset = 0;
        count += 1;
    }
    let sent = rustix::io::writev(socket, &pieces[..count])?;
    Ok((sent, queue.consume(sent)))
}

/// Hands what is encrypted to the socket. It was counted as sent when it was encrypted.
fn send_sealed(socket: &OwnedFd, queue: &mut Outbound) -> Result<(usize, usize), Errno> {
    let sent = rustix::net::send(socket, queue.sealed(), SendFlags::NOSIGNAL)?;
    queue.consume_sealed(sent);
    Ok((0, sent))
}
