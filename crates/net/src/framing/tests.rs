//! What holds for every framing, and the peer that the tests of each one share.

mod delimiter;
mod length;
mod websocket;
mod websocket_peer;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Receives a stream in pieces, as a session does, and checks the decoder's promises at every step.
struct Receiver<'a> {
    framing: &'a Framing,
    decoder: Decoder,
    unconsumed: Vec<u8>,
    events: Vec<Event>,
}

/// What a session was told.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
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
            decoder: Decoder::new(),
            unconsumed: Vec::new(),
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
        while !self.has_ended() {
            let before = self.unconsumed.len();
            let input = &mut self.unconsumed;
            let consumed = match self.decoder.decode(self.framing, input) {
                Err(error) => {
                    self.events.push(Event::Refused(error));
                    return;
                }
                Ok(Decoded::Incomplete { need }) => {
                    assert!(need > before, "{need} bytes needed, {before} are there");
                    return;
                }
                Ok(Decoded::Message {
                    start,
                    end,
                    consumed,
                    text,
                }) => {
                    self.events.push(message(input[start..end].to_vec(), text));
                    consumed
                }
                Ok(Decoded::Assembled { consumed, text }) => {
                    let whole = self.decoder.take_assembled();
                    assert_eq!(self.decoder.buffered(), 0);
                    self.events.push(message(whole, text));
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
                }) => {
                    self.events.push(Event::Close(code, reply.to_vec()));
                    consumed
                }
            };
            assert!((1..=before).contains(&consumed), "{consumed} of {before}");
            self.unconsumed.drain(..consumed);
        }
    }
}

fn message(bytes: Vec<u8>, text: bool) -> Event {
    if text {
        Event::Text(String::from_utf8(bytes).expect("text is UTF-8"))
    } else {
        Event::Message(bytes)
    }
}

/// What comes of `wire` when it arrives in pieces of these sizes, over and over; no sizes: at once.
fn events(framing: &Framing, wire: &[u8], pieces: &[usize]) -> Vec<Event> {
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

/// Puts a payload on the wire.
fn send(framing: &Framing, payload: &[u8], text: bool, wire: &mut Vec<u8>) {
    let head = &payload[..payload.len().min(MAX_HEADER_BYTES)];
    let envelope = framing
        .envelope(head, payload.len(), text)
        .expect("the payload fits the framing");
    wire.extend_from_slice(envelope.prefix());
    wire.extend_from_slice(&payload[envelope.skip..]);
    wire.extend_from_slice(envelope.suffix());
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    vec(1_usize..24, 1..6)
}

fn any_framing() -> impl Strategy<Value = Framing> {
    prop_oneof![
        length::any_length().prop_map(Framing::Length),
        delimiter::any_delimiter().prop_map(Framing::Delimiter),
        (1_u64..40).prop_map(|max| Framing::Line { max }),
        (1_u64..40).prop_map(|max| Framing::WebSocket { max }),
    ]
}

/// Bytes that resemble what framings look for more often than chance would have it.
fn hostile_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(&b"\0\x01\x02\x7e\x7f\x80\x81\x82\x84\x88\x89\x8a\xfe\xff\r\nab"[..]),
    ];
    vec(byte, 0..200)
}

proptest! {
    /// Also: nothing panics, nothing loops, and the verdict on a broken stream is the same.
    #[test]
    fn how_a_hostile_stream_is_cut_changes_nothing(
        framing in any_framing(),
        wire in hostile_bytes(),
        pieces in pieces(),
    ) {
        prop_assert_eq!(events(&framing, &wire, &pieces), events(&framing, &wire, &[]));
    }

    #[test]
    fn a_framing_that_validation_refuses_still_never_panics(
        (width, offset, body, max, keep_header) in
            (any::<u8>(), 0_u32..100, 0_u32..100, any::<u64>(), any::<bool>()),
        payload in vec(any::<u8>(), 0..200),
        delimiter in vec(any::<u8>(), 0..100),
    ) {
        let length = Length { width, endian: Endian::Little, offset, body, max, keep_header };
        let delimiter = Delimiter { delimiter, keep: keep_header, max: max % 100 };
        for framing in [Framing::Length(length), Framing::Delimiter(delimiter)] {
            events(&framing, &payload, &[7]);
            let head = &payload[..payload.len().min(MAX_HEADER_BYTES)];
            let _ = framing.envelope(head, payload.len(), false);
        }
    }

    #[test]
    fn raw_bytes_arrive_as_they_are(wire in vec(any::<u8>(), 0..200), pieces in pieces()) {
        let mut sent = Vec::new();
        send(&Framing::Raw, &wire, false, &mut sent);
        prop_assert_eq!(&sent, &wire);
        let mut received = Vec::new();
        for event in events(&Framing::Raw, &wire, &pieces) {
            let Event::Message(bytes) = event else { panic!("raw has messages only") };
            received.extend(bytes);
        }
        prop_assert_eq!(received, wire);
    }
}

#[test]
fn a_decoder_is_small() {
    assert!(size_of::<Decoder>() <= 24);
}

#[test]
fn no_input_is_incomplete_in_every_framing() {
    for framing in [
        Framing::Raw,
        Framing::Line { max: 1 },
        Framing::WebSocket { max: 1 },
        Framing::Length(length::four_bytes_big_endian()),
        Framing::Delimiter(delimiter::stripped(b"\r\n", 1)),
    ] {
        let decoded = Decoder::new().decode(&framing, &mut []);
        assert!(
            matches!(decoded, Ok(Decoded::Incomplete { need: 1.. })),
            "{framing:?}: {decoded:?}"
        );
    }
}

#[test]
fn a_payload_over_the_maximum_is_not_sent() {
    let framings = [
        Framing::Line { max: 3 },
        Framing::WebSocket { max: 3 },
        Framing::Delimiter(delimiter::stripped(b";", 3)),
    ];
    for framing in framings {
        assert!(framing.envelope(b"abc", 3, false).is_ok());
        assert_eq!(
            framing.envelope(b"abcd", 4, false).unwrap_err(),
            EncodeError::TooLarge { size: 4, max: 3 }
        );
    }
}
