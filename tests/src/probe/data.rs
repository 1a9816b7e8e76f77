//! What the gateway keeps of a session for the probe, and what it knows of sessions.

use std::time::Duration;

use moorline::Result;

use super::answers::{list, milliseconds, outcome, times, told_of};
use super::order::Order;

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
pub(super) async fn obey(order: &mut Order<'_>) -> Result<Option<String>> {
    let Order {
        session,
        context,
        rest,
        ..
    } = *order;
    Ok(Some(match order.command {
        "keep-state" => outcome(session.keep_bytes(rest)),
        "keep-state-of" => outcome(
            context
                .session(order.word().parse()?)
                .keep_bytes(order.word()),
        ),
        "keep-much" => outcome(session.keep_bytes(vec![b'k'; order.word().parse()?])),
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
            let (time, session) = (milliseconds(order.word())?, session.clone());
            tokio::task::spawn_local(async move {
                tokio::time::sleep(time).await;
                let _ = session.resume();
            });
            "ok".to_owned()
        }
        "resume" => outcome(context.session(order.word().parse()?).resume()),
        "keep" => outcome(session.set_idle_exempt(true)),
        "unkeep" => outcome(session.set_idle_exempt(false)),
        "bind" => outcome(session.bind(rest)),
        "key" => String::from_utf8(session.key())?,
        "info" => told_of(context.session(order.word().parse()?).info().await),
        "times" => times(&context.session(order.word().parse()?).info().await?),
        "list" => list(context).await?,
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
