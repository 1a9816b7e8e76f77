//! What the probe does when a session begins, as the query of its request tells it to.

use std::time::Duration;

use moorline::{Result, Session};

use super::Probe;

/// Does what the values of `open` in the query ask for, one after the other.
pub(super) async fn obey(probe: &Probe, session: &Session) -> Result {
    let Some(request) = session.request() else {
        return Ok(());
    };
    let orders = orders_in(request.query().unwrap_or_default());
    let group = |name: &str| probe.context.group(name);
    for order in orders {
        let (verb, rest) = order.split_once(':').unwrap_or((order, ""));
        match verb {
            "id" => {
                session
                    .send_event("", "id", session.id().to_string())
                    .await?
            }
            "text" => session.send_text(rest).await?,
            "lines" => session.send_event("1", "lines", "a\nb\r\nc").await?,
            "long" => {
                let data = "x".repeat(rest.parse()?);
                session.send_event("", "", data).await?;
            }
            "events" => {
                for at in 1..=rest.parse()? {
                    let at: u64 = at;
                    session
                        .send_event(at.to_string(), "tick", at.to_string())
                        .await?;
                }
            }
            "ticks" => {
                for at in 1..=rest.parse::<u64>()? {
                    session
                        .send_event(at.to_string(), "tick", at.to_string())
                        .await?;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            "route" => {
                let room = request.parameter("room").unwrap_or("none").to_owned();
                let said = format!("{} {room} {}", request.route(), request.path());
                session.send_event("", "route", said).await?;
            }
            "last" => {
                let last = request.last_event_id().unwrap_or("none".to_owned());
                session.send_event("", "last", last).await?;
            }
            "after" => {
                let last = request.last_event_id().unwrap_or_default();
                group(rest).join_after(session, last)?;
            }
            "group" => group(rest).join(session)?,
            "history" => group(rest).join_with_history(session)?,
            "close" => session.close()?,
            "wait" => tokio::time::sleep(Duration::from_millis(rest.parse()?)).await,
            "fail" => return Err("asked to fail in open".into()),
            "abort" => std::process::abort(),
            _ => return Err(format!("there is no order {verb:?}").into()),
        }
    }
    Ok(())
}

fn orders_in(query: &str) -> impl Iterator<Item = &str> {
    query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("open="))
}
