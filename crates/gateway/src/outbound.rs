//! From the ring to the socket: frame, send, queue what the socket does not take.
//!
//! A message that came in one record is handed to the kernel from where it lies in the ring. Only what the
//! socket refuses is copied into the session's queue, which has a high and a low watermark (the app is told)
//! and a hard limit (the session is closed).

use moorline_ipc::{Header, Record};
use moorline_net::{Framing, framing::MAX_HEADER_BYTES};
use rustix::io::Errno;

use super::Report;
use super::event_loop::Loop;
use super::memory::Class;
use super::payload::Payload;
use super::processes::{Partial, Standing};
use super::session::Phase;
use super::table::Key;
use crate::control::LoopCounter;
use crate::session_id::SessionId;
use crate::wire::{
    CloseReason, DONE, ERRED, FAILED, FIRST, FORCE, FromProcess, LARGEST_PARCEL, LAST, TEXT,
    ToProcess, WHOLE,
};

/// Records taken from one process in one turn.
const RECORDS_PER_TURN: usize = 256;
/// Their bytes, at the most and one record more: others wait while these are copied.
const BYTES_PER_TURN: usize = 1024 * 1024;
/// Scratch space that is kept, in bytes.
const LARGE: usize = 256 * 1024;
/// What is said of what was refused.
pub(super) const NO_MEMORY: &[u8] = b"no memory for it: the engine's memory_limit is reached";
/// Messages of one process that have begun to arrive: it sends the parts of each in one go, with nothing between them.
const MOST_PARTIALS: usize = 1;

impl Loop {
    /// Takes records from one process, as many as one turn may. True: there may be more.
    pub(super) fn take_records(&mut self, at: u16) -> bool {
        self.take_some(at, RECORDS_PER_TURN, BYTES_PER_TURN)
    }

    /// Takes all that a process which has died had written by then. Somebody whom it has left may go on writing.
    pub(super) fn take_last_records(&mut self, at: u16) {
        if let Some(consumer) = &mut self.processes[usize::from(at)].consumer {
            consumer.close();
        }
        self.take_some(at, usize::MAX, usize::MAX);
    }

    fn take_some(&mut self, at: u16, records: usize, mut bytes: usize) -> bool {
        let index = usize::from(at);
        if !self.processes[index].is_heard() {
            return false;
        }
        let Some(mut consumer) = self.processes[index].consumer.take() else {
            return false;
        };
        let mut more = true;
        // One that says it has taken what it cannot have makes no room any more.
        let sound = self.processes[index].producer.check();
        let mut garbage = sound.err().map(|corrupt| corrupt.to_string());
        for _ in 0..records {
            if garbage.is_some() || bytes == 0 {
                break;
            }
            let taken = match consumer.next() {
                Ok(Some(record)) => {
                    bytes = bytes.saturating_sub(record.len());
                    self.take_record(at, &record)
                }
                Ok(None) => {
                    more = false;
                    break;
                }
                Err(corrupt) => Err(corrupt.to_string()),
            };
            garbage = taken.err();
        }
        if consumer.end_turn() {
            // What a full session means for it must be there before it fills the room that it waited for.
            self.processes[index].publish();
            self.processes[index].doorbell.ring();
        }
        self.processes[index].consumer = Some(consumer);
        if let Some(reason) = garbage {
            self.break_with(at, reason);
            return false;
        }
        more
    }

    /// A process is not to be trusted any more.
    pub(super) fn break_with(&mut self, at: u16, reason: String) {
        let process = &mut self.processes[usize::from(at)];
        process.standing = Standing::Broken;
        // The main thread lives as long as the process.
        let _ = self.reports.send(Report::Garbage(process.id, reason));
        self.note_task_workers();
    }

