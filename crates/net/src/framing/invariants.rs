//! What holds for any framing and any bytes.

mod websocket;

use arbitrary::{Result, Unstructured};
use memchr::memmem;
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

use super::*;
pub use websocket::websocket;

/// Any framing, and a stream of any bytes in pieces of any size: nothing panics, and how the stream is cut
/// changes nothing.
pub fn framing(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok((framing, pieces)) = framing_and_pieces(&mut input) else {
        return;
    };
    let wire = input.take_rest();
    let (whole, in_pieces) = (events(&framing, wire, &[]), events(&framing, wire, &pieces));
    if framing == Framing::Raw {
        assert_eq!(joined(&in_pieces), wire);
        return;
    }
    assert_eq!(in_pieces, whole, "{framing:?} in pieces of {pieces:?}");
    for event in &whole {
        if let Event::Refused(error) = event {
            assert!(!error.to_string().is_empty());
            assert!(super::websocket::is_close_code(
                error.websocket_close_code()
            ));
        }
    }
}

/// Any framing and any payloads: what is sent arrives; what is refused is too large, or would be cut.
pub fn envelope(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok((framing, pieces)) = framing_and_pieces(&mut input) else {
        return;
    };
    let (mut wire, mut expected) = (Vec::new(), Vec::new());
    while let Ok(payload) = any_bytes(&mut input) {
        if payload.is_empty() && input.is_empty() {
            break;
        }
        let text = framing.is_websocket() && std::str::from_utf8(payload).is_ok();
        let sent = framing.wrap(payload, text);
        if framing.validate().is_err() {
            continue;
        }
        let size = payload.len() as u64;
        match sent {
            Err(EncodeError::TooLarge { max, .. }) => {
                assert_eq!(max, framing.max_message());
                assert!(size > max);
            }
            Err(EncodeError::NoHeader { header, .. }) => {
                assert!(framing.keeps_header() && size < header);
            }
            Err(EncodeError::ContainsEnd { at }) => {
                assert!(framing.is_cut_by(payload) && at < size);
            }
            Ok(_) => {
                assert!(size <= framing.max_message());
                if framing.is_cut_by(payload) {
                    assert!(framing.is_ended_by_the_app() || payload.ends_with(b"\r"));
                    continue;
                }
                send(&framing, payload, text, &mut wire);
                expected.push(message(framing.as_received(payload), text));
            }
        }
    }
    match framing {
        Framing::Raw => assert_eq!(joined(&events(&framing, &wire, &pieces)), wire),
        Framing::WebSocket { .. } => assert_eq!(as_client(wire), expected),
        _ => assert_eq!(events(&framing, &wire, &pieces), expected, "{framing:?}"),
    }
}

/// How a foreign WebSocket client reads these bytes.
fn as_client(wire: Vec<u8>) -> Vec<Event> {
    let mut client = WebSocket::from_raw_socket(std::io::Cursor::new(wire), Role::Client, None);
    let messages = std::iter::from_fn(|| client.read().ok());
    messages
        .map(|read| match read {
            Message::Text(text) => Event::Text(text.to_string()),
            other => Event::Message(other.into_data().to_vec()),
        })
        .collect()
}

fn framing_and_pieces(input: &mut Unstructured<'_>) -> Result<(Framing, Vec<usize>)> {
    let framing = any_framing(input)?;
    let pieces: [u8; 3] = input.arbitrary()?;
    Ok((framing, pieces.map(|size| usize::from(size) + 1).into()))
}

/// Any, those that validation refuses too.
fn any_framing(input: &mut Unstructured<'_>) -> Result<Framing> {
    Ok(match input.arbitrary::<u8>()? % 5 {
        0 => Framing::Raw,
        1 => Framing::Length(Length {
            width: input.arbitrary::<u8>()? % 10,
            endian: *input.choose(&[Endian::Big, Endian::Little])?,
            offset: any_number(input)? as u32,
            counts: match any_number(input)? as u32 {
                0 => Counts::Message,
                1 => Counts::Payload,
                from => Counts::From(from),
            },
            max: any_number(input)?,
            keep_header: input.arbitrary()?,
        }),
        2 => Framing::Delimiter(Delimiter {
            keep: input.arbitrary()?,
            max: any_number(input)?,
            delimiter: any_bytes(input)?.into(),
        }),
        3 => Framing::Line {
            max: any_number(input)?,
        },
        _ => Framing::WebSocket {
            max: any_number(input)?,
        },
    })
}

