//! WebSocket sessions (RFC 6455) as an ordinary client sees them.

use std::net::TcpStream;

use moorline_tests::{Client, Engine, PATIENCE, Wire, eventually};
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::{Message, WebSocket};

const CONFIG: &str = r#"
[workers]
count = 2
[[listen]]
name = "web"
address = "http://127.0.0.1:0"
websocket = "/ws"
max_message = "1MiB"
[app]
journal = "{folder}/journal"
"#;

fn connect(engine: &Engine) -> WebSocket<TcpStream> {
    let address = engine.socket_address(0);
    let stream = TcpStream::connect(address).expect("the listener accepts");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a non-zero timeout is legal");
    let (socket, response) =
        tungstenite::client(format!("ws://{address}/ws"), stream).expect("the handshake succeeds");
    assert_eq!(response.status(), 101);
    socket
}

fn ask(socket: &mut WebSocket<TcpStream>, message: impl Into<Message>) -> Message {
    socket
        .send(message.into())
        .expect("the session takes what is sent");
    socket.read().expect("an answer comes")
}

#[test]
fn text_is_answered_as_text_and_bytes_as_bytes() {
    let engine = Engine::start("probe", CONFIG);
    let mut socket = connect(&engine);
    for text in ["", "ahoy", "Grüße, 世界"] {
        assert_eq!(ask(&mut socket, text), Message::text(text));
    }
    for size in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
        let bytes = vec![7; size];
        assert_eq!(ask(&mut socket, bytes.clone()), Message::binary(bytes));
    }
}

#[test]
fn pings_are_answered_even_between_fragments() {
    let engine = Engine::start("probe", CONFIG);
    let mut socket = connect(&engine);
    assert_eq!(
        ask(&mut socket, Message::Ping("are you there".into())),
        Message::Pong("are you there".into())
    );
    let fragments = [
        Frame::message(&b"one, "[..], OpCode::Data(Data::Text), false),
        Frame::message(&b"two, "[..], OpCode::Data(Data::Continue), false),
        Frame::ping(&b"between"[..]),
        Frame::message(&b""[..], OpCode::Data(Data::Continue), false),
        Frame::message(&b"three"[..], OpCode::Data(Data::Continue), true),
    ];
    for fragment in fragments {
        socket
            .send(Message::Frame(fragment))
            .expect("the session takes what is sent");
    }
    assert_eq!(
        socket.read().expect("a pong comes"),
        Message::Pong("between".into())
    );
    assert_eq!(
        socket.read().expect("an answer comes"),
        Message::text("one, two, three")
    );
}

/// A pong that nobody asked for is legal (RFC 6455 §5.5.3).
#[test]
fn an_unsolicited_pong_is_passed_over() {
    let engine = Engine::start("probe", CONFIG);
    let mut socket = connect(&engine);
    socket
        .send(Message::Pong("by the way".into()))
        .expect("the session takes what is sent");
    assert_eq!(ask(&mut socket, "still here"), Message::text("still here"));
}

#[test]
fn a_close_by_the_client_is_answered_with_its_code() {
    let engine = Engine::start("probe", CONFIG);
    for code in [
        CloseCode::Normal,
        CloseCode::Away,
        CloseCode::Library(4_321),
    ] {
        let mut socket = connect(&engine);
        let id = ask(&mut socket, "id")
            .into_text()
            .expect("the probe answers in text");
        let frame = CloseFrame {
            code,
            reason: "done".into(),
        };
        socket.close(Some(frame)).expect("a close can be sent");
        let Message::Close(Some(answer)) = socket.read().expect("the close is answered") else {
            panic!("something else came than the answer to a close");
        };
        assert_eq!(answer.code, code);
        assert!(matches!(
            socket.read(),
            Err(tungstenite::Error::ConnectionClosed)
        ));
        engine.journaled(&format!("close {id} peer"));
        engine.journaled(&format!("close-code {id} {}", u16::from(code)));
        engine.journaled(&format!("close-text {id} done"));
    }
}

#[test]
fn what_a_client_says_before_it_closes_is_answered_before_the_close() {
    let engine = Engine::start("probe", CONFIG);
    for command in ["build", "sleep 300"] {
        let mut client = Client::connect(&engine, 0, Wire::WebSocket);
        // The close is masked with zeros, and has the code 1000.
        let close = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8];
        let last = [
            Wire::WebSocket.encode(b"id"),
            Wire::WebSocket.encode(command.as_bytes()),
            close.to_vec(),
        ];
        client.send_bytes(&last.concat()).expect("it is taken");
        assert_eq!(client.receive_frame().1.len(), 16, "an id");
        assert!(!client.receive_frame().1.is_empty(), "{command}");
        assert_eq!(client.receive_frame(), (8, vec![0x03, 0xe8]));
        assert!(client.receive_bytes_to_end().is_empty());
    }
    eventually("both are counted", || engine.status().closed("peer") == 2);
}

