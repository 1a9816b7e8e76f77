//! A WebSocket of the gateway as bytes: scripts that serve WebSockets on sockets read a handshake and frames, and write them.
//!
//! The gateway has done the handshake, and has its frames. What scripts see is made here from the messages of the session, and what they
//! write becomes messages again. So a script gets a handshake in each worker, and the client does one only.

use std::mem;

use moorline_worker::app::Session;

/// The most bytes that a script may write for one message.
const MOST_MESSAGE: usize = 16 << 20;
/// The most bytes of its answer to the handshake.
const MOST_HEAD: usize = 16 << 10;

const FIN: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// What a script writes, for one session.
#[derive(Debug, Default)]
pub(crate) struct WebSocketWire {
    /// It has answered the handshake.
    is_open: bool,
    partial: Vec<u8>,
    /// The frames before the last one of a message.
    fragments: Vec<u8>,
    is_text: bool,
}

/// What it has written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WrittenFrame {
    Message {
        bytes: Vec<u8>,
        is_text: bool,
    },
    Ping(Vec<u8>),
    Close(Option<u16>, String),
    /// The answer to the handshake is no: the client, which has its connection, is told by a close.
    Refused,
}

/// What it has written is no WebSocket.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoFrame;

impl WebSocketWire {
    /// The handshake that a script reads: with the target and the fields of the request that are kept of it.
    pub(crate) fn handshake(session: &Session) -> Vec<u8> {
        let request = session.request();
        let target = request.as_ref().map_or("/", |request| request.target());
        let mut head = format!(
            "GET {target} HTTP/1.1\r\nHost: moorline\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bW9vcmxpbmUgZ2F0ZXdheQ==\r\n"
        );
        for name in REMEMBERED {
            let value = request.as_ref().and_then(|request| request.header(name));
            if let Some(value) = value {
                head += &format!("{name}: {value}\r\n");
            }
        }
        head += "\r\n";
        head.into_bytes()
    }

    /// A message of the client.
    pub(crate) fn message(bytes: &[u8], is_text: bool) -> Vec<u8> {
        frame(if is_text { TEXT } else { BINARY }, bytes)
    }

    /// The client's close.
    pub(crate) fn close(code: u16, text: &str) -> Vec<u8> {
        frame(CLOSE, &[&code.to_be_bytes()[..], text.as_bytes()].concat())
    }

    /// The answer to a ping: the gateway has its own.
    pub(crate) fn pong(payload: &[u8]) -> Vec<u8> {
        frame(PONG, payload)
    }

    /// What these bytes complete.
    pub(crate) fn written(&mut self, bytes: &[u8]) -> Result<Vec<WrittenFrame>, NoFrame> {
        self.partial.extend_from_slice(bytes);
        let mut frames = Vec::new();
        if !self.is_open {
            match self.take_head()? {
                None => return Ok(frames),
                Some(true) => {}
                Some(false) => frames.push(WrittenFrame::Refused),
            }
        }
        let mut at = 0;
        while let Some((first, payload, length)) = split(&self.partial[at..])? {
            let (opcode, is_last) = (first & 0x0f, first & FIN != 0);
            let payload = payload.to_vec();
            at += length;
            frames.extend(self.take_frame(opcode, is_last, payload)?);
        }
        self.partial.drain(..at);
        Ok(frames)
    }

    /// Whether the script has said yes, once it has.
    fn take_head(&mut self) -> Result<Option<bool>, NoFrame> {
        let end = self.partial.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(end) = end else {
            return match self.partial.len() > MOST_HEAD {
                true => Err(NoFrame),
                false => Ok(None),
            };
        };
        let is_yes = self.partial.starts_with(b"HTTP/1.1 101");
        self.is_open = true;
        match is_yes {
            true => drop(self.partial.drain(..end + 4)),
            false => self.partial.clear(),
        }
        Ok(Some(is_yes))
    }

    fn take_frame(
        &mut self,
        opcode: u8,
        is_last: bool,
        payload: Vec<u8>,
    ) -> Result<Option<WrittenFrame>, NoFrame> {
        match opcode {
            TEXT | BINARY => {
                self.is_text = opcode == TEXT;
                self.fragments = payload;
            }
            CONTINUATION => self.fragments.extend(payload),
            PING => return Ok(Some(WrittenFrame::Ping(payload))),
            PONG => return Ok(None),
            CLOSE => {
                let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                let text = payload.get(2..).unwrap_or_default();
                let text = String::from_utf8_lossy(text).into_owned();
                return Ok(Some(WrittenFrame::Close(code, text)));
            }
            _ => return Err(NoFrame),
        }
        if self.fragments.len() > MOST_MESSAGE {
            return Err(NoFrame);
        }
        Ok(is_last.then(|| WrittenFrame::Message {
            bytes: mem::take(&mut self.fragments),
            is_text: self.is_text,
        }))
    }
}

