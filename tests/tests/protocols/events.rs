//! Sessions of server-sent events: they begin as requests, take no messages, and outlive the code that serves them.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use moorline_tests::{Client, Engine, Wire, eventually};

const CONFIG: &str = r#"
[workers]
count = 2
max_wait = "5s"
[[listen]]
name = "web"
address = "http://127.0.0.1:0"
static = "{folder}"
hosts = ["a.example", "localhost"]
origins = ["https://friend.example"]
[[listen.route]]
path = "/events"
kind = "sse"
[[listen.route]]
path = "/rooms/:room/events"
kind = "sse"
[[listen.route]]
path = "/rooms/:room"
kind = "websocket"
[app]
journal = "{folder}/journal"
"#;

/// A connection that has asked for this target, with further lines in its head.
fn asked(engine: &Engine, target: &str, lines: &str) -> Client {
    let mut client = Client::connect(engine, 0, Wire::Raw);
    ask(&mut client, target, lines);
    client
}

fn ask(client: &mut Client, target: &str, lines: &str) {
    let request = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n");
    client.send_bytes(request.as_bytes()).expect("it is taken");
}

/// The head of the answer, in lower case, and its status.
fn answer(client: &mut Client) -> (u16, String) {
    let head = client.receive_head().expect("an answer comes");
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
    (
        status.expect("an answer has a status"),
        head.to_ascii_lowercase(),
    )
}

/// The next chunk; empty if it is the last one.
fn chunk(client: &mut Client) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.extend(client.receive_exactly(1));
    }
    let line = String::from_utf8(line).expect("a length is text");
    let length = usize::from_str_radix(line.trim(), 16).expect("a length is a number");
    let mut chunk = client.receive_exactly(length + 2);
    assert_eq!(chunk.split_off(length), b"\r\n");
    String::from_utf8(chunk).expect("events are text")
}

/// The data of the next event of this name.
fn event(client: &mut Client, name: &str) -> String {
    let chunk = chunk(client);
    let wanted = format!("event: {name}\ndata: ");
    let at = chunk
        .find(&wanted)
        .unwrap_or_else(|| panic!("{chunk:?} is no {name}"));
    chunk[at + wanted.len()..].trim_end_matches('\n').to_owned()
}

#[test]
fn a_request_becomes_a_session_whose_messages_are_events() {
    let engine = Engine::start("probe", CONFIG);
    let mut client = asked(&engine, "/events?open=lines&open=text:hello&open=close", "");
    let (code, head) = answer(&mut client);
    assert_eq!(code, 200, "{head}");
    for line in [
        "content-type: text/event-stream",
        "transfer-encoding: chunked",
        "x-accel-buffering: no",
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{head}");
    }
    assert_eq!(
        chunk(&mut client),
        "id: 1\nevent: lines\ndata: a\ndata: b\ndata: c\n\n"
    );
    assert_eq!(chunk(&mut client), "data: hello\n\n");
    assert_eq!(chunk(&mut client), "", "it has ended in order");
    assert_eq!(client.receive_bytes_to_end(), b"");
    assert_eq!(engine.status().closed("server"), 1);
}

