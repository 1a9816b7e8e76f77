//! From the socket to the ring: read, cut, deliver.
//!
//! A loop reads into one scratch buffer for all its sessions. What the framing cuts from it goes straight
//! into the ring; a message for which there is no room (or window, or process) is kept, and the session is
//! not read until it has gone. Only an unfinished rest stays with the session.

use moorline_ipc::Header;
use moorline_net::framing::{Guess, guess};
use moorline_net::{Decoded, Decoder, Framing, FramingError};
use rustix::io::Errno;

use super::event_loop::{Loop, SCRATCH};
use super::memory::Class;
use super::session::{Kept, Phase, WINDOW_BYTES};
use super::table::Key;
use crate::config::{Dispatch, OnCrash};
use crate::control::LoopCounter;
use crate::session_id::SessionId;
use crate::wire::{CloseReason, FIRST, LAST, TEXT, ToProcess, WHOLE};

/// Reads from one session in one turn.
const READS_PER_TURN: usize = 4;
/// How many bytes of input that breaks a framing are logged: enough for a length field, or to know a protocol by.
const SHOWN_BYTES: usize = 16;
/// A tail of this size is read into directly; a shorter one is put in front of the scratch buffer.
const LONG_TAIL: usize = SCRATCH / 2;

/// One read into a long tail takes no more than this, in bytes: the memory budget is looked at between reads.
const LARGEST_READ: usize = 1024 * 1024;

/// What a read brought.
pub(super) enum Read {
    /// So many bytes; the socket has more, or an end.
    Bytes {
        bytes: usize,
        has_more: bool,
    },
    End,
    Nothing,
    Broken(Errno),
}

impl Loop {
    /// Cuts what is here and reads what has come, as far as the session's window goes.
    pub(super) fn receive(&mut self, key: Key) {
        self.read_and_cut(key);
        if self.table[key].is_owed_input() {
            self.watch_trickle(key);
        }
    }

    fn read_and_cut(&mut self, key: Key) {
        if !self.table[key].tail.is_empty() && !self.table[key].starved {
            self.cut_tail(key);
        }
        for _ in 0..READS_PER_TURN {
            let session = &self.table[key];
            if session.holds_input() || !session.readable || session.ended_input {
                return;
            }
            if self.is_tight() && self.hold_back(key) {
                return;
            }
            match self.read(key) {
                Read::Bytes { .. } => {}
                Read::Nothing => {
                    self.table[key].readable = false;
                    return;
                }
                Read::End => {
                    self.table[key].ended_input = true;
                    self.watch_half_closed(key);
                    return;
                }
                Read::Broken(error) => {
                    self.table[key].ended_input = true;
                    self.break_off(key, error);
                    return;
                }
            }
        }
        self.schedule(key);
    }

    /// Reads once, and cuts.
    fn read(&mut self, key: Key) -> Read {
        let mut scratch = std::mem::take(&mut self.scratch);
        let read = if self.table[key].tail.len() >= LONG_TAIL {
            self.read_into_tail(key)
        } else {
            self.read_into_scratch(key, &mut scratch)
        };
        self.scratch = scratch;
        read
    }

    fn read_into_scratch(&mut self, key: Key, scratch: &mut [u8]) -> Read {
        let session = &mut self.table[key];
        let before = session.tail.len();
        scratch[..before].copy_from_slice(&session.tail);
        let read = self.receive_from(key, &mut scratch[before..]);
        let Read::Bytes { bytes, has_more } = read else {
            return read;
        };
        self.note_received(key, bytes, has_more);
        let whole = before + bytes;
        let cut = self.cut(key, &mut scratch[..whole]);
        let session = &mut self.table[key];
        if matches!(session.phase, Phase::Ended(_)) {
            self.discard_uncut(key, &mut scratch[cut..whole]);
            return read;
        }
        if before > 0 || cut < whole {
            if cut == whole {
                // An idle session owns no buffer.
                session.tail = Vec::new();
            } else {
                session.tail.clear();
                session.tail.extend_from_slice(&scratch[cut..whole]);
            }
            let after = session.tail.len();
            self.memory.change(Class::Received, before, after);
        }
        read
    }

