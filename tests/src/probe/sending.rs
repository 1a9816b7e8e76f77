//! Commands that send to other sessions, or much to peers that do not read it.

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::time::{Duration, Instant};

use moorline::{Result, SendError, Session};

use super::answers::{milliseconds, outcome};
use super::order::Order;

/// The commands about this.
pub(super) const COMMANDS: &[&str] = &[
    "big",
    "spray",
    "flood",
    "pour",
    "poured",
    "fill",
    "cram",
    "filled",
    "fill-other",
    "tell-or-fail",
    "tell",
    "count-to",
    "end-other",
    "tell-until-refused",
];

/// An error of the app's own, with a cause.
#[derive(Debug)]
struct Wrapped(SendError);

impl Display for Wrapped {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("the other one cannot be told")
    }
}

impl Error for Wrapped {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

/// Carries out one of them.
#[expect(clippy::too_many_lines, reason = "one arm for each command")]
pub(super) async fn obey(order: &mut Order<'_>) -> Result<Option<String>> {
    let Order {
        probe,
        session,
        context,
        ..
    } = *order;
    Ok(Some(match order.command {
        "tell" => {
            let other = context.session(order.word().parse()?);
            outcome(other.send(order.others()).await)
        }
        "count-to" => {
            let other = context.session(order.word().parse()?);
            let mut refused = 0;
            for number in 1..=order.word().parse::<u32>()? {
                refused += u32::from(other.send(number.to_string()).await.is_err());
            }
            format!("refused {refused}")
        }
        "end-other" => {
            let other = context.session(order.word().parse()?);
            format!("{:?}", other.close())
        }
        "tell-until-refused" => {
            let other = context.session(order.word().parse()?);
            loop {
                if let Err(error) = other.send("are you there").await {
                    break format!("{error:?}");
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        "big" => {
            session.send(vec![b'b'; order.word().parse()?]).await?;
            return Ok(None);
        }
        "spray" => {
            let other = context.session(order.word().parse()?);
            let (count, size): (u32, usize) = (order.word().parse()?, order.word().parse()?);
            let message = vec![order.word().as_bytes().first().copied().unwrap_or(b's'); size];
            for _ in 0..count {
                other.send(&message).await?;
            }
            "sprayed".to_owned()
        }
        "flood" => {
            // Without end: only the session's own does.
            let chunk = vec![b'f'; 16 * 1024];
            loop {
                match session.push(&chunk) {
                    Ok(()) => tokio::task::yield_now().await,
                    Err(SendError::Full) => tokio::time::sleep(Duration::from_millis(1)).await,
                    Err(_) => return Ok(None),
                }
            }
        }
        "pour" => {
            let (count, chunk) = (order.word().parse::<u64>()?, vec![b'p'; 16 * 1024]);
            for number in 1..=count {
                session.send(&chunk).await?;
                probe.poured.set(number);
            }
            return Ok(None);
        }
        "poured" => probe.poured.get().to_string(),
        "fill" => {
            let chunk = vec![b'f'; 16 * 1024];
            probe.filled.set(0);
            loop {
                match session.try_send(&chunk) {
                    Ok(()) => {
                        probe.filled.set(probe.filled.get() + 1);
                        tokio::task::yield_now().await;
                    }
                    // The way to the gateway may be full for a moment; the watermark is what is meant.
                    Err(SendError::Full) if !session.is_full() => tokio::task::yield_now().await,
                    Err(error) => {
                        probe.note(format_args!("refused {} {error:?}", session.id()));
                        return Ok(None);
                    }
                }
            }
        }
        "cram" => {
            probe.note(format_args!("crams {}", session.id()));
            let count = cram(session, milliseconds(order.word())?);
            probe.note(format_args!("crammed {} {count}", session.id()));
            return Ok(None);
        }
        "fill-other" => {
            let other = context.session(order.word().parse()?);
            let mut count = 0;
            loop {
                match other.try_send("more") {
                    Ok(()) => count += 1,
                    Err(error) => break format!("{count} {error:?}"),
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        "tell-or-fail" => {
            let other = context.session(order.word().parse()?);
            loop {
                let Err(error) = other.send("are you there").await else {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                };
                return Err(match order.word() {
                    "wrapped" => Box::new(Wrapped(error)),
                    "inside" => std::io::Error::other(error).into(),
                    _ => error.into(),
                });
            }
        }
        "filled" => probe.filled.get().to_string(),
        _ => return Err("no such command".into()),
    }))
}

/// Sends what there is room for within this time, and never awaits. Returns how many messages went.
fn cram(session: &Session, time: Duration) -> u64 {
    let until = Instant::now() + time;
    let (chunk, mut count) = (vec![b'c'; 16 * 1024], 0);
    while Instant::now() < until {
        match session.try_send(&chunk) {
            Ok(()) => count += 1,
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    count
}
