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

impl Answer {
    /// The value of a header; empty if it is absent.
    fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(other, _)| *other == name)
            .map_or("", |(_, value)| value)
    }
}

/// One request on a connection of its own.
fn request(engine: &Engine, method: &str, path: &str) -> Answer {
    request_with(engine, method, path, "")
}

/// The same with more headers, each line with its end.
fn request_with(engine: &Engine, method: &str, path: &str, headers: &str) -> Answer {
    let mut client = Client::connect(engine, 0, Wire::Raw);
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n\r\n"
    );
    client
        .send_bytes(request.as_bytes())
        .expect("the listener takes a request");
    let bytes = client.receive_bytes_to_end();
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("an answer has a head")
        + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
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
    site.write("public/.well-known/acme", "token");
    site.write("public/.env", "secret");
    site.write("public/sub/.git/config", "secret");
    site.write("public/bare/style.css", "p {}");
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
        ("/.well-known/acme", "application/octet-stream", b"token"),
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
        "/.env",
        "/%2eenv",
        "/sub/.git/config",
        "/.well-known/../.env",
        "/./index.html",
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

#[test]
fn a_path_that_no_file_can_have_is_400_and_a_hidden_one_404() {
    let (engine, _) = site();
    for (path, status) in [
        ("/%", 400),
        ("/%zz", 400),
        ("/index%2ehtml", 200),
        ("/sub%2findex.html", 400),
        ("/index.html%00", 400),
        ("/.env", 404),
        ("/..", 404),
        ("/index.html/", 404),
        ("/bare/", 404),
        ("/bare", 404),
        ("//index.html", 200),
    ] {
        assert_eq!(request(&engine, "GET", path).status, status, "{path}");
    }
}

#[test]
fn a_folder_is_redirected_to_its_slash_on_this_host() {
    let (engine, _) = site();
    for (path, location) in [
        ("/sub", "/sub/"),
        ("/sub?a=b&c", "/sub/?a=b&c"),
        ("//sub", "/sub/"),
        ("///sub", "/sub/"),
        ("/%73ub", "/sub/"),
        ("http://evil.example/sub", "/sub/"),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = request(&engine, method, path);
            assert_eq!(answer.status, 308, "{path}");
            assert_eq!(answer.header("location"), location, "{path}");
        }
    }
}

#[test]
fn a_client_that_has_the_file_gets_304_and_a_changed_file_is_seen_at_once() {
    let (engine, _) = site();
    let first = request(&engine, "GET", "/style.css");
    let tag = first.header("etag").to_owned();
    let date = first.header("last-modified").to_owned();
    assert!(tag.starts_with('"') && !date.is_empty(), "{}", first.head);
    assert_eq!(first.header("x-content-type-options"), "nosniff");
    assert_eq!(first.header("cache-control"), "no-cache");
    let ask = |headers: &str| request_with(&engine, "GET", "/style.css", headers);
    for (headers, status) in [
        (format!("If-None-Match: {tag}\r\n"), 304),
        (format!("If-None-Match: \"x\", W/{tag}\r\n"), 304),
        ("If-None-Match: *\r\n".into(), 304),
        ("If-None-Match: \"x\"\r\n".into(), 200),
        (format!("If-Modified-Since: {date}\r\n"), 304),
        (
            "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n".into(),
            200,
        ),
        (
            format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {date}\r\n"),
            200,
        ),
        (format!("If-Match: {tag}\r\n"), 200),
        ("If-Match: \"x\"\r\n".into(), 412),
        (format!("If-Unmodified-Since: {date}\r\n"), 200),
        (
            "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n".into(),
            412,
        ),
    ] {
        let answer = ask(&headers);
        assert_eq!(answer.status, status, "{headers}");
        if status == 304 {
            assert_eq!(answer.header("etag"), tag, "{headers}");
            assert_eq!(answer.body, b"", "{headers}");
        }
    }
    // Of the same size, and soon after.
    engine.write("public/style.css", "q {}");
    let answer = ask(&format!("If-None-Match: {tag}\r\n"));
    assert_eq!((answer.status, &*answer.body), (200, &b"q {}"[..]));
}

