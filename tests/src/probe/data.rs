//! What the gateway keeps of a session for the probe, and what it knows of sessions.

use std::time::Duration;

use moorline::{Result, Session};

use super::Probe;
use super::answers::{list, milliseconds, outcome, times, told_of};

/// The commands about this.
pub(super) const COMMANDS: &[&str] = &[
    "keep-state",
    "keep-state-of",
    "keep-much",
    "state",
    "state-and-crash",
    "pause",
    "pause-for",
    "resume",
    "keep",
    "unkeep",
    "bind",
    "key",
    "info",
    "times",
    "list",
    "sessions",
];

/// Carries out one of them.
pub(super) async fn obey(
    probe: &Probe,
    session: &Session,
    command: &str,
    rest: &str,
) -> Result<Option<String>> {
    let context = probe.context();
    let mut words = rest.split(' ');
    let mut word = || words.next().unwrap_or_default();
    Ok(Some(match command {
        "keep-state" => outcome(session.keep_bytes(rest)),
        "keep-state-of" => outcome(context.session(word().parse()?).keep_bytes(word())),
        "keep-much" => outcome(session.keep_bytes(vec![b'k'; word().parse()?])),
        "state" => match session.load_bytes() {
            Some(state) if state.len() < 100 => String::from_utf8(state)?,
            Some(state) => format!("{} bytes", state.len()),
            None => "none".to_owned(),
        },
        "state-and-crash" => {
            session.keep_bytes(rest)?;
            session.send("kept").await?;
            // Once what was sent is on its way, and not before.
            tokio::time::sleep(Duration::from_millis(50)).await;
            std::process::abort()
        }
        "pause" => outcome(session.pause()),
        "pause-for" => {
            session.pause()?;
            let (time, session) = (milliseconds(word())?, session.clone());
            tokio::task::spawn_local(async move {
                tokio::time::sleep(time).await;
                let _ = session.resume();
            });
            "ok".to_owned()
        }
        "resume" => outcome(context.session(word().parse()?).resume()),
        "keep" => outcome(session.set_idle_exempt(true)),
        "unkeep" => outcome(session.set_idle_exempt(false)),
        "bind" => outcome(session.bind(rest)),
        "key" => String::from_utf8(session.key())?,
        "info" => told_of(context.session(word().parse()?).info().await),
        "times" => times(&context.session(word().parse()?).info().await?),
        "list" => list(&context).await?,
        "sessions" => {
            let (mut sessions, mut ids) = (context.sessions(), Vec::new());
            while let Some(session) = sessions.next().await {
                ids.push(session?.id);
            }
            ids.sort_unstable();
            let count = ids.len();
            ids.dedup();
            format!("{count} {}", ids.len())
        }
        _ => return Err("an unknown command".into()),
    }))
}
