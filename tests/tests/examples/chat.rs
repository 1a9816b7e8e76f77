//! The chat example as its users meet it: two browser tabs and a terminal, and a new build between two lines.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

use moorline_tests::{Browser, Engine, PATIENCE, Site, Tab, eventually, kill};
use nix::sys::signal::Signal;
use serde_json::json;

/// The chat with its own configuration and page, on ports that are free, and another greeting.
fn configuration(greeting: &str) -> String {
    let own =
        fs::read_to_string(example("moorline.toml")).expect("the example has a configuration");
    let config = own.replace(":9500", ":0").replace(":9501", ":0");
    assert_ne!(config, own, "the README's ports are in the configuration");
    // [app] is its last section.
    format!("{config}\ngreeting = {greeting:?}\n")
}

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/chat")
        .join(file)
}

fn start(greeting: &str) -> Engine {
    let site = Site::new("chat", &configuration(greeting));
    site.copy(&example("public"), "public");
    site.start()
}

#[track_caller]
pub(super) fn sees(browser: &mut Browser, tab: &Tab, line: &str) {
    eventually(&format!("the tab shows {line:?}"), || {
        browser.text(tab, "#lines").contains(line)
    });
}

#[track_caller]
pub(super) fn say(browser: &mut Browser, tab: &Tab, text: &str) {
    browser.type_into(tab, "#text", text);
    browser.click(tab, "#form button");
}

#[test]
fn two_tabs_stay_connected_over_a_reload_and_see_the_new_greeting() {
    let engine = start("the first greeting");
    let mut browser = Browser::start();
    let page = format!("http://{}/", engine.socket_address(0));
    let tabs = ["ada", "grace"].map(|name| {
        let tab = browser.open(&page);
        sees(&mut browser, &tab, "the first greeting");
        browser.type_into(&tab, "#name", name);
        tab
    });
    let [ada, grace] = &tabs;
    say(&mut browser, ada, "before the reload");
    sees(&mut browser, grace, "ada before the reload");
    sees(&mut browser, ada, "ada before the reload");

    engine.configure(&configuration("the second greeting"));
    engine.install("chat");
    engine.reload().expect_success();
    for tab in &tabs {
        sees(&mut browser, tab, "the second greeting");
    }
    say(&mut browser, grace, "after the reload");
    sees(&mut browser, ada, "grace after the reload");
    say(&mut browser, ada, "<b>not markup</b>");
    sees(&mut browser, grace, "ada <b>not markup</b>");

    for tab in &tabs {
        let story = browser.text(tab, "#story");
        assert!(
            story.contains("connected · same connection for "),
            "{story}"
        );
        let end = "s · code replaced, nobody disconnected";
        assert!(story.ends_with(end), "{story}");
        let lines = browser.evaluate(tab, "document.querySelectorAll('#lines li').length");
        assert_eq!(
            lines,
            5,
            "two greetings and three lines: {}",
            browser.text(tab, "#lines")
        );
    }
    browser.screenshot(
        ada,
        &Path::new(env!("CARGO_TARGET_TMPDIR")).join("chat.png"),
    );
}

