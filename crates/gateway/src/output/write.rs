//! From a message to the socket: frame, send, queue what the socket does not take.
//!
//! A message that came in one record is handed to the kernel from where it lies in the ring. Only what the
//! socket refuses is copied into the session's queue, which has a high and a low watermark (the app is told)
//! and a hard limit (the session is closed).

use std::rc::Rc;

use moorline_net::Framing;
use moorline_net::framing::EncodeError;
use moorline_net::framing::MAX_HEADER_BYTES;
use moorline_net::framing::websocket::close_frame;
use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::cx::Cx;
use crate::memory::Class;
use moorline_config::Listener;

use crate::output::compress::{deflate_for, sharing};
use crate::output::event::{Shown, show_event, show_gap, show_message};
use crate::output::payload::Payload;
use crate::output::sealing::{seal_now, write_plaintext};
use crate::output::watermarks::{Sender, weigh};
use crate::session::frame::Frame;
use crate::session::{End, Kind, Session};
use crate::tools::Tools;
use moorline_protocol::control::LoopCounter;
use moorline_protocol::session_id::SessionId;
use moorline_protocol::wire::event::Event;

/// WebSocket without a limit of its own.
pub(crate) const UNBOUNDED: Framing = Framing::WebSocket { max: u64::MAX };
/// Scratch space that is kept, in bytes.
const LARGE: usize = 256 * 1024;

/// Frames a payload and sends it, or queues it.
///
/// # Errors
/// The session ends: its connection broke, or its queue has passed the hard limit.
#[inline]
pub(crate) fn write(
    session: &mut Session,
    payload: Payload<'_, '_>,
    text: bool,
    sender: Sender,
    tools: &mut Tools,
) -> Result<(), End> {
    match session.kind {
        Kind::Framed => write_message(session, payload, text, sender, tools),
        kind => {
            let mut message = Vec::with_capacity(payload.len());
            payload.copy_from(0, &mut message);
            let shown = show_message(kind, &message, text);
            write_shown(session, &shown, sender, tools)
        }
    }
}

/// Sends an event, or queues it.
///
/// # Errors
/// As for [`write`].
pub(crate) fn write_event(
    session: &mut Session,
    event: Event<'_>,
    sender: Sender,
    tools: &mut Tools,
) -> Result<(), End> {
    let shown = show_event(session.kind, event);
    write_shown(session, &shown, sender, tools)
}

/// Tells a session that it has missed something of a group.
///
/// # Errors
/// As for [`write`].
pub(crate) fn write_gap(session: &mut Session, group: &[u8], tools: &mut Tools) -> Result<(), End> {
    match show_gap(session.kind, &String::from_utf8_lossy(group)) {
        Some(shown) => write_shown(session, &shown, Sender::Waits, tools),
        None => Ok(()),
    }
}

fn write_shown(
    session: &mut Session,
    shown: &Shown<'_>,
    sender: Sender,
    tools: &mut Tools,
) -> Result<(), End> {
    if !may_be_shown(session, shown, &tools.cx) {
        return Ok(());
    }
    match shown {
        Shown::Message(message, text) => {
            write_message(session, Payload::Bytes(message), *text, sender, tools)
        }
        Shown::Raw(bytes) => write_now(session, bytes, sender, tools),
    }
}

/// Appends an event to what a session is about to be sent, as it goes over the wire.
pub(crate) fn append_event(
    session: &mut Session,
    event: Event<'_>,
    out: &mut Vec<u8>,
    tools: &mut Tools,
) {
    let shown = show_event(session.kind, event);
    if !may_be_shown(session, &shown, &tools.cx) {
        return;
    }
    let (message, text) = match &shown {
        Shown::Raw(bytes) => return out.extend_from_slice(bytes),
        Shown::Message(message, text) => (&**message, *text),
    };
    if session.compression.is_some() {
        let (plain, mut frame) = tools.scratch.codecs.take_buffers();
        let deflated = deflate_for(session, message, text, &mut frame, tools);
        if let Some(start) = deflated {
            out.extend_from_slice(&frame[start..]);
        }
        tools.scratch.codecs.return_buffers(plain, frame);
        if deflated.is_some() {
            return;
        }
    }
    let framing = framing_of(session, &tools.cx);
    let head = &message[..message.len().min(MAX_HEADER_BYTES)];
    match framing.envelope(head, message.len(), text) {
        Ok(envelope) => {
            out.extend_from_slice(envelope.prefix());
            out.extend_from_slice(message.get(envelope.skip..).unwrap_or_default());
            out.extend_from_slice(envelope.suffix());
        }
        Err(error) => refuse(session, &error, &tools.cx),
    }
}

