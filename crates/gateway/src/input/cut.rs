//! From bytes to messages: the framing cuts, and what it cuts is delivered.

use moorline_net::framing::websocket::close_frame;
use moorline_net::framing::{Guess, guess};
use moorline_net::{Decoded, Decoder, Framing, FramingError};

use crate::cx::Cx;
use crate::input::deliver::deliver;
use crate::memory::Class;
use crate::output::write::write_raw;
use crate::scratch::SCRATCH;
use crate::session::{Cut, End, Farewell, Session};
use crate::timeouts::watch_half_closed;
use crate::tools::Tools;
use moorline_protocol::control::LoopCounter;
use moorline_protocol::session_id::SessionId;
use moorline_protocol::wire::CloseReason;

/// How many bytes of input that breaks a framing are logged: enough for a length field, or to know a protocol by.
const SHOWN_BYTES: usize = 16;
/// Replies of the framing's own that are gathered before they are sent, in bytes.
const MOST_REPLIES: usize = 4096;

/// Cuts the session's tail, as far as it goes now.
///
/// # Errors
/// As for [`cut`].
pub(crate) fn cut_tail(session: &mut Session, tools: &mut Tools) -> Result<(), End> {
    let mut tail = std::mem::take(&mut session.input.tail);
    let before = tail.len();
    // What is cut from it is counted as a message.
    tools.memory.release(Class::Received, before);
    let (cut, result) = cut(session, &mut tail, tools);
    if cut == before {
        tail = Vec::new();
    } else {
        tail.drain(..cut);
        if tail.capacity() > 2 * SCRATCH && tail.len() < tail.capacity() / 4 {
            tail.shrink_to_fit();
        }
    }
    tools.memory.hold(Class::Received, tail.len());
    session.input.tail = tail;
    result
}

/// Delivers the messages at the front of `input`, as many as may go now. Returns how much was used, and why the session
/// ends if it does: its peer said so or broke the framing, or an answer could not be sent.
pub(crate) fn cut(
    session: &mut Session,
    input: &mut [u8],
    tools: &mut Tools,
) -> (usize, Result<(), End>) {
    // One call for all pongs: a peer may ping thousands of times in one read.
    let mut replies = Vec::new();
    let (at, result) = cut_and_gather(session, input, &mut replies, tools);
    (at, result.and(reply(session, &mut replies, tools)))
}

fn cut_and_gather(
    session: &mut Session,
    input: &mut [u8],
    replies: &mut Vec<u8>,
    tools: &mut Tools,
) -> (usize, Result<(), End>) {
    let mut at = 0;
    while at < input.len() {
        if session.holds_input() {
            break;
        }
        // Fragments of a message are kept there.
        let before = session.input.decoder.buffered();
        let decoded = decode(session, &mut input[at..], tools);
        let decoder = &mut session.input.decoder;
        let after = decoder.buffered();
        tools.memory.change(Class::Received, before, after);
        match decoded {
            Ok(Decoded::Message {
                start,
                end,
                consumed,
                text,
            }) => {
                let (start, end) = (at + start, at + end);
                at += consumed;
                deliver(session, &input[start..end], text, tools);
            }
            Ok(Decoded::Assembled { consumed, text }) => {
                at += consumed;
                let message = decoder.take_assembled();
                tools.memory.release(Class::Received, after);
                deliver(session, &message, text, tools);
            }
            Ok(Decoded::Nothing { consumed }) => at += consumed,
            Ok(Decoded::Reply { consumed, bytes }) => {
                at += consumed;
                replies.extend_from_slice(bytes.as_bytes());
                if replies.len() > MOST_REPLIES
                    && let Err(end) = reply(session, replies, tools)
                {
                    return (at, Err(end));
                }
            }
            Ok(Decoded::Close {
                code, start, end, ..
            }) => {
                hear_close(session, code, &input[at + start..at + end], tools);
                return (input.len(), Ok(()));
            }
            Ok(Decoded::Incomplete { need }) => {
                session.input.cut = Cut::Exhausted;
                session.input.expected = need;
                break;
            }
            Err(error) => {
                if let Err(end) = reply(session, replies, tools) {
                    return (at, Err(end));
                }
                let end = violated(session, error, input, at, tools);
                return (input.len(), Err(end));
            }
        }
    }
    (at, Ok(()))
}

/// The peer closes the WebSocket. The app may ask for its code and text.
fn hear_close(session: &mut Session, code: Option<u16>, text: &[u8], tools: &mut Tools) {
    // What it sent before is answered first.
    session.input.farewell = Farewell::Came(code.unwrap_or(0));
    session.transport.link.end_input();
    watch_half_closed(session, tools);
    // The framing has checked that it is UTF-8.
    let text = str::from_utf8(text).unwrap_or_default();
    if !text.is_empty() {
        let (before, after) = session
            .app
            .change(|state| state.close_text = text.to_owned());
        tools.memory.change(Class::State, before, after);
    }
}

