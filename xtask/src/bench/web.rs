//! HTTP, compressed WebSocket messages, groups and their histories, and sessions at rest.
//!
//! The programs of `benches/src/bin` with these names are all of it: the engine's apps, the servers beside it and the load.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::report::{Aim, Row};
use super::{BenchArgs, CPU_UNIT, Result};

/// Sessions at rest: as many as a process may have open files by a common hard limit.
const RESTING: &str = "19000";
/// Two pings of each.
const RESTING_SECONDS: &str = "50";

/// Compressed echo, beside uWebSockets or, without it, beside plain messages.
pub(super) fn deflate(release: &Path, args: &BenchArgs) -> Result<Vec<Row>> {
    let mut command = Command::new(release.join("deflate"));
    command.args(["compare", &args.rounds.to_string()]);
    command.args(&args.uwebsockets);
    let has_peer = args.uwebsockets.is_some();
    rows(command, |what, unit| match unit {
        CPU_UNIT if has_peer => Some(Aim::Ratio(1.1)),
        "private bytes" if what.contains("no context") => Some(Aim::AtMost(1.2 * 1024.0)),
        _ => None,
    })
}

/// Plain requests to the app, beside axum.
pub(super) fn requests(release: &Path, args: &BenchArgs) -> Result<Vec<Row>> {
    let mut command = Command::new(release.join("requests"));
    command.args(["compare", &args.rounds.to_string()]);
    rows(command, |_, _| None)
}

/// What is published to groups, what their histories cost, and clients that come back all at once.
pub(super) fn publish(release: &Path, args: &BenchArgs) -> Result<Vec<Row>> {
    let mut command = Command::new(release.join("publish"));
    command.args(["compare", &args.rounds.to_string()]);
    rows(command, |what, unit| match unit {
        "CPU µs / delivery" if what.ends_with("to axum") => Some(Aim::Ratio(1.0)),
        "CPU µs / delivery" => Some(Aim::Ratio(1.05)),
        "p99 wait beside ms" => Some(Aim::AtMost(20.0)),
        _ => None,
    })
}

/// Sessions that only answer pings, beside others that are sent none.
pub(super) fn rest(release: &Path) -> Result<Vec<Row>> {
    let mut command = Command::new(release.join("rest"));
    command.args(["compare", RESTING, RESTING_SECONDS]);
    rows(command, |_, _| Some(Aim::AtMost(5.0)))
}

/// A fifth of a million sessions at rest, a reload of each engine that has some, and what the kernel takes for them.
pub(super) fn million(release: &Path) -> Result<Vec<Row>> {
    let mut command = Command::new(release.join("million"));
    command.args(["measure", "200000", RESTING_SECONDS]);
    rows(command, |what, unit| match unit {
        "private bytes" => Some(Aim::AtMost(1.2 * 1024.0)),
        "bytes" => Some(Aim::AtMost(5120.0)),
        "% of a core" => Some(Aim::AtMost(20.0)),
        _ if what.contains("ended") => Some(Aim::AtMost(0.0)),
        _ => None,
    })
}

/// What such a program has measured, with an aim for what and unit.
pub(super) fn rows(
    mut command: Command,
    aim: impl Fn(&str, &str) -> Option<Aim>,
) -> Result<Vec<Row>> {
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{command:?} has failed").into());
    }
    let figures: Value = serde_json::from_slice(&output.stdout)?;
    let figures = figures.as_array().ok_or("a list of figures")?;
    let read = |it: &Value| {
        let text = |key: &str| it[key].as_str().map(str::to_owned).ok_or("a text");
        let numbers = |key: &str| -> Result<Vec<f64>> {
            let list = it[key].as_array().ok_or("a list of numbers")?;
            Ok(list.iter().filter_map(Value::as_f64).collect())
        };
        let (what, unit) = (text("what")?, text("unit")?);
        Ok(Row {
            aim: aim(&what, &unit),
            what,
            unit: unit.into(),
            engine: numbers("engine")?,
            other: numbers("other")?,
        })
    };
    figures.iter().map(read).collect()
}