/// Fields of a request that a script may ask for, in each worker.
pub(crate) const REMEMBERED: &[&str] = &[
    "Origin",
    "User-Agent",
    "Cookie",
    "Authorization",
    "X-Real-IP",
    "X-Forwarded-For",
];

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 10);
    frame.push(FIN | opcode);
    let size = payload.len();
    match (u8::try_from(size), u16::try_from(size)) {
        (Ok(size @ ..126), _) => frame.push(size),
        (_, Ok(size)) => {
            frame.push(126);
            frame.extend(size.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend((size as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// A frame's first byte, its payload, and its length.
type SplitFrame<'a> = (u8, &'a [u8], usize);

/// The first frame, if all of it is there. Servers do not mask theirs.
fn split(bytes: &[u8]) -> Result<Option<SplitFrame<'_>>, NoFrame> {
    let &[first, second, ref rest @ ..] = bytes else {
        return Ok(None);
    };
    if second & 0x80 != 0 || first & 0x70 != 0 {
        return Err(NoFrame);
    }
    let size = match second {
        126 => rest
            .first_chunk()
            .map(|size| (u64::from(u16::from_be_bytes(*size)), 2)),
        127 => rest
            .first_chunk()
            .map(|size| (u64::from_be_bytes(*size), 8)),
        small => Some((u64::from(small), 0)),
    };
    let Some((size, width)) = size else {
        return Ok(None);
    };
    let size = usize::try_from(size).map_err(|_| NoFrame)?;
    if size > MOST_MESSAGE {
        return Err(NoFrame);
    }
    let payload = rest[width..].get(..size);
    Ok(payload.map(|payload| (first, payload, 2 + width + size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_writes_is_messages_however_it_is_cut() {
        let text = |text: &str| WrittenFrame::Message {
            bytes: text.as_bytes().to_vec(),
            is_text: true,
        };
        let large = "x".repeat(70_000);
        let parts = [
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec(),
            frame(TEXT, b"a"),
            vec![TEXT, 1, b'b'],
            frame(PING, b"p"),
            frame(CONTINUATION, b"c"),
            frame(TEXT, large.as_bytes()),
            frame(BINARY, &[7; 300]),
            WebSocketWire::close(1000, "bye"),
        ];
        let whole = parts.concat();
        let expected = vec![
            text("a"),
            WrittenFrame::Ping(b"p".to_vec()),
            text("bc"),
            text(&large),
            WrittenFrame::Message {
                bytes: vec![7; 300],
                is_text: false,
            },
            WrittenFrame::Close(Some(1000), "bye".to_owned()),
        ];
        for cut in (0..whole.len()).step_by(997).chain(0..60) {
            let mut wire = WebSocketWire::default();
            let mut got = wire.written(&whole[..cut]).expect("frames");
            got.extend(wire.written(&whole[cut..]).expect("frames"));
            assert_eq!(got, expected, "{cut}");
        }
    }

    #[test]
    fn what_is_no_frame_and_what_is_too_large_is_refused() {
        let open = || {
            let mut wire = WebSocketWire::default();
            let head = wire.written(b"HTTP/1.1 101 x\r\n\r\n");
            assert_eq!(head, Ok(Vec::new()));
            wire
        };
        let huge = [&[FIN | BINARY, 127][..], &u64::MAX.to_be_bytes()].concat();
        for bytes in [&b"\xff\x00"[..], b"\x83\x00", b"\x81\x80", &huge] {
            assert_eq!(open().written(bytes), Err(NoFrame), "{bytes:?}");
        }
        let mut wire = WebSocketWire::default();
        assert_eq!(wire.written(&[b'x'; MOST_HEAD + 1]), Err(NoFrame));
        let mut wire = WebSocketWire::default();
        let refused = wire.written(b"HTTP/1.1 403 no\r\n\r\nno");
        assert_eq!(refused, Ok(vec![WrittenFrame::Refused]));
    }
}