    /// A long message: read to its place at once. The buffer grows with what has come, not by what was announced.
    fn read_into_tail(&mut self, key: Key) -> Read {
        let session = &mut self.table[key];
        let mut tail = std::mem::take(&mut session.tail);
        let before = tail.len();
        let largest = match self.table[key].tls {
            // What is received encrypted goes through a buffer of this size.
            Some(_) => SCRATCH,
            None => LARGEST_READ,
        };
        let room = before.clamp(SCRATCH, largest);
        // Not twice what is needed: what is counted are the bytes.
        tail.reserve_exact(room);
        tail.resize(before + room, 0);
        let read = self.receive_from(key, &mut tail[before..]);
        let (bytes, has_more) = match read {
            Read::Bytes { bytes, has_more } => (bytes, has_more),
            _ => (0, false),
        };
        tail.truncate(before + bytes);
        self.table[key].tail = tail;
        if bytes > 0 {
            self.note_received(key, bytes, has_more);
        }
        // An answer of TLS's own may have met the session's end: then the tail goes.
        if bytes > 0 || matches!(self.table[key].phase, Phase::Ended(_)) {
            self.memory.change(Class::Received, 0, bytes);
            self.cut_tail(key);
        }
        read
    }

    fn receive_from(&mut self, key: Key, buffer: &mut [u8]) -> Read {
        let session = &self.table[key];
        if session.tls.is_some() {
            return self.receive_sealed(key, buffer);
        }
        let Some(socket) = &session.socket else {
            return Read::End;
        };
        if session.phase != Phase::Open {
            return Read::Nothing;
        }
        loop {
            match rustix::net::recv(socket, &mut *buffer, rustix::net::RecvFlags::empty()) {
                Ok((0, _)) => return Read::End,
                Ok((bytes, _)) => {
                    // A short read has emptied the socket, unless the peer's end is behind it.
                    let has_more = bytes == buffer.len() || session.hangup;
                    return Read::Bytes { bytes, has_more };
                }
                Err(Errno::AGAIN) => return Read::Nothing,
                Err(Errno::INTR) => {}
                Err(error) => return Read::Broken(error),
            }
        }
    }

    fn note_received(&mut self, key: Key, bytes: usize, has_more: bool) {
        let now = self.clock.ms;
        let session = &mut self.table[key];
        session.bytes_in += bytes as u64;
        session.received_at = now;
        session.starved = false;
        session.readable = has_more;
    }

    fn cut_tail(&mut self, key: Key) {
        let mut tail = std::mem::take(&mut self.table[key].tail);
        let before = tail.len();
        // What is cut from it is counted as a message.
        self.memory.change(Class::Received, before, 0);
        let cut = self.cut(key, &mut tail);
        if matches!(self.table[key].phase, Phase::Ended(_)) {
            self.discard_uncut(key, &mut tail[cut..]);
            tail = Vec::new();
        } else if cut == before {
            tail = Vec::new();
        } else {
            tail.drain(..cut);
            if tail.capacity() > 2 * SCRATCH && tail.len() < tail.capacity() / 4 {
                tail.shrink_to_fit();
            }
        }
        let after = tail.len();
        self.table[key].tail = tail;
        self.memory.change(Class::Received, 0, after);
    }

    /// Delivers the messages at the front of `input`, as many as may go now. Returns how much was used.
    fn cut(&mut self, key: Key, input: &mut [u8]) -> usize {
        let mut at = 0;
        while at < input.len() {
            let session = &mut self.table[key];
            if session.holds_input() {
                return at;
            }
            let framing = &self.config.listeners[usize::from(session.listener)].framing;
            // Fragments of a message are kept there.
            let before = session.decoder.buffered();
            let decoded = session.decoder.decode(framing, &mut input[at..]);
            let after = session.decoder.buffered();
            self.memory.change(Class::Received, before, after);
            match decoded {
                Ok(Decoded::Message {
                    start,
                    end,
                    consumed,
                    text,
                }) => {
                    let (start, end) = (at + start, at + end);
                    at += consumed;
                    self.deliver(key, &input[start..end], text);
                }
                Ok(Decoded::Assembled { consumed, text }) => {
                    at += consumed;
                    let message = session.decoder.take_assembled();
                    self.memory.change(Class::Received, after, 0);
                    self.deliver(key, &message, text);
                }
                Ok(Decoded::Nothing { consumed }) => at += consumed,
                Ok(Decoded::Reply { consumed, bytes }) => {
                    at += consumed;
                    self.write_raw(key, bytes.as_bytes());
                }
                Ok(Decoded::Close { reply, .. }) => {
                    self.write_raw(key, reply.as_bytes());
                    self.end(key, CloseReason::Peer);
                    return input.len();
                }
                Ok(Decoded::Incomplete { .. }) => {
                    session.starved = true;
                    return at;
                }
                Err(error) => {
                    self.violate(key, error, input, at);
                    return input.len();
                }
            }
        }
        at
    }