/// A small number, or rarely the largest.
fn any_number(input: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match input.arbitrary::<u16>()? {
        u16::MAX => u64::MAX,
        number => number.into(),
    })
}

/// At most 255 bytes.
fn any_bytes<'a>(input: &mut Unstructured<'a>) -> Result<&'a [u8]> {
    if input.is_empty() {
        return Err(arbitrary::Error::NotEnoughData);
    }
    let length = usize::from(input.arbitrary::<u8>()?).min(input.len());
    input.bytes(length)
}

impl Framing {
    fn is_websocket(&self) -> bool {
        matches!(self, Self::WebSocket { .. })
    }

    fn keeps_header(&self) -> bool {
        matches!(
            self,
            Self::Length(Length {
                keep_header: true,
                ..
            })
        )
    }

    /// The end of a message, if the framing has one.
    fn end(&self) -> Option<&[u8]> {
        match self {
            Self::Delimiter(Delimiter { delimiter, .. }) => Some(delimiter),
            Self::Line { .. } => Some(b"\r\n"),
            _ => None,
        }
    }

    /// Whether the payload holds what ends a message, so that less of it arrives.
    fn is_cut_by(&self, payload: &[u8]) -> bool {
        match self {
            Self::Delimiter(Delimiter {
                delimiter, keep, ..
            }) => {
                let ended = [payload, if *keep { b"" } else { delimiter }].concat();
                memmem::find(&ended, delimiter) != Some(ended.len().wrapping_sub(delimiter.len()))
            }
            Self::Line { .. } => payload.contains(&b'\n') || payload.ends_with(b"\r"),
            _ => false,
        }
    }

    /// Whether the app sends the ends of messages itself.
    fn is_ended_by_the_app(&self) -> bool {
        matches!(self, Self::Delimiter(delimiter) if delimiter.keep)
    }

    /// The app's view of a payload that was sent: a header that it keeps has the right length in it.
    pub(super) fn as_received(&self, payload: &[u8]) -> Vec<u8> {
        let mut packet = payload.to_vec();
        if let Self::Length(length) = self
            && length.keep_header
        {
            let value = payload.len() as u64 - length.counted_from();
            let width = usize::from(length.width);
            let mut field = value.to_le_bytes()[..width].to_vec();
            if length.endian == Endian::Big {
                field.reverse();
            }
            let offset = length.offset as usize;
            packet[offset..offset + width].copy_from_slice(&field);
        }
        packet
    }

    /// The most bytes in which the end must be searched.
    fn longest_need(&self) -> u64 {
        // A control frame may be longer than any message; what stands around a payload is a header or a delimiter.
        let payload = self
            .max_message()
            .max(super::websocket::MAX_CONTROL_BYTES as u64);
        payload.saturating_add(2 * MAX_HEADER_BYTES as u64)
    }
}

/// Receives a stream in pieces, as a session does, and checks the decoder's promises at every step.
struct Receiver<'a> {
    framing: &'a Framing,
    is_valid: bool,
    decoder: Decoder,
    unconsumed: Vec<u8>,
    /// This many bytes of it were looked at and hold no end.
    scanned: usize,
    received: usize,
    events: Vec<Event>,
}

/// The events of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    Message(Vec<u8>),
    Text(String),
    Reply(Vec<u8>),
    Close(Option<u16>, Vec<u8>),
    Refused(FramingError),
}

impl<'a> Receiver<'a> {
    fn new(framing: &'a Framing) -> Self {
        Self {
            framing,
            is_valid: framing.validate().is_ok(),
            decoder: Decoder::new(),
            unconsumed: Vec::new(),
            scanned: 0,
            received: 0,
            events: Vec::new(),
        }
    }

