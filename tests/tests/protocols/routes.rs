//! What becomes of a request is found by its path.

use std::fs;

use moorline_tests::{Client, Engine, Site, Wire};

const CONFIG: &str = r#"
[[listen]]
name = "web"
address = "http://127.0.0.1:0"
static = "{folder}/site"
[[listen.route]]
path = "/assets"
kind = "static"
folder = "{folder}/other"
cache = "public, max-age=60"
[[listen.route]]
path = "/chat/:room"
kind = "websocket"
[[listen.route]]
path = "/chat/:room"
kind = "sse"
[[listen.route]]
path = "/feed/"
kind = "sse"
"#;

fn engine(config: &str) -> Engine {
    let site = Site::new("echo", config);
    for (folder, name, text) in [
        ("site", "index.html", "home"),
        ("site/chat", "page.html", "page"),
        ("other", "style.css", "style"),
        ("other/deep", "index.html", "deep"),
    ] {
        let folder = site.path(folder);
        fs::create_dir_all(&folder).expect("the folder can be made");
        fs::write(folder.join(name), text).expect("the file can be written");
    }
    site.start()
}

fn asked(engine: &Engine, target: &str, lines: &str) -> (u16, String, Client) {
    let mut client = Client::connect(engine, 0, Wire::Raw);
    let request = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n");
    client.send_bytes(request.as_bytes()).expect("it is taken");
    let head = client.receive_head().expect("an answer comes");
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
    let status = status.expect("an answer has a status");
    (status, head.to_ascii_lowercase(), client)
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[test]
fn the_most_specific_route_answers() {
    let engine = engine(CONFIG);
    for (target, lines, status, found) in [
        ("/", "", 200, "content-length: 4\r\n"),
        (
            "/assets/style.css",
            "",
            200,
            "cache-control: public, max-age=60\r\n",
        ),
        ("/assets/none", "", 404, ""),
        ("/assets", "", 308, "location: /assets/\r\n"),
        ("/assets?a=b", "", 308, "location: /assets/?a=b\r\n"),
        ("/assets/deep?x", "", 308, "location: /assets/deep/?x\r\n"),
        ("/assets/deep/", "", 200, "content-length: 4\r\n"),
        ("/assets/../index.html", "", 404, ""),
        ("/chat/room", UPGRADE, 101, "upgrade: websocket\r\n"),
        ("/chat/room", "", 200, "content-type: text/event-stream\r\n"),
        (
            "/ch%61t/room",
            "",
            200,
            "content-type: text/event-stream\r\n",
        ),
        (
            "/chat/a%2Fb",
            "",
            200,
            "content-type: text/event-stream\r\n",
        ),
        ("/chat/%2e%2e", "", 400, ""),
        ("/chat/a%00", "", 400, ""),
        (
            "/chat/page.html",
            "",
            200,
            "content-type: text/event-stream\r\n",
        ),
        ("/feed/", "", 200, "content-type: text/event-stream\r\n"),
        ("/nowhere", UPGRADE, 404, ""),
        (
            "//assets//style.css",
            "",
            200,
            "cache-control: public, max-age=60\r\n",
        ),
        ("//chat/room", "", 404, ""),
        (
            "http://a.example/chat/room",
            "",
            200,
            "content-type: text/event-stream\r\n",
        ),
        ("ftp://a.example/chat/room", "", 400, ""),
    ] {
        let (code, head, _client) = asked(&engine, target, lines);
        assert_eq!(code, status, "{target}: {head}");
        assert!(head.contains(found), "{target}: {head}");
    }
}

#[test]
fn without_a_route_for_all_sessions_begin_with_a_slash_more_or_less() {
    let config = CONFIG.replace("static = \"{folder}/site\"\n", "");
    let engine = engine(&config);
    let (code, head, _client) = asked(&engine, "/feed", "");
    assert_eq!(code, 200, "sessions begin at once: {head}");
    let (code, head, _client) = asked(&engine, "/chat/room/", UPGRADE);
    assert_eq!(code, 101, "browsers follow no redirection: {head}");
    for target in ["/none", "/", "//evil.example/", "/chat/", "/chat/a/b"] {
        let (code, head, _client) = asked(&engine, target, "");
        assert_eq!(code, 404, "{target}: {head}");
    }
}

#[test]
fn a_reload_changes_routes_for_connections_that_are_open() {
    let engine = engine(CONFIG);
    let mut client = Client::connect(&engine, 0, Wire::Raw);
    let mut status = |target: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n");
        client.send_bytes(request.as_bytes()).expect("it is taken");
        let head = client
            .receive_head()
            .expect("an answer comes")
            .to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length = length
            .and_then(|it| it.parse().ok())
            .expect("it has a length");
        client.receive_exactly(length);
        head.split(' ')
            .nth(1)
            .map(str::to_owned)
            .expect("it has a status")
    };
    assert_eq!(status("/assets/style.css"), "200");
    assert_eq!(status("/styles/style.css"), "404");
    let config = CONFIG.replace("\"/assets\"", "\"/styles\"");
    engine.site().configure(&config);
    engine.reload();
    assert_eq!(status("/assets/style.css"), "404");
    assert_eq!(status("/styles/style.css"), "200");
}
