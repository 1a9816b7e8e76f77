//! The answers of the probe's commands.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use moorline::{Context, Result, SendError};

/// Counts three ticks of a timer.
pub(super) async fn every(context: &Context, period: Duration) -> Vec<u8> {
    let (ticks, three) = (Rc::new(Cell::new(0)), Rc::new(tokio::sync::Notify::new()));
    let (counted, told) = (ticks.clone(), three.clone());
    let _timer = context.every(period, move |_| {
        let (counted, told) = (counted.clone(), told.clone());
        async move {
            counted.set(counted.get() + 1);
            if counted.get() == 3 {
                told.notify_one();
            }
        }
    });
    three.notified().await;
    format!("{} ticks", ticks.get()).into_bytes()
}

/// The outcome of a task.
pub(super) fn told_by(result: std::result::Result<Vec<u8>, moorline::TaskError>) -> Result<String> {
    match result {
        Ok(result) => Ok(String::from_utf8(result)?),
        Err(error) => Ok(format!("{error:?}")),
    }
}

/// The description of a session.
pub(super) fn told_of(
    info: std::result::Result<moorline::SessionInfo, moorline::AskError>,
) -> String {
    match info {
        Ok(info) => describe(&info),
        Err(error) => format!("{error:?}"),
    }
}

/// What of a session does not change from run to run.
pub(super) fn describe(info: &moorline::SessionInfo) -> String {
    format!(
        "{} {} worker {} key {:?} messages {} received {} paused {} kept {} tls {}",
        info.listener,
        info.peer,
        info.worker,
        String::from_utf8_lossy(&info.key),
        info.messages,
        info.received,
        info.paused,
        info.idle_exempt,
        info.tls.as_ref().map_or("none", |tls| &tls.version),
    )
}

/// When a session was accepted, last received from and last sent to, in milliseconds of the Unix epoch.
pub(super) fn times(info: &moorline::SessionInfo) -> String {
    let times = [info.connected_at, info.received_at, info.sent_at];
    let times = times.map(|time| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        since.unwrap_or_default().as_millis().to_string()
    });
    times.join(" ")
}

/// All sessions as `context.sessions()` tells them, a line each, in order of their ids.
pub(super) async fn list(context: &Context) -> Result<String> {
    let (mut sessions, mut infos) = (context.sessions(), Vec::new());
    while let Some(info) = sessions.next().await {
        infos.push(info?);
    }
    infos.sort_by_key(|info| info.id);
    let lines: Vec<String> = infos
        .iter()
        .map(|info| format!("{} {}", info.id, describe(info)))
        .collect();
    Ok(lines.join("\n"))
}

pub(super) fn milliseconds(word: &str) -> Result<Duration> {
    Ok(Duration::from_millis(word.parse()?))
}

/// A command that ends its own session answers only if it could not.
pub(super) fn told(result: std::result::Result<(), SendError>) -> Result<Option<String>> {
    Ok(result.err().map(|error| format!("{error:?}")))
}

pub(super) fn outcome(result: std::result::Result<(), SendError>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}
