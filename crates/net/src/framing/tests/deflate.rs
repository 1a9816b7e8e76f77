//! RFC 7692: compressed messages, and what is no such message.

use super::super::websocket::deflate::{Deflater, Direction, Inflater};
use super::super::websocket::*;
use super::*;

const MASK: [u8; 4] = [1, 2, 3, 4];
const MAX: u64 = 1 << 20;
/// The last fragment, compressed, of a text.
const DEFLATED_TEXT: u8 = 0xc1;

fn direction(context_takeover: bool) -> Direction {
    Direction {
        context_takeover,
        window_bits: 15,
    }
}

/// A client's frame whose first byte is as given.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    client_frame(Opcode::Continuation, payload, MASK, &mut wire);
    wire[0] = first;
    wire
}

/// The messages of these frames, and the error that ends them.
fn messages(
    wire: &[Vec<u8>],
    max: u64,
    inflater: &mut Inflater,
) -> (Vec<Vec<u8>>, Option<FramingError>) {
    let (mut wire, mut decoder) = (wire.concat(), Decoder::new());
    let (mut at, mut messages) = (0, Vec::new());
    while at < wire.len() {
        match decoder.decode_deflated(max, &mut wire[at..], inflater) {
            Ok(Decoded::Assembled { consumed, .. }) => {
                at += consumed;
                messages.push(decoder.take_assembled());
            }
            Ok(Decoded::Message {
                start,
                end,
                consumed,
                ..
            }) => {
                messages.push(wire[at + start..at + end].to_vec());
                at += consumed;
            }
            Ok(Decoded::Nothing { consumed } | Decoded::Reply { consumed, .. }) => at += consumed,
            Ok(other) => panic!("{other:?}"),
            Err(error) => return (messages, Some(error)),
        }
    }
    (messages, None)
}

fn only(wire: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, FramingError> {
    let (messages, error) = messages(wire, MAX, &mut Inflater::new(direction(true)));
    error.map_or(Ok(messages), Err)
}

#[test]
fn the_examples_of_the_standard_are_understood() {
    let hello = [b"Hello".to_vec()];
    for payload in [
        // Fixed codes; no compression; a last block; two blocks.
        &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
        &[
            0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
        ],
        &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
        &[
            0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
        ],
    ] {
        let whole = frame(DEFLATED_TEXT, payload);
        assert_eq!(only(&[whole]).unwrap(), hello, "{payload:x?}");
        let (one, other) = payload.split_at(3);
        let fragments = [frame(0x41, one), frame(0x89, b"ping"), frame(0x80, other)];
        assert_eq!(only(&fragments).unwrap(), hello, "{payload:x?}");
    }
    // The second refers to the first.
    let twice = [
        frame(DEFLATED_TEXT, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]),
        frame(0x81, b"plain"),
        frame(DEFLATED_TEXT, &[0xf2, 0x00, 0x11, 0x00, 0x00]),
    ];
    assert_eq!(only(&twice).unwrap(), [&b"Hello"[..], b"plain", b"Hello"]);
    assert_eq!(only(&[frame(0xc2, &[0])]).unwrap(), [b""]);
}

#[test]
fn a_message_that_does_not_keep_to_it_is_refused() {
    let hello: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let reserved = Violation::ReservedBits;
    for (wire, violation) in [
        (vec![frame(0xc9, b"ping")], reserved),
        (vec![frame(0xc8, b"")], reserved),
        (vec![frame(0x41, hello), frame(0xc0, b"")], reserved),
        (vec![frame(0xa1, hello)], reserved),
        (vec![frame(0xd1, hello)], reserved),
        (
            vec![frame(DEFLATED_TEXT, b"\xff\xff\xff")],
            Violation::Corrupt,
        ),
        // It ends within a block without compression, and within one with fixed codes.
        (
            vec![frame(
                0xc2,
                &[0x00, 0x0a, 0x00, 0xf5, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f],
            )],
            Violation::Corrupt,
        ),
        (vec![frame(0xc2, &[0xf2, 0x48, 0xcd])], Violation::Corrupt),
        // A reference to what was never sent.
        (
            vec![frame(0xc2, &[0xf2, 0x00, 0x11, 0x00, 0x00])],
            Violation::Corrupt,
        ),
        // 0xff, compressed.
        (
            vec![frame(DEFLATED_TEXT, &[0xfa, 0x0f, 0x00])],
            Violation::NotUtf8,
        ),
    ] {
        let error = only(&wire).unwrap_err();
        assert_eq!(error, FramingError::from(violation), "{wire:x?}");
    }
    // Without a handshake that agreed on it.
    let mut wire = frame(DEFLATED_TEXT, hello);
    let decoded = Decoder::new().decode(&Framing::WebSocket { max: MAX }, &mut wire);
    assert_eq!(decoded, Err(reserved.into()));
}

