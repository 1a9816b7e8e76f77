//! A client with the token of a route sends to a group by a request.

use std::time::Duration;

use moorline_tests::{Client, Engine, Site, Wire};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

const CONFIG: &str = r#"
[engine]
gateway_loops = 2
[workers]
count = 2
[[listen]]
address = "http://127.0.0.1:0"
[[listen.route]]
path = "/ws"
kind = "websocket"
[[listen.route]]
path = "/publish/:group"
kind = "publish"
token_file = "publish.token"
[[listen.route]]
path = "/all/*group"
kind = "publish"
token = "another-token-of-this-route"
"#;

fn engine() -> Engine {
    let site = Site::new("probe", "");
    site.write("publish.token", format!("{TOKEN}\n"));
    site.configure(CONFIG);
    site.start()
}

/// The status of the answer to a request, with the token or more lines of the head.
#[track_caller]
fn ask(engine: &Engine, line: &str, head: &str, body: &[u8]) -> (u16, String) {
    let mut client = Client::connect(engine, 0, Wire::Raw);
    let head = format!(
        "{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{head}\r\n",
        body.len()
    );
    client
        .send_bytes(&[head.as_bytes(), body].concat())
        .expect("it is taken");
    let head = client.receive_head().expect("an answer comes");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (status.expect("a status"), head.to_ascii_lowercase())
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// A member of this group, by WebSocket: what it is sent, with the first byte of the frame.
fn member(engine: &Engine, group: &str) -> Client {
    let mut client = Client::connect(engine, 0, Wire::WebSocket);
    assert_eq!(client.ask(format!("join {group}")), "ok");
    client
}

#[test]
fn a_post_with_the_token_reaches_all_members() {
    let engine = engine();
    let mut members: Vec<Client> = (0..4).map(|_| member(&engine, "café")).collect();
    let publish = |query: &str, more: &str, body: &[u8]| {
        let line = format!("POST /publish/caf%c3%a9{query}");
        ask(&engine, &line, &(bearer(TOKEN) + more), body).0
    };
    let (text, bytes) = (1, 2);
    for (query, more, first) in [
        ("", "", bytes),
        ("", "Content-Type: text/plain\r\n", text),
        ("", "Content-Type: application/json\r\n", text),
        ("?event=said", "", text),
        ("?id=7&event=said", "", text),
    ] {
        assert_eq!(publish(query, more, b"{}"), 204);
        for member in &mut members {
            assert_eq!(
                member.receive_frame(),
                (first, b"{}".to_vec()),
                "{query} {more}"
            );
        }
    }
    assert_eq!(publish("?id=a%0ab", "", b""), 400);
    assert_eq!(publish("?id=1", "", b"\xff"), 400);
    assert_eq!(publish("", "", &vec![b'x'; 1024 * 1024]), 204);
    assert_eq!(members[0].receive().len(), 1024 * 1024);
    let path = format!("POST /all/a/b%20c{}", "");
    let mut other = member(&engine, "a/b c");
    let token = bearer("another-token-of-this-route");
    assert_eq!(ask(&engine, &path, &token, b"x").0, 204);
    assert_eq!(other.receive(), b"x");
}

#[test]
fn without_the_token_nothing_is_sent() {
    let engine = engine();
    let mut member = member(&engine, "room");
    let line = "POST /publish/room";
    for head in [
        String::new(),
        bearer("another-token-of-this-route"),
        bearer(&TOKEN[1..]),
        format!("Authorization: Basic {TOKEN}\r\n"),
    ] {
        let (status, answer) = ask(&engine, line, &head, b"x");
        assert_eq!(status, 401, "{head}");
        assert!(
            answer.contains("\r\nwww-authenticate: bearer\r\n"),
            "{answer}"
        );
    }
    let (status, answer) = ask(&engine, "GET /publish/room", &bearer(TOKEN), b"");
    assert_eq!(status, 405);
    assert!(answer.contains("\r\nallow: post\r\n"), "{answer}");
    assert!(member.is_quiet_for(Duration::from_millis(50)));
}

#[test]
fn a_body_that_is_too_large_is_refused_at_once() {
    let engine = engine();
    let mut client = Client::connect(&engine, 0, Wire::Raw);
    let head = format!(
        "POST /publish/room HTTP/1.1\r\nHost: localhost\r\n{}Content-Length: 1048577\r\n\r\n",
        bearer(TOKEN)
    );
    client.send_bytes(head.as_bytes()).expect("it is taken");
    let answer = client.receive_head().expect("an answer comes");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[test]
fn a_published_event_is_kept_and_its_repetition_is_not_sent() {
    let engine = engine();
    let mut first = member(&engine, "room");
    assert_eq!(first.ask("keep-events room 10"), "ok");
    let line = "POST /publish/room?id=42&event=said";
    for body in ["hello", "again"] {
        assert_eq!(ask(&engine, line, &bearer(TOKEN), body.as_bytes()).0, 204);
    }
    assert_eq!(first.receive(), b"hello");
    let (mut late, _) =
        Client::connect_websocket(&engine, 0, "/ws?do=remember:x&open=history:room", "")
            .expect("it is open");
    assert_eq!(late.receive(), b"hello");
    // It is a member itself.
    assert_eq!(first.ask("event room 43 more"), "more");
    assert_eq!(first.receive(), b"ok");
    assert_eq!(late.receive(), b"more");
}
