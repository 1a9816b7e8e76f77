//! Echo over TLS, beside a plain server on tokio and rustls.
//!
//! `benches/src/bin/tls_echo.rs` is all of it: the plain server, and the load that compares both in turns.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::report::{Aim, Row, size};
use super::server::Placement;
use super::{CPU_UNIT, Result, number};

const AIM_TLS_CPU: Aim = Aim::Ratio(1.05);

/// Turns of each server with TLS for each round of the others: they are a tenth as long.
const ROUNDS: usize = 4;

/// CPU of echo over TLS.
pub(super) fn measure(release: &Path, rounds: u8) -> Result<Vec<Row>> {
    let rounds = ROUNDS * usize::from(rounds);
    eprintln!("TLS, {rounds} rounds");
    let output = Command::new(release.join("tls_echo"))
        .arg("compare")
        .arg(release.join("examples/echo"))
        .arg(rounds.to_string())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("TLS could not be measured".into());
    }
    let cases: Value = serde_json::from_slice(&output.stdout)?;
    let cases = cases.as_array().ok_or("a list of cases")?;
    let read = |case: &Value| {
        let numbers = |key: &str| -> Result<Vec<f64>> {
            let list = case[key].as_array().ok_or("a list of numbers")?;
            Ok(list.iter().filter_map(Value::as_f64).collect())
        };
        Ok(Row {
            what: format!(
                "TLS echo, {}, {} sessions, {}",
                size(number(case, "/message_bytes")? as u32),
                number(case, "/sessions")?,
                Placement::Together
            ),
            unit: CPU_UNIT.into(),
            engine: numbers("engine_us")?,
            other: numbers("plain_us")?,
            aim: Some(AIM_TLS_CPU),
        })
    };
    cases.iter().map(read).collect()
}
