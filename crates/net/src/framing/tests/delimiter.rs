//! Delimiters and lines.

use memchr::memmem;

use super::*;

pub(super) fn stripped(delimiter: &[u8], max: u64) -> Delimiter {
    Delimiter {
        delimiter: delimiter.to_vec(),
        keep: false,
        max,
    }
}

/// Any that validation accepts, over an alphabet so small that parts of it occur everywhere.
pub(super) fn any_delimiter() -> impl Strategy<Value = Delimiter> {
    let bytes = prop_oneof![
        vec(prop::sample::select(&b"ab"[..]), 1..14),
        vec(any::<u8>(), 1..4),
    ];
    (bytes, any::<bool>(), 1_u64..40).prop_map(|(delimiter, keep, room)| {
        let max = if keep {
            delimiter.len() as u64 + room
        } else {
            room
        };
        Delimiter {
            delimiter,
            keep,
            max,
        }
    })
}

/// Delimiters with messages that do not contain them, not even together with their end.
fn any_delimiter_and_messages() -> impl Strategy<Value = (Delimiter, Vec<Vec<u8>>)> {
    let byte = prop_oneof![prop::sample::select(&b"ab\r\n"[..]), any::<u8>()];
    (any_delimiter(), vec(vec(byte, 0..40), 0..12)).prop_map(|(delimiter, mut messages)| {
        let end = delimiter.delimiter.clone();
        messages.retain_mut(|message| {
            let ended = [message.as_slice(), &end].concat();
            let is_clean = memmem::find(&ended, &end) == Some(message.len());
            if delimiter.keep {
                *message = ended;
            }
            is_clean && message.len() as u64 <= delimiter.max
        });
        (delimiter, messages)
    })
}

proptest! {
    #[test]
    fn messages_arrive_however_the_stream_is_cut(
        (delimiter, messages) in any_delimiter_and_messages(),
        pieces in pieces(),
    ) {
        let framing = Framing::Delimiter(delimiter);
        prop_assert_eq!(framing.validate(), Ok(()));
        let mut wire = Vec::new();
        for message in &messages {
            send(&framing, message, false, &mut wire);
        }
        let expected: Vec<_> = messages.into_iter().map(Event::Message).collect();
        prop_assert_eq!(events(&framing, &wire, &pieces), expected);
    }

    #[test]
    fn lines_arrive_however_they_are_cut(
        lines in vec("[^\r\n]{0,10}", 0..12),
        with_return in any::<bool>(),
        pieces in pieces(),
    ) {
        let framing = Framing::Line { max: 40 };
        let mut wire = Vec::new();
        for line in &lines {
            wire.extend_from_slice(line.as_bytes());
            wire.extend_from_slice(if with_return { b"\r\n" } else { b"\n" });
        }
        let expected: Vec<_> =
            lines.iter().map(|line| Event::Message(line.clone().into_bytes())).collect();
        prop_assert_eq!(events(&framing, &wire, &pieces), expected);
    }

    /// The work on a delimiter that never comes is linear: what was looked at may change and nobody
    /// notices, save for the bytes in which a delimiter may have begun.
    #[test]
    fn a_byte_is_not_scanned_again(
        delimiter in any_delimiter(),
        first in 0_usize..200,
        second in 1_usize..200,
    ) {
        let max = 1000;
        let end = delimiter.delimiter.clone();
        // A byte that the delimiter does not have.
        let other = (0..=u8::MAX).find(|byte| !end.contains(byte)).unwrap();
        let framing = Framing::Delimiter(Delimiter { max, ..delimiter });
        let mut decoder = Decoder::new();
        let mut input = vec![other; first];
        decoder.decode(&framing, &mut input).unwrap();
        let behind = first.saturating_sub(end.len() - 1);
        for (byte, planted) in input[..behind].iter_mut().zip(end.iter().cycle()) {
            *byte = *planted;
        }
        input.extend(std::iter::repeat_n(other, second));
        let need = input.len() + 1;
        prop_assert_eq!(decoder.decode(&framing, &mut input), Ok(Decoded::Incomplete { need }));
    }
}

