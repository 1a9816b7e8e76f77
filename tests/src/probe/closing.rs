//! Commands that close sessions.

use std::time::Duration;

use moorline::{Result, SendError};

use super::answers::{milliseconds, outcome, told};
use super::order::Order;

/// The commands about this.
pub(super) const COMMANDS: &[&str] = &[
    "close",
    "close-twice",
    "close-code",
    "close-text",
    "close-now",
    "close-then-now",
    "push-then-close",
    "end",
    "end-twice-then-now",
];

/// Carries out one of them.
pub(super) async fn obey(order: &mut Order<'_>) -> Result<Option<String>> {
    let Order {
        probe,
        session,
        context,
        ..
    } = *order;
    Ok(Some(match order.command {
        "close" => return told(session.close()),
        "close-twice" => {
            session.close()?;
            probe.note(format_args!("second close {:?}", session.close()));
            return Ok(None);
        }
        "close-code" => return told(session.close_with(order.word().parse()?)),
        "close-text" => return told(session.close_with_text(4000, &order.others())),
        "close-now" => return told(session.close_now()),
        "close-then-now" => {
            session.close()?;
            probe.note(format_args!("forced close {:?}", session.close_now()));
            return Ok(None);
        }
        "push-then-close" => {
            let (count, size): (u32, usize) = (order.word().parse()?, order.word().parse()?);
            for _ in 0..count {
                // The way to the gateway may be full for a moment.
                while session.push(vec![b'c'; size]) == Err(SendError::Full) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            return told(session.close());
        }
        "end" => outcome(context.session(order.word().parse()?).close()),
        "end-twice-then-now" => {
            let other = context.session(order.word().parse()?);
            other.close()?;
            tokio::time::sleep(milliseconds(order.word())?).await;
            let second = other.close();
            format!("{second:?} {:?}", other.close_now())
        }
        _ => return Err("an unknown command".into()),
    }))
}
