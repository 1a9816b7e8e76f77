//! HTTP/1.1 as RFC 9112 wants it: which heads are refused, and what becomes of a body that nobody asked for.

use std::time::{Duration, Instant};

use moorline_tests::{Client, Engine, Site, Wire};

const CONFIG: &str = r#"
[[listen]]
address = "http://127.0.0.1:0"
static = "public"
"#;

fn start() -> Engine {
    let site = Site::new("echo", "");
    site.write("public/a.txt", "content");
    site.configure(CONFIG);
    site.start()
}

/// The statuses of all answers to these bytes, after which the client ends its side.
fn statuses(engine: &Engine, bytes: impl AsRef<[u8]>) -> Vec<u16> {
    let mut client = Client::connect(engine, 0, Wire::Raw);
    client
        .send_bytes(bytes.as_ref())
        .expect("the listener takes a request");
    client.finish_sending();
    let answer = client.receive_bytes_to_end();
    let answer = String::from_utf8_lossy(&answer);
    let mut statuses = Vec::new();
    for (at, _) in answer.match_indices("HTTP/1.") {
        let status = answer[at + 9..].split(' ').next();
        statuses.extend(status.and_then(|status| status.parse::<u16>().ok()));
    }
    statuses
}

/// A second request on the same connection.
const SECOND: &str = "GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn a_request_has_one_valid_host() {
    let engine = start();
    for (head, status) in [
        ("GET /a.txt HTTP/1.1\r\nHost: a.example\r\n", 200),
        ("GET /a.txt HTTP/1.1\r\nHost: a.example:80\r\n", 200),
        ("GET /a.txt HTTP/1.1\r\nHost: [::1]:80\r\n", 200),
        ("GET /a.txt HTTP/1.0\r\n", 200),
        ("GET /a.txt HTTP/1.1\r\n", 400),
        ("GET /a.txt HTTP/1.1\r\nHost:\r\n", 400),
        ("GET /a.txt HTTP/1.1\r\nHost: a\r\nHost: a\r\n", 400),
        ("GET /a.txt HTTP/1.0\r\nHost: a\r\nHost: b\r\n", 400),
        ("GET /a.txt HTTP/1.1\r\nHost: me@a\r\n", 400),
        ("GET /a.txt HTTP/1.1\r\nHost: a/b\r\n", 400),
        ("GET /a.txt HTTP/1.1\r\nHost: a b\r\n", 400),
        ("GET /a.txt HTTP/1.1\r\nHost: a:b\r\n", 400),
        ("GET /a.txt HTTP/1.1\r\nHost: [::1\r\n", 400),
    ] {
        let bytes = format!("{head}\r\n{SECOND}");
        let expected = match (status, head.contains("HTTP/1.0")) {
            (200, false) => vec![200, 200],
            (status, _) => vec![status],
        };
        assert_eq!(statuses(&engine, bytes), expected, "{head:?}");
    }
}

#[test]
fn a_target_may_be_a_whole_url() {
    let engine = start();
    for (target, status) in [
        ("http://a.example/a.txt", 200),
        ("HTTP://a.example:80/a.txt?x", 200),
        ("http://a.example", 404),
        ("ftp://a.example/a.txt", 400),
        ("http://me@a.example/a.txt", 400),
        ("a.txt", 400),
        ("*", 400),
    ] {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: b.example\r\n\r\n");
        assert_eq!(statuses(&engine, bytes), [status], "{target}");
    }
    let bytes = "CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\n\r\n";
    assert_eq!(statuses(&engine, bytes), [501]);
}

