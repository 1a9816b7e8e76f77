//! What a session is sent that began as a request: server-sent events, or a WebSocket's messages in JSON that can be
//! resumed.

use std::borrow::Cow;
use std::io::Write;

use moorline_protocol::wire::event::Event;

use crate::session::Kind;

/// The name of the event that tells of a gap, and of the field in JSON that does.
const GAP: &str = "gap";
/// A comment, which clients pass over: the peer's system shows that it lives.
const COMMENT: &str = ":\n\n";

/// What a session is sent for a message or an event.
pub(crate) enum Shown<'a> {
    /// This message, as text or as bytes.
    Message(Cow<'a, [u8]>, bool),
    /// These bytes, without any framing.
    Raw(Vec<u8>),
}

/// What a session of this kind is sent for a message.
pub(crate) fn show_message(kind: Kind, message: &[u8], text: bool) -> Shown<'_> {
    let data = match kind {
        Kind::Resumable if !text => return Shown::Message(message.into(), false),
        Kind::Framed => return Shown::Message(message.into(), text),
        Kind::Events { .. } | Kind::Resumable => String::from_utf8_lossy(message),
    };
    let shown = show_event(
        kind,
        Event {
            data: &data,
            ..Event::default()
        },
    );
    match shown {
        Shown::Message(bytes, text) => Shown::Message(bytes.into_owned().into(), text),
        Shown::Raw(bytes) => Shown::Raw(bytes),
    }
}

/// What a session of this kind is sent for an event.
pub(crate) fn show_event<'a>(kind: Kind, event: Event<'a>) -> Shown<'a> {
    match kind {
        Kind::Framed => Shown::Message(event.data.as_bytes().into(), true),
        Kind::Resumable => Shown::Message(as_json(event).into(), true),
        Kind::Events { chunked } => Shown::Raw(as_lines(event, chunked)),
    }
}

/// How a session of this kind is told that it has missed something of a group; some kinds are not.
pub(crate) fn show_gap(kind: Kind, group: &str) -> Option<Shown<'static>> {
    let gap = Event {
        name: GAP,
        data: group,
        ..Event::default()
    };
    match kind {
        Kind::Framed => None,
        Kind::Events { chunked } => Some(Shown::Raw(as_lines(gap, chunked))),
        Kind::Resumable => Some(Shown::Message(in_braces([(GAP, group)]).into(), true)),
    }
}

/// A comment, for a session of events.
pub(crate) fn comment(chunked: bool) -> Vec<u8> {
    as_chunk(COMMENT.len(), chunked, |chunk| {
        chunk.extend_from_slice(COMMENT.as_bytes());
    })
}

/// The end of all events. Without chunks it is the end of the connection.
pub(crate) fn last_chunk(chunked: bool) -> &'static [u8] {
    match chunked {
        true => b"0\r\n\r\n",
        false => b"",
    }
}

/// WHATWG HTML, "Server-sent events", 9.2.5.
fn as_lines(event: Event<'_>, chunked: bool) -> Vec<u8> {
    let fields = [("id: ", event.id), ("event: ", event.name)];
    let fields = fields.into_iter().filter(|(_, value)| !value.is_empty());
    let fields = fields.chain(lines(event.data).map(|line| ("data: ", line)));
    let lengths = fields
        .clone()
        .map(|(name, value)| name.len() + value.len() + 1);
    as_chunk(lengths.sum::<usize>() + 1, chunked, |chunk| {
        for (name, value) in fields {
            chunk.extend_from_slice(name.as_bytes());
            chunk.extend_from_slice(value.as_bytes());
            chunk.push(b'\n');
        }
        chunk.push(b'\n');
    })
}

/// The lines of a text, which end with LF, CR or both. It has one more than ends.
fn lines(text: &str) -> impl Iterator<Item = &str> + Clone {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let Some(at) = text.find(['\r', '\n']) else {
            return Some(text);
        };
        rest = Some(text[at..].strip_prefix("\r\n").unwrap_or(&text[at + 1..]));
        Some(&text[..at])
    })
}

/// What `write` appends, as a chunk (RFC 9112 §7.1) or as it is. It has `length` bytes.
fn as_chunk(length: usize, chunked: bool, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    /// The length of a chunk and two ends of lines.
    const AROUND: usize = 20;
    let mut chunk = Vec::with_capacity(length + AROUND);
    if chunked {
        // A vector takes every write.
        let _ = write!(chunk, "{length:x}\r\n");
    }
    write(&mut chunk);
    if chunked {
        chunk.extend_from_slice(b"\r\n");
    }
    chunk
}

fn as_json(event: Event<'_>) -> Vec<u8> {
    let fields = [("id", event.id), ("event", event.name)];
    let fields = fields.into_iter().filter(|(_, value)| !value.is_empty());
    in_braces(fields.chain([("data", event.data)]))
}

/// A JSON object of texts.
fn in_braces<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut json = vec![b'{'];
    for (name, value) in fields {
        json.reserve(value.len() + 16);
        if json.len() > 1 {
            json.push(b',');
        }
        // Neither text nor a vector can refuse.
        let _ = write!(json, "\"{name}\":");
        let _ = serde_json::to_writer(&mut json, value);
    }
    json.push(b'}');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(kind: Kind, id: &str, name: &str, data: &str) -> String {
        let bytes = match show_event(kind, Event { id, name, data }) {
            Shown::Message(bytes, true) => bytes.into_owned(),
            Shown::Message(_, false) => panic!("an event is text"),
            Shown::Raw(bytes) => bytes,
        };
        String::from_utf8(bytes).expect("it is text")
    }

    #[test]
    fn an_event_is_lines_and_each_line_of_its_data_one_of_them() {
        let plain = Kind::Events { chunked: false };
        let all = shown(plain, "7", "token", "a\nb\r\nc\rd\n");
        let lines = "id: 7\nevent: token\ndata: a\ndata: b\ndata: c\ndata: d\ndata: \n\n";
        assert_eq!(all, lines);
        assert_eq!(shown(plain, "", "", ""), "data: \n\n");
        let chunked = Kind::Events { chunked: true };
        assert_eq!(
            shown(chunked, "", "", "abcdef"),
            "e\r\ndata: abcdef\n\n\r\n"
        );
    }

    #[test]
    fn a_resumable_session_gets_json_and_others_the_data() {
        let json = shown(Kind::Resumable, "7", "", "say \"hi\"\n");
        assert_eq!(json, r#"{"id":"7","data":"say \"hi\"\n"}"#);
        assert_eq!(shown(Kind::Framed, "7", "x", "hi"), "hi");
    }

    #[test]
    fn a_plain_message_has_only_data() {
        let kind = Kind::Events { chunked: false };
        let Shown::Raw(bytes) = show_message(kind, b"a\xff", false) else {
            panic!("it is sent as it is");
        };
        assert_eq!(bytes, "data: a\u{fffd}\n\n".as_bytes());
        let Shown::Message(bytes, false) = show_message(Kind::Resumable, b"\xff", false) else {
            panic!("bytes stay bytes");
        };
        assert_eq!(*bytes, b"\xff"[..]);
    }
}
