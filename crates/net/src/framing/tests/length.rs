//! Length fields: every width, order and place.

use super::*;

pub(super) fn four_bytes_big_endian() -> Length {
    Length {
        width: 4,
        endian: Endian::Big,
        offset: 0,
        counts: Counts::Payload,
        max: 1024,
        keep_header: false,
    }
}

/// Any that validation accepts.
pub(super) fn any_length() -> impl Strategy<Value = Length> {
    (
        prop::sample::select(vec![1_u8, 2, 4, 8]),
        prop_oneof![Just(Endian::Big), Just(Endian::Little)],
        0_u32..12,
        prop_oneof![
            Just(Counts::Payload),
            Just(Counts::Message),
            (0_u32..24).prop_map(Counts::From)
        ],
        1_u64..400,
        any::<bool>(),
    )
        .prop_map(|(width, endian, offset, counts, room, keep_header)| {
            let offset = if keep_header { offset } else { 0 };
            let counts = match counts {
                Counts::From(from) if !keep_header => Counts::From(from.min(width.into())),
                counts => counts,
            };
            let header = match counts {
                Counts::From(from) => from.max(offset + u32::from(width)),
                Counts::Payload | Counts::Message => offset + u32::from(width),
            };
            let max = u64::from(header) + room;
            Length {
                width,
                endian,
                offset,
                counts,
                max,
                keep_header,
            }
        })
}

fn least_payload(length: &Length) -> usize {
    if length.keep_header {
        let field_end = length.offset + u32::from(length.width);
        match length.counts {
            Counts::From(from) => from.max(field_end) as usize,
            Counts::Payload | Counts::Message => field_end as usize,
        }
    } else {
        0
    }
}

fn any_length_and_payloads() -> impl Strategy<Value = (Length, Vec<Vec<u8>>)> {
    any_length().prop_flat_map(|length| {
        let sizes = least_payload(&length)..=length.max_message() as usize;
        (Just(length), vec(vec(any::<u8>(), sizes), 0..8))
    })
}

proptest! {
    #[test]
    fn messages_arrive_however_the_stream_is_cut(
        (length, payloads) in any_length_and_payloads(),
        pieces in pieces(),
    ) {
        let framing = Framing::Length(length);
        prop_assert_eq!(framing.validate(), Ok(()));
        let expected: Vec<_> = payloads
            .iter()
            .map(|payload| Event::Message(framing.as_received(payload)))
            .collect();
        let mut wire = Vec::new();
        for payload in &payloads {
            send(&framing, payload, false, &mut wire);
        }
        prop_assert_eq!(events(&framing, &wire, &pieces), expected);
    }
}

#[test]
fn the_field_is_written_as_configured() {
    let length = four_bytes_big_endian();
    let cases: [(Length, &[u8], &[u8]); 5] = [
        (length.clone(), b"hello", b"\0\0\0\x05hello"),
        (
            Length {
                endian: Endian::Little,
                ..length.clone()
            },
            b"hello",
            b"\x05\0\0\0hello",
        ),
        // The value counts the header too.
        (
            Length {
                counts: Counts::Message,
                ..length.clone()
            },
            b"hello",
            b"\0\0\0\x09hello",
        ),
        (
            Length {
                width: 8,
                counts: Counts::Payload,
                ..length.clone()
            },
            b"",
            b"\0\0\0\0\0\0\0\0",
        ),
        (
            Length {
                width: 2,
                offset: 1,
                counts: Counts::From(5),
                keep_header: true,
                ..length
            },
            b"T??xxhello",
            b"T\0\x05xxhello",
        ),
    ];
    for (length, payload, wire) in cases {
        let mut sent = Vec::new();
        send(&Framing::Length(length), payload, false, &mut sent);
        assert_eq!(sent, wire);
    }
}

#[test]
fn a_whole_packet_with_the_right_length_is_sent_as_it_is() {
    let framing = Framing::Length(Length {
        keep_header: true,
        ..four_bytes_big_endian()
    });
    let packet = b"\0\0\0\x05hello";
    let envelope = framing.envelope(packet, packet.len(), false).unwrap();
    assert_eq!((envelope.prefix(), envelope.skip), (&b""[..], 0));
}

