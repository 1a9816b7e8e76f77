//! What a broken stream looks like.

use super::*;

const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

fn length(counts: Counts, endian: Endian) -> Framing {
    Framing::Length(Length {
        counts,
        endian,
        ..Length::default()
    })
}

/// What is guessed at the first byte that breaks the framing.
fn guessed(framing: &Framing, wire: &[u8]) -> Option<Guess> {
    let (mut decoder, mut at) = (Decoder::new(), 0);
    loop {
        match decoder.decode(framing, &mut wire[at..].to_vec()) {
            Ok(Decoded::Message { consumed, .. }) => at += consumed,
            Ok(other) => panic!("{wire:?} breaks nothing: {other:?}"),
            Err(_) => return guess(framing, wire, at),
        }
    }
}

#[test]
fn other_protocols_are_recognised() {
    let framing = length(Counts::Payload, Endian::Big);
    for (wire, guess) in [
        (
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            Guess::HttpRequest,
        ),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Guess::HttpRequest),
        (b"HTTP/1.1 400 Bad Request\r\n", Guess::HttpResponse),
        (HELLO, Guess::TlsHello),
        (b"SSH-2.0-OpenSSH_9.2p1", Guess::Ssh),
        (
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            Guess::ProxyHeader,
        ),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", Guess::ProxyHeader),
        (b"hello there\n", Guess::Text),
    ] {
        assert_eq!(guessed(&framing, wire), Some(guess), "{wire:?}");
    }
    assert_eq!(guessed(&framing, b"\xff\xfe\xfd\xfc\xfb"), None);
    let line = Framing::Line { max: 8 };
    assert_eq!(guessed(&line, HELLO), Some(Guess::TlsHello));
}

#[test]
fn a_length_that_counts_the_other_way_is_recognised() {
    let payload = length(Counts::Payload, Endian::Big);
    let message = length(Counts::Message, Endian::Big);
    let counts = |counts| {
        Some(Guess::OtherLength {
            counts: Some(counts),
            endian: None,
        })
    };
    let as_payload = b"\0\0\0\x05hello";
    assert_eq!(guessed(&message, as_payload), counts(Counts::Payload));
    assert_eq!(guessed(&message, b"\0\0\0\x01x"), counts(Counts::Payload));
    let as_message = b"\0\0\0\x09hello\0\0\0\x0ahello!";
    assert_eq!(guessed(&payload, as_message), counts(Counts::Message));
    assert_eq!(
        guessed(&message, as_payload).unwrap().to_string(),
        "looks like a length that counts the other way: try counts = \"payload\""
    );
}

#[test]
fn a_length_in_the_other_byte_order_is_recognised() {
    let wire = b"\x05\0\0\0hello\x02\0\0\0he";
    let guess = guessed(&length(Counts::Payload, Endian::Big), wire).unwrap();
    assert_eq!(
        guess.to_string(),
        "looks like a length in the other byte order: try endian = \"little\""
    );
    let both = guessed(&length(Counts::Message, Endian::Big), wire).unwrap();
    assert_eq!(
        both.to_string(),
        "looks like a length that counts the other way: try counts = \"payload\" and endian = \"little\""
    );
}

proptest! {
    #[test]
    fn no_input_makes_a_guess_panic(
        framing in any_framing(),
        wire in hostile_bytes(),
        at in 0_usize..300,
    ) {
        let _ = guess(&framing, &wire, at).map(|guess| guess.to_string());
    }
}
