//! Headless Chromium, driven over the DevTools protocol.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

use crate::eventually;

/// How long one answer may take, page loads and the browser's own start included.
const PATIENCE: Duration = Duration::from_secs(30);

/// No sandbox, since it refuses to run as root, and the page is ours. Nothing that goes out to the network.
/// The rest keeps a tab that is behind another as lively as the one in front.
const ARGUMENTS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-quic",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--remote-debugging-port=0",
    "--window-size=900,640",
];

/// A browser without a window. Dropping it ends it and all that it started.
pub struct Browser {
    process: Child,
    socket: WebSocket<TcpStream>,
    last_id: u64,
    /// Its profile; outlives the process.
    _profile: TempDir,
}

/// A tab, by the DevTools session that is attached to it.
#[derive(Clone)]
pub struct Tab(String);

impl Browser {
    pub fn start() -> Browser {
        let profile = tempfile::Builder::new()
            .prefix("moorline-browser-")
            .tempdir()
            .expect("a temporary folder");
        let mut process = Command::new("chromium")
            .args(ARGUMENTS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Its helpers share its group, so that they can be ended with it.
            .process_group(0)
            .spawn()
            .expect("chromium is missing: `cargo xtask test` installs it");
        let errors = process.stderr.take().expect("it is piped");
        let (sender, lines) = mpsc::channel();
        // Read to the end, else a talkative browser would wait for room in the pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut said = Vec::new();
        let address = loop {
            let line = lines
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|_| panic!("chromium does not start: {said:#?}"));
            if let Some(address) = line.strip_prefix("DevTools listening on ") {
                break address.trim().to_owned();
            }
            said.push(line);
        };
        let host = address
            .trim_start_matches("ws://")
            .split('/')
            .next()
            .expect("split gives one part at least");
        let stream = TcpStream::connect(host).expect("DevTools listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("it is more than zero");
        let (socket, _) = tungstenite::client(&address, stream).expect("DevTools speaks WebSocket");
        Browser {
            process,
            socket,
            last_id: 0,
            _profile: profile,
        }
    }

    /// A new tab with this page.
    pub fn open(&mut self, url: &str) -> Tab {
        let target = self.command(None, "Target.createTarget", json!({ "url": url }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = self.command(None, "Target.attachToTarget", attach);
        Tab(attached["sessionId"]
            .as_str()
            .expect("a session has a name")
            .to_owned())
    }

    /// The value of a JavaScript expression in the tab; fails if it throws.
    #[track_caller]
    pub fn evaluate(&mut self, tab: &Tab, expression: &str) -> Value {
        let parameters =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.command(Some(tab), "Runtime.evaluate", parameters);
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {}",
            answer["exceptionDetails"]
        );
        answer["result"]["value"].clone()
    }

    /// Loads the page again, and waits until that is done.
    #[track_caller]
    pub fn reload(&mut self, tab: &Tab) {
        self.evaluate(tab, "window.isEarlier = true");
        self.command(Some(tab), "Page.reload", json!({}));
        let parameters = json!({
            "expression": "!window.isEarlier && document.readyState === 'complete'",
            "returnByValue": true,
        });
        eventually("the page is loaded again", || {
            // The page may go while it is asked.
            let answer = self.try_command(Some(tab), "Runtime.evaluate", parameters.clone());
            answer.is_ok_and(|it| it["result"]["value"] == true)
        });
    }

    /// What a person reads in the first element that this selector finds; empty if there is none yet.
    #[track_caller]
    pub fn text(&mut self, tab: &Tab, selector: &str) -> String {
        let value = self.evaluate(
            tab,
            &format!("document.querySelector({selector:?})?.innerText"),
        );
        value.as_str().unwrap_or_default().to_owned()
    }

    /// Types into a field as a keyboard does.
    #[track_caller]
    pub fn type_into(&mut self, tab: &Tab, selector: &str, text: &str) {
        self.evaluate(
            tab,
            &format!("document.querySelector({selector:?}).select()"),
        );
        self.command(Some(tab), "Input.insertText", json!({ "text": text }));
        self.evaluate(tab, &format!("document.querySelector({selector:?}).blur()"));
    }

    /// Presses an element.
    #[track_caller]
    pub fn click(&mut self, tab: &Tab, selector: &str) {
        self.evaluate(
            tab,
            &format!("document.querySelector({selector:?}).click()"),
        );
    }

    /// Shows the tab as a phone of this width does, with the colours for the dark.
    #[track_caller]
    pub fn be_a_dark_phone(&mut self, tab: &Tab, width: u32) {
        self.command(
            Some(tab),
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": 568, "deviceScaleFactor": 2, "mobile": true }),
        );
        let dark = json!([{ "name": "prefers-color-scheme", "value": "dark" }]);
        self.command(
            Some(tab),
            "Emulation.setEmulatedMedia",
            json!({ "features": dark }),
        );
    }

    /// Shows the tab in this size, in light or dark colours, and as someone sees it who tells fewer colours apart: `none`,
    /// `deuteranopia`, `protanopia`, `tritanopia`, `achromatopsia`.
    #[track_caller]
    pub fn look_like(&mut self, tab: &Tab, [width, height]: [u32; 2], scheme: &str, sight: &str) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.command(Some(tab), "Emulation.setDeviceMetricsOverride", metrics);
        let scheme = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        let media = json!({ "features": scheme });
        self.command(Some(tab), "Emulation.setEmulatedMedia", media);
        let sight = json!({ "type": sight });
        self.command(Some(tab), "Emulation.setEmulatedVisionDeficiency", sight);
    }

    /// Saves a picture of the tab as a PNG, in the folder that `MOORLINE_PICTURES` names or in one in `folder`. Fails if it is wider
    /// than the tab, or has texts that are hard to read.
    #[track_caller]
    pub fn picture(&mut self, tab: &Tab, folder: &str, name: &str) {
        let wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert_eq!(self.evaluate(tab, wide), 0, "{name}: it is too wide");
        let faint = self.faint_texts(tab);
        assert_eq!(faint, json!([]), "{name}: texts with too little contrast");
        let named = std::env::var_os("MOORLINE_PICTURES").map(PathBuf::from);
        let folder = named.unwrap_or_else(|| Path::new(folder).join("pictures"));
        fs::create_dir_all(&folder).expect("the folder can be made");
        self.screenshot(tab, &folder.join(format!("{name}.png")));
    }

    /// Texts with less contrast than WCAG 2.2 asks for (1.4.3, level AA), each with its ratio.
    #[track_caller]
    pub fn faint_texts(&mut self, tab: &Tab) -> Value {
        self.evaluate(tab, include_str!("faint_texts.js"))
    }

    /// The selectors of what lies partly outside of the tab's width.
    #[track_caller]
    pub fn cut_off(&mut self, tab: &Tab) -> Value {
        self.evaluate(
            tab,
            "[...document.querySelectorAll('body *')].filter((it) => {
                const { left, right } = it.getBoundingClientRect();
                return left < 0 || right > document.documentElement.clientWidth;
            }).map((it) => it.tagName + '#' + it.id)",
        )
    }

    /// Presses one key, wherever the focus is.
    #[track_caller]
    pub fn press(&mut self, tab: &Tab, key: &str) {
        let text = if key == "Enter" { "\r" } else { key };
        let down = json!({ "type": "keyDown", "key": key, "text": text });
        self.command(Some(tab), "Input.dispatchKeyEvent", down);
        let up = json!({ "type": "keyUp", "key": key });
        self.command(Some(tab), "Input.dispatchKeyEvent", up);
    }

    /// Brings the tab to the front and saves what it shows as a PNG.
    #[track_caller]
    pub fn screenshot(&mut self, tab: &Tab, file: &Path) {
        self.command(Some(tab), "Page.bringToFront", json!({}));
        let picture = self.command(
            Some(tab),
            "Page.captureScreenshot",
            json!({ "format": "png" }),
        );
        // It comes as base64, which the page can undo: numbers travel as JSON.
        let decode = format!(
            "Array.from(atob({}), character => character.charCodeAt(0))",
            picture["data"]
        );
        let bytes: Vec<u8> =
            serde_json::from_value(self.evaluate(tab, &decode)).expect("the characters are bytes");
        fs::write(file, bytes).expect("the target folder can be written");
    }

    /// Sends a command, to the browser or to a tab, and waits for its result.
    #[track_caller]
    fn command(&mut self, tab: Option<&Tab>, method: &str, parameters: Value) -> Value {
        let result = self.try_command(tab, method, parameters);
        result.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// The same for a command that may fail.
    #[track_caller]
    fn try_command(
        &mut self,
        tab: Option<&Tab>,
        method: &str,
        parameters: Value,
    ) -> Result<Value, Value> {
        self.last_id += 1;
        let id = self.last_id;
        let mut request = json!({ "id": id, "method": method, "params": parameters });
        if let Some(Tab(session)) = tab {
            request["sessionId"] = json!(session);
        }
        self.socket
            .send(Message::text(request.to_string()))
            .expect("the browser lives");
        loop {
            let answer = match self.socket.read() {
                Ok(Message::Text(text)) => text,
                Ok(_) => continue,
                Err(error) => panic!("{method}: no answer: {error}"),
            };
            let mut answer: Value = serde_json::from_str(&answer).expect("DevTools speaks JSON");
            // Events have no id.
            if answer["id"] == id {
                return match answer["error"].take() {
                    Value::Null => Ok(answer["result"].take()),
                    error => Err(error),
                };
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.process.id() as i32);
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.process.wait();
    }
}
