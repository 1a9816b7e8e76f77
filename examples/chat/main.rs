//! One room for all: browser tabs over WebSocket, terminals over length-framed TCP.
//!
//! ```text
//! cargo run --release --example chat
//! ```
//!
//! Each message is a line of text, and everyone sees every line. The point is what happens when you change
//! the greeting below, build again and say `reload`: nobody is disconnected, and the new greeting is live.

use std::cell::OnceCell;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use moorline::{App, Context, Error, Group, Message, Opened, Result, Session};
use serde::Deserialize;

/// What everyone is told first. `[app] greeting` in the configuration replaces it.
const GREETING: &str = "Welcome aboard!";

/// A longer line is cut.
const MAX_LINE_CHARACTERS: usize = 2000;

fn main() -> ExitCode {
    moorline::builder(Chat::default)
        .default_config(default_config())
        .settings::<Settings>()
        .run()
}

/// The example's own configuration, wherever in the repository one stands.
fn default_config() -> &'static str {
    const FROM_THE_ROOT: &str = "examples/chat/moorline.toml";
    if Path::new(FROM_THE_ROOT).exists() {
        return FROM_THE_ROOT;
    }
    concat!(env!("CARGO_MANIFEST_DIR"), "/chat/moorline.toml")
}

#[derive(Default)]
struct Chat {
    start: OnceCell<Start>,
}

struct Start {
    greeting: String,
    /// The gateway knows who is in it, whichever workers come and go.
    room: Group,
}

/// `[app]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    greeting: Option<String>,
}

impl App for Chat {
    async fn start(self: Rc<Self>, context: Context) -> Result {
        let settings: Settings = context.settings()?;
        let start = Start {
            greeting: settings.greeting.unwrap_or_else(|| GREETING.to_owned()),
            room: context.group("room"),
        };
        self.start
            .set(start)
            .map_err(|_| Error::from("started twice"))
    }

    /// Runs for a new visitor, and again for everyone after a reload: with the greeting of this build.
    async fn open(self: Rc<Self>, session: Session, _: Opened) -> Result {
        let start = self.started()?;
        // Who is in the room already stays in it.
        start.room.join(&session)?;
        // Pushed, so that nothing waits for a slow reader: that one is closed at `hard_limit`.
        session.push_text(format!("⚓ {}", start.greeting))?;
        Ok(())
    }

    async fn message(self: Rc<Self>, _: Session, message: Message) -> Result {
        let line: String = String::from_utf8_lossy(&message)
            .trim()
            .chars()
            .take(MAX_LINE_CHARACTERS)
            .collect();
        if !line.is_empty() {
            self.started()?.room.send_text(&line).await?;
        }
        Ok(())
    }
}

impl Chat {
    fn started(&self) -> Result<&Start> {
        self.start.get().ok_or_else(|| "not started".into())
    }
}