#[test]
fn a_client_of_http_1_0_gets_them_without_chunks() {
    let engine = Engine::start("probe", CONFIG);
    let mut client = Client::connect(&engine, 0, Wire::Raw);
    let request = b"GET /events?open=text:hello&open=close HTTP/1.0\r\nHost: a.example\r\n\r\n";
    client.send_bytes(request).expect("it is taken");
    let (code, head) = answer(&mut client);
    assert_eq!(code, 200, "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
    assert_eq!(client.receive_bytes_to_end(), b"data: hello\n\n");
}

#[test]
fn the_app_sees_route_parameters_and_the_last_event() {
    let engine = Engine::start("probe", CONFIG);
    let target = "/rooms/caf%c3%a9%2Fbar/events?open=route&open=last";
    let mut client = asked(&engine, target, "Last-Event-ID: 41\r\n");
    assert_eq!(answer(&mut client).0, 200);
    let route = event(&mut client, "route");
    assert_eq!(
        route,
        "/rooms/:room/events café/bar /rooms/caf%c3%a9%2Fbar/events"
    );
    assert_eq!(event(&mut client, "last"), "41");
    let mut client = asked(&engine, "/events?open=last&last_event_id=7", "");
    assert_eq!(answer(&mut client).0, 200);
    assert_eq!(event(&mut client, "last"), "7");
}

#[test]
fn the_app_and_the_rules_refuse_them_as_they_refuse_websockets() {
    let engine = Engine::start("probe", CONFIG);
    let status = |target: &str, lines: &str| answer(&mut asked(&engine, target, lines)).0;
    assert_eq!(status("/events?do=refuse:403", ""), 403);
    assert_eq!(status("/events", "Origin: http://evil.example\r\n"), 403);
    let mut client = asked(&engine, "/events", "Origin: https://friend.example\r\n");
    let (code, head) = answer(&mut client);
    assert_eq!(code, 200);
    for line in [
        "access-control-allow-origin: https://friend.example",
        "access-control-allow-credentials: true",
        "vary: origin",
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{head}");
    }
    let mut other = Client::connect(&engine, 0, Wire::Raw);
    let request = b"GET /events HTTP/1.1\r\nHost: b.example\r\n\r\n";
    other.send_bytes(request).expect("it is taken");
    assert_eq!(answer(&mut other).0, 421);
    let mut post = Client::connect(&engine, 0, Wire::Raw);
    let request = b"POST /events HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n";
    post.send_bytes(request).expect("it is taken");
    let (code, head) = answer(&mut post);
    assert_eq!(code, 405);
    assert!(head.contains("\r\nallow: get\r\n"), "{head}");
}

#[test]
fn a_connection_that_has_had_files_becomes_a_session() {
    let engine = Engine::start("probe", CONFIG);
    let mut client = asked(&engine, "/none", "");
    let (code, head) = answer(&mut client);
    assert_eq!(code, 404, "{head}");
    client.receive_exactly("not found".len());
    ask(&mut client, "/rooms/7/events?open=route", "");
    assert_eq!(answer(&mut client).0, 200);
    assert_eq!(
        event(&mut client, "route"),
        "/rooms/:room/events 7 /rooms/7/events"
    );
}

#[test]
fn a_session_of_events_outlives_a_reload() {
    let engine = Engine::start("probe", CONFIG);
    let mut client = asked(&engine, "/events?open=id&open=group:all", "");
    assert_eq!(answer(&mut client).0, 200);
    let id = event(&mut client, "id");
    for round in 0..3 {
        engine.reload();
        let mut other = Client::connect(&engine, 0, Wire::Raw);
        other
            .shake_hands("/rooms/1")
            .expect("the handshake succeeds");
        let send = |client: &mut Client, text: String| {
            let frame = Wire::WebSocket.encode(text.as_bytes());
            client.send_bytes(&frame).expect("it is taken");
        };
        send(&mut other, format!("tell {id} hello {round}"));
        assert_eq!(chunk(&mut client), format!("data: hello {round}\n\n"));
    }
}

#[test]
fn a_client_that_leaves_ends_its_session_although_its_hook_works_on() {
    let engine = Engine::start("probe", CONFIG);
    let mut client = asked(&engine, "/events?open=id&open=wait:60000", "");
    assert_eq!(answer(&mut client).0, 200);
    let id = event(&mut client, "id");
    drop(client);
    eventually("the session has ended", || {
        engine.status().gateway.sessions == 0
    });
    engine.logged(&["session closed", &id, "peer"]);
}

#[test]
fn comments_keep_a_silent_connection_alive_and_find_the_dead() {
    let config = CONFIG.replace(
        "static =",
        "ping_interval = \"1s\"\npong_timeout = \"1s\"\nstatic =",
    );
    let engine = Engine::start("probe", &config);
    let mut client = asked(&engine, "/events", "");
    assert_eq!(answer(&mut client).0, 200);
    let begun = Instant::now();
    for _ in 0..3 {
        assert_eq!(chunk(&mut client), ":\n\n");
    }
    assert!(begun.elapsed() > Duration::from_millis(2_900));
    assert_eq!(engine.status().gateway.sessions, 1);
}

#[test]
fn what_a_client_of_events_sends_is_dropped() {
    let engine = Engine::start("probe", CONFIG);
    let mut client = asked(&engine, "/events?open=wait:300&open=text:still", "");
    assert_eq!(answer(&mut client).0, 200);
    for _ in 0..64 {
        let sent = client.send_bytes(&[b'x'; 64 * 1024]);
        assert!(sent.is_ok() || sent.is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
    }
    assert_eq!(chunk(&mut client), "data: still\n\n");
    assert!(engine.site().journal_of("message").is_empty());
}

#[test]
fn an_event_as_large_as_a_message_arrives() {
    let engine = Engine::start("probe", CONFIG);
    let size = 2 << 20;
    let mut client = asked(&engine, &format!("/events?open=long:{size}"), "");
    assert_eq!(answer(&mut client).0, 200);
    assert_eq!(chunk(&mut client).len(), "data: \n\n".len() + size);
    assert_eq!(engine.status().gateway.sessions, 1);
}

#[test]
fn pages_of_other_sites_do_not_embed_them() {
    let engine = Engine::start("probe", CONFIG);
    for (site, status) in [
        ("cross-site", 403),
        ("same-site", 403),
        ("same-origin", 200),
        ("none", 200),
    ] {
        let mut client = asked(&engine, "/events", &format!("Sec-Fetch-Site: {site}\r\n"));
        assert_eq!(answer(&mut client).0, status, "{site}");
    }
}

#[test]
fn a_browser_that_asks_first_may_send_headers_of_its_own() {
    let engine = Engine::start("probe", CONFIG);
    for (origin, status) in [
        ("https://friend.example", 204),
        ("https://evil.example", 403),
    ] {
        let mut client = Client::connect(&engine, 0, Wire::Raw);
        let request = format!(
            "OPTIONS /events HTTP/1.1\r\nHost: a.example\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization\r\n\r\n"
        );
        client.send_bytes(request.as_bytes()).expect("it is taken");
        let (code, head) = answer(&mut client);
        assert_eq!(code, status, "{head}");
        let allows = head.contains("\r\naccess-control-allow-headers: authorization\r\n");
        assert_eq!(allows, status == 204, "{head}");
    }
}

#[test]
fn a_session_keeps_its_target_when_a_reload_changes_the_routes() {
    let config = CONFIG
        .split("[[listen.route]]")
        .next()
        .expect("it begins so")
        .to_owned();
    let own = "websocket = \"/ws\"\n[app]\njournal = \"{folder}/journal\"\n";
    let engine = Engine::start("probe", &format!("{config}{own}"));
    let mut client = Client::connect(&engine, 0, Wire::Raw);
    client.shake_hands("/ws").expect("the handshake succeeds");
    engine.site().configure(CONFIG);
    engine.reload();
    let frame = Wire::WebSocket.encode(b"request");
    client.send_bytes(&frame).expect("it is taken");
    let (_, answer) = client.receive_frame();
    assert_eq!(answer, b"/ws");
}

#[test]
fn a_crash_cuts_the_stream_off_without_its_end() {
    let engine = Engine::start("probe", CONFIG);
    let mut client = asked(&engine, "/events?open=text:first&open=fail", "");
    assert_eq!(answer(&mut client).0, 200);
    assert_eq!(client.receive_bytes_to_end(), b"d\r\ndata: first\n\n\r\n");
    assert_eq!(engine.status().closed("error"), 1);
}
