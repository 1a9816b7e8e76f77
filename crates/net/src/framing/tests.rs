//! What holds for every framing; the peer that the tests share is in `invariants.rs`.

mod deflate;
mod delimiter;
mod guess;
mod length;
mod websocket;
mod websocket_peer;

use proptest::collection::vec;
use proptest::prelude::*;

use super::invariants::{Event, events, message, send};
use super::*;

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
        (width, offset, from, max, keep_header) in
            (any::<u8>(), 0_u32..100, 0_u32..100, any::<u64>(), any::<bool>()),
        payload in vec(any::<u8>(), 0..200),
        delimiter in vec(any::<u8>(), 0..100),
    ) {
        let counts = if from == 0 { Counts::Message } else { Counts::From(from) };
        let length = Length { width, endian: Endian::Little, offset, counts, max, keep_header };
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
fn a_payload_that_contains_the_end_of_a_message_is_not_sent() {
    let long = b"----------";
    for (framing, payload, at) in [
        (Framing::Line { max: 99 }, b"one\ntwo".as_slice(), Some(3)),
        (Framing::Line { max: 99 }, b"one\n", Some(3)),
        // A carriage return is sent, and dropped where lines are read.
        (Framing::Line { max: 99 }, b"one\r", None),
        (
            Framing::Delimiter(delimiter::stripped(b"\r\n", 99)),
            b"a\r\nb",
            Some(1),
        ),
        (
            Framing::Delimiter(delimiter::stripped(b"\r\n", 99)),
            b"a\rb\n\r",
            None,
        ),
        // It begins in the payload and ends in the delimiter that follows.
        (
            Framing::Delimiter(delimiter::stripped(b"aa", 99)),
            b"bca",
            Some(2),
        ),
        (
            Framing::Delimiter(delimiter::stripped(b"abab", 99)),
            b"-ab",
            Some(1),
        ),
        (
            Framing::Delimiter(delimiter::stripped(long, 99)),
            b"x-",
            Some(1),
        ),
        (
            Framing::Delimiter(delimiter::stripped(long, 99)),
            b"x-y",
            None,
        ),
        (Framing::Delimiter(delimiter::stripped(b";", 99)), b"", None),
        (Framing::Raw, b"one\ntwo", None),
    ] {
        let refused = framing.wrap(payload, false).err();
        let expected = at.map(|at| EncodeError::ContainsEnd { at });
        assert_eq!(refused, expected, "{framing:?} {payload:?}");
    }
    let kept = Framing::Delimiter(Delimiter {
        keep: true,
        ..delimiter::stripped(b";", 99)
    });
    assert!(kept.wrap(b"one;two;", false).is_ok());
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
