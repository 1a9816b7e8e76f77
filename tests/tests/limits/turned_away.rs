//! Clients of HTTP that find no room.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use moorline_tests::{Client, Engine, PATIENCE, Wire, eventually};

fn web(limits: &str) -> Engine {
    let config = format!(
        "[workers]\ncount = 1\n[[listen]]\nname = \"web\"\naddress = \"http://127.0.0.1:0\"\nwebsocket = \"/ws\"\n\
         {limits}\n[app]\njournal = \"{{folder}}/journal\"\n"
    );
    Engine::start("probe", &config)
}

/// The whole answer to a request; empty if there was none.
fn answer(engine: &Engine, request: &str) -> String {
    let mut stream = TcpStream::connect(engine.socket_address(0)).expect("it accepts");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a stream has a timeout");
    // It may be closed already.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

const PLAIN: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const PLAIN_LAST: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[test]
fn a_client_without_room_hears_when_to_try_again() {
    for (limit, status, key) in [
        (
            "max_sessions = 1",
            "503 Service Unavailable",
            "max_sessions",
        ),
        (
            "max_sessions_per_address = 1",
            "429 Too Many Requests",
            "max_sessions_per_address",
        ),
    ] {
        let engine = web(limit);
        let mut first = Client::connect(&engine, 0, Wire::WebSocket);
        assert_eq!(first.ask("build"), "first");
        for request in [PLAIN, UPGRADE] {
            let answer = answer(&engine, request);
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
                "{answer}"
            );
            let (_, after) = answer.split_once("Retry-After: ").expect("it says when");
            let seconds: u64 = after
                .lines()
                .next()
                .and_then(|seconds| seconds.parse().ok())
                .expect("seconds");
            assert!((5..15).contains(&seconds), "{seconds}");
            assert!(answer.contains("Connection: close\r\n"), "{answer}");
        }
        eventually("both are counted", || {
            let status = engine.status();
            (status.closed("limit"), status.limit(key)) == (2, 2)
        });
        drop(first);
        eventually("there is room again", || {
            answer(&engine, PLAIN_LAST).starts_with("HTTP/1.1 404 ")
        });
    }
}

/// A long request whose client reads only when it has sent all of it.
#[test]
fn the_answer_is_not_lost_behind_a_long_request() {
    let engine = web("max_sessions = 1");
    let _first = Client::connect(&engine, 0, Wire::WebSocket);
    let body = "x".repeat(1 << 20);
    let request = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = answer(&engine, &request);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

#[test]
fn of_a_flood_without_room_few_wait_and_few_lines_are_logged() {
    let engine = web("max_sessions = 1");
    let mut first = Client::connect(&engine, 0, Wire::WebSocket);
    let begun = Instant::now();
    let mut flood: Vec<_> = (0..400)
        .map(|_| TcpStream::connect(engine.socket_address(0)).expect("it accepts"))
        .collect();
    for stream in &flood {
        stream
            .set_read_timeout(Some(Duration::from_millis(1)))
            .expect("a stream has a timeout");
    }
    let mut still_open = |stream: &mut TcpStream| {
        let read = stream.read(&mut [0; 1]);
        read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    eventually("all are counted", || {
        engine.status().limit("max_sessions") == 400
    });
    let open = flood
        .iter_mut()
        .filter_map(|it| still_open(it).then_some(()))
        .count();
    assert!(open <= 64, "{open} wait");
    assert_eq!(first.ask("build"), "first");
    eventually("those that say nothing are gone soon", || {
        !flood.iter_mut().any(&mut still_open)
    });
    assert!(begun.elapsed() < Duration::from_secs(8));
    let log = engine.log();
    let lines = log.matches("connection refused").count() as u64;
    assert!(
        lines <= 2 + begun.elapsed().as_secs(),
        "{lines} lines:\n{log}"
    );
    assert_eq!(first.ask("build"), "first");
}
