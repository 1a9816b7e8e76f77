//! Programs beside the engine ask it for things over a Unix socket.

use moorline_tests::{Client, Engine, Wire};

const CONFIG: &str = r#"
[workers]
count = 2
[tasks]
count = 1
[[listen]]
name = "web"
address = "http://127.0.0.1:0"
websocket = "/ws"
[[listen]]
name = "beside"
address = "unix://{folder}/engine.sock"
[[listen.route]]
path = "/engine"
kind = "engine"
max_body = "64KiB"
[app]
journal = "{folder}/journal"
"#;

/// Asks, and returns the status and the body of the answer.
fn ask(engine: &Engine, method: &str, path: &str, lines: &str, body: &str) -> (u16, String) {
    let mut client = Client::connect(engine, 1, Wire::Raw);
    let length = body.len();
    let request = format!(
        "{method} /engine/{path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n{lines}Content-Length: {length}\r\n\r\n{body}"
    );
    client.send_bytes(request.as_bytes()).expect("it is taken");
    let head = client.receive_head().expect("an answer comes");
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
    let body = String::from_utf8(client.receive_bytes_to_end()).expect("answers are text");
    (status.expect("an answer has a status"), body)
}

#[test]
fn a_program_sends_posts_runs_tasks_and_asks_for_the_state() {
    let engine = Engine::start("probe", CONFIG);
    let mut client = Client::connect(&engine, 0, Wire::WebSocket);
    let id = client.ask("id");
    let text = "Content-Type: text/plain\r\n";
    let sent = ask(&engine, "POST", &format!("sessions/{id}"), text, "hello");
    assert_eq!(sent, (204, String::new()));
    assert_eq!(client.receive_frame(), (1, b"hello".to_vec()));
    let sent = ask(
        &engine,
        "POST",
        &format!("sessions/{id}?id=1&event=tick"),
        text,
        "tock",
    );
    assert_eq!(sent.0, 204);
    assert_eq!(client.receive_frame(), (1, b"tock".to_vec()));

    client.ask("join red room");
    let sent = ask(&engine, "POST", "groups/red%20room", "", "all");
    assert_eq!(sent.0, 204);
    assert_eq!(client.receive(), b"all");

    let sent = ask(&engine, "POST", "groups/red%20room?event=tick", "", "tock");
    assert_eq!(sent.0, 204);
    assert_eq!(client.receive_frame(), (1, b"tock".to_vec()));

    let (status, body) = ask(&engine, "GET", "status", "", "");
    assert_eq!(status, 200);
    assert!(
        body.starts_with('{') && body.contains("\"gateway\""),
        "{body}"
    );

    let (status, body) = ask(&engine, "POST", "tasks", "", "quiet");
    assert_eq!((status, body.as_str()), (200, "QUIET"), "{body}");
    let (status, body) = ask(&engine, "POST", "tasks", "", "fail");
    assert!(status == 500 && body.contains("asked to fail"), "{body}");

    let posted = ask(&engine, "POST", "workers/1", "", &format!("{id} posted"));
    assert_eq!(posted.0, 204);
    let answer = String::from_utf8(client.receive()).expect("the probe answers in text");
    assert!(
        answer.starts_with("posted from ") && answer.ends_with(" in 1"),
        "{answer}"
    );
    for (method, path, status) in [
        ("POST", "workers/7", 404),
        ("POST", "sessions/none", 404),
        ("GET", "tasks", 405),
        ("POST", "status", 405),
        ("GET", "", 404),
        ("GET", "other", 404),
    ] {
        assert_eq!(ask(&engine, method, path, "", "").0, status, "{path}");
    }
    let long = "x".repeat(65 * 1024);
    assert_eq!(ask(&engine, "POST", "groups/any", "", &long).0, 413);
}

#[test]
fn it_is_refused_where_anybody_may_connect() {
    let config = CONFIG.replace("unix://{folder}/engine.sock", "http://127.0.0.1:0");
    let site = moorline_tests::Site::new("probe", &config);
    let checked = site.run(&["check"]);
    assert!(!checked.status.success());
    assert!(
        checked.stderr.contains("belongs to unix:// listeners"),
        "{}",
        checked.stderr
    );
}
