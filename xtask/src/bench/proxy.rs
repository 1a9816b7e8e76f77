//! Relays, beside Debian's nginx with one worker and HAProxy with one thread.
//!
//! `benches/src/bin/proxy` is all of it: the proxies, the peer behind them, and the load that compares them in turns.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Result;
use super::comparison::{Comparison, Comparisons, Reference};
use super::report::Aim;

const ENGINE: &str = "engine";
const OTHERS: [&str; 2] = ["nginx", "haproxy"];

/// What each row should be, by the beginning of its name.
const AIMS: [(&str, Aim); 10] = [
    ("relay, 128 B", Aim::Ratio(0.95)),
    ("relay, 16 KiB", Aim::Ratio(0.8)),
    ("relay, 64 KiB", Aim::Ratio(0.5)),
    ("relay, 1 MiB", Aim::Ratio(0.5)),
    ("relay, connect", Aim::Ratio(0.95)),
    ("relay, TLS handshake", Aim::Ratio(1.0)),
    ("relay, TLS", Aim::Ratio(1.0)),
    ("relay, UDP", Aim::Ratio(1.0)),
    ("relay, an idle session, plain", Aim::AtMost(1.5 * 1024.0)),
    ("relay, an idle session, TLS", Aim::AtMost(6.0 * 1024.0)),
];

/// CPU time of a request, and memory of an idle session.
pub(super) fn measure(release: &Path, rounds: u8) -> Result<Comparisons> {
    let output = Command::new(release.join("proxy"))
        .arg("compare")
        .arg(release.join("moorline"))
        .arg(rounds.to_string())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("relays could not be measured".into());
    }
    let measured: Value = serde_json::from_slice(&output.stdout)?;
    let rows = measured["rows"].as_array().ok_or("a list of rows")?;
    let absent = measured["absent"].as_array().ok_or("a list of programs")?;
    let absent = absent.iter().filter_map(Value::as_str).map(str::to_owned);
    Ok(Comparisons {
        names: OTHERS.into(),
        rows: rows.iter().map(row).collect::<Result<_>>()?,
        absent: absent.collect(),
    })
}

fn row(measured: &Value) -> Result<Comparison> {
    let text = |key: &str| measured[key].as_str().map(str::to_owned).ok_or("a text");
    let numbers = |program: &str| {
        let list = measured["figures"][program].as_array();
        let list = list.into_iter().flatten();
        list.filter_map(Value::as_f64).collect::<Vec<f64>>()
    };
    let (what, unit) = (text("what")?, text("unit")?);
    let aim = AIMS.iter().find(|(name, _)| what.starts_with(name));
    // What ending TLS costs is promised beside nginx.
    let is_to_first = what.contains("TLS") && unit == super::CPU_UNIT;
    Ok(Comparison {
        what: match is_to_first {
            true => format!("{what}, to {}", OTHERS[0]),
            false => what,
        },
        unit,
        engine: numbers(ENGINE),
        others: OTHERS.map(numbers).into(),
        aim: aim.map(|(_, aim)| *aim),
        to: match is_to_first {
            true => Reference::First,
            false => Reference::Best,
        },
    })
}