#[test]
fn need_is_first_the_field_then_the_packet() {
    let framing = Framing::Length(four_bytes_big_endian());
    let mut decoder = Decoder::new();
    for (input, need) in [(&b""[..], 4), (b"\0\0\0", 4), (b"\0\0\0\x05he", 9)] {
        assert_eq!(
            decoder.decode(&framing, &mut input.to_vec()),
            Ok(Decoded::Incomplete { need })
        );
    }
}

#[test]
fn a_refused_length_names_both_sizes() {
    let length = four_bytes_big_endian();
    let counts_header = Length {
        counts: Counts::Message,
        ..length.clone()
    };
    let wide = Length {
        width: 8,
        counts: Counts::Payload,
        ..length.clone()
    };
    let cases: [(Length, &[u8], FramingError); 4] = [
        (
            length.clone(),
            b"\xff\xff\xff\xff",
            FramingError::TooLarge {
                size: 0x1_0000_0003,
                max: 1024,
            },
        ),
        (
            length,
            b"\0\0\x03\xfd",
            FramingError::TooLarge {
                size: 1025,
                max: 1024,
            },
        ),
        (
            counts_header,
            b"\0\0\0\x03",
            FramingError::TooSmall { size: 3, header: 4 },
        ),
        (
            wide,
            &[0xff; 8],
            FramingError::TooLarge {
                size: u64::MAX,
                max: 1024,
            },
        ),
    ];
    for (length, wire, error) in cases {
        assert_eq!(
            events(&Framing::Length(length), wire, &[]),
            [Event::Refused(error)]
        );
    }
    assert_eq!(
        FramingError::TooLarge {
            size: 1025,
            max: 1024
        }
        .to_string(),
        "a message of 1025 bytes is announced, and the largest may have 1024"
    );
}

#[test]
fn the_largest_message_is_bounded_by_the_maximum_and_by_the_field() {
    let length = four_bytes_big_endian();
    for (length, largest) in [
        (length.clone(), 1020),
        (
            Length {
                keep_header: true,
                ..length.clone()
            },
            1024,
        ),
        (
            Length {
                width: 1,
                counts: Counts::Payload,
                ..length.clone()
            },
            255,
        ),
        (
            Length {
                width: 1,
                counts: Counts::Message,
                ..length
            },
            254,
        ),
    ] {
        let framing = Framing::Length(length);
        assert_eq!(framing.max_message(), largest);
        let payload = vec![0; largest as usize + 1];
        let head = &payload[..MAX_HEADER_BYTES];
        assert!(framing.envelope(head, payload.len() - 1, false).is_ok());
        assert_eq!(
            framing.envelope(head, payload.len(), false).unwrap_err(),
            EncodeError::TooLarge {
                size: largest + 1,
                max: largest
            }
        );
    }
}

#[test]
fn a_packet_shorter_than_its_header_is_not_sent() {
    let framing = Framing::Length(Length {
        keep_header: true,
        ..four_bytes_big_endian()
    });
    assert_eq!(
        framing.envelope(b"abc", 3, false).unwrap_err(),
        EncodeError::NoHeader { size: 3, header: 4 }
    );
}

#[test]
fn senseless_options_are_refused_beforehand() {
    let length = four_bytes_big_endian();
    for (length, refusal) in [
        (
            Length {
                width: 3,
                ..length.clone()
            },
            InvalidFraming::Width(3),
        ),
        (
            Length {
                offset: 4,
                ..length.clone()
            },
            InvalidFraming::HeaderNotBuildable,
        ),
        (
            Length {
                counts: Counts::From(5),
                ..length.clone()
            },
            InvalidFraming::HeaderNotBuildable,
        ),
        (
            Length {
                offset: 61,
                ..length.clone()
            },
            InvalidFraming::HeaderTooLong { header: 65 },
        ),
        (
            Length { max: 4, ..length },
            InvalidFraming::MaxTooSmall { least: 5 },
        ),
    ] {
        assert_eq!(Framing::Length(length).validate(), Err(refusal));
    }
}