    /// The peer broke the framing at byte `at` of `input`, where a message should begin.
    #[cold]
    fn violate(&mut self, key: Key, error: FramingError, input: &[u8], at: usize) {
        let session = &self.table[key];
        let listener = &self.config.listeners[usize::from(session.listener)];
        let limit = match error {
            FramingError::TooLarge { .. } | FramingError::Unended { .. } => {
                Some(listener.framing.limit_key())
            }
            FramingError::TooSmall { .. } | FramingError::WebSocket(_) => None,
        };
        // After a handshake it does speak WebSocket.
        let guess = match listener.framing {
            Framing::WebSocket { .. } => None,
            _ => guess(&listener.framing, input, at),
        };
        tracing::warn!(
            session = %SessionId::from(session.id), listener = %listener.name, peer = %session.peer,
            reason = %CloseReason::Framing, %error, limit, first_bytes = %first_bytes(&input[at..]),
            guess = guess.map(tracing::field::display), "session closed: its input breaks the framing"
        );
        if matches!(listener.framing, Framing::WebSocket { .. }) {
            let farewell =
                moorline_net::framing::websocket::close_frame(error.websocket_close_code(), "");
            self.write_raw(key, farewell.as_bytes());
        }
        self.end(key, CloseReason::Framing);
    }

    /// Logs why a peer that has just left may have waited for an answer in vain: its first message never became
    /// whole, as its length field is another than the listener's.
    pub(super) fn note_unfinished(&self, key: Key, tail: &[u8]) {
        let session = &self.table[key];
        let listener = &self.config.listeners[usize::from(session.listener)];
        if tail.is_empty() || session.messages > 0 {
            return;
        }
        if let Some(guess @ Guess::OtherLength { .. }) = guess(&listener.framing, tail, 0) {
            tracing::warn!(
                session = %SessionId::from(session.id), listener = %listener.name, peer = %session.peer,
                first_bytes = %first_bytes(tail), %guess,
                "the peer left before its first message was whole"
            );
        }
    }

    /// Gives one message to the session's process, or keeps it until that is possible.
    fn deliver(&mut self, key: Key, bytes: &[u8], text: bool) {
        self.count(LoopCounter::Messages, 1);
        let time = self.clock.ns;
        let session = &mut self.table[key];
        session.messages += 1;
        let listener = &self.config.listeners[usize::from(session.listener)];
        let keeps = listener.on_crash == OnCrash::Redeliver;
        if matches!(
            listener.dispatch,
            Dispatch::RoundRobin | Dispatch::LeastBusy
        ) && session.in_hand() == 0
        {
            let (dispatch, now) = (listener.dispatch, session.slot);
            let slot = self.choose_slot(dispatch, Some(now));
            self.change_slot(key, slot);
        }
        let session = &mut self.table[key];
        if !session.moving
            && !session.waits()
            && session.window_takes(bytes.len())
            && let Some(at) = session.process
        {
            let process = &mut self.processes[usize::from(at)];
            let header = Header {
                kind: ToProcess::Message as u8,
                flags: WHOLE | if text { TEXT } else { 0 },
                aux: 0,
                session: session.id,
                sequence: u64::from(session.sent.wrapping_add(1)),
                time,
            };
            if process.producer.push(&header, &[bytes]).is_ok() {
                process.in_hand += 1;
                session.sent = session.sent.wrapping_add(1);
                session.window_bytes += bytes.len();
                if keeps {
                    let sequence = session.sent;
                    let inbound = session.inbound.get_or_insert_default();
                    inbound.queue.push_back(Kept {
                        sequence,
                        time,
                        text,
                        deaths: 0,
                        bytes: bytes.to_vec(),
                    });
                    inbound.delivered += 1;
                    self.memory.change(Class::Received, 0, bytes.len());
                }
                self.mark_dirty(at);
                return;
            }
        }
        let inbound = session.inbound.get_or_insert_default();
        inbound.queue.push_back(Kept {
            sequence: 0,
            time,
            text,
            deaths: 0,
            bytes: bytes.to_vec(),
        });
        self.memory.change(Class::Received, 0, bytes.len());
        if self.place(key) {
            self.forward_kept(key);
        }
    }

