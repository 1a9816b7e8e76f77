//! The client of `clients/js`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use moorline_tests::{Browser, Engine, Finish, Site, eventually};
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

#[test]
fn node_reconnects_after_its_last_event() {
    let engine = Engine::start("probe", &CONFIG.replace("static = \"public\"\n", ""));
    let url = format!("ws://{}/ws?{ORDERS}", engine.socket_address(0));
    let said = run("node", "moorline.mjs", &[&url, &HEARD.len().to_string()]).stdout;
    assert_eq!(said.lines().collect::<Vec<_>>(), HEARD);
}
