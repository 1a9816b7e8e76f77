//! Reading straight into a ring: a session whose last message was long is read into the place of its next record, and the
//! message is copied once less.
//!
//! Only the header of the framing is read into memory of the loop's own, and only it is believed. The process may change
//! what lies in the ring at any time, but that is input of a session that is its own.

use std::os::fd::AsFd;

use moorline_ipc::Producer;
use moorline_net::framing::MAX_HEADER_BYTES;
use moorline_net::{Decoded, Framing};
use rustix::io::Errno;

use crate::input::deliver::{count_message, note_in_hand, whole_message};
use crate::input::expect::{MOST, expect_direct};
use crate::scratch::{LONG_TAIL, SCRATCH};
use crate::session::Session;
use crate::tls::Read;
use crate::tools::Tools;

const _: () = assert!(
    MAX_HEADER_BYTES + MOST < SCRATCH,
    "what is no message is put together there"
);

/// The result of reading straight into a ring.
pub(crate) enum Direct {
    /// A message was received and delivered. The first `rest` bytes of the scratch buffer belong to the next one.
    Delivered { read: Read, rest: usize },
    /// These bytes at the front of the scratch buffer were received; no message was delivered.
    Received { read: Read, bytes: usize },
    /// Nothing was received.
    Nothing(Read),
    /// It cannot be read so now.
    Unsuited,
}

/// Whether the next message of a session, or the rest of a long one, is better left in the socket until the process has
/// taken more. Then the session is on the list of those that wait for that.
pub(crate) fn waits_for_process(session: &mut Session, tools: &mut Tools) -> bool {
    let Some(at) = session.placement.process() else {
        return false;
    };
    let input = &session.input;
    let process = &mut tools.processes[at];
    let waits = if input.tail.len() >= LONG_TAIL {
        // Received whole, it would be kept in memory until the ring has room for it.
        let is_one_record = input.expected <= process.producer.max_payload();
        is_one_record && !process.producer.fits(input.expected)
    } else {
        input.direct > 0 && process.is_behind()
    };
    if waits {
        tools.processes.park(session, at);
    }
    waits
}

/// How many bytes of room in the ring of its process a session waits for.
pub(crate) fn needs(session: &Session, producer: &Producer) -> usize {
    let input = &session.input;
    match input.kept.as_deref() {
        Some(kept) if kept.next().is_some() => producer.next_part(kept.left()),
        _ if input.tail.len() >= LONG_TAIL => input.expected,
        _ => input.direct as usize,
    }
}

/// Reads once into the ring of the session's process, which has its last message delivered and takes another.
pub(crate) fn read_direct(session: &mut Session, scratch: &mut [u8], tools: &mut Tools) -> Direct {
    let listener = tools.cx.listener(session.listener);
    // A reload may have changed what it was expected by.
    if expect_direct(listener, session.input.direct as usize) == 0 {
        return Direct::Unsuited;
    }
    let (Some(header), Some(at)) = (
        listener.framing.length_header(),
        session.placement.process(),
    ) else {
        return Direct::Unsuited;
    };
    let Some(socket) = &session.transport.socket else {
        return Direct::Unsuited;
    };
    // Mostly the next message is as long as the last. What comes behind it goes to the scratch buffer.
    let reserved = session.input.direct as usize;
    let Some(mut place) = tools.processes[at].producer.reserve(reserved) else {
        return Direct::Unsuited;
    };
    let mut head = [0; MAX_HEADER_BYTES];
    let head = &mut head[..header];
    // What lies in the ring goes before it, if it is no message.
    let (front, back) = scratch.split_at_mut(header + reserved);
    let bytes = match place.receive(socket.as_fd(), head, back) {
        Ok(0) => return Direct::Nothing(Read::End),
        Ok(bytes) => bytes,
        Err(error) => {
            return Direct::Nothing(match Errno::from_io_error(&error) {
                Some(Errno::AGAIN) => Read::Nothing,
                error => Read::Broken(error.unwrap_or(Errno::IO)),
            });
        }
    };
    let read = Read::Bytes {
        bytes,
        has_more: bytes == header + reserved + back.len() || session.transport.link.is_hung_up(),
    };
    let whole = message_length(&listener.framing, head, bytes, session);
    if let Some(length) = whole.filter(|length| *length <= reserved)
        && session.input.window.takes(length)
    {
        // The beginning of the next message, behind this one in the ring and in the scratch buffer.
        let rest = bytes - header - length;
        let in_ring = rest.min(reserved - length);
        place.read(length, &mut front[..in_ring]);
        scratch.copy_within(
            header + reserved..header + reserved + rest - in_ring,
            in_ring,
        );
        place.commit(&whole_message(session, false, &tools.cx), length);
        count_message(session, tools);
        note_in_hand(session, at, length, tools);
        return Direct::Delivered { read, rest };
    }
    let in_head = bytes.min(header);
    front[..in_head].copy_from_slice(&head[..in_head]);
    let in_ring = (bytes - in_head).min(reserved);
    place.read(0, &mut front[in_head..in_head + in_ring]);
    Direct::Received { read, bytes }
}

/// The length of the first message, if all of its `bytes` have come.
fn message_length(
    framing: &Framing,
    head: &mut [u8],
    bytes: usize,
    session: &mut Session,
) -> Option<usize> {
    let header = head.len();
    if bytes < header {
        return None;
    }
    match session.input.decoder.decode(framing, head) {
        Ok(Decoded::Incomplete { need }) if (header..=bytes).contains(&need) => Some(need - header),
        // An empty message, or one that breaks the framing, is for the decoder to say.
        _ => None,
    }
}