#[test]
fn heads_that_rfc_9112_refuses_are_400_and_end_the_connection() {
    let engine = start();
    let get = "GET /a.txt HTTP/1.1\r\nHost: x\r\n";
    for (case, head) in [
        ("a folded line", format!("{get}X: a\r\n b\r\n\r\n")),
        ("a space before the colon", format!("{get}X : a\r\n\r\n")),
        (
            "a space before the first name",
            "GET /a.txt HTTP/1.1\r\n Host: x\r\n\r\n".into(),
        ),
        ("a name of no token", format!("{get}X\u{1}: a\r\n\r\n")),
        ("a zero in a value", format!("{get}X: a\0b\r\n\r\n")),
        ("a CR in a value", format!("{get}X: a\rb\r\n\r\n")),
        ("no colon", format!("{get}X\r\n\r\n")),
        (
            "two lengths",
            format!("{get}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        ),
        (
            "a list of lengths",
            format!("{get}Content-Length: 1, 1\r\n\r\na"),
        ),
        (
            "a sign before the length",
            format!("{get}Content-Length: +1\r\n\r\na"),
        ),
        (
            "another last coding",
            format!("{get}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
        ),
        (
            "an unknown coding",
            format!("{get}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ),
        (
            "chunks in HTTP/1.0",
            "GET /a.txt HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
        ),
        (
            "a version of no HTTP",
            "GET /a.txt HTTQ/1.1\r\nHost: x\r\n\r\n".into(),
        ),
        (
            "two spaces",
            "GET  /a.txt HTTP/1.1\r\nHost: x\r\n\r\n".into(),
        ),
    ] {
        let bytes = format!("{head}{SECOND}");
        assert_eq!(statuses(&engine, bytes), [400], "{case}");
    }
}

/// Files need no body. So no chunk is read here whose extensions, line ends or length another server on the way might
/// read differently.
#[test]
fn a_body_in_chunks_is_411_and_ends_the_connection() {
    let engine = start();
    let head = "GET /a.txt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n";
    for body in [
        "3\r\nabc\r\n0\r\n\r\n",
        "3;a=b\r\nabc\r\n0\r\n\r\n",
        "3;\u{1}\u{2}\r\nabc\r\n0\r\n\r\n",
        "3;a=\"\r\nabc\r\n0\r\n\r\n",
        "3;a\n\r\nabc\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "3\nabc\n0\n\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
    ] {
        let bytes = format!("{head}\r\n{body}{SECOND}");
        assert_eq!(statuses(&engine, bytes), [411], "{body:?}");
        let bytes = format!("{head}Content-Length: 5\r\n\r\n{body}{SECOND}");
        assert_eq!(statuses(&engine, bytes), [411], "with a length: {body:?}");
    }
}

#[test]
fn a_short_body_is_passed_over_and_the_next_request_is_answered() {
    let engine = start();
    let bytes = |method: &str, length: usize| {
        let body = "x".repeat(length);
        format!(
            "{method} /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}{SECOND}"
        )
    };
    assert_eq!(statuses(&engine, bytes("GET", 5)), [200, 200]);
    assert_eq!(statuses(&engine, bytes("GET", 500_000)), [200, 200]);
    assert_eq!(statuses(&engine, bytes("POST", 500_000)), [405, 200]);
}

#[test]
fn a_long_or_slow_body_ends_the_connection_after_the_answer() {
    let engine = start();
    let long = "POST /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n";
    let mut client = Client::connect(&engine, 0, Wire::Raw);
    client.send_bytes(long.as_bytes()).expect("it is taken");
    let answer = client.receive_bytes_to_end();
    assert!(answer.starts_with(b"HTTP/1.1 405 "));

    let announced =
        "PUT /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    let mut client = Client::connect(&engine, 0, Wire::Raw);
    client
        .send_bytes(announced.as_bytes())
        .expect("it is taken");
    let answer = client.receive_bytes_to_end();
    assert!(
        answer.starts_with(b"HTTP/1.1 405 "),
        "nobody wants that body"
    );

    let slow = "GET /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab";
    let mut client = Client::connect(&engine, 0, Wire::Raw);
    let start = Instant::now();
    client.send_bytes(slow.as_bytes()).expect("it is taken");
    let answer = client.receive_bytes_to_end();
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
    assert!(start.elapsed() < Duration::from_secs(9));
}

#[test]
fn http_and_websocket_are_spoken_on_a_unix_socket() {
    let site = Site::new("probe", "");
    site.write("public/a.txt", "content");
    site.configure(
        "[[listen]]\naddress = \"unix://web.sock\"\nstatic = \"public\"\nwebsocket = \"/ws\"\n",
    );
    let mut engine = site.start();
    assert_eq!(statuses(&engine, format!("{SECOND}{SECOND}")), [200, 200]);
    let mut client = Client::connect(&engine, 0, Wire::WebSocket);
    let id = client.ask("id");
    engine.reload().expect_success();
    assert_eq!(client.ask("id"), id);
    client.send(vec![b'x'; 300_000]);
    assert_eq!(client.receive().len(), 300_000);
    let file = engine.path("web.sock");
    engine.run(&["stop"]).expect_success();
    assert!(engine.ended().success());
    assert!(!file.exists(), "the file of the socket is left");
}
