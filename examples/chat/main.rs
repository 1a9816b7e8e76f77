//! One room for all: browser tabs over WebSocket, terminals over length-framed TCP.
//!
//! ```text
//! cargo run --release --example chat
//! ```
//!
//! Each message is a line of text, and everyone sees every line. The point is what happens when you change
//! the greeting below, build again and say `reload`: nobody is disconnected, and the new greeting is live.

use std::cell::{OnceCell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use moorline::{App, CloseReason, Context, Error, Message, Opened, PostError, Result, Session};
use serde::Deserialize;

/// What everyone is told first. `[app] greeting` in the configuration replaces it.
const GREETING: &str = "Welcome aboard!";

/// A longer line is cut.
const MAX_LINE_CHARACTERS: usize = 2000;

/// What a busy room says within the moments that sessions take to move, many times over.
const MAX_LINES_KEPT: usize = 1000;

/// How long after its start a worker may still adopt sessions of the one it replaced: longer than
/// `max_wait`, after which that one is gone.
const HANDOVER: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    moorline::builder(Chat::default)
        .default_config(default_config())
        .run()
}

/// The example's own configuration, wherever in the repository one stands.
fn default_config() -> &'static str {
    const FROM_THE_ROOT: &str = "examples/chat/moorline.toml";
    if Path::new(FROM_THE_ROOT).exists() {
        return FROM_THE_ROOT;
    }
    concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/chat/moorline.toml"
    )
}

/// What one worker knows of the room.
#[derive(Default)]
struct Chat {
    start: OnceCell<Start>,
    /// The sessions that this worker serves.
    present: RefCell<HashSet<Session>>,
    /// The last lines since the start, kept during the handover.
    said: RefCell<VecDeque<String>>,
}

struct Start {
    context: Context,
    greeting: String,
    at: Instant,
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
        let greeting = settings.greeting.unwrap_or_else(|| GREETING.to_owned());
        let start = Start {
            context,
            greeting,
            at: Instant::now(),
        };
        self.start
            .set(start)
            .map_err(|_| Error::from("started twice"))
    }

    /// Runs for a new visitor, and again for everyone after a reload: with the greeting of this build.
    async fn open(self: Rc<Self>, session: Session, opened: Opened) -> Result {
        if opened == Opened::Adopted {
            // A line that came before the session did has reached neither this worker's sessions nor the
            // old worker's, so that it would be lost to this one.
            for line in &*self.said.borrow() {
                tell(&session, line);
            }
        }
        tell(&session, &format!("⚓ {}", self.started()?.greeting));
        self.present.borrow_mut().insert(session);
        Ok(())
    }

    /// Every worker tells its own sessions: this one now, the others when the post arrives.
    async fn message(self: Rc<Self>, _: Session, message: Message) -> Result {
        let line: String = String::from_utf8_lossy(&message)
            .trim()
            .chars()
            .take(MAX_LINE_CHARACTERS)
            .collect();
        if line.is_empty() {
            return Ok(());
        }
        self.tell_everyone(&line)?;
        let context = &self.started()?.context;
        for worker in (0..context.workers()).filter(|worker| *worker != context.slot()) {
            post(context, worker, &line).await;
        }
        Ok(())
    }

    async fn post(self: Rc<Self>, _: u16, message: Message) -> Result {
        self.tell_everyone(str::from_utf8(&message)?)
    }

    async fn close(self: Rc<Self>, session: Session, _: CloseReason) -> Result {
        self.present.borrow_mut().remove(&session);
        Ok(())
    }
}

impl Chat {
    fn started(&self) -> Result<&Start> {
        self.start.get().ok_or_else(|| "not started".into())
    }

    fn tell_everyone(&self, line: &str) -> Result {
        for session in &*self.present.borrow() {
            tell(session, line);
        }
        if self.started()?.at.elapsed() < HANDOVER {
            let mut said = self.said.borrow_mut();
            said.push_back(line.to_owned());
            if said.len() > MAX_LINES_KEPT {
                said.pop_front();
            }
        } else {
            self.said.take();
        }
        Ok(())
    }
}

/// A worker that is behind holds up the speaker for a while; one that stays away misses the line.
async fn post(context: &Context, worker: u16, line: &str) {
    for _ in 0..1000 {
        match context.post(worker, line) {
            Err(PostError::Full) => tokio::time::sleep(Duration::from_millis(1)).await,
            _ => return,
        }
    }
}

/// Pushes, so that the room never waits for its slowest reader: that one is closed at `hard_limit`.
fn tell(session: &Session, line: &str) {
    // A session that has just ended hears nothing more; `close` takes it out of the room.
    let _ = session.push_text(line);
}
