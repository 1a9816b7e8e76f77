//! The app: a greeting, and a group that everyone is in.

use std::rc::Rc;

use moorline::{App, Context, Group, Message, Opened, Result, Session};
use serde::Deserialize;

/// What everyone is told first. `[app] greeting` in the configuration replaces it.
const GREETING: &str = "Welcome aboard!";

/// A longer line is cut.
const MAX_LINE_CHARACTERS: usize = 2000;

/// One room.
pub(crate) struct Chat {
    greeting: String,
    /// Its members are known to the gateway, so they survive reloads and crashes of workers.
    room: Group,
}

/// `[app]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Instead of the greeting in this file.
    pub(crate) greeting: Option<String>,
}

impl App for Chat {
    type Settings = Settings;

    async fn start(context: Context, settings: Settings) -> Result<Self> {
        Ok(Chat {
            greeting: settings.greeting.unwrap_or_else(|| GREETING.to_owned()),
            room: context.group("room"),
        })
    }

    /// Runs for a new visitor, and again for everyone after a reload: with the greeting of this build.
    async fn open(self: Rc<Self>, session: Session, _: Opened) -> Result {
        // A session that is in the room already stays in it.
        self.room.join(&session)?;
        // Pushed, so that nothing waits for a slow reader: that one is closed at `hard_limit`.
        session.push_text(format!("⚓ {}", self.greeting))?;
        Ok(())
    }

    async fn message(self: Rc<Self>, _: Session, message: Message) -> Result {
        let line: String = String::from_utf8_lossy(&message)
            .trim()
            .chars()
            .take(MAX_LINE_CHARACTERS)
            .collect();
        if !line.is_empty() {
            self.room.send_text(&line).await?;
        }
        Ok(())
    }
}
