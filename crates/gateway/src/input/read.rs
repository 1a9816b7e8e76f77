//! From the socket to the framing: a loop reads into one scratch buffer for all its sessions, and only an unfinished rest
//! stays with the session.

use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::input::cut::{cut, cut_tail};
use crate::input::direct::{Direct, read_direct, waits_for_process};
use crate::input::slowloris;
use crate::memory::Class;
use crate::output::sealing::send_sealed;
use crate::scratch::{LONG_TAIL, SCRATCH};
use crate::session::window::WINDOW_BYTES;
use crate::session::{Cut, End, Session};
use crate::timeouts::watch_half_closed;
use crate::tls::{Read, open_received};
use crate::tools::Tools;
use moorline_protocol::control::ListenerCounter;

/// Reads from one session in one turn.
pub(crate) const READS_PER_TURN: usize = 4;
/// A long tail grows by no more than this at once, in bytes: the memory budget is looked at between reads.
const LARGEST_READ: usize = 1024 * 1024;

const _: () = assert!(WINDOW_BYTES <= SCRATCH, "one read fills a window");

/// Cuts what is here and reads what has come, as far as the session's window goes.
///
/// # Errors
/// The session ends: its connection or its framing broke, or an answer of the framing's own could not be sent.
pub(crate) fn receive(session: &mut Session, tools: &mut Tools) -> Result<(), End> {
    read_and_cut(session, tools)?;
    if session.is_owed_input() {
        slowloris::watch(session, tools);
    }
    Ok(())
}

fn read_and_cut(session: &mut Session, tools: &mut Tools) -> Result<(), End> {
    if session.input.is_uncut() {
        cut_tail(session, tools)?;
    }
    for _ in 0..READS_PER_TURN {
        if session.holds_input() || !session.input.readable || session.transport.link.is_read() {
            return Ok(());
        }
        let Tools {
            cx,
            memory,
            throttle,
            ..
        } = tools;
        if memory.is_tight(cx) && throttle.hold_back(session, memory, cx) {
            return Ok(());
        }
        if waits_for_process(session, tools) {
            return Ok(());
        }
        match read(session, tools)? {
            Read::Bytes { .. } => {}
            Read::Nothing => {
                session.input.readable = false;
                return Ok(());
            }
            Read::End => {
                session.transport.link.end_input();
                watch_half_closed(session, tools);
                return Ok(());
            }
            Read::Broken(error) => {
                session.transport.link.end_input();
                return Err(End::Broken(error));
            }
        }
    }
    tools.agenda.schedule(session);
    Ok(())
}

/// Reads once, and cuts.
fn read(session: &mut Session, tools: &mut Tools) -> Result<Read, End> {
    if session.input.tail.len() >= LONG_TAIL {
        return read_into_tail(session, tools);
    }
    let mut scratch = std::mem::take(&mut tools.scratch.received);
    let is_direct = session.input.direct > 0
        && session.input.tail.is_empty()
        && session.transport.tls.is_none()
        && session.compression.is_none();
    let read = match is_direct {
        true => read_into_ring(session, &mut scratch, tools),
        false => read_into_scratch(session, &mut scratch, tools),
    };
    tools.scratch.received = scratch;
    read
}

fn read_into_ring(
    session: &mut Session,
    scratch: &mut [u8],
    tools: &mut Tools,
) -> Result<Read, End> {
    let (read, uncut) = match read_direct(session, scratch, tools) {
        Direct::Delivered { read, rest } => (read, rest),
        Direct::Received { read, bytes } => (read, bytes),
        Direct::Nothing(read) => return Ok(read),
        Direct::Unsuited => return read_into_scratch(session, scratch, tools),
    };
    if let Read::Bytes { bytes, has_more } = read {
        note_received(session, bytes, has_more, tools);
    }
    if uncut > 0 {
        cut_scratch(session, 0, &mut scratch[..uncut], tools)?;
    }
    Ok(read)
}

fn read_into_scratch(
    session: &mut Session,
    scratch: &mut [u8],
    tools: &mut Tools,
) -> Result<Read, End> {
    let before = session.input.tail.len();
    scratch[..before].copy_from_slice(&session.input.tail);
    let (read, answered) = receive_from(session, &mut scratch[before..], tools);
    let Read::Bytes { bytes, has_more } = read else {
        return answered.map(|()| read);
    };
    note_received(session, bytes, has_more, tools);
    let cut = cut_scratch(session, before, &mut scratch[..before + bytes], tools);
    cut.and(answered).map(|()| read)
}

