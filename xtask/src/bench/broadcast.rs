//! Messages to a group of 10,000, beside the same loop written by hand on tokio.
//!
//! `benches/src/bin/broadcast.rs` is all of it: the app, the loop by hand and the load that compares them in turns.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Result;
use super::number;
use super::report::{Aim, Row};

/// The time for which a broadcast may keep the other sessions of its loop waiting.
const LONGEST_WAIT_MS: f64 = 5.0;

/// How many messages are delivered for a second of CPU time, and how long others wait meanwhile.
pub(super) fn measure(release: &Path, rounds: u8) -> Result<Vec<Row>> {
    let output = Command::new(release.join("broadcast"))
        .args(["compare", &rounds.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("broadcasts could not be measured".into());
    }
    let result: Value = serde_json::from_slice(&output.stdout)?;
    let numbers = |key: &str, server: &str| -> Result<Vec<f64>> {
        let list = result[key][server].as_array().ok_or("a list of numbers")?;
        Ok(list.iter().filter_map(Value::as_f64).collect())
    };
    let row = |what: &str, unit: &'static str, key: &str, aim| -> Result<Row> {
        Ok(Row {
            what: format!("{what}, {} members", number(&result, "/members")?),
            unit: unit.into(),
            engine: numbers(key, "engine")?,
            other: numbers(key, "plain")?,
            aim: Some(aim),
        })
    };
    Ok(vec![
        row(
            "broadcast",
            "delivered / CPU s",
            "delivered_per_cpu_second",
            Aim::LeastRatio(1.0),
        )?,
        row(
            "others' longest wait",
            "ms",
            "longest_wait_ms",
            Aim::AtMost(LONGEST_WAIT_MS),
        )?,
    ])
}