#[test]
fn a_handler_that_crashes_closes_with_1011() {
    let engine = Engine::start("probe", CONFIG);
    for command in ["panic", "crash"] {
        let mut socket = connect(&engine);
        let Message::Close(Some(frame)) = ask(&mut socket, command) else {
            panic!("something else came than a close");
        };
        assert_eq!(frame.code, CloseCode::Error);
    }
}

#[test]
fn a_close_by_the_app_carries_its_code() {
    let engine = Engine::start("probe", CONFIG);
    for (command, code) in [
        ("close", CloseCode::Normal),
        ("close-code 4001", CloseCode::Library(4_001)),
    ] {
        let mut socket = connect(&engine);
        let Message::Close(Some(frame)) = ask(&mut socket, command) else {
            panic!("something else came than a close");
        };
        assert_eq!(frame.code, code);
        // The library answers the close by itself; then the engine ends the connection.
        assert!(matches!(
            socket.read(),
            Err(tungstenite::Error::ConnectionClosed)
        ));
    }
    eventually("both are counted", || engine.status().closed("server") == 2);
}

#[test]
fn a_close_by_the_app_carries_its_text_as_far_as_a_frame_has_room() {
    let engine = Engine::start("probe", CONFIG);
    // Of two bytes each: the 62nd has no room.
    let long = "é".repeat(100);
    for (text, expected) in [
        ("the room is full", "the room is full"),
        (&long, &long[..122]),
    ] {
        let mut socket = connect(&engine);
        let Message::Close(Some(frame)) = ask(&mut socket, format!("close-text {text}")) else {
            panic!("something else came than a close");
        };
        assert_eq!(frame.code, CloseCode::Library(4_000));
        assert_eq!(frame.reason.as_str(), expected);
    }
}

#[test]
fn a_stopping_engine_says_that_it_goes_away() {
    let mut engine = Engine::start("probe", CONFIG);
    let mut socket = connect(&engine);
    assert_eq!(ask(&mut socket, "build"), Message::text("first"));
    moorline_tests::kill(engine.supervisor(), nix::sys::signal::Signal::SIGTERM);
    let Message::Close(Some(frame)) = socket.read().expect("the close comes") else {
        panic!("something else came than a close");
    };
    assert_eq!(frame.code, CloseCode::Away);
    assert!(engine.ended().success());
}

#[test]
fn a_message_over_the_maximum_closes_with_1009() {
    let engine = Engine::start("probe", CONFIG);
    let mut socket = connect(&engine);
    // In fragments, each of which is within the maximum.
    for first in [true, false] {
        let kind = if first { Data::Binary } else { Data::Continue };
        let frame = Frame::message(vec![0; 600_000], OpCode::Data(kind), false);
        socket
            .send(Message::Frame(frame))
            .expect("the session takes what is sent");
    }
    let Message::Close(Some(frame)) = socket.read().expect("the close comes") else {
        panic!("something else came than a close");
    };
    assert_eq!(frame.code, CloseCode::Size);
}

#[test]
fn messages_right_behind_the_handshake_are_not_lost() {
    let engine = Engine::start("probe", CONFIG);
    let mut client = Client::connect(&engine, 0, Wire::Raw);
    let request = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client
        .send_bytes(&[request.as_bytes(), &Wire::WebSocket.encode(b"build")].concat())
        .expect("it is taken");
    client.finish_sending();
    let bytes = client.receive_bytes_to_end();
    let head = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("the handshake is answered")
        + 4;
    // The key and its answer are the example of RFC 6455 §1.3.
    assert!(String::from_utf8_lossy(&bytes[..head]).contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(
        Wire::WebSocket.decode(&mut bytes[head..].to_vec()),
        Some(b"first".to_vec())
    );
}

#[test]
fn sessions_stay_through_reloads_and_crashes() {
    let engine = Engine::start("probe", CONFIG);
    let mut socket = connect(&engine);
    let id = ask(&mut socket, "id");
    engine.install("probe_next");
    engine.reload().expect_success();
    assert_eq!(ask(&mut socket, "build"), Message::text("next"));
    for slot in [0, 1] {
        engine.kill_worker(slot, nix::sys::signal::Signal::SIGKILL);
    }
    assert_eq!(ask(&mut socket, "id"), id);
}

#[test]
fn other_paths_are_no_sessions() {
    let engine = Engine::start("probe", CONFIG);
    let mut client = Client::connect(&engine, 0, Wire::Raw);
    let head = client.shake_hands("/elsewhere").expect("it is answered");
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    assert_eq!(
        engine.status().gateway.accepted,
        0,
        "a request is no session"
    );
}