    fn take_record(&mut self, at: u16, record: &Record<'_>) -> Result<(), String> {
        let header = *record.header();
        let Some(kind) = FromProcess::from_u8(header.kind) else {
            return Err(format!("a record of unknown kind {}", header.kind));
        };
        match kind {
            FromProcess::Send => {
                if header.flags & WHOLE == WHOLE {
                    self.send(at, &header, Payload::Ring(record));
                } else if let Some(message) = self.assemble(at, record)? {
                    self.send(at, &header, Payload::Bytes(&message.bytes));
                    // To move or to end, the session may have waited for this.
                    if let Some(key) = self.table.find(header.session) {
                        self.schedule(key);
                    }
                }
                if header.flags & (DONE | LAST) == DONE | LAST {
                    return self.done(at, &header);
                }
                Ok(())
            }
            FromProcess::Done => self.done(at, &header),
            FromProcess::Opened => {
                self.opened(at, &header);
                Ok(())
            }
            FromProcess::Close => {
                self.close_for_app(at, &header);
                Ok(())
            }
            FromProcess::SendTo => self.send_datagram(at, record),
            FromProcess::Post
            | FromProcess::Task
            | FromProcess::TaskDone
            | FromProcess::Broadcast => {
                let bytes = if header.flags & WHOLE != WHOLE {
                    match self.assemble(at, record)? {
                        Some(message) if message.is_refused => {
                            return self.refuse_request(at, kind, &header);
                        }
                        Some(message) => message.bytes,
                        None => return Ok(()),
                    }
                } else if kind != FromProcess::TaskDone && !self.has_memory_for(record.len()) {
                    return self.refuse_request(at, kind, &header);
                } else {
                    let mut bytes = Vec::with_capacity(record.len());
                    record.copy_to(&mut bytes);
                    bytes
                };
                match kind {
                    FromProcess::Post => return self.post(at, &header, bytes),
                    FromProcess::Task => return self.begin_task(at, &header, bytes),
                    FromProcess::Broadcast => return self.broadcast(at, &header, &bytes),
                    _ => self.end_task(at, &header, bytes),
                }
                Ok(())
            }
            FromProcess::PostDone => {
                self.post_done(at, &header);
                Ok(())
            }
            FromProcess::KeepState
            | FromProcess::Pause
            | FromProcess::Resume
            | FromProcess::Keep
            | FromProcess::Unkeep
            | FromProcess::Bind
            | FromProcess::Join
            | FromProcess::Leave => self.grant(at, kind, record),
            FromProcess::Ask => self.answer(at, record),
            FromProcess::File => self.send_file(at, record),
        }
    }

    /// Puts the parts of a message together. `Some` with the last one.
    fn assemble(&mut self, at: u16, record: &Record<'_>) -> Result<Option<Partial>, String> {
        let header = record.header();
        let is_first = header.flags & FIRST != 0;
        let is_for_session = header.kind == FromProcess::Send as u8;
        if is_first && is_for_session && self.table.find(header.session).is_none() {
            // The other parts find no place, and are dropped like this one.
            self.discard(at, header.session);
            return Ok(None);
        }
        // A session's own counts as its, and it may be closed for it.
        let is_refused = !is_for_session && !self.has_memory_for(record.len());
        let process = &mut self.processes[usize::from(at)];
        let limit = match is_for_session {
            // Not its session's own: what is too large for that one is no reason to give up all others.
            true => process.max_message(),
            false => LARGEST_PARCEL,
        };
        let place = (header.kind, header.session);
        if is_first {
            if process.partials.len() >= MOST_PARTIALS {
                return Err("a message begun before the one before it was ended".to_owned());
            }
            process.partials.insert(place, Partial::default());
        }
        let Some(message) = process.partials.get_mut(&place) else {
            // The session closed midway and the first parts were dropped: so are the others.
            return Ok(None);
        };
        if (message.bytes.len() + record.len()) as u64 > limit {
            return Err(format!(
                "a message of over {limit} bytes for {}",
                header.session
            ));
        }
        if is_refused {
            self.refuse_parts(at, place);
        } else if !message.is_refused {
            self.memory.hold(Class::Parts, record.len());
            record.copy_to(&mut message.bytes);
        }
        if header.flags & LAST == 0 {
            return Ok(None);
        }
        let message = self.processes[usize::from(at)].partials.remove(&place);
        let held = message.as_ref().map_or(0, |message| message.bytes.len());
        self.memory.release(Class::Parts, held);
        Ok(message)
    }

    /// There is no memory for a message of which some parts have come: they are dropped, and so are the others.
    pub(super) fn refuse_parts(&mut self, at: u16, name: (u8, u64)) {
        let process = &mut self.processes[usize::from(at)];
        if let Some(message) = process.partials.get_mut(&name) {
            message.is_refused = true;
            let bytes = std::mem::take(&mut message.bytes);
            self.memory.release(Class::Parts, bytes.len());
        }
    }

