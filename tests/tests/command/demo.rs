//! `demo`: whatever is done to its engine, its visitors stay.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use moorline_tests::{Browser, PATIENCE, built, eventually, kill, processes_of_session};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A demo. Dropping it interrupts it, and fails if something of it is left.
struct Demo {
    process: Child,
    lines: BufReader<ChildStdout>,
    /// Where it makes its folder.
    folder: TempDir,
    play: SocketAddr,
    admin: SocketAddr,
}

impl Demo {
    fn start(visitors: u16) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut process = spawn(&folder, visitors);
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped"));
        let (play, admin) = (address(&mut lines, "play:"), address(&mut lines, "watch:"));
        let demo = Self {
            process,
            lines,
            folder,
            play,
            admin,
        };
        eventually("all visitors are connected", || {
            demo.counted("open") == u64::from(visitors)
        });
        demo
    }

    fn state(&self) -> Value {
        let answer = ask(self.play, "GET /demo.json", "");
        serde_json::from_str(body(&answer)).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    fn counted(&self, what: &str) -> u64 {
        self.state()["counted"][what].as_u64().expect("a number")
    }

    /// Presses a button, and returns when that is done.
    fn press(&self, button: &str) -> String {
        let answer = ask(self.play, "POST /act", &json!(button).to_string());
        assert!(answer.starts_with("HTTP/1.1 200 "), "{button}: {answer}");
        body(&answer).to_owned()
    }

    /// Waits until every visitor has said and heard some more, and nothing is on its way.
    #[track_caller]
    fn goes_on(&self, after: &str) {
        let visitors = self.counted("visitors");
        let heard = self.counted("heard") + visitors * visitors;
        eventually(after, || self.counted("heard") > heard);
        let ready = || {
            let state = self.state();
            let rows = state["workers"].as_array().expect("rows").clone();
            rows.iter().filter(|row| row["state"] == "ready").count() == 3
        };
        eventually("all workers are ready", ready);
        self.is_whole();
    }

    #[track_caller]
    fn is_whole(&self) {
        let counted = &self.state()["counted"];
        for what in ["closed", "failed", "lost", "doubled"] {
            assert_eq!(
                counted[what],
                0,
                "{what}: {counted}\n{}",
                self.state()["events"]
            );
        }
    }

    fn has_happened(&self, part: &str) -> bool {
        self.state()["events"].to_string().contains(part)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if let Ok(Some(_)) = self.process.try_wait() {
            // A test has killed it.
            return;
        }
        kill(self.process.id() as i32, Signal::SIGINT);
        let mut rest = String::new();
        let read = self.lines.read_to_string(&mut rest);
        let ended = self.process.wait().expect("it can be waited for");
        if std::thread::panicking() {
            return;
        }
        assert!(read.is_ok() && ended.success(), "{ended}: {rest}");
        assert_eq!(files(&self.folder), Vec::<PathBuf>::new());
        let processes = processes_of_session(self.process.id() as i32);
        assert!(processes.is_empty(), "{processes:?}");
    }
}

/// The command, in a session of its own.
fn spawn(folder: &TempDir, visitors: u16) -> Child {
    let mut command = Command::new("setsid");
    command.arg(built("moorline"));
    command
        .args(["demo", "--visitors", &visitors.to_string()])
        .current_dir(folder.path())
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts")
}

/// What it has made.
fn files(folder: &TempDir) -> Vec<PathBuf> {
    let found = std::fs::read_dir(folder.path()).expect("it can be read");
    found.flatten().map(|it| it.path()).collect()
}

fn address(lines: &mut impl BufRead, word: &str) -> SocketAddr {
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line");
    let (_, rest) = line
        .split_once("http://")
        .unwrap_or_else(|| panic!("{line:?}"));
    assert!(line.starts_with(word), "{line:?}");
    let address = rest.split('/').next().expect("split gives a part");
    address.parse().expect("an address")
}

fn ask(to: SocketAddr, what: &str, body: &str) -> String {
    try_ask(
        to,
        what,
        &format!("Host: {to}\r\nContent-Type: application/json"),
        body,
    )
}