/// Cuts what lies in the scratch buffer, the first `before` bytes of which are the session's tail. The rest is its new tail.
fn cut_scratch(
    session: &mut Session,
    before: usize,
    received: &mut [u8],
    tools: &mut Tools,
) -> Result<(), End> {
    let (cut, result) = cut(session, received, tools);
    if before > 0 || cut < received.len() {
        let tail = &mut session.input.tail;
        if cut == received.len() {
            // An idle session owns no buffer.
            *tail = Vec::new();
        } else {
            tail.clear();
            tail.extend_from_slice(&received[cut..]);
        }
        tools.memory.change(Class::Received, before, tail.len());
    }
    result
}

/// A long message: read to its place at once. The buffer grows with what has come, to at most four times of it, and not
/// beyond what was announced.
fn read_into_tail(session: &mut Session, tools: &mut Tools) -> Result<Read, End> {
    let mut tail = std::mem::take(&mut session.input.tail);
    let before = tail.len();
    // For a framing that announces no lengths this is one byte.
    let missing = session.input.expected.saturating_sub(before);
    let missing = if missing > 1 { missing } else { SCRATCH };
    let growth = missing.min(3 * before).min(LARGEST_READ);
    let (read, answered) = if session.transport.tls.is_some() {
        // What is received encrypted goes through a buffer of this size, and all that is in it must find room.
        if tail.capacity() - before < SCRATCH {
            tail.reserve_exact(growth.max(SCRATCH));
        }
        tail.resize(before + SCRATCH, 0);
        let (read, answered) = receive_from(session, &mut tail[before..], tools);
        let bytes = match read {
            Read::Bytes { bytes, .. } => bytes,
            _ => 0,
        };
        tail.truncate(before + bytes);
        (read, answered)
    } else {
        if tail.capacity() == before {
            tail.reserve_exact(growth);
        }
        let room = tail.capacity() - before;
        let read = receive_plain(session, room, |socket| {
            rustix::net::recv(socket, spare_capacity(&mut tail), RecvFlags::empty())
                .map(|(_, bytes)| bytes)
        });
        (read, Ok(()))
    };
    let (bytes, has_more) = match read {
        Read::Bytes { bytes, has_more } => (bytes, has_more),
        _ => (0, false),
    };
    session.input.tail = tail;
    if bytes > 0 {
        note_received(session, bytes, has_more, tools);
        tools.memory.hold(Class::Received, bytes);
        cut_tail(session, tools)?;
    }
    answered.map(|()| read)
}

/// Receives into this buffer. Also whether an answer of TLS's own could be sent: what was received counts in any case.
pub(crate) fn receive_from(
    session: &mut Session,
    buffer: &mut [u8],
    tools: &mut Tools,
) -> (Read, Result<(), End>) {
    if session.transport.tls.is_some() {
        return receive_sealed(session, buffer, tools);
    }
    let read = receive_plain(session, buffer.len(), |socket| {
        rustix::net::recv(socket, &mut *buffer, RecvFlags::empty()).map(|(_, bytes)| bytes)
    });
    (read, Ok(()))
}

/// Receives without TLS, up to `room` bytes.
fn receive_plain(
    session: &Session,
    room: usize,
    mut receive: impl FnMut(&OwnedFd) -> Result<usize, Errno>,
) -> Read {
    let Some(socket) = &session.transport.socket else {
        return Read::End;
    };
    if !session.is_read() {
        return Read::Nothing;
    }
    loop {
        return match receive(socket) {
            Ok(0) => Read::End,
            Ok(bytes) => Read::Bytes {
                bytes,
                // A short read has emptied the socket, unless the peer's end is behind it.
                has_more: bytes >= room || session.transport.link.is_hung_up(),
            },
            Err(Errno::AGAIN) => Read::Nothing,
            Err(Errno::INTR) => continue,
            Err(error) => Read::Broken(error),
        };
    }
}

/// Receives what is encrypted; its plaintext goes into `buffer`.
fn receive_sealed(
    session: &mut Session,
    buffer: &mut [u8],
    tools: &mut Tools,
) -> (Read, Result<(), End>) {
    let mut answer = std::mem::take(&mut tools.scratch.sealed);
    answer.clear();
    let Tools {
        scratch, memory, ..
    } = tools;
    let read = open_received(session, buffer, &mut answer, scratch, memory);
    let answered = match answer.is_empty() {
        true => Ok(()),
        false => send_sealed(session, &answer, tools),
    };
    tools.scratch.sealed = answer;
    (read, answered)
}

fn note_received(session: &mut Session, bytes: usize, has_more: bool, tools: &Tools) {
    session.meters.bytes_in += bytes as u64;
    let cx = &tools.cx;
    cx.count_of(session.listener, ListenerCounter::Received, bytes as u64);
    session.meters.received_at = tools.cx.clock.ms;
    session.input.cut = Cut::Pending;
    session.input.readable = has_more;
}