    /// There was no memory for what a process has asked for: it is told, where it would hear it.
    fn refuse_request(
        &mut self,
        at: u16,
        kind: FromProcess,
        header: &Header,
    ) -> Result<(), String> {
        self.count(LoopCounter::Discarded, 1);
        if self.budget.tells_of_refusals(self.clock.ms) {
            tracing::warn!(
                process = self.processes[usize::from(at)].id,
                what = ?kind,
                "not taken: memory_limit is reached; others of the next seconds are counted as discarded"
            );
        }
        match kind {
            FromProcess::Post => self.refuse_post(at, header),
            FromProcess::Task => self.refuse_task(at, header),
            FromProcess::TaskDone => {
                let failed = Header {
                    flags: header.flags | FAILED,
                    ..*header
                };
                self.end_task(at, &failed, NO_MEMORY.into());
                Ok(())
            }
            FromProcess::Broadcast => self.refuse_broadcast(at, header),
            _ => Ok(()),
        }
    }

    /// A message for a session.
    fn send(&mut self, at: u16, header: &Header, payload: Payload<'_, '_>) {
        let Some(key) = self.table.find(header.session) else {
            self.discard(at, header.session);
            return;
        };
        self.catch_up(key);
        let session = &self.table[key];
        if !matches!(
            session.phase,
            Phase::Open | Phase::Ending(CloseReason::Stopped)
        ) {
            self.count(LoopCounter::Discarded, 1);
            return;
        }
        if session.deaf {
            self.count(LoopCounter::Discarded, 1);
            return;
        }
        let is_foreign = session.process != Some(at);
        self.write(key, payload, header.flags & TEXT != 0);
        if is_foreign {
            self.warn_stranger(key, at);
        }
    }

    /// What is addressed to a session that is no more is counted, and the sender told.
    pub(super) fn discard(&mut self, at: u16, session: u64) {
        self.count(LoopCounter::Discarded, 1);
        let process = &mut self.processes[usize::from(at)];
        let header = Header {
            kind: ToProcess::Unknown as u8,
            session,
            ..Header::default()
        };
        // Only a courtesy: without room it is left out.
        if process.producer.push(&header, &[]).is_ok() {
            self.mark_dirty(at);
        }
    }

    /// Frames a payload and sends it, or queues it.
    fn write(&mut self, key: Key, payload: Payload<'_, '_>, text: bool) {
        let session = &mut self.table[key];
        let framing = &self.config.listeners[usize::from(session.listener)].framing;
        let mut head = [0; MAX_HEADER_BYTES];
        let known = match framing {
            Framing::Length(length) if length.keep_header => payload.head(&mut head),
            _ => 0,
        };
        let envelope = match framing.envelope(&head[..known], payload.len(), text) {
            Ok(envelope) => envelope,
            Err(error) => {
                tracing::warn!(
                    session = %SessionId::from(session.id), %error, limit = framing.limit_key(),
                    "a message from the app cannot be sent"
                );
                self.counters.add(LoopCounter::Discarded as usize, 1);
                return;
            }
        };
        let (prefix, skip, suffix) = (envelope.prefix(), envelope.skip, envelope.suffix());
        let whole = prefix.len() + payload.len() - skip.min(payload.len()) + suffix.len();
        if session.tls.is_some() {
            let mut frame = std::mem::take(&mut self.frame);
            frame.clear();
            frame.extend_from_slice(prefix);
            payload.copy_from(skip, &mut frame);
            frame.extend_from_slice(suffix);
            self.write_plaintext(key, &frame);
            // A large message is no reason to keep its size for ever.
            frame.clear();
            frame.shrink_to(LARGE);
            self.frame = frame;
            return;
        }
        let mut sent = 0;
        if session.outbound.is_none()
            && let Some(socket) = &session.socket
        {
            match payload.send(socket, prefix, skip, suffix, &mut self.frame) {
                Ok(bytes) => sent = bytes,
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => {
                    self.break_off(key, error);
                    return;
                }
            }
            session.bytes_out += sent as u64;
            session.sent_at = self.clock.ms;
            if sent == whole {
                return;
            }
        }
        let rest = whole - sent;
        let piece = session.outbound.get_or_insert_default().piece(rest);
        piece.extend_from_slice(prefix.get(sent..).unwrap_or_default());
        let sent = sent.saturating_sub(prefix.len());
        let length = payload.len() - skip.min(payload.len());
        payload.copy_from(skip + sent.min(length), piece);
        piece.extend_from_slice(
            suffix
                .get(sent.saturating_sub(length)..)
                .unwrap_or_default(),
        );
        self.memory.change(Class::Queued, 0, rest);
        self.weigh(key);
    }