#[test]
fn a_message_that_would_be_too_large_is_refused_before_it_is() {
    let bomb = |size: usize| {
        let mut payload = Vec::new();
        Deflater::new(9, direction(false)).deflate(&vec![0; size], &mut payload);
        [frame(0xc2, &payload)]
    };
    let inflater = &mut Inflater::new(direction(false));
    let (whole, error) = messages(&bomb(100_000), 100_000, inflater);
    assert_eq!((whole[0].len(), error), (100_000, None));
    for size in [100_001, 100_000_000] {
        let (_, error) = messages(&bomb(size), 100_000, inflater);
        let too_large = FramingError::TooLarge {
            size: 100_001,
            max: 100_000,
        };
        assert_eq!(error, Some(too_large));
        assert_eq!(too_large.websocket_close_code(), 1009);
    }
    // What cannot be compressed is a little longer than it is.
    let mut random = fastrand::Rng::with_seed(7);
    let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
        .take(100_000)
        .collect();
    let mut payload = Vec::new();
    Deflater::new(1, direction(false)).deflate(&noise, &mut payload);
    assert!(payload.len() > noise.len());
    let (whole, error) = messages(&[frame(0xc2, &payload)], 100_000, inflater);
    assert_eq!((whole, error), (vec![noise], None));
}

#[test]
fn without_context_takeover_one_serves_everybody() {
    let mut deflater = Deflater::new(6, direction(false));
    let mut inflater = Inflater::new(direction(false));
    for _ in 0..3 {
        let mut payload = Vec::new();
        deflater.deflate(b"Hello", &mut payload);
        assert_eq!(payload, [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
        let (heard, _) = messages(&[frame(DEFLATED_TEXT, &payload)], MAX, &mut inflater);
        assert_eq!(heard, [b"Hello"]);
    }
    // Also after somebody's damaged message.
    let (_, error) = messages(&[frame(DEFLATED_TEXT, b"\xff\xff")], MAX, &mut inflater);
    assert!(error.is_some());
    let hello = frame(DEFLATED_TEXT, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
    assert_eq!(messages(&[hello], MAX, &mut inflater).0, [b"Hello"]);
}

#[test]
fn a_compressed_message_has_the_bit_in_its_header() {
    let envelope = deflated_envelope(300, true);
    assert_eq!(envelope.prefix(), [0xc1, 126, 1, 44]);
    assert_eq!(deflated_envelope(5, false).prefix(), [0xc2, 5]);
}

fn any_direction() -> impl Strategy<Value = Direction> {
    (any::<bool>(), 9_u8..=15).prop_map(|(context_takeover, window_bits)| Direction {
        context_takeover,
        window_bits,
    })
}

proptest! {
    #[test]
    fn messages_come_as_they_went(
        sent in vec(prop_oneof![
            vec(any::<u8>(), 0..2_000),
            (any::<u8>(), 0_usize..100_000).prop_map(|(byte, length)| std::vec![byte; length]),
            "[ab]{0,400}".prop_map(String::into_bytes),
        ], 0..6),
        level in 1_u8..=9,
        way in any_direction(),
        forgets in any::<[bool; 6]>(),
    ) {
        let mut deflater = Deflater::new(level, way);
        let mut wire = Vec::new();
        for (message, forgets) in sent.iter().zip(forgets) {
            if forgets {
                deflater.reset();
            }
            let mut payload = Vec::new();
            deflater.deflate(message, &mut payload);
            let (one, other) = payload.split_at(payload.len() / 2);
            wire.extend([frame(0x42, one), frame(0x80, other)]);
        }
        let (heard, error) = messages(&wire, MAX, &mut Inflater::new(way));
        prop_assert_eq!(error, None);
        prop_assert_eq!(heard, sent);
    }

    #[test]
    fn no_input_yields_more_than_the_maximum(payloads in vec(vec(any::<u8>(), 0..300), 1..4), max in 1_u64..500) {
        let wire: Vec<_> = payloads.iter().map(|payload| frame(0xc2, payload)).collect();
        let (heard, _) = messages(&wire, max, &mut Inflater::new(direction(true)));
        for message in heard {
            prop_assert!(message.len() as u64 <= max);
        }
    }
}
