//! The app decides about requests for WebSocket sessions, before they are answered.

use std::io::Write;
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use moorline_tests::{Client, Engine, Issuer, Site, Stream, Wire, eventually};
use nix::sys::signal::Signal;

const CONFIG: &str = r#"
[workers]
count = 2
max_wait = "5s"
[[listen]]
name = "web"
address = "http://127.0.0.1:0"
websocket = "/ws"
subprotocols = ["v2", "v1"]
handshake_timeout = "3s"
[app]
journal = "{folder}/journal"
"#;

/// A connection that has asked for a session, with further lines in its head.
fn asked(engine: &Engine, target: &str, lines: &str) -> Client {
    let mut client = Client::connect(engine, 0, Wire::Raw);
    let request = request(target, lines);
    client.send_bytes(request.as_bytes()).expect("it is taken");
    client
}

fn request(target: &str, lines: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
    )
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

fn status(engine: &Engine, target: &str, lines: &str) -> u16 {
    answer(&mut asked(engine, target, lines)).0
}

fn ask(client: &mut Client, command: &str) -> String {
    client
        .send_bytes(&Wire::WebSocket.encode(command.as_bytes()))
        .expect("the session takes it");
    let (_, answer) = client.receive_frame();
    String::from_utf8(answer).expect("an answer is text")
}

/// What the operator sees of them.
fn sessions(engine: &Engine) -> String {
    engine.site().run(&["sessions"]).stdout
}

#[test]
fn an_app_refuses_redirects_or_accepts_with_what_it_chooses() {
    let engine = Engine::start("probe", CONFIG);
    let mut refused = asked(&engine, "/ws?do=refuse:403&do=body:no", "");
    let (code, head) = answer(&mut refused);
    assert_eq!(code, 403, "{head}");
    assert!(head.contains("\r\nx-why: asked to\r\n"), "{head}");
    assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
    assert_eq!(refused.receive_bytes_to_end(), b"no");

    let (code, head) = answer(&mut asked(&engine, "/ws?do=redirect:/login", ""));
    assert_eq!(code, 302, "{head}");
    assert!(head.contains("\r\nlocation: /login\r\n"), "{head}");

    let target = "/ws?do=header:hello&do=label:anna&do=bind:k&do=remember:user-agent";
    let mut accepted = asked(&engine, target, "User-Agent: mine\r\nCookie: a=b\r\n");
    let (code, head) = answer(&mut accepted);
    assert_eq!(code, 101, "{head}");
    assert!(head.contains("\r\nx-said: hello\r\n"), "{head}");
    assert_eq!(ask(&mut accepted, "request"), target);
    assert_eq!(ask(&mut accepted, "request user-agent"), "mine");
    assert_eq!(ask(&mut accepted, "request cookie"), "none");
    assert!(sessions(&engine).contains("anna"));

    let opened = engine.site().journal_of("open");
    assert_eq!(opened.len(), 1, "refused requests open nothing: {opened:?}");
    let state = engine.status();
    assert_eq!(
        state.gateway.accepted, 1,
        "refused requests are no sessions"
    );
    assert_eq!(state.closed("handshake"), 2);
}

#[test]
fn a_subprotocol_is_agreed_on_by_the_app_or_by_the_listener() {
    let engine = Engine::start("probe", CONFIG);
    for (target, offer, agreed) in [
        ("/ws", "v1, v2", Some("v2")),
        ("/ws", "v1", Some("v1")),
        ("/ws", "v0", None),
        ("/ws?do=protocol:v0", "v2, v0", Some("v0")),
        ("/ws?do=protocol:v9", "v2", None),
    ] {
        let offer = format!("Sec-WebSocket-Protocol: {offer}\r\n");
        let (code, head) = answer(&mut asked(&engine, target, &offer));
        assert_eq!(code, 101, "{head}");
        let found = head
            .lines()
            .find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
        assert_eq!(found, agreed, "{target} {offer}");
    }
}

#[test]
fn pages_of_other_origins_are_refused_unless_the_app_lets_them_in() {
    for app in ["probe", "echo"] {
        let config = CONFIG.replace("journal = \"{folder}/journal\"", "");
        let engine = Engine::start(app, &config);
        for _ in 0..3 {
            assert_eq!(status(&engine, "/ws", ""), 101);
            let same = "Origin: http://a.example\r\n";
            assert_eq!(status(&engine, "/ws", same), 101);
            let other = "Origin: http://evil.example\r\n";
            assert_eq!(status(&engine, "/ws", other), 403);
            assert_eq!(status(&engine, "/ws", "Origin: null\r\n"), 403);
        }
        if app == "probe" {
            let other = "Origin: http://evil.example\r\n";
            assert_eq!(status(&engine, "/ws?do=any-origin", other), 101);
        }
    }
}

