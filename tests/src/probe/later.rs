//! Timers, and tasks beside the hooks.

use std::time::{Duration, Instant};

use moorline::{Context, Result};

use super::answers::{every, milliseconds, told_by};
use super::order::Order;

/// The commands about this.
pub(super) const COMMANDS: &[&str] = &[
    "timer",
    "timer-hang",
    "timer-cleared",
    "timer-panics",
    "timer-every",
    "later",
    "ask-reload",
    "ask-stop",
    "ask-status",
    "ask-status-for",
];

/// Carries out one of them.
pub(super) async fn obey(order: &mut Order<'_>) -> Result<Option<String>> {
    let Order {
        session, context, ..
    } = *order;
    Ok(Some(match order.command {
        "timer" => {
            let (time, session) = (milliseconds(order.word())?, session.clone());
            let fire = async move |_: Context| {
                let _ = session.push("after");
            };
            context.after(time, fire).detach();
            return Ok(None);
        }
        "timer-hang" => {
            let hang = async |_: Context| tokio::sync::Notify::new().notified().await;
            context.after(milliseconds(order.word())?, hang).detach();
            return Ok(None);
        }
        "timer-cleared" => {
            let (time, session) = (milliseconds(order.word())?, session.clone());
            let cleared = context.after(time, async move |_| {
                let _ = session.push("after");
            });
            drop(cleared);
            return Ok(None);
        }
        "timer-panics" => {
            let (session, mut ticks) = (session.clone(), 0);
            let panic_first = async move |_: Context| {
                ticks += 1;
                assert!(ticks > 2, "asked to panic in a timer");
                let _ = session.push(format!("tick {ticks}"));
            };
            context
                .every(milliseconds(order.word())?, panic_first)
                .detach();
            return Ok(None);
        }
        "timer-every" => told_by(Ok(every(context, milliseconds(order.word())?).await))?,
        "ask-reload" => format!("{:?}", context.reload().await),
        "ask-stop" => format!("{:?}", context.stop().await),
        "ask-status" => context.status().await?,
        "ask-status-for" => ask_status_for(context, milliseconds(order.word())?).await?,
        "later" => {
            let (time, session) = (milliseconds(order.word())?, session.clone());
            tokio::task::spawn_local(async move {
                tokio::time::sleep(time).await;
                let _ = session.push("later");
            });
            return Ok(None);
        }
        _ => return Err("an unknown command".into()),
    }))
}

/// Asks for the state again and again for this time; says how often.
async fn ask_status_for(context: &Context, time: Duration) -> Result<String> {
    let until = Instant::now() + time;
    let mut count = 0;
    while Instant::now() < until {
        context.status().await?;
        tokio::time::sleep(Duration::from_millis(1)).await;
        count += 1;
    }
    Ok(count.to_string())
}