    /// Sends bytes of the framing's own (a pong, a close) behind what is queued.
    pub(super) fn write_raw(&mut self, key: Key, bytes: &[u8]) {
        let session = &mut self.table[key];
        if session.deaf {
            return;
        }
        if session.tls.is_some() {
            self.write_plaintext(key, bytes);
            return;
        }
        let mut sent = 0;
        if session.outbound.is_none()
            && let Some(socket) = &session.socket
        {
            match rustix::io::write(socket, bytes) {
                Ok(written) => sent = written,
                Err(Errno::AGAIN | Errno::INTR) => {}
                // The error is told once: who queued these bytes would wait for ever to send them.
                Err(error) => {
                    self.break_off(key, error);
                    return;
                }
            }
            session.bytes_out += sent as u64;
        }
        if sent < bytes.len() {
            let rest = bytes.len() - sent;
            session
                .outbound
                .get_or_insert_default()
                .piece(rest)
                .extend_from_slice(&bytes[sent..]);
            self.memory.change(Class::Queued, 0, rest);
            self.weigh(key);
        }
    }

    /// A handler has ended.
    fn done(&mut self, at: u16, header: &Header) -> Result<(), String> {
        // A session that has ended took its messages out of the count.
        let Some(key) = self.table.find(header.session) else {
            return Ok(());
        };
        let session = &mut self.table[key];
        if session.process != Some(at) {
            return Ok(());
        }
        if session.in_hand() == 0 || header.sequence != u64::from(session.done.wrapping_add(1)) {
            return Err(format!(
                "message {} of session {} was not in hand",
                header.sequence, header.session
            ));
        }
        self.processes[usize::from(at)].in_hand -= 1;
        if header.flags & (FAILED | ERRED) != 0 && self.forgive(key, header.flags) {
            return Ok(());
        }
        let now = self.clock.ms;
        let session = &mut self.table[key];
        session.half_closed_at = session.half_closed_at.map(|_| now);
        session.done = session.done.wrapping_add(1);
        session.window_bytes = match session.in_hand() {
            0 => 0,
            _ => session
                .window_bytes
                .saturating_sub(usize::try_from(header.time).unwrap_or(usize::MAX)),
        };
        let done = session.done;
        if let Some(inbound) = &mut session.inbound
            && inbound.delivered > 0
            && inbound
                .queue
                .front()
                .is_some_and(|kept| kept.sequence == done)
        {
            let kept = inbound.queue.pop_front();
            inbound.delivered -= 1;
            if inbound.queue.is_empty() {
                session.inbound = None;
            }
            self.memory
                .change(Class::Received, kept.map_or(0, |kept| kept.bytes.len()), 0);
        }
        self.clear_suspect(key);
        self.watch_when_done(key);
        let session = &self.table[key];
        let idle = session.phase == Phase::Open
            && !session.moving
            && !session.readable
            && !session.ended_input
            && session.inbound.is_none()
            && (session.tail.is_empty() || session.starved);
        if !idle {
            self.schedule(key);
        }
        Ok(())
    }

    /// An open hook has ended.
    fn opened(&mut self, at: u16, header: &Header) {
        // One that has ended meanwhile is not waited for any more.
        let Some(key) = self.table.find(header.session) else {
            return;
        };
        let session = &mut self.table[key];
        if session.process == Some(at) {
            session.opening = false;
            if session.moving {
                self.schedule(key);
            }
        }
    }

    /// The app closes a session.
    fn close_for_app(&mut self, at: u16, header: &Header) {
        let Some(key) = self.table.find(header.session) else {
            self.discard(at, header.session);
            return;
        };
        if header.flags & FAILED != 0 {
            self.close_by_crash(key, "its open hook panicked");
            return;
        }
        if header.flags & FORCE != 0 {
            self.finish(key, CloseReason::Server);
            return;
        }
        self.catch_up(key);
        if header.flags & ERRED != 0 {
            self.close_by_error(key);
            return;
        }
        if self.table[key].phase != Phase::Open {
            return;
        }
        let session = &self.table[key];
        let framing = &self.config.listeners[usize::from(session.listener)].framing;
        if matches!(framing, Framing::WebSocket { .. }) {
            let code = if header.aux == 0 { 1000 } else { header.aux };
            let farewell = moorline_net::framing::websocket::close_frame(code, "");
            self.write_raw(key, farewell.as_bytes());
        }
        self.end(key, CloseReason::Server);
    }
}
