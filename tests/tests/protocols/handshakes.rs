//! The first request of a connection: it comes in any pieces, becomes a session or not, and nothing of it is lost.

use std::thread;
use std::time::{Duration, Instant};

use moorline_tests::{Client, Engine, Site, Wire, eventually};

const CONFIG: &str = r#"
[workers]
count = 2
[engine]
gateway_loops = 2
[[listen]]
name = "web"
address = "http://127.0.0.1:0"
websocket = "/ws"
static = "public"
handshake_timeout = "2s"
"#;

const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn engine() -> Engine {
    let site = Site::new("probe", CONFIG);
    site.write("public/hello.txt", "hello");
    site.start()
}

/// Reads a head, byte for byte.
fn head_of(client: &mut Client) -> String {
    client.receive_head().expect("an answer comes")
}

fn build(client: &mut Client) -> String {
    client
        .send_bytes(&Wire::WebSocket.encode(b"build"))
        .expect("the session takes it");
    let (_, answer) = client.receive_frame();
    String::from_utf8(answer).expect("a name of a build")
}

#[test]
fn a_handshake_comes_byte_by_byte() {
    let engine = engine();
    let mut client = Client::connect(&engine, 0, Wire::Raw);
    for byte in HANDSHAKE.as_bytes() {
        client.send_bytes(&[*byte]).expect("it is taken");
        thread::sleep(Duration::from_micros(300));
    }
    let head = head_of(&mut client);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(build(&mut client), "first");
    assert_eq!(engine.status().gateway.accepted, 1);
}

#[test]
fn a_connection_that_has_read_files_becomes_a_session() {
    let engine = engine();
    let mut client = Client::connect(&engine, 0, Wire::Raw);
    let file = "GET /hello.txt HTTP/1.1\r\nHost: x\r\n\r\n";
    client
        .send_bytes(&[file.as_bytes(), file.as_bytes()].concat())
        .expect("it is taken");
    for _ in 0..2 {
        let head = head_of(&mut client);
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(client.receive_exactly(5), b"hello");
    }
    // What comes right behind the handshake belongs to the session.
    let message = Wire::WebSocket.encode(b"build");
    client
        .send_bytes(&[HANDSHAKE.as_bytes(), &message].concat())
        .expect("it is taken");
    let head = head_of(&mut client);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(client.receive_frame().1, b"first");
    assert_eq!(build(&mut client), "first");
}

#[test]
fn requests_behind_each_other_end_in_a_session() {
    let engine = engine();
    let mut client = Client::connect(&engine, 0, Wire::Raw);
    let file = "GET /hello.txt HTTP/1.1\r\nHost: x\r\n\r\n";
    let message = Wire::WebSocket.encode(b"build");
    client
        .send_bytes(&[file.as_bytes(), HANDSHAKE.as_bytes(), &message].concat())
        .expect("it is taken");
    let first = head_of(&mut client);
    assert!(first.starts_with("HTTP/1.1 200 "), "{first}");
    assert_eq!(client.receive_exactly(5), b"hello");
    let second = head_of(&mut client);
    assert!(second.starts_with("HTTP/1.1 101 "), "{second}");
    assert_eq!(client.receive_frame().1, b"first");
}

#[test]
fn a_request_that_is_none_is_answered_and_counted_as_no_session() {
    let engine = engine();
    for (request, status) in [
        ("\u{16}\u{3}\u{1}\r\n\r\n", "400"),
        ("GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", "426"),
        (
            "POST /ws HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            "405",
        ),
        ("GET /none HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
    ] {
        let mut client = Client::connect(&engine, 0, Wire::Raw);
        client.send_bytes(request.as_bytes()).expect("it is taken");
        let head = head_of(&mut client);
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {head}"
        );
        if status == "426" {
            let head = head.to_ascii_lowercase();
            assert!(head.contains("\r\nconnection: upgrade\r\n"), "{head}");
            assert!(head.contains("\r\nsec-websocket-version: 13\r\n"), "{head}");
        }
    }
    let twice = HANDSHAKE.replace("Host: x\r\n", "Host: x\r\nHost: y\r\n");
    let body = HANDSHAKE.replace("Host: x\r\n", "Host: x\r\nContent-Length: 3\r\n");
    let none = HANDSHAKE.replace("Host: x\r\n", "");
    for request in [twice, body, none] {
        let mut client = Client::connect(&engine, 0, Wire::Raw);
        client.send_bytes(request.as_bytes()).expect("it is taken");
        let head = head_of(&mut client);
        assert!(head.starts_with("HTTP/1.1 400 "), "{request}: {head}");
    }
    eventually("none is left", || engine.status().gateway.sessions == 0);
    let status = engine.status();
    assert_eq!(status.closed("handshake"), 3);
    assert_eq!(status.gateway.accepted, 0);
}

#[test]
fn a_head_that_never_ends_is_closed_by_its_length_or_the_timeout() {
    let engine = engine();
    let mut endless = Client::connect(&engine, 0, Wire::Raw);
    let line = format!("X: {}\r\n", "x".repeat(1000));
    let long = format!("GET /ws HTTP/1.1\r\n{}", line.repeat(20));
    // The rest may meet a closed connection.
    let _ = endless.send_bytes(long.as_bytes());
    let head = head_of(&mut endless);
    assert!(head.starts_with("HTTP/1.1 431 "), "{head}");

    let mut slow = Client::connect(&engine, 0, Wire::Raw);
    let begun = Instant::now();
    slow.send_bytes(b"GET /ws HTTP/1.1\r\nHost: x\r\n")
        .expect("it is taken");
    assert!(slow.receive_bytes_to_end().is_empty());
    let after = begun.elapsed();
    assert!(after > Duration::from_millis(1900), "{after:?}");
    assert!(after < Duration::from_secs(10), "{after:?}");
    let status = engine.status();
    assert_eq!(status.limit("handshake_timeout"), 1);
    assert_eq!(status.closed("handshake"), 1);
}

#[test]
fn targets_and_hosts_that_mean_something_else_begin_no_session() {
    let engine = engine();
    for (from, to, status) in [
        ("GET /ws ", "GET http://h?a/ws ", "404"),
        ("Host: x", "Host: a:1:2", "400"),
        ("Host: x", "Host: %zz", "400"),
        ("GET /ws ", "GET http://h/ws ", "101"),
    ] {
        let mut client = Client::connect(&engine, 0, Wire::Raw);
        let request = HANDSHAKE.replace(from, to);
        client.send_bytes(request.as_bytes()).expect("it is taken");
        let head = head_of(&mut client);
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {head}"
        );
    }
}

#[test]
fn connections_that_ask_for_nothing_leave_nothing_behind() {
    let engine = engine();
    for _ in 0..50 {
        let mut client = Client::connect(&engine, 0, Wire::Raw);
        client.send_bytes(b"GET /w").expect("it is taken");
    }
    eventually("they are forgotten", || {
        let gateway = engine.status().gateway;
        gateway.sessions == 0
    });
    assert_eq!(engine.status().closed("peer"), 0, "they were no sessions");
}
