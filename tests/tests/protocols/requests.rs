//! Plain requests that the app answers, beside its sessions.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use moorline_tests::{Engine, Site, Wire, eventually, kill};
use nix::sys::signal::Signal;

use super::web::{Answer, CONFIG, Web, field};

fn start() -> Engine {
    let site = Site::new("probe", CONFIG);
    site.write("page.txt", "a page");
    site.start()
}

fn get(engine: &Engine, target: &str) -> Answer {
    Web::connect(engine).ask("GET", target, b"")
}

/// How many requests ended like this.
fn counted(engine: &Engine, what: &str) -> u64 {
    engine.status().gateway.requests[what]
}

/// The number at the end of the last line of the journal that begins like this.
fn noted(engine: &Engine, start: &str) -> Option<u64> {
    let lines = engine.site().journal_of(start);
    lines.last()?.split(' ').next_back()?.parse().ok()
}

#[test]
fn an_app_answers_requests_beside_files_and_sessions_over_one_connection() {
    let engine = start();
    let mut web = Web::connect(&engine);
    let right = br#"{"name":"anna","password":"secret"}"#;
    let answer = web.ask("POST", "/app/login", right);
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, r#"{"ok":true}"#)
    );
    assert_eq!(
        field(&answer.head, "set-cookie"),
        Some("session=42; httponly")
    );
    assert_eq!(web.ask("POST", "/app/login", b"{}").status, 401);
    assert_eq!(web.ask("GET", "/page.txt", b"").body, "a page");
    let answer = web.ask("GET", "/app/axum/anna", b"");
    assert_eq!(answer.body, "hello anna from axum");
    assert_eq!(web.ask("PUT", "/app/x?do=echo", b"ahoy").body, "ahoy");
    assert_eq!(web.ask("GET", "/app/x?do=status:204", b"").status, 204);
    let peer = web.ask("GET", "/app/x?do=peer", b"").body;
    assert!(peer.starts_with("127.0.0.1:"), "{peer}");

    let lines = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    web.send("GET", "/ws", lines, b"");
    assert_eq!(web.head().0, 101);
    let frame = Wire::WebSocket.encode(b"hello");
    web.0.send_bytes(&frame).expect("the session takes it");
    assert_eq!(web.0.receive_frame().1, b"hello");
    assert_eq!(counted(&engine, "answered"), 6);
}

#[test]
fn the_peer_of_a_request_is_the_client_that_a_trusted_proxy_names() {
    let lines = "X-Forwarded-For: 10.1.2.3\r\n";
    for (trusted, peer) in [("127.0.0.1", "10.1.2.3:0"), ("192.0.2.1", "127.0.0.1:")] {
        let trusting = format!("name = \"web\"\ntrusted_proxies = [\"{trusted}\"]");
        let engine = Engine::start("probe", &CONFIG.replace("name = \"web\"", &trusting));
        let mut web = Web::connect(&engine);
        web.send("GET", "/app/x?do=peer", lines, b"");
        let found = web.answer().body;
        assert!(found.starts_with(peer), "{found}");
    }
}

#[test]
fn a_request_whose_client_cannot_be_read_is_refused() {
    let trusting =
        "name = \"web\"\ntrusted_proxies = [\"127.0.0.1\"]\nforwarded_header = \"forwarded\"";
    let engine = Engine::start("probe", &CONFIG.replace("name = \"web\"", trusting));
    let mut web = Web::connect(&engine);
    let lines = "Forwarded: x=\", for=10.1.2.3\r\n";
    web.send("GET", "/app/x?do=peer", lines, b"");
    assert_eq!(web.head().0, 400);
}

#[test]
fn requests_that_come_at_once_are_answered_in_their_order() {
    let engine = start();
    let mut web = Web::connect(&engine);
    web.send("GET", "/app/1?do=wait:200&do=header:1", "", b"");
    web.send("HEAD", "/app/2?do=large:1000&do=header:2", "", b"");
    web.send("GET", "/app/3?do=large:100000&do=header:3", "", b"");
    let (status, head) = {
        let answer = web.answer();
        (answer.status, answer.head)
    };
    assert_eq!((status, field(&head, "x-said")), (200, Some("1")));
    let (_, head) = web.head();
    assert_eq!(field(&head, "content-length"), Some("1000"));
    assert_eq!(field(&head, "x-said"), Some("2"));
    let answer = web.answer();
    assert_eq!(field(&answer.head, "x-said"), Some("3"));
    assert_eq!(answer.body.len(), 100_000);
}

