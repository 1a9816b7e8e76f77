//! The client of `clients/js`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use moorline_tests::{
    Browser, Client, Engine, Finish, LENGTH_LISTENER, Site, Tab, Wire, eventually, kill,
};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::{run, scripts};

/// As its page promises.
const MOST_BYTES: usize = 2048;

fn client(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../clients/js")
        .join(name)
}

#[test]
fn what_is_shipped_is_small_and_made_from_the_source() {
    let minified = Command::new(scripts().join("node_modules/.bin/terser"))
        .args(["--module", "--compress", "--mangle", "--"])
        .arg(client("moorline.js"))
        .finish()
        .expect_success()
        .stdout;
    let shipped = fs::read_to_string(client("moorline.min.js")).expect("it is there");
    assert!(
        shipped.trim_end() == minified.trim_end(),
        "write it again: tests/clients/node_modules/.bin/terser --module --compress --mangle \
         --output clients/js/moorline.min.js -- clients/js/moorline.js"
    );
    assert!(shipped.len() <= MOST_BYTES, "{} bytes", shipped.len());
}

#[test]
fn it_keeps_its_promises_against_a_scripted_server() {
    for file in ["moorline.js", "moorline.min.js"] {
        Command::new("node")
            .arg("--test")
            .arg(client("moorline.test.mjs"))
            .env("MOORLINE_JS", client(file))
            .finish()
            .expect_success();
    }
}

const CONFIG: &str = r#"
[workers]
count = 2
[[listen]]
name = "web"
address = "http://127.0.0.1:0"
websocket = "/ws"
static = "public"
[[listen.route]]
path = "/events"
kind = "sse"
"#;

/// What the app does: it keeps the request, says what the client had, sends three events, and hangs up.
const ORDERS: &str = "do=remember:x&open=last&open=events:3&open=close";

/// What a client hears that connects twice.
const HEARD: &[&str] = &[
    "last none",
    "tick 1",
    "tick 2",
    "tick 3",
    "last 3",
    "tick 1",
    "tick 2",
    "tick 3",
];

#[test]
fn a_browser_reconnects_after_its_last_event() {
    let site = Site::new("probe", CONFIG);
    site.write("public/index.html", "<title>Empty</title>");
    site.copy(&client(""), "public");
    let engine = site.start();
    let mut browser = Browser::start();
    let tab = browser.open(&format!("http://{}/", engine.socket_address(0)));
    eventually("the page is there", || {
        browser.evaluate(&tab, "document.title") == "Empty"
    });
    for (path, sse) in [("/ws", false), ("/events", true)] {
        let script = format!(
            "(async () => {{
                const {{ connect }} = await import('/moorline.min.js');
                return new Promise((done) => {{
                    const heard = [], events = ['last', 'tick'];
                    const onevent = (name, data) => {{
                        heard.push(`${{name}} ${{data}}`);
                        if (heard.length < {}) return;
                        link.close();
                        done(heard);
                    }};
                    const link = connect('{path}?{ORDERS}', {{ sse: {sse}, events, onevent, firstRetry: 50 }});
                }});
            }})()",
            HEARD.len()
        );
        assert_eq!(browser.evaluate(&tab, &script), json!(HEARD), "{path}");
    }
    eventually("close ends it for good", || {
        engine.status().gateway.sessions == 0
    });
    assert_eq!(engine.status().gateway.accepted, 4);
}

/// The connection of each client is closed again and again, from its beginning on.
const BRIEF: &str = "do=remember:x&open=after:room&open=wait:200&open=close";
/// Events of a group.
const EVENTS: u32 = 120;