/// Sends what was appended, or queues it.
///
/// # Errors
/// As for [`write`].
pub(crate) fn write_appended(
    session: &mut Session,
    bytes: &[u8],
    tools: &mut Tools,
) -> Result<(), End> {
    write_now(session, bytes, Sender::Waits, tools)
}

/// Whether what a client would see of a message may be sent. The log tells if not.
fn may_be_shown(session: &Session, shown: &Shown<'_>, cx: &Cx) -> bool {
    let listener = cx.listener(session.listener);
    let is_too_long = is_too_long(shown, listener);
    if is_too_long {
        tracing::warn!(
            session = %SessionId::from(session.id), listener = %listener.name,
            "a message from the app is not sent: as it is shown to this client it is over hard_limit"
        );
        cx.count(LoopCounter::Discarded, 1);
    }
    !is_too_long
}

/// Whether a message in another form has become so long that its session would be closed for it: each line of an event
/// has its field, and JSON escapes.
pub(crate) fn is_too_long(shown: &Shown<'_>, listener: &Listener) -> bool {
    let length = match shown {
        Shown::Message(bytes, _) => bytes.len(),
        Shown::Raw(bytes) => bytes.len(),
    };
    length as u64 > listener.hard_limit
}

/// Sends bytes of the app's, and notes when its peer took some.
fn write_now(
    session: &mut Session,
    bytes: &[u8],
    sender: Sender,
    tools: &mut Tools,
) -> Result<(), End> {
    let before = session.meters.bytes_out;
    let written = write_bytes(session, bytes, sender, tools);
    if session.meters.bytes_out > before {
        session.meters.sent_at = tools.cx.clock.ms;
    }
    written
}

fn framing_of<'a>(session: &Session, cx: &'a Cx) -> &'a Framing {
    match session.kind {
        // The engine's own JSON may be longer than the message in it.
        Kind::Resumable => &UNBOUNDED,
        _ => &cx.listener(session.listener).framing,
    }
}

fn write_message(
    session: &mut Session,
    payload: Payload<'_, '_>,
    text: bool,
    sender: Sender,
    tools: &mut Tools,
) -> Result<(), End> {
    if session.compression.is_some()
        && let Some(written) = write_deflated(session, payload, text, sender, tools)
    {
        return written;
    }
    let framing = framing_of(session, &tools.cx);
    let mut head = [0; MAX_HEADER_BYTES];
    let known = match framing {
        Framing::Length(length) if length.keep_header => payload.head(&mut head),
        _ => 0,
    };
    let envelope = match framing.envelope(&head[..known], payload.len(), text) {
        Ok(envelope) => envelope,
        Err(error) => {
            refuse(session, &error, &tools.cx);
            return Ok(());
        }
    };
    let (prefix, skip, suffix) = (envelope.prefix(), envelope.skip, envelope.suffix());
    let whole = prefix.len() + payload.len() - skip.min(payload.len()) + suffix.len();
    if session.transport.tls.is_some() {
        let mut frame = std::mem::take(&mut tools.scratch.frame);
        frame.clear();
        frame.extend_from_slice(prefix);
        payload.copy_from(skip, &mut frame);
        frame.extend_from_slice(suffix);
        return write_frame(session, frame, sender, tools);
    }
    let mut sent = 0;
    if session.output.queue.is_none()
        && let Some(socket) = &session.transport.socket
    {
        match payload.send(socket, prefix, skip, suffix, &mut tools.scratch.frame) {
            Ok(bytes) => sent = bytes,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(End::Broken(error)),
        }
        session.meters.bytes_out += sent as u64;
        tools.cx.count_sent(session.listener, sent as u64);
        session.meters.sent_at = tools.cx.clock.ms;
        if sent == whole {
            return Ok(());
        }
    }
    let rest = whole - sent;
    let piece = session.output.queue.get_or_insert_default().piece(rest);
    piece.extend_from_slice(prefix.get(sent..).unwrap_or_default());
    let sent = sent.saturating_sub(prefix.len());
    let length = payload.len() - skip.min(payload.len());
    payload.copy_from(skip + sent.min(length), piece);
    piece.extend_from_slice(
        suffix
            .get(sent.saturating_sub(length)..)
            .unwrap_or_default(),
    );
    tools.memory.hold(Class::Queued, rest);
    weigh(session, sender, tools)
}

