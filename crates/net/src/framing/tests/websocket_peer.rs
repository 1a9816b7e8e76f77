//! Against another implementation of RFC 6455, as the client.

use std::io::Cursor;

use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

use super::super::websocket::{Opcode, client_frame, close_frame};
use super::*;

const SOCKET: Framing = Framing::WebSocket { max: 1 << 20 };

/// A client that reads what `incoming` holds and writes behind it.
fn client(incoming: Vec<u8>) -> WebSocket<Cursor<Vec<u8>>> {
    let config = WebSocketConfig::default();
    WebSocket::from_raw_socket(Cursor::new(incoming), Role::Client, Some(config))
}

fn any_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        "\\PC{0,200}".prop_map(Message::text),
        vec(any::<u8>(), 0..400).prop_map(Message::binary),
        Just(Message::binary(vec![9; 70_000])),
        vec(any::<u8>(), 0..=125).prop_map(|bytes| Message::Ping(bytes.into())),
    ]
}

fn as_event(message: &Message) -> Event {
    match message {
        Message::Text(text) => Event::Text(text.to_string()),
        Message::Ping(payload) => {
            Event::Reply([&[0x8a, payload.len() as u8], payload.as_ref()].concat())
        }
        _ => Event::Message(message.clone().into_data().to_vec()),
    }
}

proptest! {
    #[test]
    fn frames_of_a_client_are_understood(
        messages in vec(any_message(), 0..6),
        piece in 1_usize..3000,
    ) {
        let mut client = client(Vec::new());
        for message in &messages {
            client.write(message.clone()).unwrap();
        }
        client.close(Some(CloseFrame { code: 4001.into(), reason: "done".into() })).unwrap();
        client.flush().unwrap();
        let mut expected: Vec<_> = messages.iter().map(as_event).collect();
        expected.push(Event::Close(Some(4001), b"\x88\x02\x0f\xa1".to_vec()));
        prop_assert_eq!(events(&SOCKET, client.get_ref().get_ref(), &[piece]), expected);
    }

    #[test]
    fn our_frames_are_understood_by_a_client(
        messages in vec(any_message().prop_filter("data", |message| !message.is_ping()), 0..6),
    ) {
        let mut wire = Vec::new();
        for message in &messages {
            send(&SOCKET, &message.clone().into_data(), message.is_text(), &mut wire);
        }
        let close = close_frame(1001, "moving");
        wire.extend_from_slice(&close);
        let mut client = client(wire);
        for message in messages {
            prop_assert_eq!(client.read().unwrap(), message);
        }
        let expected = CloseFrame { code: 1001.into(), reason: "moving".into() };
        prop_assert_eq!(client.read().unwrap(), Message::Close(Some(expected)));
    }
}

#[test]
fn a_fragmented_message_of_a_client_is_assembled() {
    let mut client = client(Vec::new());
    let bytes = "naïve".as_bytes();
    for (part, opcode, is_final) in [
        (&bytes[..3], Data::Text, false),
        (&bytes[3..4], Data::Continue, false),
        (&bytes[4..], Data::Continue, true),
    ] {
        let frame = Frame::message(part.to_vec(), OpCode::Data(opcode), is_final);
        client.write(Message::Frame(frame)).unwrap();
    }
    client.flush().unwrap();
    assert_eq!(
        events(&SOCKET, client.get_ref().get_ref(), &[1]),
        [Event::Text("naïve".to_owned())]
    );
}

#[test]
fn a_pong_is_understood_by_a_client() {
    let mut ping = Vec::new();
    client_frame(Opcode::Ping, b"are you there", [1, 2, 3, 4], &mut ping);
    let Event::Reply(pong) = events(&SOCKET, &ping, &[]).remove(0) else {
        panic!("a ping is answered");
    };
    let read = client(pong).read().unwrap();
    assert_eq!(read, Message::Pong("are you there".into()));
}
