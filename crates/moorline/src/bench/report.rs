//! The results, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::chart::{Bar, bars, draw};
use super::fault::Faults;
use super::server::{CpuSource, CpuTime};
use super::time::Time;
use super::{Mode, Plan};

/// The results at the end of a run: the same fields in both forms.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    mode: &'static str,
    target: String,
    framing: &'static str,
    connections: u32,
    size_bytes: usize,
    /// The time measured, without opening and warm-up.
    duration_s: f64,
    is_interrupted: bool,
    errors: ErrorSummary,
    #[serde(flatten)]
    outcome: Shown,
}

#[derive(Debug, Serialize)]
struct ErrorSummary {
    total: u64,
    by_kind: BTreeMap<&'static str, u64>,
    examples: Vec<String>,
}

/// The results of a mode.
pub(super) enum Outcome {
    Rates(Rates),
    Memory(Memory),
}

/// The results of `echo` and `connect`.
pub(super) struct Rates {
    pub(super) answers: u64,
    /// Nanoseconds.
    pub(super) latency: Histogram<u64>,
    pub(super) server_spent: Option<CpuTime>,
    pub(super) load_spent: Duration,
}

/// The results of `idle`.
pub(super) struct Memory {
    pub(super) sessions: u64,
    /// Private bytes of the server's process tree before and after.
    pub(super) bytes: Option<(u64, u64)>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Shown {
    Rates {
        requests: u64,
        requests_per_second: f64,
        server_cpu_us_per_request: Option<f64>,
        server_cpu_source: Option<CpuSource>,
        load_cpu_us_per_request: f64,
        latency_us: Latency,
        histogram: Vec<Bar>,
    },
    Memory {
        sessions: u64,
        server_private_bytes_before: Option<u64>,
        server_private_bytes_after: Option<u64>,
        server_bytes_per_session: Option<f64>,
    },
}

#[derive(Debug, Serialize)]
struct Latency {
    min: f64,
    mean: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    #[serde(rename = "p99.9")]
    p99_9: f64,
    max: f64,
}

impl Report {
    pub(super) fn new(
        plan: &Plan,
        elapsed: Duration,
        is_interrupted: bool,
        faults: &Faults,
        outcome: Outcome,
    ) -> Self {
        Self {
            mode: match plan.mode {
                Mode::Echo => "echo",
                Mode::Connect => "connect",
                Mode::Idle => "idle",
            },
            target: plan.target.to_string(),
            framing: plan.codec.name(),
            connections: plan.connections,
            size_bytes: plan.size,
            duration_s: elapsed.as_secs_f64(),
            is_interrupted,
            errors: ErrorSummary {
                total: faults.total(),
                by_kind: faults.counts().clone(),
                examples: faults.examples().to_vec(),
            },
            outcome: match outcome {
                Outcome::Rates(rates) => rates.into_shown(elapsed),
                Outcome::Memory(memory) => memory.into_shown(),
            },
        }
    }

    /// Every answer came and was right, and there was one.
    pub(super) fn is_faultless(&self) -> bool {
        let found = match self.outcome {
            Shown::Rates { requests, .. } => requests,
            Shown::Memory { sessions, .. } => sessions,
        };
        self.errors.total == 0 && found > 0
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect(
            "names are strings and numbers are finite or null: nothing that JSON cannot hold",
        )
    }
}

impl Rates {
    fn into_shown(self, elapsed: Duration) -> Shown {
        // Without any answer, the time per answer is the total.
        let per_request = |spent: Duration| spent.as_secs_f64() * 1e6 / self.answers.max(1) as f64;
        let quantile = |q: f64| self.latency.value_at_quantile(q) as f64 / 1000.0;
        Shown::Rates {
            requests: self.answers,
            requests_per_second: self.answers as f64 / elapsed.as_secs_f64(),
            server_cpu_us_per_request: self.server_spent.map(|time| per_request(time.spent)),
            server_cpu_source: self.server_spent.map(|time| time.source),
            load_cpu_us_per_request: per_request(self.load_spent),
            latency_us: Latency {
                min: self.latency.min() as f64 / 1000.0,
                mean: self.latency.mean() / 1000.0,
                p50: quantile(0.5),
                p90: quantile(0.9),
                p99: quantile(0.99),
                p99_9: quantile(0.999),
                max: self.latency.max() as f64 / 1000.0,
            },
            histogram: bars(&self.latency),
        }
    }
}

impl Memory {
    fn into_shown(self) -> Shown {
        Shown::Memory {
            sessions: self.sessions,
            server_private_bytes_before: self.bytes.map(|(before, _)| before),
            server_private_bytes_after: self.bytes.map(|(_, after)| after),
            server_bytes_per_session: self.bytes.map(|(before, after)| {
                (after as f64 - before as f64) / self.sessions.max(1) as f64
            }),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} {} ({}): {} connections, {}-byte messages, {:.1} s{}\n",
            self.mode,
            self.target,
            self.framing,
            self.connections,
            self.size_bytes,
            self.duration_s,
            if self.is_interrupted {
                ", interrupted"
            } else {
                ""
            },
        )?;
        self.outcome.fmt(f)?;
        self.errors.fmt(f)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shown::Rates {
                requests,
                requests_per_second,
                server_cpu_us_per_request,
                server_cpu_source,
                load_cpu_us_per_request,
                latency_us,
                histogram,
            } => {
                writeln!(
                    f,
                    "  requests    {requests} ({requests_per_second:.0} req/s)"
                )?;
                match server_cpu_us_per_request {
                    Some(spent) => writeln!(
                        f,
                        "  server CPU  {spent:.2} µs per request{}",
                        match server_cpu_source {
                            Some(CpuSource::Ticks) => ", from ticks of 10 ms",
                            _ => "",
                        }
                    )?,
                    None => writeln!(f, "  server CPU  {UNKNOWN}")?,
                }
                writeln!(
                    f,
                    "  load CPU    {load_cpu_us_per_request:.2} µs per request"
                )?;
                writeln!(f, "  latency     {latency_us}\n")?;
                draw(histogram, f)
            }
            Shown::Memory {
                sessions,
                server_private_bytes_before,
                server_private_bytes_after,
                server_bytes_per_session,
            } => {
                writeln!(f, "  sessions    {sessions}")?;
                match (
                    server_private_bytes_before,
                    server_private_bytes_after,
                    server_bytes_per_session,
                ) {
                    (Some(before), Some(after), Some(each)) => writeln!(
                        f,
                        "  memory      {} KiB before, {} KiB with them: {each:.0} bytes per session",
                        before / 1024,
                        after / 1024
                    ),
                    _ => writeln!(f, "  memory      {UNKNOWN}"),
                }
            }
        }
    }
}

/// Why there is no figure of the server.
const UNKNOWN: &str = "unknown; name the server with --pid, --config or --run-dir";

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {} · p90 {} · p99 {} · p99.9 {} · max {}",
            Time(self.p50),
            Time(self.p90),
            Time(self.p99),
            Time(self.p99_9),
            Time(self.max)
        )
    }
}

impl fmt::Display for ErrorSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.total == 0 {
            return Ok(());
        }
        write!(f, "\n  {} errors:", self.total)?;
        for (place, (kind, count)) in self.by_kind.iter().enumerate() {
            write!(f, "{} {count} {kind}", if place == 0 { "" } else { "," })?;
        }
        writeln!(f)?;
        for example in &self.examples {
            writeln!(f, "    {example}")?;
        }
        Ok(())
    }
}
