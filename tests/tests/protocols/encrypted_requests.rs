//! Requests to the app over TLS: bodies both ways, answers that stream, reloads meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moorline_tests::{
    Client, Engine, Issuer, Process, Random, Site, Stream, Trust, Wire, eventually,
};
use rustls::version;

use super::web::{CONFIG, Web, field};

fn site(issuer: &Issuer) -> Arc<Site> {
    let tls =
        "address = \"https://127.0.0.1:0\"\ntls = { certificate = \"one.pem\", key = \"one.key\" }";
    let site = Site::new(
        "probe",
        &CONFIG.replace("address = \"http://127.0.0.1:0\"", tls),
    );
    issuer.issue(&["one.test"]).write(&site, "one");
    site.write("page.txt", "a page");
    site
}

#[track_caller]
fn connect(engine: &Engine, trust: &Trust) -> Web {
    let client = Client::connect_tls(engine, 0, Wire::Raw, trust, "one.test");
    Web(client.unwrap_or_else(|error| panic!("the handshake fails: {error}")))
}

fn counted(engine: &Engine, what: &str) -> u64 {
    engine.status().gateway.requests[what]
}

fn agreed(web: &Web) -> Option<&[u8]> {
    match &web.0.stream {
        Stream::Tls(stream) => stream.conn.alpn_protocol(),
        _ => None,
    }
}

#[test]
fn an_app_answers_requests_beside_files_and_sessions_over_one_encrypted_connection() {
    let issuer = Issuer::new();
    let engine = site(&issuer).start();
    for (version, name) in [(&version::TLS12, "TLS 1.2"), (&version::TLS13, "TLS 1.3")] {
        let trust = issuer.trust_in(version).speaking(&["h2", "http/1.1"]);
        let mut web = connect(&engine, &trust);
        assert_eq!(agreed(&web), Some(&b"http/1.1"[..]));
        let facts = web.ask("GET", "/app/x?do=tls", b"").body;
        assert_eq!(facts, format!("{name} http/1.1"));
        assert_eq!(web.ask("GET", "/page.txt", b"").body, "a page");
        let answer = web.ask("GET", "/app/axum/anna", b"");
        assert_eq!(answer.body, "hello anna from axum");
        assert_eq!(web.ask("PUT", "/app/x?do=echo", b"ahoy").body, "ahoy");

        let lines = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        web.send("GET", "/ws", lines, b"");
        assert_eq!(web.head().0, 101);
        let frame = Wire::WebSocket.encode(b"hello");
        web.0.send_bytes(&frame).expect("the session takes it");
        assert_eq!(web.0.receive_frame().1, b"hello");
    }
    let without = issuer.trust();
    let mut web = connect(&engine, &without);
    assert_eq!(web.ask("GET", "/app/x?do=tls", b"").body, "TLS 1.3");
    eventually("the requests are counted", || {
        counted(&engine, "answered") == 7 && counted(&engine, "in_progress") == 0
    });
}

#[test]
fn bodies_of_megabytes_go_both_ways_encrypted() {
    let issuer = Issuer::new();
    let engine = site(&issuer).start();
    let letters = Random::new().bytes(3 << 20);
    let body: Vec<u8> = letters.iter().map(|byte| b'a' + byte % 26).collect();
    for version in [&version::TLS12, &version::TLS13] {
        let mut web = connect(&engine, &issuer.trust_in(version));
        for _ in 0..3 {
            let answer = web.ask("POST", "/large?do=echo", &body);
            assert_eq!(answer.status, 200);
            assert!(answer.body.as_bytes() == body, "another body came back");
        }
        let answer = web.ask("GET", "/app/x?do=large:5000000", b"");
        assert_eq!(answer.body.len(), 5_000_000);

        let chunked = "Transfer-Encoding: chunked\r\n";
        let parts = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        web.send("POST", "/app/x?do=echo", chunked, parts);
        assert_eq!(web.answer().body, "abcde");
        let mut web = connect(&engine, &issuer.trust_in(version));
        let promised = "Content-Length: 5\r\nExpect: 100-continue\r\n";
        web.send("POST", "/app/x?do=echo", promised, b"");
        assert_eq!(web.head().0, 100);
        web.0.send_bytes(b"abcde").expect("it is taken");
        assert_eq!(web.answer().body, "abcde");

        let length = format!("Content-Length: {}\r\n", 3 << 20);
        web.send("POST", "/app/x?do=echo", &length, b"");
        assert_eq!(web.answer().status, 413);
    }
}