#[test]
fn rules_apply_from_a_reload_on() {
    let engine = Engine::start(
        "echo",
        &CONFIG.replace("journal = \"{folder}/journal\"", ""),
    );
    let other = "Origin: https://b.example\r\n";
    assert_eq!(status(&engine, "/ws", other), 403);
    let rules = "origins = [\"https://b.example\"]\nhosts = [\"a.example\"]\n[app]";
    let config = CONFIG.replace("journal = \"{folder}/journal\"", "");
    engine.site().configure(&config.replace("[app]", rules));
    engine.reload().expect_success();
    assert_eq!(status(&engine, "/ws", other), 101);
    let rules = "hosts = [\"c.example\"]\n[app]";
    engine.site().configure(&config.replace("[app]", rules));
    engine.reload().expect_success();
    assert_eq!(status(&engine, "/ws", ""), 421);
}

#[test]
fn a_failing_app_answers_503_and_serves_on() {
    let engine = Engine::start("probe", CONFIG);
    for order in ["panic", "fail", "break", "nonsense", "refuse:200"] {
        let target = format!("/ws?do={order}");
        assert_eq!(status(&engine, &target, ""), 503, "{order}");
    }
    eventually("all are counted", || engine.status().closed("error") == 5);
    assert_eq!(status(&engine, "/ws", ""), 101);
    engine.site().logged(&["asked to fail in accept", "accept"]);
}

#[test]
fn a_worker_that_dies_while_it_looks_at_a_request_costs_only_that_one() {
    let engine = Engine::start("probe", CONFIG);
    let mut waiting: Vec<_> = (0..20)
        .map(|_| asked(&engine, "/ws?do=wait:1000", ""))
        .collect();
    thread::sleep(Duration::from_millis(200));
    assert_eq!(status(&engine, "/ws?do=abort", ""), 503);
    for client in &mut waiting {
        assert_eq!(answer(client).0, 101);
        assert_eq!(ask(client, "build"), "first");
    }
    assert_eq!(engine.status().closed("crash"), 1);
}

#[test]
fn a_request_is_decided_by_the_next_worker_if_its_own_is_killed() {
    let engine = Engine::start("probe", CONFIG);
    let mut clients: Vec<_> = (0..4)
        .map(|_| asked(&engine, "/ws?do=wait:700", ""))
        .collect();
    eventually("they were asked about", || {
        engine.site().journal_of("accept").len() >= 4
    });
    for slot in [0, 1] {
        engine.kill_worker(slot, Signal::SIGKILL);
    }
    for client in &mut clients {
        assert_eq!(answer(client).0, 101);
        assert_eq!(ask(client, "build"), "first");
    }
    assert!(engine.site().journal_of("accept").len() >= 8);
}

#[test]
fn a_decision_outlives_a_reload() {
    let engine = Engine::start("probe", CONFIG);
    let mut client = asked(&engine, "/ws?do=wait:1500&do=label:anna&do=remember:x", "");
    eventually("it was asked about", || {
        !engine.site().journal_of("accept").is_empty()
    });
    engine.install("probe_next");
    engine.reload().expect_success();
    assert_eq!(answer(&mut client).0, 101);
    assert_eq!(ask(&mut client, "build"), "next");
    assert!(sessions(&engine).contains("anna"));
    assert!(ask(&mut client, "request").starts_with("/ws?do=wait"));
    // The one who was asked has decided, and its successor was not asked.
    assert_eq!(engine.site().journal_of("accept").len(), 1);
    let opened = engine.site().journal_of("open");
    assert!(
        opened.last().is_some_and(|line| line.ends_with("Fresh")),
        "{opened:?}"
    );
}

#[test]
fn what_is_kept_of_a_request_stays_through_reloads_and_crashes() {
    let engine = Engine::start("probe", CONFIG);
    let mut client = asked(
        &engine,
        "/ws?do=remember:user-agent",
        "User-Agent: mine\r\n",
    );
    assert_eq!(answer(&mut client).0, 101);
    engine.install("probe_next");
    engine.reload().expect_success();
    for slot in [0, 1] {
        engine.kill_worker(slot, Signal::SIGKILL);
    }
    assert_eq!(ask(&mut client, "build"), "next");
    assert_eq!(ask(&mut client, "request user-agent"), "mine");
}

