//! Timers, and tasks beside the hooks.

use moorline::{Context, Result, Session};

use super::Probe;
use super::answers::{every, milliseconds, told_by};

/// The commands about this.
pub(super) const COMMANDS: &[&str] = &[
    "timer",
    "timer-hang",
    "timer-cleared",
    "timer-every",
    "later",
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
        "timer" => {
            let (time, session) = (milliseconds(word())?, session.clone());
            let fire = async move |_: Context| {
                let _ = session.push("after");
            };
            context.after(time, fire).detach();
            return Ok(None);
        }
        "timer-hang" => {
            let hang = async |_: Context| tokio::sync::Notify::new().notified().await;
            context.after(milliseconds(word())?, hang).detach();
            return Ok(None);
        }
        "timer-cleared" => {
            let (time, session) = (milliseconds(word())?, session.clone());
            let cleared = context.after(time, async move |_| {
                let _ = session.push("after");
            });
            drop(cleared);
            return Ok(None);
        }
        "timer-every" => told_by(Ok(every(&context, milliseconds(word())?).await))?,
        "later" => {
            let (time, session) = (milliseconds(word())?, session.clone());
            tokio::task::spawn_local(async move {
                tokio::time::sleep(time).await;
                let _ = session.push("later");
            });
            return Ok(None);
        }
        _ => return Err("an unknown command".into()),
    }))
}