#[test]
fn an_end_that_never_comes_is_refused_as_soon_as_that_is_certain() {
    let kept = |max| Delimiter {
        keep: true,
        ..stripped(b"\r\n", max)
    };
    // The longest input that may still become a message.
    let cases = [
        (Framing::Delimiter(stripped(b"\r\n", 8)), 9),
        (Framing::Delimiter(kept(8)), 7),
        (Framing::Line { max: 8 }, 9),
    ];
    for (framing, hopeful) in cases {
        assert_eq!(events(&framing, &vec![b'x'; hopeful], &[1]), []);
        let refused = [Event::Refused(FramingError::Unended { max: 8 })];
        assert_eq!(events(&framing, &vec![b'x'; hopeful + 1], &[1]), refused);
        assert_eq!(events(&framing, &[b'x'; 1000], &[]), refused);
    }
}

#[test]
fn a_message_of_exactly_the_maximum_passes() {
    let kept = Delimiter {
        keep: true,
        ..stripped(b"\r\n", 5)
    };
    for (framing, wire, message) in [
        (Framing::Delimiter(stripped(b"\r\n", 3)), "abc\r\n", "abc"),
        (Framing::Delimiter(kept), "abc\r\n", "abc\r\n"),
        (Framing::Line { max: 3 }, "abc\r\n", "abc"),
        (Framing::Line { max: 3 }, "abc\n", "abc"),
    ] {
        assert_eq!(
            events(&framing, wire.as_bytes(), &[1]),
            [Event::Message(message.into())]
        );
    }
}

#[test]
fn a_line_over_the_maximum_is_refused_even_when_it_ends() {
    let refused = [Event::Refused(FramingError::Unended { max: 3 })];
    assert_eq!(events(&Framing::Line { max: 3 }, b"abcd\n", &[]), refused);
    assert_eq!(events(&Framing::Line { max: 3 }, b"abcd\r\n", &[]), refused);
}

#[test]
fn only_one_carriage_return_is_dropped() {
    assert_eq!(
        events(&Framing::Line { max: 9 }, b"a\r\r\n\r\n\n\rb\n", &[]),
        [
            Event::Message(b"a\r".to_vec()),
            Event::Message(Vec::new()),
            Event::Message(Vec::new()),
            Event::Message(b"\rb".to_vec()),
        ]
    );
}

#[test]
fn a_delimiter_that_starts_over_within_itself_is_found() {
    for delimiter in [&b"aab"[..], b"abababababac"] {
        let framing = Framing::Delimiter(stripped(delimiter, 100));
        let wire = [&delimiter[..delimiter.len() - 1], delimiter].concat();
        let expected = memmem::find(&wire, delimiter).unwrap();
        assert_eq!(
            events(&framing, &wire, &[1]),
            [Event::Message(wire[..expected].to_vec())]
        );
    }
}

#[test]
fn senseless_options_are_refused_beforehand() {
    let kept = Delimiter {
        keep: true,
        ..stripped(b"\r\n", 1)
    };
    for (framing, refusal) in [
        (
            Framing::Delimiter(stripped(b"", 9)),
            InvalidFraming::DelimiterLength(0),
        ),
        (
            Framing::Delimiter(stripped(&[0; 65], 9)),
            InvalidFraming::DelimiterLength(65),
        ),
        (
            Framing::Delimiter(stripped(b"\n", 0)),
            InvalidFraming::MaxTooSmall { least: 1 },
        ),
        (
            Framing::Delimiter(kept),
            InvalidFraming::MaxTooSmall { least: 2 },
        ),
        (
            Framing::Line { max: 0 },
            InvalidFraming::MaxTooSmall { least: 1 },
        ),
        (
            Framing::WebSocket { max: 0 },
            InvalidFraming::MaxTooSmall { least: 1 },
        ),
    ] {
        assert_eq!(framing.validate(), Err(refusal));
    }
}