/// Sends the framing's own replies that were gathered.
fn reply(session: &mut Session, replies: &mut Vec<u8>, tools: &mut Tools) -> Result<(), End> {
    let replies = std::mem::take(replies);
    match replies.is_empty() {
        true => Ok(()),
        false => write_raw(session, &replies, tools),
    }
}

/// What the first bytes of the input are.
#[inline]
fn decode(
    session: &mut Session,
    input: &mut [u8],
    tools: &mut Tools,
) -> Result<Decoded, FramingError> {
    let framing = &tools.cx.listener(session.listener).framing;
    let decoder = &mut session.input.decoder;
    let Some(compression) = &mut session.compression else {
        return decoder.decode(framing, input);
    };
    let codecs = &mut tools.scratch.codecs;
    let before = codecs.held();
    let decoded = compression.decode(decoder, framing.max_message(), input, codecs);
    tools
        .memory
        .change(Class::Compression, before, codecs.held());
    decoded
}

/// The peer broke the framing at byte `at` of `input`, where a message should begin.
#[cold]
fn violated(
    session: &mut Session,
    error: FramingError,
    input: &[u8],
    at: usize,
    tools: &mut Tools,
) -> End {
    let listener = tools.cx.listener(session.listener);
    let limit = match error {
        FramingError::TooLarge { .. } | FramingError::Unended { .. } => {
            Some(listener.framing.limit_key())
        }
        _ => None,
    };
    // After a handshake it does speak WebSocket.
    let is_websocket = matches!(listener.framing, Framing::WebSocket { .. });
    let guess = match is_websocket {
        true => None,
        false => guess(&listener.framing, input, at),
    };
    tracing::warn!(
        session = %SessionId::from(session.id), listener = %listener.name, peer = %session.peer,
        reason = %CloseReason::Framing, %error, limit, first_bytes = %first_bytes(&input[at..]),
        guess = guess.map(tracing::field::display), "session closed: its input breaks the framing"
    );
    if is_websocket {
        let frame = close_frame(error.websocket_close_code(), "");
        if let Err(end @ End::Now(_)) = write_raw(session, frame.as_bytes(), tools) {
            return end;
        }
    }
    End::WhenFlushed(CloseReason::Framing)
}

/// Logs why a peer that has just left, or was left, may have waited for an answer in vain: its first message never became
/// whole, as it speaks another protocol, or its length field is another than the listener's.
pub(crate) fn note_unfinished(session: &Session, tail: &[u8], cx: &Cx) {
    let listener = cx.listener(session.listener);
    // Lines may begin as requests of HTTP do.
    let has_length = matches!(listener.framing, Framing::Length(_));
    if tail.is_empty() || session.meters.messages > 0 || !has_length {
        return;
    }
    // Text tells nothing about what the peer speaks.
    let guess = guess(&listener.framing, tail, 0).filter(|guess| *guess != Guess::Text);
    if let Some(guess) = guess {
        tracing::warn!(
            session = %SessionId::from(session.id), listener = %listener.name, peer = %session.peer,
            first_bytes = %first_bytes(tail), %guess,
            "the session ended before its first message was complete"
        );
    }
}

/// The session has ended: counts the messages that lie whole in what was received and not cut.
pub(crate) fn discard_uncut(session: &mut Session, input: &mut [u8], tools: &mut Tools) {
    let (mut at, mut messages) = (0, 0);
    if session.compression.is_some() {
        // To count what is compressed, all of it would be decompressed at once.
        at = input.len();
    }
    while at < input.len() {
        let decoded = decode(session, &mut input[at..], tools);
        let decoder = &mut session.input.decoder;
        match decoded {
            Ok(Decoded::Message { consumed, .. }) => {
                messages += 1;
                at += consumed;
            }
            Ok(Decoded::Assembled { consumed, .. }) => {
                decoder.take_assembled();
                messages += 1;
                at += consumed;
            }
            Ok(Decoded::Nothing { consumed } | Decoded::Reply { consumed, .. }) => {
                at += consumed;
            }
            Ok(Decoded::Close { .. } | Decoded::Incomplete { .. }) | Err(_) => break,
        }
    }
    session.input.decoder = Decoder::new();
    tools.cx.count(LoopCounter::Discarded, messages);
}

/// What is logged of bytes that make no message.
fn first_bytes(input: &[u8]) -> impl std::fmt::Display {
    input[..input.len().min(SHOWN_BYTES)].escape_ascii()
}
