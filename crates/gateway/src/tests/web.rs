//! What a client of a scripted loop speaks on an HTTP listener: WebSocket, or server-sent events.

/// A request for events.
const EVENTS: &[u8] = b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n";

/// A connection of an HTTP listener, as its client sees it.
#[derive(Debug)]
pub(super) struct Web {
    protocol: WebProtocol,
    /// What came and is not read.
    raw: Vec<u8>,
    answer: WebAnswer,
}

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WebProtocol {
    WebSocket,
    Events,
}

/// What a request was answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WebAnswer {
    /// Nothing whole yet.
    Waits,
    Begun,
    Refused,
}

/// What a client makes of what came.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Messages and events, each with the end of a line.
    pub(super) lines: Vec<u8>,
    /// What it answers.
    pub(super) reply: Vec<u8>,
}

impl Web {
    /// A client that asks for this, and its request.
    pub(super) fn new(protocol: WebProtocol) -> (Self, &'static [u8]) {
        let web = Self {
            protocol,
            raw: Vec::new(),
            answer: WebAnswer::Waits,
        };
        match protocol {
            WebProtocol::WebSocket => (web, super::script::HANDSHAKE),
            WebProtocol::Events => (web, EVENTS),
        }
    }

    /// A line as this client sends it. One of events says nothing that is heard.
    pub(super) fn wrap(&self, line: &[u8]) -> Vec<u8> {
        match self.protocol {
            WebProtocol::WebSocket => frame(2, line),
            WebProtocol::Events => line.to_vec(),
        }
    }

    /// Whether it is answered.
    pub(super) fn is_heard(&self) -> bool {
        self.protocol == WebProtocol::WebSocket
    }

    /// Reads what has come.
    ///
    /// # Panics
    /// No server may send this.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Heard {
        self.raw.extend_from_slice(bytes);
        if self.answer == WebAnswer::Waits {
            self.read_head();
        }
        let mut heard = Heard::default();
        match (self.answer, self.protocol) {
            (WebAnswer::Waits, _) => {}
            (WebAnswer::Refused, _) => self.raw.clear(),
            (WebAnswer::Begun, WebProtocol::WebSocket) => while self.read_frame(&mut heard) {},
            (WebAnswer::Begun, WebProtocol::Events) => while self.read_chunk(&mut heard) {},
        }
        heard
    }

    fn read_head(&mut self) {
        let Some(end) = self.raw.windows(4).position(|it| it == b"\r\n\r\n") else {
            return;
        };
        let head: Vec<u8> = self.raw.drain(..end + 4).collect();
        let status = &head[..12];
        self.answer = match (status, self.protocol) {
            (b"HTTP/1.1 101", WebProtocol::WebSocket) | (b"HTTP/1.1 200", WebProtocol::Events) => {
                WebAnswer::Begun
            }
            (b"HTTP/1.1 503", _) => WebAnswer::Refused,
            _ => panic!("answered with {}", head.escape_ascii()),
        };
    }

    /// RFC 6455 §5.2, from a server. True: there was a whole one.
    fn read_frame(&mut self, heard: &mut Heard) -> bool {
        let Some((&[first, second], rest)) = self.raw.split_first_chunk::<2>() else {
            return false;
        };
        let (header, length) = match second {
            126 => match rest.first_chunk::<2>() {
                Some(bytes) => (4, usize::from(u16::from_be_bytes(*bytes))),
                None => return false,
            },
            127 => match rest.first_chunk::<8>() {
                Some(bytes) => (10, u64::from_be_bytes(*bytes) as usize),
                None => return false,
            },
            length => (2, usize::from(length)),
        };
        if self.raw.len() < header + length {
            return false;
        }
        let payload: Vec<u8> = self.raw.drain(..header + length).skip(header).collect();
        match first {
            0x81 | 0x82 => push_line(&payload, heard),
            0x88 => {}
            0x89 => heard.reply.extend(frame(10, &payload)),
            _ => panic!("a frame that begins with {first:x}"),
        }
        true
    }

    /// RFC 9112 §7.1, with an event or a comment in it. True: there was a whole one.
    fn read_chunk(&mut self, heard: &mut Heard) -> bool {
        let Some(end) = self.raw.windows(2).position(|it| it == b"\r\n") else {
            return false;
        };
        let length = std::str::from_utf8(&self.raw[..end]).expect("a length is text");
        let length = usize::from_str_radix(length, 16).expect("a length is a number");
        if self.raw.len() < end + 2 + length + 2 {
            return false;
        }
        let chunk: Vec<u8> = self
            .raw
            .drain(..end + 2 + length + 2)
            .skip(end + 2)
            .collect();
        let text = chunk.strip_suffix(b"\r\n").expect("a chunk has an end");
        let text = std::str::from_utf8(text).expect("events are text");
        match text {
            "" | ":\n\n" => {}
            _ => {
                let event = text.strip_suffix("\n\n").expect("an event has an end");
                for line in event.lines() {
                    match line.split_once(": ").expect("a line has a field") {
                        ("data", data) => push_line(data.as_bytes(), heard),
                        ("id" | "event", _) => {}
                        _ => panic!("{text:?} is no event"),
                    }
                }
            }
        }
        true
    }
}

fn push_line(message: &[u8], heard: &mut Heard) {
    let line = message.strip_suffix(b"\n").unwrap_or(message);
    heard.lines.extend_from_slice(line);
    heard.lines.push(b'\n');
}

/// A frame of a client, whose mask changes nothing.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}
