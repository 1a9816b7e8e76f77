//! `curl` against a folder of files.

use std::process::Command;

use moorline_tests::{Engine, Finish, Finished, Site};

const CONFIG: &str = r#"
[workers]
count = 1
[[listen]]
name = "web"
address = "http://127.0.0.1:0"
static = "public"
"#;

fn start() -> Engine {
    let site = Site::new("echo", CONFIG);
    site.write("public/index.html", "<h1>Ahoy</h1>");
    site.write("public/deep/index.html", "deep");
    site.write("public/numbers.txt", "0123456789");
    site.start()
}

/// Runs it with a deadline of its own.
#[track_caller]
fn curl(engine: &Engine, path: &str, arguments: &[&str]) -> Finished {
    Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "30"])
        .args(arguments)
        .arg(format!("http://{}{path}", engine.socket_address(0)))
        .finish()
        .expect_success()
}

/// The status and all that has come.
#[track_caller]
fn fetch(engine: &Engine, path: &str, arguments: &[&str]) -> (String, String) {
    let status = ["--write-out", "\n%{http_code}"];
    let said = curl(engine, path, &[&status[..], arguments].concat()).stdout;
    let (body, status) = said.rsplit_once('\n').expect("the status is written");
    (status.to_owned(), body.to_owned())
}

#[test]
fn it_gets_files_and_parts_of_them() {
    let engine = start();
    let is = |status: &str, body: &str| (status.to_owned(), body.to_owned());
    assert_eq!(fetch(&engine, "/", &[]), is("200", "<h1>Ahoy</h1>"));
    assert_eq!(fetch(&engine, "/deep", &["--location"]), is("200", "deep"));
    for (range, part) in [("2-4", "234"), ("-3", "789"), ("7-", "789")] {
        let fetched = fetch(&engine, "/numbers.txt", &["--range", range]);
        assert_eq!(fetched, is("206", part), "{range}");
    }
    assert_eq!(fetch(&engine, "/numbers.txt", &["--range", "10-"]).0, "416");
    assert_eq!(fetch(&engine, "/none", &[]).0, "404");
    assert_eq!(fetch(&engine, "/", &["--http1.0"]).0, "200");
    // One connection for both.
    let again = format!("http://{}/numbers.txt", engine.socket_address(0));
    let both = curl(&engine, "/numbers.txt", &["--verbose", &again]);
    assert_eq!(both.stdout, "01234567890123456789");
    assert!(both.stderr.contains("Re-using existing connection"));
}

#[test]
fn it_sees_the_head_alone_and_what_has_not_changed() {
    let engine = start();
    let head = curl(&engine, "/numbers.txt", &["--head"]).stdout;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.to_ascii_lowercase().contains("content-length: 10\r\n"),
        "{head}"
    );
    assert!(head.ends_with("\r\n\r\n"), "{head}");

    let tag = engine.site().path("tag").display().to_string();
    let first = fetch(&engine, "/numbers.txt", &["--etag-save", &tag]);
    assert_eq!(first.0, "200");
    let second = fetch(&engine, "/numbers.txt", &["--etag-compare", &tag]);
    assert_eq!(second, ("304".to_owned(), String::new()));
}
