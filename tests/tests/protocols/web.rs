//! A connection to a listener with requests to the app, and what is asked over it.

use moorline_tests::{Client, Engine, Wire};

/// A listener with files, sessions and requests to the app.
pub(super) const CONFIG: &str = r#"
[workers]
count = 2
max_wait = "10s"
[[listen]]
name = "web"
address = "http://127.0.0.1:0"
websocket = "/ws"
static = "{folder}"
send_timeout = "1s"
[[listen.route]]
path = "/app/*rest"
kind = "app"
[[listen.route]]
path = "/large"
kind = "app"
max_body = "4MiB"
[app]
journal = "{folder}/journal"
"#;

/// A connection, and what was asked over it.
pub(super) struct Web(pub(super) Client);

/// An answer: its status, its head in lower case, and its body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Web {
    pub(super) fn connect(engine: &Engine) -> Self {
        Self(Client::connect(engine, 0, Wire::Raw))
    }

    pub(super) fn send(&mut self, method: &str, target: &str, lines: &str, body: &[u8]) {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n");
        self.0.send_bytes(head.as_bytes()).expect("it is taken");
        self.0.send_bytes(body).expect("it is taken");
    }

    pub(super) fn head(&mut self) -> (u16, String) {
        let head = self.0.receive_head().expect("an answer comes");
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
        (
            status.expect("an answer has a status"),
            head.to_ascii_lowercase(),
        )
    }

    pub(super) fn answer(&mut self) -> Answer {
        let (status, head) = self.head();
        let length = field(&head, "content-length").and_then(|it| it.parse().ok());
        let body = self.0.receive_exactly(length.unwrap_or(0));
        let body = String::from_utf8(body).expect("it is text");
        Answer { status, head, body }
    }

    pub(super) fn ask(&mut self, method: &str, target: &str, body: &[u8]) -> Answer {
        let length = match body {
            [] => String::new(),
            body => format!("Content-Length: {}\r\n", body.len()),
        };
        self.send(method, target, &length, body);
        self.answer()
    }

    /// The next chunk of a chunked body; empty for the last.
    pub(super) fn chunk(&mut self) -> String {
        let mut size = Vec::new();
        while !size.ends_with(b"\r\n") {
            size.extend(self.0.receive_exactly(1));
        }
        let size = std::str::from_utf8(&size).expect("it is text").trim();
        let size = usize::from_str_radix(size, 16).expect("it is a size");
        let bytes = self.0.receive_exactly(size + 2);
        String::from_utf8(bytes[..size].to_vec()).expect("it is text")
    }
}

/// A field of a head in lower case.
pub(super) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}
