//! Framings as codecs of tokio-util.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use moorline_net::framing::{CodecError, FramingCodec, InvalidFraming};
use moorline_net::{Delimiter, EncodeError, Framing, FramingError, Length};
use tokio::io::AsyncWriteExt;
use tokio_util::codec::{Decoder, Framed};

#[tokio::test]
async fn messages_of_one_codec_are_received_by_another() {
    for framing in [
        Framing::Length(Length::default()),
        Framing::Line { max: 100 },
        Framing::Delimiter(Delimiter::new(b"--", 100)),
    ] {
        let codec = FramingCodec::new(framing.clone()).unwrap();
        // Less than a message: each comes in several reads.
        let (one, other) = tokio::io::duplex(3);
        let sends = tokio::spawn({
            let mut one = Framed::new(one, codec.clone());
            async move {
                one.feed("first").await.unwrap();
                one.feed(Bytes::from_static(b"")).await.unwrap();
                one.send(b"a third message").await.unwrap();
            }
        });
        let received: Vec<_> = Framed::new(other, codec)
            .map(Result::unwrap)
            .collect()
            .await;
        sends.await.unwrap();
        assert_eq!(received, ["first", "", "a third message"], "{framing:?}");
    }
}

#[tokio::test]
async fn input_that_breaks_the_framing_is_an_error() {
    let codec = FramingCodec::new(Framing::Line { max: 4 }).unwrap();
    let (one, other) = tokio::io::duplex(64);
    let mut one = Framed::new(one, codec.clone());
    let error = one.send("too long").await.unwrap_err();
    let expected = EncodeError::TooLarge { size: 8, max: 4 };
    assert!(matches!(error, CodecError::Encode(error) if error == expected));
    let error = one.send("a\nb").await.unwrap_err();
    assert!(matches!(
        error,
        CodecError::Encode(EncodeError::ContainsEnd { at: 1 })
    ));
    one.get_mut()
        .write_all(b"longer than four\n")
        .await
        .unwrap();
    let error = Framed::new(other, codec).next().await.unwrap().unwrap_err();
    assert!(
        matches!(
            error,
            CodecError::Decode(
                FramingError::Unended { max: 4 } | FramingError::TooLarge { max: 4, .. }
            )
        ),
        "{error:?}"
    );
}

#[test]
fn an_unfinished_message_at_the_end_of_the_stream_is_an_error() {
    let mut codec = FramingCodec::new(Framing::Line { max: 100 }).unwrap();
    let mut input = bytes::BytesMut::from("whole\nhalf");
    assert_eq!(codec.decode_eof(&mut input).unwrap().unwrap(), "whole");
    assert!(matches!(
        codec.decode_eof(&mut input),
        Err(CodecError::Io(_))
    ));
}

#[test]
fn framings_that_no_codec_can_serve_are_refused() {
    let websocket = FramingCodec::new(Framing::WebSocket { max: 100 });
    assert_eq!(websocket.unwrap_err(), InvalidFraming::NeedsReplies);
    let nothing = FramingCodec::new(Framing::Line { max: 0 });
    assert_eq!(
        nothing.unwrap_err(),
        InvalidFraming::MaxTooSmall { least: 1 }
    );
}
