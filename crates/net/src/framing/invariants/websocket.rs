//! Two implementations of RFC 6455 must hear the same.

use std::io::{self, Cursor, Read, Write};

use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message};

use super::super::websocket::{MAX_CONTROL_BYTES, Violation};
use super::*;

/// Any bytes from a client: we hear what tungstenite hears, and refuse all that it refuses.
pub fn websocket(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(max) = any_number(&mut input) else {
        return;
    };
    // The other one allocates room for announced bytes.
    let framing = Framing::WebSocket {
        max: max.clamp(1, u16::MAX.into()),
    };
    let Ok(pieces) = input.arbitrary::<[u8; 3]>() else {
        return;
    };
    let wire = input.take_rest();
    let mut ours = events(
        &framing,
        wire,
        &pieces.map(|size| usize::from(size) + 1)[..],
    );
    let (theirs, their_end) = as_server(wire, framing.max_message());
    let Some(Event::Refused(error)) = ours.last().cloned() else {
        assert_eq!(ours, theirs);
        assert!(
            their_end != TheirEnd::Refused || is_closed(&ours),
            "it refuses what we do not: {ours:?}"
        );
        return;
    };
    ours.pop();
    if is_ours_alone(&error) {
        assert!(theirs.starts_with(&ours), "{theirs:?} after {ours:?}");
        return;
    }
    // It may still wait for the rest of a frame that is refused for its first bytes.
    assert_eq!(ours, theirs, "before {error:?}");
    assert_ne!(their_end, TheirEnd::Closed, "in spite of {error:?}");
}

/// What the standard forbids and tungstenite accepts.
fn is_ours_alone(error: &FramingError) -> bool {
    matches!(
        error,
        FramingError::WebSocket(Violation::LengthNotMinimal | Violation::CloseCode(_))
    )
}

fn is_closed(events: &[Event]) -> bool {
    matches!(events.last(), Some(Event::Close(..)))
}

/// How the other implementation leaves the stream.
#[derive(Debug, PartialEq, Eq)]
enum TheirEnd {
    Refused,
    Closed,
    Waiting,
}

/// How a foreign WebSocket server reads these bytes.
fn as_server(wire: &[u8], max: u64) -> (Vec<Event>, TheirEnd) {
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    // A control frame is no message, and may be longer than any.
    let config = WebSocketConfig::default()
        .max_message_size(Some(max))
        .max_frame_size(Some(max.max(MAX_CONTROL_BYTES)));
    let stream = WebSocketClient(Cursor::new(wire));
    let mut server = WebSocket::from_raw_socket(stream, Role::Server, Some(config));
    let mut events = Vec::new();
    loop {
        match server.read() {
            Ok(Message::Text(text)) => events.push(Event::Text(text.to_string())),
            Ok(Message::Binary(bytes)) => events.push(Event::Message(bytes.to_vec())),
            Ok(Message::Ping(bytes)) => {
                let pong = [&[0x8a, bytes.len() as u8], bytes.as_ref()].concat();
                events.push(Event::Reply(pong));
            }
            Ok(Message::Pong(_) | Message::Frame(_)) => {}
            Ok(Message::Close(frame)) => {
                let code = frame.map(|CloseFrame { code, .. }| u16::from(code));
                let status = code.map(u16::to_be_bytes);
                let status = status.as_ref().map_or(&[][..], |status| status);
                let reply = [&[0x88, status.len() as u8], status].concat();
                events.push(Event::Close(code, reply));
                return (events, TheirEnd::Closed);
            }
            Err(Error::Io(_)) => return (events, TheirEnd::Waiting),
            Err(_) => return (events, TheirEnd::Refused),
        }
    }
}

/// A client that has sent all it will, and reads anything. It does not end the connection.
struct WebSocketClient<'a>(Cursor<&'a [u8]>);

impl Read for WebSocketClient<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.0.read(out)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            length => Ok(length),
        }
    }
}

impl Write for WebSocketClient<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