#[test]
fn an_encrypted_answer_streams_through_a_reload_that_changes_the_certificate() {
    let issuer = Issuer::new();
    let engine = site(&issuer).start();
    let mut web = connect(&engine, &issuer.trust());
    web.send("GET", "/app/x?do=count:20:100", "", b"");
    assert_eq!(web.head().0, 200);
    assert_eq!(web.chunk(), "1\n");
    let before = connect(&engine, &issuer.trust()).ask("GET", "/app/x", b"");
    let other = Issuer::new();
    other.issue(&["one.test"]).write(&engine, "one");
    engine.reload().expect_success();
    let mut seen = 1;
    while let Some(number) = Some(web.chunk()).filter(|it| !it.is_empty()) {
        seen += 1;
        assert_eq!(number, format!("{seen}\n"));
    }
    assert_eq!(seen, 20);
    assert_eq!(web.ask("POST", "/app/x?do=echo", b"x").body, "x");
    let after = connect(&engine, &other.trust()).ask("GET", "/app/x", b"");
    assert_ne!(before.body, after.body, "another process answers");
}

#[test]
fn an_encrypted_client_that_leaves_or_reads_nothing_holds_up_no_other() {
    let issuer = Issuer::new();
    let engine = site(&issuer).start();
    let mut leaving = connect(&engine, &issuer.trust());
    leaving.send("GET", "/app/x?do=wait:30000", "", b"");
    eventually("the hook runs", || !engine.journal_of("waits").is_empty());
    let begun = Instant::now();
    drop(leaving);
    eventually("the hook is dropped", || {
        !engine.journal_of("left").is_empty()
    });
    assert!(begun.elapsed() < Duration::from_secs(10));

    let gateway = engine.status().gateway.pid;
    let memory = Process::private_memory(gateway);
    let mut still = connect(&engine, &issuer.trust());
    still.send("GET", "/app/x?do=pour", "", b"");
    eventually("the connection is closed after send_timeout", || {
        !engine.journal_of("drained").is_empty()
    });
    let grown = Process::private_memory(gateway).saturating_sub(memory);
    assert!(grown < 8 << 20, "{grown} bytes");
    let mut web = connect(&engine, &issuer.trust());
    assert_eq!(web.ask("GET", "/app/x", b"").status, 200);
    eventually("both are counted", || {
        counted(&engine, "client_left") == 2 && counted(&engine, "in_progress") == 0
    });
}

#[test]
fn encrypted_requests_that_come_at_once_are_answered_in_their_order() {
    let issuer = Issuer::new();
    let engine = site(&issuer).start();
    let mut web = connect(&engine, &issuer.trust());
    let request = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n");
    // In one record of TLS.
    let all = [
        request("/app/1?do=wait:200&do=header:1"),
        request("/page.txt"),
        request("/app/3?do=large:100000&do=header:3"),
    ];
    web.0
        .send_bytes(all.concat().as_bytes())
        .expect("it is taken");
    let first = web.answer();
    assert_eq!(field(&first.head, "x-said"), Some("1"));
    assert_eq!(web.answer().body, "a page");
    let last = web.answer();
    assert_eq!(field(&last.head, "x-said"), Some("3"));
    assert_eq!(last.body.len(), 100_000);
}
