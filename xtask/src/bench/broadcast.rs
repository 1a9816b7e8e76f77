//! Messages to a group of 10,000, beside the same loop written by hand on tokio.
//!
//! `benches/broadcast.rs` is all of it: the app, the loop by hand and the load that compares them in turns.

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::report::median;
use super::{Result, number};

/// How many messages are delivered for a second of CPU time, and how long others wait meanwhile.
pub(super) struct Broadcast {
    members: f64,
    /// Of the engine and of the loop by hand.
    delivered: (f64, f64),
    longest_wait_ms: (f64, f64),
}

impl Broadcast {
    pub(super) fn measure(release: &Path, rounds: u8) -> Result<Self> {
        let output = Command::new(release.join("examples/broadcast"))
            .args(["compare", &rounds.to_string()])
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            return Err("broadcasts could not be measured".into());
        }
        let result: Value = serde_json::from_slice(&output.stdout)?;
        let medians = |key: &str| -> Result<(f64, f64)> {
            let of = |server| -> Result<f64> {
                let list = result[key][server].as_array().ok_or("a list of numbers")?;
                Ok(median(list.iter().filter_map(Value::as_f64)))
            };
            Ok((of("engine")?, of("plain")?))
        };
        Ok(Self {
            members: number(&result, "/members")?,
            delivered: medians("delivered_per_cpu_second")?,
            longest_wait_ms: medians("longest_wait_ms")?,
        })
    }

    pub(super) fn to_json(&self) -> Value {
        let (engine, plain) = self.delivered;
        let (engine_wait, plain_wait) = self.longest_wait_ms;
        json!({
            "members": self.members,
            "delivered_per_cpu_second": { "engine": engine, "plain": plain, "ratio": engine / plain },
            "longest_wait_ms": { "engine": engine_wait, "plain": plain_wait },
        })
    }
}

impl fmt::Display for Broadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((engine, plain), (wait, plain_wait)) = (self.delivered, self.longest_wait_ms);
        write!(
            f,
            "{}-member broadcast: {engine:.0} messages delivered per CPU second (by hand on tokio: {plain:.0}; ratio {:.2}); \
             others wait {wait:.1} ms at the most ({plain_wait:.1})",
            self.members,
            engine / plain
        )
    }
}