    /// Delivers the messages that wait, in order. True: none waits any more.
    pub(super) fn forward_kept(&mut self, key: Key) -> bool {
        loop {
            let session = &mut self.table[key];
            let Some(inbound) = session.inbound.as_deref() else {
                return true;
            };
            let Some(kept) = inbound.next() else {
                return true;
            };
            let (length, deaths, offset) = (kept.bytes.len(), kept.deaths, inbound.offset);
            // One that has begun goes on, whatever holds back the next.
            if offset == 0 && (session.moving || !session.window_takes(length)) {
                return false;
            }
            let Some(at) = session.process else {
                return false;
            };
            if deaths > 0 && offset == 0 && !self.takes_suspect(key) {
                return false;
            }
            if !self.push_kept(key, at) {
                self.park(key, at);
                return false;
            }
            let session = &mut self.table[key];
            let listener = &self.config.listeners[usize::from(session.listener)];
            session.sent = session.sent.wrapping_add(1);
            session.window_bytes += length;
            self.processes[usize::from(at)].in_hand += 1;
            let Some(inbound) = &mut session.inbound else {
                return true;
            };
            let in_parts = length > self.processes[usize::from(at)].producer.max_payload();
            inbound.offset = 0;
            // What went in parts cannot be found whole in the ring after a death.
            if listener.on_crash == OnCrash::Redeliver || in_parts {
                let at = inbound.delivered;
                inbound.queue[at].sequence = session.sent;
                inbound.delivered += 1;
            } else {
                let at = inbound.delivered;
                inbound.queue.remove(at);
                if inbound.queue.is_empty() {
                    session.inbound = None;
                }
                self.memory.change(Class::Received, length, 0);
            }
        }
    }

    /// Pushes what is left of the first message that waits. False: there is no room for all of it yet.
    fn push_kept(&mut self, key: Key, at: u16) -> bool {
        let session = &mut self.table[key];
        let sequence = u64::from(session.sent.wrapping_add(1));
        let Some(inbound) = &mut session.inbound else {
            return true;
        };
        let delivered = inbound.delivered;
        let Some(kept) = inbound.queue.get(delivered) else {
            return true;
        };
        let process = &mut self.processes[usize::from(at)];
        let most = process.producer.max_payload();
        let mut done = false;
        let mut pushed = false;
        while !done {
            let part = &kept.bytes[inbound.offset..];
            let part = &part[..part.len().min(most)];
            let first = inbound.offset == 0;
            let last = inbound.offset + part.len() == kept.bytes.len();
            let flags = if first { FIRST } else { 0 }
                | if last { LAST } else { 0 }
                | if kept.text { TEXT } else { 0 };
            let kind = ToProcess::Message as u8;
            let header = Header {
                kind,
                flags,
                aux: 0,
                session: session.id,
                sequence,
                time: kept.time,
            };
            if process.producer.push(&header, &[part]).is_err() {
                break;
            }
            inbound.offset += part.len();
            done = last;
            pushed = true;
        }
        if pushed {
            self.mark_dirty(at);
        }
        done
    }

    /// The session has ended: counts the messages that lie whole in what was received and not cut.
    pub(super) fn discard_uncut(&mut self, key: Key, input: &mut [u8]) {
        let session = &mut self.table[key];
        let framing = &self.config.listeners[usize::from(session.listener)].framing;
        let (mut at, mut messages) = (0, 0);
        while at < input.len() {
            match session.decoder.decode(framing, &mut input[at..]) {
                Ok(Decoded::Message { consumed, .. }) => {
                    messages += 1;
                    at += consumed;
                }
                Ok(Decoded::Assembled { consumed, .. }) => {
                    session.decoder.take_assembled();
                    messages += 1;
                    at += consumed;
                }
                Ok(Decoded::Nothing { consumed } | Decoded::Reply { consumed, .. }) => {
                    at += consumed;
                }
                Ok(Decoded::Close { .. } | Decoded::Incomplete { .. }) | Err(_) => break,
            }
        }
        session.decoder = Decoder::new();
        self.count(LoopCounter::Discarded, messages);
    }

    /// Whether the session has so much undelivered that it is better not read: for `finish_if_over`.
    pub(super) fn has_input_left(&self, key: Key) -> bool {
        let session = &self.table[key];
        session.waits()
            || session.is_mid_message()
            || (session.phase == Phase::Open && !session.tail.is_empty() && !session.starved)
    }
}

const _: () = assert!(WINDOW_BYTES <= SCRATCH, "one read fills a window");

/// What is logged of bytes that make no message.
fn first_bytes(input: &[u8]) -> impl std::fmt::Display {
    input[..input.len().min(SHOWN_BYTES)].escape_ascii()
}