    fn has_ended(&self) -> bool {
        matches!(
            self.events.last(),
            Some(Event::Refused(_) | Event::Close(..))
        )
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.unconsumed.extend_from_slice(bytes);
        self.received += bytes.len();
        while !self.has_ended() {
            let shown = self.with_scanned_replaced();
            let mut input = shown.clone();
            let decoded = self.decoder.decode(self.framing, &mut input);
            self.check_memory();
            let consumed = match decoded {
                Err(error) => {
                    self.events.push(Event::Refused(error));
                    return;
                }
                Ok(Decoded::Incomplete { need }) => {
                    self.check_need(need);
                    assert_eq!(input, shown, "what is incomplete is left alone");
                    self.scanned = input.len();
                    return;
                }
                Ok(Decoded::Message {
                    start,
                    end,
                    consumed,
                    text,
                }) => {
                    assert!(end <= consumed);
                    let received = match self.framing.end() {
                        Some(_) => &self.unconsumed,
                        // Unmasked in place.
                        None => &input,
                    };
                    self.deliver(received[start..end].to_vec(), text);
                    consumed
                }
                Ok(Decoded::Assembled { consumed, text }) => {
                    let whole = self.decoder.take_assembled();
                    assert_eq!(self.decoder.buffered(), 0);
                    self.deliver(whole, text);
                    consumed
                }
                Ok(Decoded::Reply { consumed, bytes }) => {
                    self.events.push(Event::Reply(bytes.to_vec()));
                    consumed
                }
                Ok(Decoded::Nothing { consumed }) => consumed,
                Ok(Decoded::Close {
                    consumed,
                    reply,
                    code,
                    start,
                    end,
                }) => {
                    assert!(end <= consumed && str::from_utf8(&input[start..end]).is_ok());
                    self.events.push(Event::Close(code, reply.to_vec()));
                    consumed
                }
            };
            let before = shown.len();
            assert!((1..=before).contains(&consumed), "{consumed} of {before}");
            self.unconsumed.drain(..consumed);
            self.scanned = 0;
        }
    }

    /// The input, full of ends where there was none: a decoder that searches the same bytes twice finds them. Where an
    /// end may have begun it is as received.
    fn with_scanned_replaced(&self) -> Vec<u8> {
        let mut input = self.unconsumed.clone();
        if let Some(end) = self.framing.end() {
            let behind = (self.scanned + 1).saturating_sub(end.len());
            for (byte, planted) in input[..behind].iter_mut().zip(end.iter().cycle()) {
                *byte = *planted;
            }
        }
        input
    }

    fn deliver(&mut self, payload: Vec<u8>, text: bool) {
        if self.is_valid {
            assert!(payload.len() as u64 <= self.framing.max_message());
        }
        self.events.push(message(payload, text));
    }

    /// A decoder that waits for more makes progress with it, and never waits for more than a message.
    fn check_need(&self, need: usize) {
        let before = self.unconsumed.len();
        assert!(need > before, "{need} bytes needed, {before} are there");
        if self.is_valid {
            assert!(need as u64 <= self.framing.longest_need(), "{need} needed");
        }
    }

    /// Held bytes have arrived and belong to one message; a growing vector may have twice the room.
    fn check_memory(&self) {
        const LEAST_CAPACITY: u64 = 8;
        let held = self.decoder.buffered() as u64;
        let most = self.framing.max_message().min(self.received as u64);
        assert!(held <= 2 * most + LEAST_CAPACITY, "{held} bytes held");
    }
}

pub(super) fn message(bytes: Vec<u8>, text: bool) -> Event {
    if text {
        Event::Text(String::from_utf8(bytes).expect("text is UTF-8"))
    } else {
        Event::Message(bytes)
    }
}

/// The events of `wire` when it arrives in pieces of these sizes, over and over; no sizes: at once.
pub(super) fn events(framing: &Framing, wire: &[u8], pieces: &[usize]) -> Vec<Event> {
    let mut receiver = Receiver::new(framing);
    let mut rest = wire;
    let mut sizes = pieces.iter().cycle();
    while !rest.is_empty() {
        let size = sizes
            .next()
            .map_or(rest.len(), |size| rest.len().min(*size));
        let (piece, after) = rest.split_at(size);
        receiver.receive(piece);
        rest = after;
    }
    receiver.events
}

/// The output of a framing without bounds, put together again.
fn joined(events: &[Event]) -> Vec<u8> {
    let parts = events.iter().map(|event| match event {
        Event::Message(bytes) => bytes.as_slice(),
        other => panic!("raw has messages only, not {other:?}"),
    });
    parts.collect::<Vec<_>>().concat()
}

/// Puts a payload on the wire.
pub(super) fn send(framing: &Framing, payload: &[u8], text: bool, wire: &mut Vec<u8>) {
    let head = &payload[..payload.len().min(MAX_HEADER_BYTES)];
    let envelope = framing
        .envelope(head, payload.len(), text)
        .expect("the payload fits the framing");
    let parts = [
        envelope.prefix(),
        &payload[envelope.skip..],
        envelope.suffix(),
    ];
    let start = wire.len();
    envelope.append_to(wire, payload);
    assert_eq!(wire[start..], parts.concat());
    assert_eq!(envelope.wire_len(payload.len()), wire.len() - start);
}