#[test]
fn bodies_are_bounded_and_may_come_in_chunks_or_after_a_promise() {
    let engine = start();
    let large = vec![b'a'; 3 << 20];
    let answer = Web::connect(&engine).ask("POST", "/large?do=echo", &large);
    assert_eq!(answer.body.len(), large.len());
    let mut web = Web::connect(&engine);
    let length = format!("Content-Length: {}\r\n", large.len());
    web.send("POST", "/app/x?do=echo", &length, b"");
    let answer = web.answer();
    assert_eq!(answer.status, 413, "{answer:?}");
    assert!(answer.head.contains("connection: close"), "{answer:?}");

    let mut web = Web::connect(&engine);
    let chunked = "Transfer-Encoding: chunked\r\n";
    web.send(
        "POST",
        "/app/x?do=echo",
        chunked,
        b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    );
    assert_eq!(web.answer().body, "abcde");

    let mut web = Web::connect(&engine);
    let promised = "Content-Length: 5\r\nExpect: 100-continue\r\n";
    web.send("POST", "/app/x?do=echo", promised, b"");
    assert_eq!(web.head().0, 100);
    web.0.send_bytes(b"abcde").expect("it is taken");
    assert_eq!(web.answer().body, "abcde");
}

#[test]
fn a_request_of_http_1_0_gets_an_answer_that_ends_with_its_connection() {
    let engine = start();
    let mut web = Web::connect(&engine);
    let request = b"GET /app/x?do=count:3:1 HTTP/1.0\r\n\r\n";
    web.0.send_bytes(request).expect("it is taken");
    assert_eq!(web.head().0, 200);
    assert_eq!(web.0.receive_bytes_to_end(), b"1\n2\n3\n");
}

