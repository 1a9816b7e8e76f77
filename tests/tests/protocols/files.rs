//! The static folder of an `http://` listener: its files, and nothing outside of it.

use std::os::unix::fs::symlink;

use moorline_tests::{Client, Engine, Site, Wire};

const CONFIG: &str = r#"
[[listen]]
address = "http://127.0.0.1:0"
static = "public"
"#;

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

/// One request on a connection of its own.
fn request(engine: &Engine, method: &str, path: &str) -> Answer {
    let mut client = Client::connect(engine, 0, Wire::Raw);
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    client
        .send_bytes(request.as_bytes())
        .expect("the listener takes a request");
    let bytes = client.receive_bytes_to_end();
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("an answer has a head")
        + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("an answer has a status");
    Answer {
        status,
        head,
        body: bytes[end..].to_vec(),
    }
}

fn site() -> (Engine, Vec<u8>) {
    let site = Site::new("echo", "");
    let large: Vec<u8> = (0..3_000_000_u32)
        .map(|number| (number / 3) as u8)
        .collect();
    site.write("public/index.html", "<p>home</p>");
    site.write("public/sub/index.html", "<p>sub</p>");
    site.write("public/style.css", "p {}");
    site.write("public/with space.txt", "spaced");
    site.write("public/empty", "");
    site.write("public/large.bin", &large);
    site.write("secret.txt", "secret");
    symlink(site.path("secret.txt"), site.path("public/link.txt")).expect("a link can be made");
    symlink("/etc", site.path("public/etc")).expect("a link can be made");
    site.configure(CONFIG);
    (site.start(), large)
}

#[test]
fn files_are_served_with_their_type_and_size() {
    let (engine, large) = site();
    for (path, content_type, body) in [
        ("/", "text/html", &b"<p>home</p>"[..]),
        ("/index.html", "text/html", b"<p>home</p>"),
        ("/index.html?version=1", "text/html", b"<p>home</p>"),
        ("/sub/", "text/html", b"<p>sub</p>"),
        ("/style.css", "text/css", b"p {}"),
        ("/with%20space.txt", "text/plain", b"spaced"),
        ("/empty", "", b""),
        ("/large.bin", "application/octet-stream", &large),
    ] {
        let answer = request(&engine, "GET", path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.body == body, "{path} has another content");
        assert!(
            answer.head.contains(content_type),
            "{path}: {}",
            answer.head
        );
        assert!(
            answer
                .head
                .contains(&format!("content-length: {}", body.len())),
            "{path}: {}",
            answer.head
        );
    }
}

#[test]
fn head_answers_without_the_body() {
    let (engine, large) = site();
    let answer = request(&engine, "HEAD", "/large.bin");
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert!(
        answer
            .head
            .contains(&format!("content-length: {}", large.len())),
        "{}",
        answer.head
    );
}

#[test]
fn a_missing_file_is_404_and_a_wrong_method_405() {
    let (engine, _) = site();
    assert_eq!(request(&engine, "GET", "/missing").status, 404);
    assert_eq!(request(&engine, "GET", "/index.html/more").status, 404);
    assert_eq!(request(&engine, "POST", "/index.html").status, 405);
    assert_eq!(request(&engine, "DELETE", "/index.html").status, 405);
    assert_eq!(
        request(&engine, "GET", "/").status,
        200,
        "the file is still there"
    );
}

#[test]
fn no_path_leads_out_of_the_folder() {
    let (engine, _) = site();
    for path in [
        "/../secret.txt",
        "/sub/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/sub/..%2f..%2fsecret.txt",
        "/%2fetc/passwd",
        "//etc/passwd",
        "/etc/passwd",
        "/link.txt",
        "/..%5csecret.txt",
        "/%00",
        "/index.html%00.txt",
        "/%ff",
        "/%",
    ] {
        let answer = request(&engine, "GET", path);
        assert!(
            (400..500).contains(&answer.status),
            "{path} was answered with {}",
            answer.status
        );
        assert!(
            !String::from_utf8_lossy(&answer.body).contains("secret\n"),
            "{path} shows what it must not"
        );
        assert!(
            answer.body != b"secret" && !answer.body.starts_with(b"root:"),
            "{path} shows what it must not"
        );
    }
}

#[test]
fn one_connection_carries_many_requests() {
    let (engine, _) = site();
    let mut client = Client::connect(&engine, 0, Wire::Raw);
    let one = "GET /style.css HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let last = "GET /style.css HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    client
        .send_bytes(format!("{one}{one}{last}").as_bytes())
        .expect("the listener takes requests");
    let answers = String::from_utf8_lossy(&client.receive_bytes_to_end()).into_owned();
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 3);
    assert_eq!(answers.matches("p {}").count(), 3);
}
