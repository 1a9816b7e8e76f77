//! RFC 6455 §5: what is understood and what is refused.

use super::super::websocket::*;
use super::*;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const SOCKET: Framing = Framing::WebSocket { max: 1 << 20 };

/// A client's frame whose first byte is as given.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    client_frame(Opcode::Continuation, payload, MASK, &mut wire);
    wire[0] = first;
    wire
}

fn text(text: &str) -> Event {
    Event::Text(text.to_owned())
}

/// A message in its fragments, with control frames between them.
#[derive(Debug, Clone)]
struct Fragmented {
    text: bool,
    payload: Vec<u8>,
    /// Where each fragment but the last ends.
    ends: Vec<usize>,
    ping: Option<Vec<u8>>,
}

fn any_fragmented() -> impl Strategy<Value = Fragmented> {
    let payload = prop_oneof![
        "\\PC{0,40}".prop_map(|text| (true, text.into_bytes())),
        vec(any::<u8>(), 0..400).prop_map(|bytes| (false, bytes)),
    ];
    (
        payload,
        vec(any::<prop::sample::Index>(), 0..4),
        prop::option::of(vec(any::<u8>(), 0..=MAX_CONTROL_BYTES)),
    )
        .prop_map(|((text, payload), ends, ping)| {
            let mut ends: Vec<_> = ends
                .iter()
                .map(|end| end.index(payload.len() + 1))
                .collect();
            ends.sort_unstable();
            Fragmented {
                text,
                payload,
                ends,
                ping,
            }
        })
}

impl Fragmented {
    fn send(&self, wire: &mut Vec<u8>, expected: &mut Vec<Event>) {
        let mut opcode = if self.text { 0x01 } else { 0x02 };
        let mut start = 0;
        for end in &self.ends {
            wire.extend(frame(opcode, &self.payload[start..*end]));
            (opcode, start) = (0x00, *end);
            if let Some(ping) = &self.ping {
                wire.extend(frame(0x89, ping));
                wire.extend(frame(0x8a, ping));
                let header = [0x8a, ping.len() as u8];
                expected.push(Event::Reply([&header, ping.as_slice()].concat()));
            }
        }
        wire.extend(frame(0x80 | opcode, &self.payload[start..]));
        expected.push(message(self.payload.clone(), self.text));
    }
}

proptest! {
    #[test]
    fn fragments_become_messages_however_they_are_cut(
        messages in vec(any_fragmented(), 0..6),
        pieces in pieces(),
    ) {
        let (mut wire, mut expected) = (Vec::new(), Vec::new());
        for message in &messages {
            message.send(&mut wire, &mut expected);
        }
        prop_assert_eq!(events(&SOCKET, &wire, &pieces), expected);
    }

    #[test]
    fn any_broken_text_is_refused_in_one_frame_and_in_fragments(
        bytes in vec(prop_oneof![Just(0xf0), Just(0x9f), 0x80_u8..=0xff, Just(b'a')], 1..12),
        cut in any::<prop::sample::Index>(),
    ) {
        prop_assume!(std::str::from_utf8(&bytes).is_err());
        let refused = [Event::Refused(Violation::NotUtf8.into())];
        prop_assert_eq!(events(&SOCKET, &frame(0x81, &bytes), &[]), refused.clone());
        let (first, second) = bytes.split_at(cut.index(bytes.len()));
        let wire = [frame(0x01, first), frame(0x80, second)].concat();
        prop_assert_eq!(events(&SOCKET, &wire, &[]), refused);
    }
}

/// §5.7.
#[test]
fn the_examples_of_the_standard_are_understood() {
    let hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(events(&SOCKET, hello, &[1]), [text("Hello")]);
    assert_eq!(frame(0x81, b"Hello"), hello);

    let ping = b"\x89\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(
        events(&SOCKET, ping, &[]),
        [Event::Reply(b"\x8a\x05Hello".to_vec())]
    );

    let mut sent = Vec::new();
    send(&SOCKET, b"Hello", true, &mut sent);
    assert_eq!(sent, b"\x81\x05Hello");
    for (len, header) in [
        (125, &b"\x82\x7d"[..]),
        (126, b"\x82\x7e\x00\x7e"),
        (256, b"\x82\x7e\x01\x00"),
        (65535, b"\x82\x7e\xff\xff"),
        (65536, b"\x82\x7f\0\0\0\0\0\x01\0\0"),
    ] {
        assert_eq!(SOCKET.envelope(&[], len, false).unwrap().prefix(), header);
    }
}