/// A page with a client of each kind, which notes the events of the group.
fn open_history(browser: &mut Browser, engine: &Engine) -> Tab {
    let tab = browser.open(&format!("http://{}/", engine.socket_address(0)));
    eventually("the page is there", || {
        browser.evaluate(&tab, "document.title") == "Empty"
    });
    let script = format!(
        "(async () => {{
            const {{ connect }} = await import('/moorline.min.js');
            window.heard = {{ false: [], true: [] }};
            for (const sse of [false, true]) connect(`${{sse ? '/events' : '/ws'}}?{BRIEF}`, {{
                sse, events: ['said'], firstRetry: 20, lastRetry: 60,
                onevent: (_, data, id) => heard[sse].push(`${{id}} ${{data}}`),
                ongap: (group) => heard[sse].push(`gap in ${{group}}`),
            }});
        }})()"
    );
    browser.evaluate(&tab, &script);
    tab
}

/// Sends one event, as often as it takes: its worker may be killed meanwhile.
fn send_event(engine: &Engine, number: u32) {
    eventually("the event is taken", || {
        let client = Client::try_connect(engine.address(1), Wire::LENGTH);
        client.is_ok_and(|mut client| {
            let order = format!("event room {number} data {number}");
            let sent = client.send_bytes(&Wire::LENGTH.encode(order.as_bytes()));
            sent.is_ok() && matches!(client.try_receive(), Ok(Some(answer)) if answer == b"ok")
        })
    });
}

#[test]
fn a_browser_gets_each_event_of_a_group_once_or_is_told_of_a_gap() {
    let site = Site::new("probe", &format!("{CONFIG}{LENGTH_LISTENER}"));
    site.write("public/index.html", "<title>Empty</title>");
    site.copy(&client(""), "public");
    let engine = site.start();
    let keep = || Client::connect(&engine, 1, Wire::LENGTH).ask("keep-events room 1000");
    assert_eq!(keep(), "ok");
    let mut browser = Browser::start();
    let tab = open_history(&mut browser, &engine);
    for number in 1..=EVENTS {
        send_event(&engine, number);
        match number {
            30 => drop(engine.reload().expect_success()),
            60 | 90 => drop(engine.kill_worker(number as u16 / 30 % 2, Signal::SIGKILL)),
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    let all: Vec<_> = (1..=EVENTS).map(|it| format!("{it} data {it}")).collect();
    for kind in ["false", "true"] {
        let heard = format!("heard[{kind}]");
        eventually("all has come", || {
            let heard = browser.evaluate(&tab, &heard);
            heard.as_array().is_some_and(|it| it.len() >= all.len())
        });
        assert_eq!(browser.evaluate(&tab, &heard), json!(all), "{kind}");
    }

    let accepted = engine.status().gateway.accepted;
    assert!(accepted > 20, "few connections: {accepted}");
    kill(engine.status().gateway.pid, Signal::SIGKILL);
    for kind in ["false", "true"] {
        eventually("the gap is told", || {
            let heard = browser.evaluate(&tab, &format!("heard[{kind}].at(-1)"));
            heard == "gap in room"
        });
    }
    eventually("the group keeps its events again", || {
        let client = Client::try_connect(engine.address(1), Wire::LENGTH);
        client.is_ok_and(|mut client| client.ask("keep-events room 1000") == "ok")
    });
    send_event(&engine, EVENTS + 1);
    let next = format!("{0} data {0}", EVENTS + 1);
    for kind in ["false", "true"] {
        let heard = format!("heard[{kind}].filter((it) => it !== 'gap in room')");
        let all: Vec<_> = all.iter().chain([&next]).collect();
        eventually("it goes on", || {
            browser.evaluate(&tab, &heard) == json!(all)
        });
    }
}

#[test]
fn node_reconnects_after_its_last_event() {
    let engine = Engine::start("probe", &CONFIG.replace("static = \"public\"\n", ""));
    let url = format!("ws://{}/ws?{ORDERS}", engine.socket_address(0));
    let said = run("node", "moorline.mjs", &[&url, &HEARD.len().to_string()]).stdout;
    assert_eq!(said.lines().collect::<Vec<_>>(), HEARD);
}