#[test]
fn a_range_is_answered_with_its_part() {
    let (engine, large) = site();
    let ask = |headers: &str| request_with(&engine, "GET", "/large.bin", headers);
    for (range, first, last) in [
        ("0-0", 0, 0),
        ("1000-99999", 1_000, 99_999),
        ("2999990-", 2_999_990, 2_999_999),
        ("2999990-9999999", 2_999_990, 2_999_999),
        ("-10", 2_999_990, 2_999_999),
    ] {
        let answer = ask(&format!("Range: bytes={range}\r\n"));
        assert_eq!(answer.status, 206, "{range}");
        let expected = format!("bytes {first}-{last}/3000000");
        assert_eq!(answer.header("content-range"), expected);
        assert!(
            answer.body == large[first..=last],
            "{range} is another part"
        );
        assert_eq!(
            answer.header("content-length"),
            (last - first + 1).to_string()
        );
    }
    let beyond = ask("Range: bytes=3000000-\r\n");
    assert_eq!(beyond.status, 416);
    assert_eq!(beyond.header("content-range"), "bytes */3000000");
    let several = ask("Range: bytes=0-1,5-6\r\n");
    assert_eq!((several.status, several.body.len()), (200, large.len()));

    let tag = ask("Range: bytes=0-0\r\n").header("etag").to_owned();
    let same = ask(&format!("Range: bytes=0-1\r\nIf-Range: {tag}\r\n"));
    assert_eq!((same.status, same.body.len()), (206, 2));
    let other = ask("Range: bytes=0-1\r\nIf-Range: \"x\"\r\n");
    assert_eq!((other.status, other.body.len()), (200, large.len()));
    let head = request_with(&engine, "HEAD", "/large.bin", "Range: bytes=0-1\r\n");
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, "3000000")
    );
}

#[test]
fn a_file_that_was_compressed_beforehand_is_sent_to_those_who_take_it() {
    let (engine, _) = site();
    engine.write("public/app.js", "plain");
    engine.write("public/app.js.br", "brotli");
    engine.write("public/app.js.gz", "gzip");
    engine.write("public/photo.png", "plain");
    engine.write("public/photo.png.gz", "gzip");
    let ask = |path: &str, accept: &str| {
        request_with(
            &engine,
            "GET",
            path,
            &format!("Accept-Encoding: {accept}\r\n"),
        )
    };
    for (accept, encoding, body) in [
        ("gzip, deflate, br", "br", &b"brotli"[..]),
        ("gzip", "gzip", b"gzip"),
        ("br;q=0.5, gzip", "gzip", b"gzip"),
        ("br;q=0, gzip;q=0", "", b"plain"),
        ("identity", "", b"plain"),
    ] {
        let answer = ask("/app.js", accept);
        assert_eq!(answer.header("content-encoding"), encoding, "{accept}");
        assert_eq!(answer.body, body, "{accept}");
        assert_eq!(answer.header("vary"), "accept-encoding");
        assert_eq!(
            answer.header("content-type"),
            "text/javascript; charset=utf-8"
        );
    }
    let tags = ["br", "gzip", "identity"].map(|accept| {
        let answer = ask("/app.js", accept);
        answer.header("etag").to_owned()
    });
    assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2]);
    assert_eq!(ask("/photo.png", "gzip").body, b"plain");

    // One that was not compressed again after a change is older.
    let past = std::time::SystemTime::now() - std::time::Duration::from_secs(10);
    for name in ["public/app.js.br", "public/app.js.gz"] {
        let file = std::fs::File::options().write(true).open(engine.path(name));
        let file = file.expect("the file is there");
        file.set_modified(past).expect("its owner may set its time");
    }
    let answer = ask("/app.js", "br, gzip");
    assert_eq!(
        (answer.header("content-encoding"), &*answer.body),
        ("", &b"plain"[..])
    );
}

#[test]
fn cache_headers_are_those_of_the_listener() {
    let site = Site::new("echo", "");
    site.write("public/index.html", "<p>home</p>");
    site.configure(&format!(
        "{CONFIG}static_cache = \"public, max-age=3600\"\n"
    ));
    let engine = site.start();
    let answer = request(&engine, "GET", "/");
    assert_eq!(answer.header("cache-control"), "public, max-age=3600");
    site.configure(&format!(
        "{CONFIG}static_cache = \"public, max_age=3600\"\n"
    ));
    let checked = site.run(&["check"]);
    checked.expect_refusal(&["did you mean `max-age`?"]);
}