#[test]
fn a_phone_in_the_dark_shows_all_of_the_page() {
    let engine = start("ahoy from the first build");
    let mut browser = Browser::start();
    let page = format!("http://{}/", engine.socket_address(0));
    let tabs = [(); 2].map(|()| {
        let tab = browser.open(&page);
        browser.be_a_dark_phone(&tab, 320);
        sees(&mut browser, &tab, "ahoy from the first build");
        browser.type_into(&tab, "#name", "ada");
        tab
    });
    let [phone, other] = &tabs;
    let empty = "document.querySelector('#empty').checkVisibility()";
    assert_eq!(browser.evaluate(phone, empty), true);
    let height = browser.evaluate(phone, "document.querySelector('#name').offsetHeight");
    assert!(height.as_u64().is_some_and(|it| it > 24), "{height}");
    assert_eq!(browser.cut_off(phone), json!([]));

    say(&mut browser, other, &"long".repeat(40));
    sees(&mut browser, phone, "ada longlong");
    assert_eq!(browser.evaluate(phone, empty), false);
    // Typed on a keyboard, wherever the focus is, and sent by Enter.
    for key in ["h", "e", "y", "Enter"] {
        browser.press(phone, key);
    }
    sees(&mut browser, phone, "ada hey");
    // Both have the same name, and each knows what it has said.
    let own = "document.querySelector('.mine').innerText";
    let said = browser.evaluate(phone, own);
    assert!(said.as_str().is_some_and(|it| it.starts_with("ada hey")));
    let said = browser.evaluate(other, own);
    assert!(said.as_str().is_some_and(|it| it.starts_with("ada long")));
    let time = "document.querySelector('.said time').dateTime.endsWith('Z')";
    assert_eq!(browser.evaluate(phone, time), true);

    engine.configure(&configuration("ahoy from the second build"));
    engine.reload().expect_success();
    sees(&mut browser, phone, "ahoy from the second build");
    let story = browser.text(phone, "#story");
    assert!(story.ends_with("nobody disconnected"), "{story}");
    assert_eq!(browser.cut_off(phone), json!([]));
    let paper = browser.evaluate(phone, "getComputedStyle(document.body).backgroundColor");
    assert_eq!(paper, "rgb(16, 25, 29)");
    browser.screenshot(
        phone,
        &Path::new(env!("CARGO_TARGET_TMPDIR")).join("chat-phone.png"),
    );
}

#[test]
fn a_tab_that_was_cut_off_comes_back() {
    let engine = start("ahoy");
    let mut browser = Browser::start();
    let tab = browser.open(&format!("http://{}/", engine.socket_address(0)));
    sees(&mut browser, &tab, "ahoy");
    // Without the gateway no session lives on.
    kill(engine.status().gateway.pid, Signal::SIGKILL);
    eventually("the tab is connected again", || {
        let story = browser.text(&tab, "#story");
        story.starts_with("connected · connection 2 for ")
    });
    browser.type_into(&tab, "#name", "ada");
    say(&mut browser, &tab, "back again");
    sees(&mut browser, &tab, "ada back again");
}

#[test]
fn terminals_and_browsers_are_in_one_room() {
    let engine = start("ahoy");
    let mut browser = Browser::start();
    let tab = browser.open(&format!("http://{}/", engine.socket_address(0)));
    sees(&mut browser, &tab, "ahoy");
    browser.type_into(&tab, "#name", "ada");

    let mut terminal = Terminal::start(&engine, "alan");
    assert_eq!(terminal.reads(), "⚓ ahoy");
    terminal.says("from a terminal");
    assert_eq!(terminal.reads(), "alan: from a terminal");
    sees(&mut browser, &tab, "alan from a terminal");

    say(&mut browser, &tab, "from a browser");
    assert_eq!(terminal.reads(), "ada: from a browser");

    engine.configure(&configuration("ahoy again"));
    engine.reload().expect_success();
    assert_eq!(terminal.reads(), "⚓ ahoy again");
    terminal.says("still here");
    assert_eq!(terminal.reads(), "alan: still here");
    sees(&mut browser, &tab, "alan still here");
}

/// The terminal client, with pipes for keyboard and screen.
struct Terminal {
    process: Child,
    keyboard: ChildStdin,
    screen: Receiver<String>,
}

impl Terminal {
    fn start(engine: &Engine, name: &str) -> Terminal {
        // Cargo puts it beside the chat.
        let program = Path::new(engine.command(&[]).get_program()).with_file_name("chat-client");
        let address = engine.socket_address(1).to_string();
        let mut process = Command::new(program)
            .args([name, &address])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the client can be run");
        let keyboard = process.stdin.take().expect("it is piped");
        let output = BufReader::new(process.stdout.take().expect("it is piped"));
        let (sender, screen) = mpsc::channel();
        std::thread::spawn(move || {
            output
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Terminal {
            process,
            keyboard,
            screen,
        }
    }

    #[track_caller]
    fn says(&mut self, text: &str) {
        writeln!(self.keyboard, "{text}").expect("the client runs");
    }

    /// The next line.
    #[track_caller]
    fn reads(&mut self) -> String {
        self.screen.recv_timeout(PATIENCE).expect("a line comes")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
