//! `http.websocket` against peers that break the protocol: they are told how, and the others go on.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::serving::Serving;
use super::websockets::site;

const MAIN: &str = "local skynet = require 'skynet'
    skynet.start(function()
        print('ready', skynet.call(skynet.newservice('server', 'ws'), 'lua'))
    end)";

const REQUEST: &str = "GET /x HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let patience = Some(Duration::from_secs(30));
    stream.set_read_timeout(patience).expect("it is set");
    stream
}

/// A client whose handshake is done: the answer, and the first message.
fn opened(port: u16) -> TcpStream {
    let mut stream = connect(port);
    stream.write_all(REQUEST.as_bytes()).expect("it is sent");
    let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x01\x04- /x";
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).expect("it is answered");
    let mut expected = expected.as_bytes().to_vec();
    let first = expected.len() - 6;
    expected[first] = 0x81;
    assert_eq!(answer, expected, "{}", String::from_utf8_lossy(&answer));
    stream
}

/// Sends bytes, and reads to the end of the stream.
fn answer(stream: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    // It may be refused before the last byte.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// One byte over what a frame or a message may have, and no byte of it.
fn too_long(opcode: u8) -> Vec<u8> {
    [&[opcode, 127][..], &((256_u64 << 10) + 1).to_be_bytes()].concat()
}

#[test]
fn frames_that_break_the_protocol_are_answered_with_a_code() {
    let site = site(MAIN);
    let server = Serving::start(&site, &[]);
    let port = server.ports[0];
    let mut fragments = [&[0x02, 127][..], &(256_u64 << 10).to_be_bytes()].concat();
    fragments.resize(fragments.len() + (256 << 10), b'x');
    fragments.extend([0x80, 1]);
    let masked_huge = [&[0x82, 255][..], &u64::MAX.to_be_bytes()].concat();
    let broken: &[(&[u8], u16, &str)] = &[
        (&[0x83, 0], 1002, "opcode 0x3"),
        (&[0x8f, 0], 1002, "opcode 0xf"),
        (&[0xc1, 0], 1002, "a reserved bit"),
        (&[0x89, 126, 0, 126], 1002, "a control frame has more"),
        (&[0x09, 0], 1002, "a control frame is fragmented"),
        (&[0x80, 0], 1002, "nothing to continue"),
        (&[0x01, 1, b'x', 0x81, 0], 1002, "before the fragments"),
        (&too_long(0x82), 1009, "payload_len is too large"),
        (&masked_huge, 1009, "payload_len is too large"),
        (&fragments, 1009, "payload_len is too large"),
    ];
    for (bytes, code, why) in broken {
        let mut peer = opened(port);
        let said = answer(&mut peer, bytes);
        let [high, low] = code.to_be_bytes();
        assert_eq!(said, [0x88, 2, high, low], "{why}");
        server.says(why);
    }
    let failed = server.said().matches("accepted\tfalse").count();
    assert!(failed >= broken.len() - 2, "{}", server.said());
    let mut peer = opened(port);
    assert_eq!(answer(&mut peer, &[0x88, 0]), [0x88, 0]);
}

#[test]
fn what_services_written_for_skynet_send_is_taken() {
    let site = site(MAIN);
    let server = Serving::start(&site, &[]);
    let port = server.ports[0];
    let mut peer = opened(port);
    // Not masked, no UTF-8, cut anywhere, with a ping between the fragments, and a status code of one's own.
    let mut frames = vec![
        0x81, 2, 0xff, 0xfe, 0x01, 1, b'a', 0x89, 1, b'?', 0x80, 1, b'b',
    ];
    frames.extend([0x82, 126, 0, 1, b'c', 0x8a, 0]);
    frames.extend([0x88, 5, 0, 7, b'b', b'y', b'e']);
    for byte in frames {
        peer.write_all(&[byte]).expect("it is taken");
    }
    peer.shutdown(Shutdown::Write).expect("it is open");
    let said = answer(&mut peer, &[]);
    let expected = [
        &[0x81, 2, 0xff, 0xfe][..],
        &[0x8a, 1, b'?'],
        &[0x81, 2, b'a', b'b'],
        &[0x82, 1, b'c'],
        &[0x88, 2, 0, 7],
    ];
    assert_eq!(said, expected.concat());
    server.says("close\t7\tbye");
    assert!(server.said().contains("pong\n"), "{}", server.said());
    server.says("accepted\ttrue");
}

/// Requests, the status of the answer and the end of its text.
fn refused() -> [(String, u16, &'static str); 13] {
    let changed = |from: &str, to: &str| REQUEST.replace(from, to);
    [
        (changed("GET", "POST"), 400, "need GET method"),
        (changed("HTTP/1.1", "HTTP/1.0"), 505, ""),
        (
            changed("Upgrade: websocket\r\n", ""),
            426,
            "Upgrade Required",
        ),
        (changed("Host: a\r\n", ""), 400, "host Required"),
        (
            changed("keep-alive, Upgrade", "close"),
            400,
            "Connection must Upgrade",
        ),
        (
            changed("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
            400,
            "Sec-WebSocket-Key Required",
        ),
        (
            changed("bm9u", "").replace("dGhl", ""),
            400,
            "Sec-WebSocket-Key invalid",
        ),
        (
            changed("Version: 13", "Version: 8"),
            400,
            "Sec-WebSocket-Version must 13",
        ),
        (
            changed("\r\n\r\n", "\r\nSec-WebSocket-Protocol: a, b\r\n\r\n"),
            400,
            "need include chat",
        ),
        (changed("Host: a", "no field"), 400, ""),
        ("nonsense\r\n\r\n".to_owned(), 400, ""),
        (
            format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000)),
            413,
            "",
        ),
        // Fields that are there twice.
        (
            changed(
                "Host: a\r\n",
                "Host: a\r\nUpgrade: x\r\nSec-WebSocket-Key: x\r\n",
            ),
            426,
            "",
        ),
    ]
}

#[test]
fn requests_that_are_no_handshakes_are_refused_and_harm_nobody() {
    let site = site(MAIN);
    let server = Serving::start(&site, &[]);
    let port = server.ports[0];
    for (request, status, why) in refused() {
        let said = answer(&mut connect(port), request.as_bytes());
        let said = String::from_utf8_lossy(&said);
        assert!(
            said.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {said}"
        );
        assert!(said.ends_with(why), "{request}: {said}");
    }
}

#[test]
fn a_protocol_is_chosen_and_clients_that_leave_early_harm_nobody() {
    let site = site(MAIN);
    let server = Serving::start(&site, &[]);
    let port = server.ports[0];
    let mut chat = connect(port);
    let request = REQUEST.replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: a, chat\r\n\r\n");
    chat.write_all(request.as_bytes()).expect("it is sent");
    let mut head = [0; 160];
    chat.read_exact(&mut head).expect("it is answered");
    assert!(String::from_utf8_lossy(&head).contains("\r\nSec-WebSocket-Protocol: chat\r\n"));
    // One that leaves in the middle of its request, and one in the middle of a frame.
    connect(port).write_all(b"GET / HT").expect("it is sent");
    opened(port).write_all(&[0x81, 126, 1]).expect("it is sent");
    server.says("error\n");
    let mut peer = opened(port);
    assert_eq!(answer(&mut peer, &[0x88, 0]), [0x88, 0]);
}

#[test]
fn a_client_that_floods_with_pings_does_not_hold_the_others_up() {
    let site = site(MAIN);
    let server = Serving::start(&site, &[]);
    let mut flood = opened(server.ports[0]);
    let mut reading = flood.try_clone().expect("a copy");
    let ending = flood.try_clone().expect("a copy");
    let (answered, answers) = mpsc::channel();
    // Its answers are read, so that nothing but the handler bounds it.
    let reader = thread::spawn(move || {
        let mut pongs = vec![0; 2 * FLOOD];
        while reading.read_exact(&mut pongs).is_ok() {
            let _ = answered.send(());
        }
    });
    let writer = thread::spawn(move || {
        let pings = [0x89, 0x80, 0, 0, 0, 0].repeat(FLOOD);
        while flood.write_all(&pings).is_ok() {}
    });
    answers.recv().expect("the flood is answered");
    // They are served while it goes on, all at the same time: each waits for its turn some ten times.
    thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| opened(server.ports[0]));
        }
    });
    while answers.try_recv().is_ok() {}
    answers.recv().expect("the flood goes on");
    assert!(!writer.is_finished(), "{}", server.said());
    ending.shutdown(Shutdown::Both).expect("it is shut down");
    writer.join().expect("it ends");
    reader.join().expect("it ends");
}

/// Pings that are written at a time.
const FLOOD: usize = 10_000;