#[test]
fn an_app_that_does_not_decide_in_time_answers_503() {
    let engine = Engine::start("probe", CONFIG);
    let begun = Instant::now();
    assert_eq!(status(&engine, "/ws?do=wait:30000", ""), 503);
    let after = begun.elapsed();
    assert!(after > Duration::from_millis(2900), "{after:?}");
    assert_eq!(engine.status().limit("handshake_timeout"), 1);
    assert_eq!(status(&engine, "/ws", ""), 101);
}

#[test]
fn requests_that_wait_to_be_asked_about_are_asked_of_the_next_build() {
    let engine = Engine::start("probe", &CONFIG.replace("count = 2", "count = 1"));
    let mut clients: Vec<_> = (0..600)
        .map(|_| asked(&engine, "/ws?do=wait:1000", ""))
        .collect();
    eventually("some were asked about", || {
        engine.site().journal_of("accept").len() >= 500
    });
    engine.install("probe_next");
    engine.reload().expect_success();
    for client in &mut clients {
        assert_eq!(answer(client).0, 101);
        assert_eq!(ask(client, "build"), "next");
    }
}

#[test]
fn a_hook_whose_client_has_left_ends() {
    let engine = Engine::start("probe", &CONFIG.replace("count = 2", "count = 1"));
    for round in 0..3 {
        let leaving: Vec<_> = (0..500)
            .map(|_| asked(&engine, "/ws?do=wait:60000", ""))
            .collect();
        eventually("they were asked about", || {
            engine.site().journal_of("accept").len() >= 501 * round + 500
        });
        for client in leaving {
            client.reset();
        }
        eventually("all are gone", || engine.status().gateway.sessions == 0);
        assert_eq!(status(&engine, "/ws", ""), 101);
    }
}

/// As a browser does whose page is left, and a proxy whose own client has left.
#[test]
fn a_client_that_half_closes_while_it_is_asked_about_has_left() {
    let engine = Engine::start("probe", CONFIG);
    let mut client = asked(&engine, "/ws?do=wait:60000", "");
    eventually("it was asked about", || {
        !engine.site().journal_of("accept").is_empty()
    });
    client.finish_sending();
    assert!(client.receive_bytes_to_end().is_empty());
    eventually("it is gone", || engine.status().gateway.sessions == 0);
    assert!(engine.site().journal_of("open").is_empty());
}

/// The second half of a record may be shorter than any whole one.
#[test]
fn a_client_that_half_closes_behind_half_of_a_record_has_not_left() {
    let config = CONFIG.replace(
        "address = \"http://127.0.0.1:0\"",
        "address = \"https://127.0.0.1:0\"\ntls = { certificate = \"cert.pem\", key = \"cert.key\" }",
    );
    let site = Site::new("probe", &config);
    let issuer = Issuer::new();
    issuer.issue(&["localhost"]).write(&site, "cert");
    let engine = site.start();
    let trust = issuer.trust();
    let mut tls = trust
        .connect(engine.socket_address(0), "localhost")
        .expect("a handshake");
    let request = request("/ws?do=wait:500", "");
    let mut records = Vec::new();
    for plaintext in [request.as_bytes(), &Wire::WebSocket.encode(b"build")] {
        tls.conn.writer().write_all(plaintext).expect("it is taken");
        tls.conn.write_tls(&mut records).expect("it is taken");
    }
    let (first, rest) = records.split_at(records.len() - 10);
    tls.sock.write_all(first).expect("it is taken");
    eventually("it was asked about", || {
        !engine.site().journal_of("accept").is_empty()
    });
    tls.sock.write_all(rest).expect("it is taken");
    tls.sock.shutdown(Shutdown::Write).expect("it is open");
    let stream = Stream::Tls(Box::new(tls));
    let mut client = Client::over(stream, Wire::Raw).expect("it is open");
    assert_eq!(answer(&mut client).0, 101);
    assert_eq!(client.receive_frame().1, b"first");
}

#[test]
fn more_requests_than_may_be_asked_about_wait_for_each_other() {
    let engine = Engine::start("probe", &CONFIG.replace("count = 2", "count = 1"));
    let mut clients: Vec<_> = (0..700)
        .map(|_| asked(&engine, "/ws?do=wait:300", ""))
        .collect();
    for client in &mut clients {
        assert_eq!(answer(client).0, 101);
    }
    // Those that leave while they are asked about leave nothing behind.
    let leaving: Vec<_> = (0..100)
        .map(|_| asked(&engine, "/ws?do=wait:500", ""))
        .collect();
    eventually("they were asked about", || {
        engine.site().journal_of("accept").len() >= 800
    });
    for client in leaving.into_iter().chain(clients) {
        client.reset();
    }
    eventually("all are gone", || engine.status().gateway.sessions == 0);
    assert_eq!(status(&engine, "/ws", ""), 101);
}
