//! The stream-answer example: no word is lost and none comes twice, whatever becomes of the workers.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use moorline_tests::{Browser, Engine, Site, eventually};
use nix::sys::signal::Signal;
use serde_json::json;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The example with its own page and configuration, on a port that is free, and faster.
fn start() -> Engine {
    let example = root().join("examples/stream-answer");
    let own = fs::read_to_string(example.join("moorline.toml")).expect("it has a configuration");
    let client = root().join("clients/js").display().to_string();
    let config = own
        .replace(":9502", ":0")
        .replace("../../clients/js", &client)
        .replace("pace = 120", "pace = 40");
    let site = Site::new("stream-answer", &config);
    site.copy(&example.join("public"), "public");
    site.start()
}

/// How many words an answer to `ahoy` has.
fn words() -> usize {
    let program = root().join("examples/stream-answer/main.rs");
    let source = fs::read_to_string(program).expect("the example has a source");
    let (_, answer) = source.split_once("ANSWER: &str = \"").expect("it is there");
    let (answer, _) = answer.split_once('"').expect("it ends");
    // What is asked comes first: `You asked: “ahoy”`.
    3 + answer.replace('\\', "").split_whitespace().count()
}

fn harm(engine: &Engine) {
    engine.reload().expect_success();
    for slot in [0, 1] {
        engine.kill_worker(slot, Signal::SIGKILL);
    }
    engine.settled();
}

#[test]
fn a_page_reads_one_stream_over_a_deploy_and_a_crash() {
    let engine = start();
    let mut browser = Browser::start();
    let tab = browser.open(&format!("http://{}/", engine.socket_address(0)));
    browser.be_a_dark_phone(&tab, 320);
    eventually("the page is there", || {
        browser.text(&tab, "#state") == "ask something"
    });
    assert_eq!(browser.cut_off(&tab), json!([]));
    browser.type_into(&tab, "#question", "ahoy");
    browser.click(&tab, "#form button");
    eventually("the answer begins", || {
        browser
            .text(&tab, "#answer")
            .contains("You asked: “ahoy” That is")
    });
    harm(&engine);
    eventually("a new worker goes on", || {
        browser
            .text(&tab, "#answer")
            .contains("a new worker goes on")
    });
    assert_eq!(browser.cut_off(&tab), json!([]));
    browser.screenshot(
        &tab,
        &Path::new(env!("CARGO_TARGET_TMPDIR")).join("stream-answer.png"),
    );
    eventually("it ends", || browser.text(&tab, "#state") == "done");

    let story = browser.text(&tab, "#story");
    for part in [
        "· same connection for ",
        " · build 2 · code replaced, nobody disconnected · ",
    ] {
        assert!(story.contains(part), "{story}");
    }
    let heard = browser.evaluate(
        &tab,
        "[...answer.childNodes].filter((it) => it.nodeType === Node.TEXT_NODE).map((it) => it.data).join('')",
    );
    let heard: Vec<_> = heard
        .as_str()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    assert_eq!(heard.len(), words(), "{heard:?}");
    assert_eq!(heard.last(), Some(&"twice."));
}

#[test]
fn curl_gets_every_word_in_order_and_can_go_on_where_it_was() {
    let engine = start();
    let mut stream = Stream::open(&engine, &[]);
    let mut seen: Vec<usize> = (0..10).map_while(|_| stream.next_id()).collect();
    harm(&engine);
    seen.extend(std::iter::from_fn(|| stream.next_id()));
    // The word that was on its way may come again, with its id.
    seen.dedup();
    assert_eq!(seen, (0..=words()).collect::<Vec<_>>());

    let mut stream = Stream::open(&engine, &["--header", "Last-Event-ID: 100"]);
    assert_eq!(stream.next_id(), Some(101));
}

/// `curl` that reads a stream.
struct Stream {
    process: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Stream {
    fn open(engine: &Engine, arguments: &[&str]) -> Stream {
        let mut process = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--no-buffer",
                "--max-time",
                "60",
            ])
            .args(arguments)
            .arg(format!("http://{}/answer?q=ahoy", engine.socket_address(0)))
            .stdout(Stdio::piped())
            .spawn()
            .expect("curl is missing: `cargo xtask test` installs it");
        let output = process.stdout.take().expect("it is piped");
        Stream {
            process,
            lines: BufReader::new(output).lines(),
        }
    }

    /// The id of the next event that has one.
    fn next_id(&mut self) -> Option<usize> {
        loop {
            let line = self.lines.next()?.expect("it can be read");
            if let Some(id) = line.strip_prefix("id:") {
                return Some(id.trim().parse().expect("ids are numbers"));
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