fn try_ask(to: SocketAddr, what: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(to).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE * 2)).expect("a time");
    let length = body.len();
    let head = format!(
        "{what} HTTP/1.1\r\n{headers}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    write!(stream, "{head}{body}").expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    answer
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[test]
fn whatever_is_pressed_no_visitor_is_disconnected_and_no_message_is_lost() {
    let demo = Demo::start(24);
    demo.goes_on("they hear each other");
    for _ in 0..3 {
        demo.press("kill-worker");
        demo.goes_on("they hear each other after a kill");
    }
    let refused = demo.press("broken-build");
    assert!(refused.contains("this build is broken"), "{refused}");
    demo.goes_on("they hear each other after a broken build");
    assert_eq!(demo.counted("build"), 1);
    demo.press("next-build");
    eventually("the next build answers", || demo.counted("build") == 2);
    demo.goes_on("they hear each other after a reload");
    demo.press("freeze-worker");
    eventually("it is found", || demo.has_happened("does not answer"));
    demo.goes_on("they hear each other after a frozen worker");
    let flood = demo.press("flood");
    assert!(
        flood.contains("messages, all from one connection"),
        "{flood}"
    );
    demo.goes_on("they hear each other after a flood");
    // All at once.
    std::thread::scope(|scope| {
        for button in ["flood", "next-build", "kill-worker"] {
            let demo = &demo;
            scope.spawn(move || ask(demo.play, "POST /act", &json!(button).to_string()));
        }
    });
    demo.goes_on("they hear each other after all of that at once");
    eventually("nothing is on its way", || {
        demo.counted("on_their_way") == 0
    });
    demo.is_whole();
}

#[test]
fn an_interrupt_while_it_starts_leaves_nothing() {
    let processes = |of: &Child| processes_of_session(of.id() as i32).len();
    // Its folder, the supervisor, the gateway, and all but the visitors.
    for started in [1, 2, 3, 6] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut process = spawn(&folder, 1);
        eventually("it has begun to start", || {
            !files(&folder).is_empty() && processes(&process) >= started
        });
        kill(process.id() as i32, Signal::SIGINT);
        let output = process.stdout.take().expect("it is piped");
        let said = std::io::read_to_string(output).expect("text");
        let ended = process.wait().expect("it can be waited for");
        assert!(ended.success(), "{started}: {ended}: {said}");
        assert_eq!(files(&folder), Vec::<PathBuf>::new(), "{started}");
        assert_eq!(processes(&process), 0, "{started}");
    }
}

#[test]
fn pages_of_other_sites_press_no_buttons() {
    let demo = Demo::start(1);
    let press = "POST /act";
    for (what, headers, status) in [
        (
            press,
            format!("Host: {}\r\nContent-Type: text/plain", demo.play),
            415,
        ),
        (
            press,
            "Host: evil.example\r\nContent-Type: application/json".to_owned(),
            421,
        ),
        ("GET /nothing", format!("Host: {}", demo.play), 404),
        (
            "GET /",
            format!("Host: localhost:{}", demo.play.port()),
            200,
        ),
    ] {
        let answer = try_ask(demo.play, what, &headers, "\"kill-worker\"");
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
    let unknown = ask(demo.play, press, "\"kill-everything\"");
    assert!(
        unknown.starts_with("HTTP/1.1 400 ") && unknown.contains("kill-worker"),
        "{unknown}"
    );
    let admin = ask(demo.admin, "GET /", "");
    assert!(admin.contains("<title>Moorline"), "{admin}");
}

#[test]
fn the_demo_is_played_in_a_browser() {
    let demo = Demo::start(36);
    let mut browser = Browser::start();
    let tab = browser.open(&format!("http://{}/", demo.play));
    eventually("nobody is disconnected", || {
        browser.text(&tab, "#closed") == "connections closed: 0"
    });
    eventually("the browser is connected, too", || {
        browser.text(&tab, "#you").contains("was closed 0 times")
    });
    browser.click(&tab, "[data-act=kill-worker]");
    eventually("it is told", || {
        browser.text(&tab, "#events").contains("was killed")
    });
    browser.type_into(&tab, "#line", "<b>ahoy</b>");
    browser.click(&tab, "#talk button");
    eventually("what is said is heard", || {
        browser
            .text(&tab, "#talked")
            .contains("someone: <b>ahoy</b>")
    });
    browser.click(&tab, "[data-act=next-build]");
    eventually("another build serves the browser", || {
        browser
            .text(&tab, "#talked")
            .contains("build 2 serves you from now on")
    });
    browser.click(&tab, "[data-act=broken-build]");
    eventually("a broken build is refused", || {
        browser
            .text(&tab, "#events")
            .contains("the reload was refused")
    });
    eventually("the visitors hear the next build", || {
        browser.text(&tab, "#build") == "2"
    });
    assert_eq!(browser.text(&tab, "#closed"), "connections closed: 0");
    assert!(browser.text(&tab, "#you").contains("was closed 0 times"));
    for (name, size, scheme, sight) in [
        ("demo", [1000, 820], "light", "none"),
        ("demo-dark", [1000, 820], "dark", "none"),
        ("demo-phone", [360, 740], "light", "none"),
        ("demo-phone-dark", [360, 740], "dark", "none"),
        ("demo-deuteranopia", [1000, 820], "light", "deuteranopia"),
    ] {
        browser.look_like(&tab, size, scheme, sight);
        browser.evaluate(&tab, "scrollTo(0, 0)");
        browser.picture(&tab, env!("CARGO_TARGET_TMPDIR"), name);
    }
}

#[test]
fn a_demo_that_is_killed_leaves_no_engine() {
    let mut demo = Demo::start(1);
    kill(demo.process.id() as i32, Signal::SIGKILL);
    demo.process.wait().expect("it can be waited for");
    eventually("its engine ends, too", || {
        processes_of_session(demo.process.id() as i32).is_empty()
    });
}