/// §1.3.
#[test]
fn the_key_of_the_standard_is_accepted() {
    assert_eq!(
        accept_key("dGhlIHNhbXBsZSBub25jZQ=="),
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn every_breach_is_refused_with_its_close_code() {
    let ping = frame(0x89, b"");
    let begun = frame(0x01, b"a");
    let cases: Vec<(Vec<u8>, Violation, u16)> = vec![
        // §5.1: from a client, so masked.
        (b"\x81\x00".to_vec(), Violation::Unmasked, 1002),
        (b"\x89\x05Hello".to_vec(), Violation::Unmasked, 1002),
        // §5.2
        (frame(0xc1, b"a"), Violation::ReservedBits, 1002),
        (frame(0xa1, b"a"), Violation::ReservedBits, 1002),
        (frame(0x91, b"a"), Violation::ReservedBits, 1002),
        (frame(0xc9, b"a"), Violation::ReservedBits, 1002),
        (frame(0x83, b"a"), Violation::ReservedOpcode(0x3), 1002),
        (frame(0x87, b"a"), Violation::ReservedOpcode(0x7), 1002),
        (frame(0x8b, b"a"), Violation::ReservedOpcode(0xb), 1002),
        (frame(0x8f, b"a"), Violation::ReservedOpcode(0xf), 1002),
        (
            b"\x82\xfe\0\x7d".to_vec(),
            Violation::LengthNotMinimal,
            1002,
        ),
        (
            b"\x82\xff\0\0\0\0\0\0\xff\xff".to_vec(),
            Violation::LengthNotMinimal,
            1002,
        ),
        (
            b"\x82\xff\x80\0\0\0\0\0\0\0".to_vec(),
            Violation::LengthNegative,
            1002,
        ),
        // §5.4
        (frame(0x80, b"a"), Violation::NothingToContinue, 1002),
        (frame(0x00, b"a"), Violation::NothingToContinue, 1002),
        (
            [begun.clone(), frame(0x81, b"b")].concat(),
            Violation::FragmentsUnfinished,
            1002,
        ),
        (
            [begun.clone(), frame(0x02, b"b")].concat(),
            Violation::FragmentsUnfinished,
            1002,
        ),
        // A whole message leaves nothing to continue.
        (
            [begun, frame(0x80, b"b"), frame(0x80, b"c")].concat(),
            Violation::NothingToContinue,
            1002,
        ),
        // §5.5
        (frame(0x09, b""), Violation::ControlFragmented, 1002),
        (frame(0x08, b""), Violation::ControlFragmented, 1002),
        (frame(0x89, &[0; 126]), Violation::ControlTooLong, 1002),
        (frame(0x88, &[3; 70000]), Violation::ControlTooLong, 1002),
        // §5.5.1
        (frame(0x88, b"\x03"), Violation::CloseTruncated, 1002),
        (frame(0x88, b"\x03\xe8\xff"), Violation::NotUtf8, 1007),
        // §8.1
        (frame(0x81, b"\xff"), Violation::NotUtf8, 1007),
        (
            [ping, frame(0x81, b"\xed\xa0\x80")].concat(),
            Violation::NotUtf8,
            1007,
        ),
    ];
    for (wire, violation, code) in cases {
        for pieces in [&[][..], &[1]] {
            let events = events(&SOCKET, &wire, pieces);
            let error = FramingError::WebSocket(violation);
            assert_eq!(events.last(), Some(&Event::Refused(error)), "{wire:?}");
            assert_eq!(error.websocket_close_code(), code);
        }
    }
}

/// §7.4.
#[test]
fn only_close_codes_that_may_be_sent_are_taken() {
    for code in (0..=5000).chain([u16::MAX]) {
        let events = events(&SOCKET, &frame(0x88, &code.to_be_bytes()), &[]);
        let expected = if matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
            let reply = [&[0x88, 2][..], &code.to_be_bytes()].concat();
            Event::Close(Some(code), reply)
        } else {
            Event::Refused(Violation::CloseCode(code).into())
        };
        assert_eq!(events, [expected]);
    }
}

#[test]
fn a_close_is_answered_and_ends_the_stream() {
    let bare = [frame(0x88, b""), frame(0x81, b"late")].concat();
    assert_eq!(
        events(&SOCKET, &bare, &[]),
        [Event::Close(None, b"\x88\0".to_vec())]
    );

    let reasoned = [frame(0x01, b"unfinished"), frame(0x88, b"\x03\xe8bye")].concat();
    assert_eq!(
        events(&SOCKET, &reasoned, &[]),
        [Event::Close(Some(1000), b"\x88\x02\x03\xe8".to_vec())]
    );
}

#[test]
fn the_maximum_holds_for_all_fragments_together() {
    let framing = Framing::WebSocket { max: 10 };
    let refused = |size| Event::Refused(FramingError::TooLarge { size, max: 10 });
    assert_eq!(
        events(&framing, &frame(0x82, &[0; 10]), &[]),
        [Event::Message(vec![0; 10])]
    );
    // The announced size is enough, the payload never comes.
    assert_eq!(
        events(&framing, &frame(0x82, &[0; 11])[..6], &[]),
        [refused(11)]
    );
    let wire = [
        frame(0x02, &[0; 6]),
        frame(0x89, &[0; 60]),
        frame(0x80, &[0; 5]),
    ]
    .concat();
    assert_eq!(events(&framing, &wire, &[]).last(), Some(&refused(11)));
    assert_eq!(
        FramingError::TooLarge { size: 11, max: 10 }.websocket_close_code(),
        1009
    );
}

#[test]
fn text_in_fragments_is_refused_before_it_ends() {
    let split = "é".as_bytes();
    // Half a character may end a fragment, not the message.
    let wire = [
        frame(0x01, &split[..1]),
        frame(0x00, &split[1..]),
        frame(0x80, b""),
    ]
    .concat();
    assert_eq!(events(&SOCKET, &wire, &[1]), [text("é")]);
    let refused = [Event::Refused(Violation::NotUtf8.into())];
    assert_eq!(
        events(
            &SOCKET,
            &[frame(0x01, split), frame(0x00, b"a\xff")].concat(),
            &[]
        ),
        refused
    );
    assert_eq!(
        events(
            &SOCKET,
            &[frame(0x01, &split[..1]), frame(0x80, b"")].concat(),
            &[]
        ),
        refused
    );
}

#[test]
fn nothing_is_held_for_a_size_that_was_only_announced() {
    let framing = Framing::WebSocket { max: 1 << 40 };
    let mut decoder = Decoder::new();
    let mut input = b"\x02\xff\0\0\0\x80\0\0\0\0".to_vec();
    input.extend(MASK);
    let need = (1 << 39) + input.len();
    assert_eq!(
        decoder.decode(&framing, &mut input),
        Ok(Decoded::Incomplete { need })
    );
    assert_eq!(decoder.buffered(), 0);

    let mut input = frame(0x02, &[7; 100]);
    assert_eq!(
        decoder.decode(&framing, &mut input),
        Ok(Decoded::Nothing { consumed: 106 })
    );
    assert!((100..=200).contains(&decoder.buffered()));
    assert_eq!(decoder.take_assembled(), b"");
    assert!(
        decoder.buffered() >= 100,
        "an unfinished message is not taken"
    );
}

#[test]
fn an_incomplete_frame_is_left_as_it_arrived() {
    let whole = frame(0x82, &[7; 300]);
    let mut input = whole[..whole.len() - 1].to_vec();
    let decoded = Decoder::new().decode(&SOCKET, &mut input);
    assert_eq!(decoded, Ok(Decoded::Incomplete { need: whole.len() }));
    assert_eq!(input, whole[..whole.len() - 1]);
}

#[test]
fn a_close_frame_has_whole_characters_and_no_forbidden_code() {
    assert_eq!(&close_frame(1000, "bye")[..], b"\x88\x05\x03\xe8bye");
    assert_eq!(&close_frame(1005, "bye")[..], b"\x88\0");
    let long = close_frame(1001, &"é".repeat(100));
    assert_eq!(long.len(), 2 + 2 + 122);
    assert_eq!(std::str::from_utf8(&long[4..]), Ok("é".repeat(61).as_str()));
}