#[test]
fn a_client_of_http_1_0_that_asks_for_it_keeps_its_connection() {
    let engine = start();
    let mut web = Web::connect(&engine);
    let ask = |web: &mut Web, method: &str, target: &str, body: &str| {
        let length = body.len();
        let request = format!(
            "{method} {target} HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        web.0.send_bytes(request.as_bytes()).expect("it is taken");
    };
    for (method, target, body, answered) in [
        ("POST", "/app/x?do=echo", "ahoy", "ahoy"),
        ("GET", "/app/axum/anna", "", "hello anna from axum"),
        ("GET", "/page.txt", "", "a page"),
    ] {
        ask(&mut web, method, target, body);
        let answer = web.answer();
        assert_eq!((answer.status, answer.body.as_str()), (200, answered));
        assert_eq!(field(&answer.head, "connection"), Some("keep-alive"));
    }
    // Only the end of the connection can end what has no length.
    ask(&mut web, "GET", "/app/x?do=count:3:1", "");
    let (status, head) = web.head();
    assert_eq!(status, 200);
    assert_eq!(field(&head, "transfer-encoding"), None);
    assert_ne!(field(&head, "connection"), Some("keep-alive"));
    assert_eq!(web.0.receive_bytes_to_end(), b"1\n2\n3\n");
}

#[test]
fn a_hook_that_fails_is_500_and_counted() {
    let engine = start();
    for order in ["panic", "fail", "break"] {
        let answer = get(&engine, &format!("/app/x?do={order}"));
        assert_eq!(answer.status, 500, "{order}: {answer:?}");
    }
    assert_eq!(engine.status().errors.handlers, 3);
    assert_eq!(counted(&engine, "failed"), 3);
    assert_eq!(get(&engine, "/app/x").status, 200);
}

#[test]
fn a_crash_is_502_and_the_next_request_is_answered() {
    let engine = start();
    let mut waiting = Web::connect(&engine);
    waiting.send("GET", "/app/x?do=wait:20000", "", b"");
    eventually("the hook runs", || {
        !engine.site().journal_of("waits").is_empty()
    });
    let pid = noted(&engine, "waits").expect("a process") as i32;
    kill(pid, Signal::SIGKILL);
    assert_eq!(waiting.answer().status, 502);
    assert_eq!(get(&engine, "/app/x?do=abort").status, 502);
    assert_eq!(get(&engine, "/app/x").status, 200);
    assert_eq!(counted(&engine, "failed"), 2);
}

#[test]
fn a_body_that_is_not_whole_ends_without_its_last_chunk() {
    let engine = start();
    let mut web = Web::connect(&engine);
    web.send("GET", "/app/x?do=half", "", b"");
    assert_eq!(web.head().0, 200);
    let rest = web.0.receive_bytes_to_end();
    assert_eq!(rest, b"4\r\nhalf\r\n");
}

#[test]
fn a_streamed_answer_goes_on_through_a_reload_and_holds_up_no_other() {
    let engine = start();
    let mut web = Web::connect(&engine);
    web.send("GET", "/app/x?do=count:20:100", "", b"");
    assert_eq!(web.head().0, 200);
    assert_eq!(web.chunk(), "1\n");
    let before = get(&engine, "/app/x").body;
    engine.site().run(&["reload"]);
    let mut seen = 1;
    while let Some(number) = Some(web.chunk()).filter(|it| !it.is_empty()) {
        seen += 1;
        assert_eq!(number, format!("{seen}\n"));
    }
    assert_eq!(seen, 20);
    let after = get(&engine, "/app/x").body;
    assert_ne!(before, after, "another process answers");
    assert_eq!(web.ask("GET", "/app/x?do=echo", b"x").body, "x");
}

#[test]
fn a_stop_waits_for_an_answer_in_progress() {
    let mut engine = start();
    let mut web = Web::connect(&engine);
    web.send("GET", "/app/x?do=count:10:100", "", b"");
    assert_eq!(web.head().0, 200);
    let reading = thread::spawn(move || {
        let mut numbers = Vec::new();
        while let Some(number) = Some(web.chunk()).filter(|it| !it.is_empty()) {
            numbers.push(number);
        }
        numbers.len()
    });
    kill(engine.supervisor(), Signal::SIGTERM);
    assert!(engine.ended().success());
    assert_eq!(reading.join().expect("it reads"), 10);
}

#[test]
fn a_client_that_leaves_ends_the_hook_and_one_that_reads_nothing_holds_up_its_answer_alone() {
    let engine = start();
    let mut leaving = Web::connect(&engine);
    leaving.send("GET", "/app/x?do=wait:30000", "", b"");
    eventually("the hook runs", || {
        !engine.site().journal_of("waits").is_empty()
    });
    let begun = Instant::now();
    drop(leaving);
    eventually("the hook is dropped", || {
        !engine.site().journal_of("left").is_empty()
    });
    assert!(begun.elapsed() < Duration::from_secs(10));

    let mut still = Web::connect(&engine);
    still.send("GET", "/app/x?do=pour", "", b"");
    eventually("the connection is closed after send_timeout", || {
        !engine.site().journal_of("drained").is_empty()
    });
    let drained = noted(&engine, "drained").expect("a number");
    // The kernel's buffers take a few megabytes.
    assert!(drained < 16 * 1024, "{drained} KiB");
    assert_eq!(get(&engine, "/app/x").status, 200);
    eventually("both are counted", || {
        counted(&engine, "client_left") == 2 && counted(&engine, "in_progress") == 0
    });
}

#[test]
fn curl_gets_what_the_app_answers() {
    let engine = start();
    let url = format!("http://{}", engine.socket_address(0));
    let curl = |arguments: &[&str]| {
        let output = Command::new("curl")
            .args(["--silent", "--show-error"])
            .args(arguments)
            .output()
            .expect("curl is installed");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("it is text")
    };
    let large = "x".repeat(900_000);
    engine.site().write("large", &large);
    let file = format!("@{}", engine.site().path("large").display());
    let echo = format!("{url}/app/x?do=echo");
    assert!(curl(&["--data-binary", &file, &echo]) == large);
    let counted = curl(&["--no-buffer", &format!("{url}/app/x?do=count:3:10")]);
    assert_eq!(counted, "1\n2\n3\n");
    let head = curl(&["--head", &format!("{url}/app/axum/anna")]);
    assert!(head.contains("content-length: 20\r\n"), "{head}");
}
