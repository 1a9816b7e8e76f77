//! Echoes each message, on whatever listeners its configuration names.
//!
//! ```text
//! cargo run --release --example echo -- serve CONFIG
//! ```
//!
//! With `[app] delay = "10ms"` each message waits so long before it is answered, and others go on meanwhile.

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use moorline::{App, Context, Datagram, Message, Result, SendError, Session};
use serde::Deserialize;

fn main() -> ExitCode {
    moorline::run(Echo::default)
}

#[derive(Default)]
struct Echo {
    /// Zero: each message is answered at once.
    delay: Cell<Duration>,
}

/// `[app]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    delay: Option<String>,
}

impl App for Echo {
    async fn start(self: Rc<Self>, context: Context) -> Result {
        let settings: Settings = context.settings()?;
        if let Some(delay) = settings.delay {
            self.delay.set(duration(&delay)?);
        }
        Ok(())
    }

    async fn message(self: Rc<Self>, session: Session, message: Message) -> Result {
        self.wait().await;
        let sent = if message.is_text() {
            session.send_text(str::from_utf8(&message)?).await
        } else {
            session.send(&message).await
        };
        match sent {
            // It left before its answer, which is no fault of ours.
            Err(SendError::Closed) => Ok(()),
            sent => Ok(sent?),
        }
    }

    async fn datagram(self: Rc<Self>, from: Datagram, message: Message) -> Result {
        self.wait().await;
        match from.reply(&message) {
            // Lost on its way, as datagrams are.
            Err(SendError::Full) => Ok(()),
            sent => Ok(sent?),
        }
    }
}

impl Echo {
    async fn wait(&self) {
        if !self.delay.get().is_zero() {
            tokio::time::sleep(self.delay.get()).await;
        }
    }
}

/// Milliseconds or seconds: `10ms`, `2s`.
fn duration(text: &str) -> Result<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, Duration::from_millis(1)),
        None => (
            text.strip_suffix('s').unwrap_or_default(),
            Duration::from_secs(1),
        ),
    };
    number
        .parse()
        .ok()
        .and_then(|number: u32| unit.checked_mul(number))
        .ok_or_else(|| format!("[app] delay is {text:?}; write it like \"10ms\" or \"2s\"").into())
}
