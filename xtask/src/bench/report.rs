//! What was measured, and how it is shown.

use std::fmt;

use serde_json::{Value, json};

use super::broadcast::Broadcast;
use super::{IDLE_SESSIONS, MESSAGE_BYTES, Placement, Result, number};

/// What one run measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) cpu_us: f64,
    pub(super) latency_us: f64,
}

impl Sample {
    pub(super) fn read(result: &Value) -> Result<Self> {
        Ok(Self {
            cpu_us: number(result, "/server_cpu_us_per_request")?,
            latency_us: number(result, "/latency_us/p50")?,
        })
    }
}

/// All rounds of both servers with one number of sessions.
pub(super) struct Comparison {
    pub(super) placement: Placement,
    pub(super) sessions: u32,
    pub(super) engine: Vec<Sample>,
    pub(super) plain: Vec<Sample>,
}

impl Comparison {
    pub(super) fn new(placement: Placement, sessions: u32) -> Self {
        Self {
            placement,
            sessions,
            engine: Vec::new(),
            plain: Vec::new(),
        }
    }

    /// Medians of engine and plain server.
    fn medians(&self, field: impl Fn(&Sample) -> f64) -> (f64, f64) {
        (
            median(self.engine.iter().map(&field)),
            median(self.plain.iter().map(&field)),
        )
    }
}

pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

/// All turns of both servers with one number of sessions and one size of messages, over TLS.
pub(super) struct TlsComparison {
    pub(super) sessions: f64,
    pub(super) message_bytes: f64,
    pub(super) engine_us: Vec<f64>,
    pub(super) plain_us: Vec<f64>,
}

impl TlsComparison {
    pub(super) fn read(case: &Value) -> Result<Self> {
        let numbers = |key: &str| -> Result<Vec<f64>> {
            let list = case[key].as_array().ok_or("a list of numbers")?;
            Ok(list.iter().filter_map(Value::as_f64).collect())
        };
        Ok(Self {
            sessions: number(case, "/sessions")?,
            message_bytes: number(case, "/message_bytes")?,
            engine_us: numbers("engine_us")?,
            plain_us: numbers("plain_us")?,
        })
    }

    /// Medians of engine and plain server.
    fn medians(&self) -> (f64, f64) {
        let (engine, plain) = (self.engine_us.iter(), self.plain_us.iter());
        (median(engine.copied()), median(plain.copied()))
    }
}

/// Everything measured.
#[derive(Default)]
pub(super) struct Report {
    /// What was measured.
    pub(super) commit: String,
    pub(super) comparisons: Vec<Comparison>,
    pub(super) tls: Vec<TlsComparison>,
    pub(super) broadcast: Option<Broadcast>,
    /// Of the engine and of the plain server.
    pub(super) idle_bytes: Option<(f64, f64)>,
}

impl Report {
    pub(super) fn to_json(&self) -> Value {
        let comparisons: Vec<Value> = self
            .comparisons
            .iter()
            .map(|comparison| {
                let cpu = comparison.medians(|sample| sample.cpu_us);
                let latency = comparison.medians(|sample| sample.latency_us);
                json!({
                    "placement": comparison.placement.to_string(),
                    "sessions": comparison.sessions,
                    "rounds": comparison.engine.len(),
                    "cpu_us_per_request": { "engine": cpu.0, "plain": cpu.1, "ratio": cpu.0 / cpu.1 },
                    "latency_p50_us": { "engine": latency.0, "plain": latency.1, "ratio": latency.0 / latency.1 },
                })
            })
            .collect();
        let tls: Vec<Value> = self
            .tls
            .iter()
            .map(|comparison| {
                let (engine, plain) = comparison.medians();
                json!({
                    "sessions": comparison.sessions,
                    "message_bytes": comparison.message_bytes,
                    "rounds": comparison.engine_us.len(),
                    "cpu_us_per_message": { "engine": engine, "plain": plain, "ratio": engine / plain },
                })
            })
            .collect();
        let idle = self.idle_bytes.map(|(engine, plain)| {
            json!({
                "sessions": IDLE_SESSIONS,
                "bytes_per_session": { "engine": engine, "plain": plain },
            })
        });
        json!({
            "commit": self.commit,
            "message_bytes": MESSAGE_BYTES,
            "comparisons": comparisons,
            "tls": tls,
            "broadcast": self.broadcast.as_ref().map(Broadcast::to_json),
            "idle": idle,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "at commit {}\n", self.commit)?;
        if !self.comparisons.is_empty() {
            self.fmt_plain(f)?;
        }
        if !self.tls.is_empty() {
            self.fmt_tls(f)?;
        }
        if let Some(broadcast) = &self.broadcast {
            writeln!(f, "\n{broadcast}")?;
        }
        if let Some((engine, plain)) = self.idle_bytes {
            writeln!(
                f,
                "\n{IDLE_SESSIONS} idle sessions: {engine:.0} bytes of private memory each (plain: {plain:.0})"
            )?;
        }
        Ok(())
    }
}

impl Report {
    fn fmt_tls(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nTLS echo: CPU per message against plain tokio + rustls, one CPU, medians\n\n\
             {:<10}{:>8}  {:>30}",
            "sessions", "bytes", "CPU µs per message"
        )?;
        writeln!(
            f,
            "{:<18}  {:>10}{:>10}{:>10}",
            "", "engine", "plain", "ratio"
        )?;
        for comparison in &self.tls {
            let (engine, plain) = comparison.medians();
            writeln!(
                f,
                "{:<10}{:>8}  {engine:>10.2}{plain:>10.2}{:>10.2}",
                comparison.sessions,
                comparison.message_bytes,
                engine / plain
            )?;
        }
        Ok(())
    }

    fn fmt_plain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{MESSAGE_BYTES}-byte messages, medians; engine is gateway and worker, plain a single process\n"
        )?;
        writeln!(
            f,
            "{:<10}{:>8}  {:>30}  {:>30}",
            "engine on", "sessions", "CPU µs per request", "p50 latency µs"
        )?;
        writeln!(
            f,
            "{:<18}  {:>10}{:>10}{:>10}  {:>10}{:>10}{:>10}",
            "", "engine", "plain", "ratio", "engine", "plain", "ratio"
        )?;
        for comparison in &self.comparisons {
            let (engine_cpu, plain_cpu) = comparison.medians(|sample| sample.cpu_us);
            let (engine_latency, plain_latency) = comparison.medians(|sample| sample.latency_us);
            writeln!(
                f,
                "{:<10}{:>8}  {engine_cpu:>10.2}{plain_cpu:>10.2}{:>10.2}  {engine_latency:>10.1}{plain_latency:>10.1}{:>10.2}",
                comparison.placement,
                comparison.sessions,
                engine_cpu / plain_cpu,
                engine_latency / plain_latency,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
    }
}
