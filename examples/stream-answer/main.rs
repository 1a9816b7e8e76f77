//! An answer that is streamed word by word as server-sent events, and goes on through deploys and crashes.
//!
//! ```text
//! cargo run --release --example stream-answer
//! ```
//!
//! Open <http://127.0.0.1:9502/> and ask something. While the answer is on its way, change `ANSWER` and run `reload`, or kill the
//! worker: the stream stays open, and the new process goes on where the old one was.

use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use moorline::{App, Context, Message, Opened, Result, Session, Versioned};
use serde::{Deserialize, Serialize};

/// What a model would say.
const ANSWER: &str = "That is a good question. A mooring line holds a ship at the quay while its crew changes: the new \
    watch comes aboard, takes over the log, and the old one leaves. Nobody on the quay has to let go of the line for that. \
    This stream is such a line. Its connection belongs to the gateway, which runs none of the app's code. The words come from \
    a worker, which may be replaced by a new build, or may crash, between two of them. The place in the answer lies in the \
    session's locker, so the next worker knows it, and goes on with the next word. You have seen no reconnect, no spinner, and \
    no word twice.";

struct Answers {
    pace: Duration,
}

/// `[app]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Milliseconds for a word.
    pace: u64,
}

/// What the next process must know: which word is on its way.
#[derive(Serialize, Deserialize)]
struct Place(usize);

impl Versioned for Place {
    const VERSION: u32 = 1;
}

impl App for Answers {
    type Settings = Settings;

    async fn start(_: Context, settings: Settings) -> Result<Self> {
        Ok(Answers {
            pace: Duration::from_millis(settings.pace),
        })
    }

    /// Runs for a new stream, and again in the process that takes it over.
    async fn open(self: Rc<Self>, session: Session, _: Opened) -> Result {
        let place = match session.load::<Place>()? {
            // The word may have been sent already: clients know it by its id.
            Some(Place(place)) => place,
            // A client that had to connect again says which word it has.
            None => session
                .request()
                .and_then(|request| request.last_event_id()?.parse().ok())
                .map_or(0, |last: usize| last.saturating_add(1)),
        };
        let context = session.context();
        let build = format!("{} {}", context.generation(), std::process::id());
        session.push_event("", "build", build)?;
        // The session can move to another process only when this hook has ended.
        tokio::task::spawn_local(async move {
            // An error means that the client has left, or that another process streams.
            let _ = self.stream(&session, place).await;
        });
        Ok(())
    }

    async fn message(self: Rc<Self>, _: Session, _: Message) -> Result {
        Ok(())
    }
}

impl Answers {
    async fn stream(&self, session: &Session, place: usize) -> Result {
        let question = session
            .request()
            .and_then(|request| request.query_value("q"))
            .unwrap_or_default();
        let words = words(&question);
        for (at, word) in words.iter().enumerate().skip(place) {
            // First the place, then its word. It fails where another process serves the session.
            session.keep(&Place(at))?;
            session.push_event(at.to_string(), "", word)?;
            tokio::time::sleep(self.pace).await;
        }
        session.push_event(words.len().to_string(), "done", "")?;
        Ok(session.close()?)
    }
}

/// The answer, each word with the space before it.
fn words(question: &str) -> Vec<String> {
    let answer = format!("You asked: “{}” {ANSWER}", question.trim());
    answer
        .split_whitespace()
        .map(|word| format!(" {word}"))
        .collect()
}

fn main() -> ExitCode {
    moorline::builder(Answers::start)
        .default_config(default_config())
        .run()
}

/// The example's own configuration, from any folder of the repository.
fn default_config() -> &'static str {
    const FROM_THE_ROOT: &str = "examples/stream-answer/moorline.toml";
    if Path::new(FROM_THE_ROOT).exists() {
        return FROM_THE_ROOT;
    }
    concat!(env!("CARGO_MANIFEST_DIR"), "/stream-answer/moorline.toml")
}