/// The framing of a session cannot carry a message.
fn refuse(session: &Session, error: &EncodeError, cx: &Cx) {
    let limit = framing_of(session, cx).limit_key();
    tracing::warn!(
        session = %SessionId::from(session.id), %error, limit,
        "a message from the app cannot be sent"
    );
    cx.count(LoopCounter::Discarded, 1);
}

/// Sends a message compressed. `None`: it goes as it is.
fn write_deflated(
    session: &mut Session,
    payload: Payload<'_, '_>,
    text: bool,
    sender: Sender,
    tools: &mut Tools,
) -> Option<Result<(), End>> {
    sharing(session, payload.len(), &tools.cx)?;
    let (mut plain, mut frame) = tools.scratch.codecs.take_buffers();
    payload.copy_from(0, &mut plain);
    let deflated = deflate_for(session, &plain, text, &mut frame, tools);
    let written = deflated.map(|start| write_now(session, &frame[start..], sender, tools));
    tools.scratch.codecs.return_buffers(plain, frame);
    written
}

/// Sends a whole frame over TLS, and keeps its space.
fn write_frame(
    session: &mut Session,
    mut frame: Vec<u8>,
    sender: Sender,
    tools: &mut Tools,
) -> Result<(), End> {
    let written = write_plaintext(session, &frame, sender, tools);
    // A large message is no reason to keep its size for ever.
    frame.clear();
    frame.shrink_to(LARGE);
    tools.scratch.frame = frame;
    written
}

/// Sends bytes of the framing's own (a pong, a close) behind what is queued.
///
/// # Errors
/// As for [`write`].
pub(crate) fn write_raw(session: &mut Session, bytes: &[u8], tools: &mut Tools) -> Result<(), End> {
    write_bytes(session, bytes, Sender::Waits, tools)
}

fn write_bytes(
    session: &mut Session,
    bytes: &[u8],
    sender: Sender,
    tools: &mut Tools,
) -> Result<(), End> {
    if session.transport.link.is_broken() {
        return Ok(());
    }
    if session.transport.tls.is_some() {
        return write_plaintext(session, bytes, sender, tools);
    }
    let mut sent = 0;
    if session.output.queue.is_none()
        && let Some(socket) = &session.transport.socket
    {
        match rustix::io::write(socket, bytes) {
            Ok(written) => sent = written,
            Err(Errno::AGAIN | Errno::INTR) => {}
            // The socket reports the error once: queued bytes would wait for ever.
            Err(error) => return Err(End::Broken(error)),
        }
        session.meters.bytes_out += sent as u64;
        tools.cx.count_sent(session.listener, sent as u64);
    }
    if sent == bytes.len() {
        return Ok(());
    }
    let rest = &bytes[sent..];
    let queue = session.output.queue.get_or_insert_default();
    queue.piece(rest.len()).extend_from_slice(rest);
    tools.memory.hold(Class::Queued, rest.len());
    weigh(session, sender, tools)
}

/// A WebSocket is told why it is closed, by a code or without one (0); others have no such word: chunks that do not end are an end that was not meant. An error does not matter: it ends anyway.
pub(crate) fn farewell(session: &mut Session, code: u16, tools: &mut Tools) {
    let framing = &tools.cx.listener(session.listener).framing;
    if session.kind.is_websocket(framing) {
        let frame = close_frame(code, "");
        let _ = write_raw(session, frame.as_bytes(), tools);
    }
}

/// Sends a frame that several sessions share, and queues what the socket does not take.
///
/// # Errors
/// As for [`write`].
pub(crate) fn write_shared(
    session: &mut Session,
    frame: Rc<Frame>,
    tools: &mut Tools,
) -> Result<(), End> {
    let mut sent = 0;
    if session.transport.tls.is_some() {
        sent = seal_now(session, &frame, tools)?;
    }
    if session.output.queue.is_none()
        && sent < frame.len()
        && let Some(socket) = &session.transport.socket
    {
        match rustix::net::send(socket, &frame, SendFlags::NOSIGNAL) {
            Ok(bytes) => sent = bytes,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(End::Broken(error)),
        }
        session.meters.bytes_out += sent as u64;
        tools.cx.count_sent(session.listener, sent as u64);
        session.meters.sent_at = tools.cx.clock.ms;
    }
    if sent == frame.len() {
        return Ok(());
    }
    let queue = session.output.queue.get_or_insert_default();
    queue.share(frame, sent);
    weigh(session, Sender::GoesOn, tools)
}
