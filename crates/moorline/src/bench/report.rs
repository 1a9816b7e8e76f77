//! The results, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::chart::{Bar, bars, draw};
use super::fault::Faults;
use super::schedule::{IN_TIME, PaceCounts};
use super::series::Intervals;
use super::server::{CpuSource, CpuTime};
use super::time::Time;
use super::{Mode, Plan};

/// The results at the end of a run: the same fields in both forms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) mode: String,
    pub(super) target: String,
    pub(super) framing: String,
    pub(super) connections: u32,
    pub(super) size_bytes: usize,
    /// The time measured, without opening and warm-up.
    pub(super) duration_s: f64,
    pub(super) is_interrupted: bool,
    pub(super) errors: ErrorSummary,
    #[serde(flatten)]
    pub(super) outcome: Shown,
}

/// The results of a run, with what is shown only in charts.
pub(super) struct Run {
    pub(super) report: Report,
    pub(super) intervals: Option<Intervals>,
    pub(super) latency: Option<Histogram<u64>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ErrorSummary {
    pub(super) total: u64,
    pub(super) by_kind: BTreeMap<String, u64>,
    pub(super) examples: Vec<String>,
}

/// The results of a mode.
pub(super) enum Outcome<'a> {
    Rates(Rates<'a>),
    Memory(Memory),
}

/// The results of `echo` and `connect`.
pub(super) struct Rates<'a> {
    pub(super) answers: u64,
    /// Nanoseconds.
    pub(super) latency: &'a Histogram<u64>,
    pub(super) server_spent: Option<CpuTime>,
    pub(super) load_spent: Duration,
    pub(super) paced: Option<PaceCounts>,
}

/// The results of `idle`.
pub(super) struct Memory {
    pub(super) sessions: u64,
    /// Private bytes of the server's process tree before and after.
    pub(super) bytes: Option<(u64, u64)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Shown {
    Rates(ShownRates),
    Memory(ShownMemory),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ShownRates {
    pub(super) requests: u64,
    pub(super) requests_per_second: f64,
    /// With `--rate` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pace: Option<Pace>,
    pub(super) server_cpu_us_per_request: Option<f64>,
    pub(super) server_cpu_source: Option<CpuSource>,
    pub(super) load_cpu_us_per_request: f64,
    pub(super) latency_us: Latency,
    pub(super) histogram: Vec<Bar>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ShownMemory {
    pub(super) sessions: u64,
    pub(super) server_private_bytes_before: Option<u64>,
    pub(super) server_private_bytes_after: Option<u64>,
    pub(super) server_bytes_per_session: Option<f64>,
}

/// How the rate was held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Pace {
    pub(super) requests_per_second: u32,
    pub(super) due: u64,
    pub(super) sent: u64,
    pub(super) late_for_answers: u64,
    pub(super) late_by_load: u64,
    pub(super) unsent: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Latency {
    pub(super) min: f64,
    pub(super) mean: f64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    #[serde(rename = "p99.9")]
    pub(super) p99_9: f64,
    pub(super) max: f64,
}

impl Report {
    pub(super) fn new(
        plan: &Plan,
        elapsed: Duration,
        is_interrupted: bool,
        faults: &Faults,
        outcome: Outcome<'_>,
    ) -> Self {
        Self {
            mode: match plan.mode {
                Mode::Echo => "echo",
                Mode::Connect => "connect",
                Mode::Idle => "idle",
            }
            .to_owned(),
            target: plan.target.to_string(),
            framing: plan.codec.name().to_owned(),
            connections: plan.connections,
            size_bytes: plan.size,
            duration_s: elapsed.as_secs_f64(),
            is_interrupted,
            errors: ErrorSummary {
                total: faults.total(),
                by_kind: faults
                    .counts()
                    .iter()
                    .map(|(kind, count)| ((*kind).to_owned(), *count))
                    .collect(),
                examples: faults.examples().to_vec(),
            },
            outcome: match outcome {
                Outcome::Rates(rates) => Shown::Rates(rates.into_shown(elapsed, plan.rate)),
                Outcome::Memory(memory) => Shown::Memory(memory.into_shown()),
            },
        }
    }

    /// Every answer came and was right, and there was one.
    pub(super) fn is_faultless(&self) -> bool {
        let found = match &self.outcome {
            Shown::Rates(rates) => rates.requests,
            Shown::Memory(memory) => memory.sessions,
        };
        self.errors.total == 0 && found > 0
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect(
            "names are strings and numbers are finite or null: nothing that JSON cannot hold",
        )
    }
}

impl Rates<'_> {
    fn into_shown(self, elapsed: Duration, rate: Option<u32>) -> ShownRates {
        // Without any answer, the time per answer is the total.
        let per_request = |spent: Duration| spent.as_secs_f64() * 1e6 / self.answers.max(1) as f64;
        ShownRates {
            requests: self.answers,
            requests_per_second: self.answers as f64 / elapsed.as_secs_f64(),
            pace: self.paced.zip(rate).map(|(counts, rate)| Pace {
                requests_per_second: rate,
                due: counts.due,
                sent: counts.sent,
                late_for_answers: counts.late_for_answers,
                late_by_load: counts.late_by_load,
                unsent: counts.unsent,
            }),
            server_cpu_us_per_request: self.server_spent.map(|time| per_request(time.spent)),
            server_cpu_source: self.server_spent.map(|time| time.source),
            load_cpu_us_per_request: per_request(self.load_spent),
            latency_us: Latency::of(self.latency),
            histogram: bars(self.latency),
        }
    }
}

impl Latency {
    fn of(latency: &Histogram<u64>) -> Self {
        let quantile = |q: f64| latency.value_at_quantile(q) as f64 / 1000.0;
        Self {
            min: latency.min() as f64 / 1000.0,
            mean: latency.mean() / 1000.0,
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p99_9: quantile(0.999),
            max: latency.max() as f64 / 1000.0,
        }
    }
}

impl Memory {
    fn into_shown(self) -> ShownMemory {
        ShownMemory {
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
            Shown::Rates(rates) => rates.fmt(f),
            Shown::Memory(memory) => memory.fmt(f),
        }
    }
}

impl fmt::Display for ShownRates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (requests, rate) = (self.requests, self.requests_per_second);
        writeln!(f, "  requests    {requests} ({rate:.0} req/s)")?;
        if let Some(pace) = &self.pace {
            pace.fmt(f)?;
        }
        match self.server_cpu_us_per_request {
            Some(spent) => writeln!(
                f,
                "  server CPU  {spent:.2} µs per request{}",
                match self.server_cpu_source {
                    Some(CpuSource::Ticks) => ", from ticks of 10 ms",
                    _ => "",
                }
            )?,
            None => writeln!(f, "  server CPU  {UNKNOWN}")?,
        }
        let load = self.load_cpu_us_per_request;
        writeln!(f, "  load CPU    {load:.2} µs per request")?;
        writeln!(f, "  latency     {}\n", self.latency_us)?;
        draw(&self.histogram, f)
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rate, due, sent) = (self.requests_per_second, self.due, self.sent);
        writeln!(f, "  rate        {rate} req/s: {due} due, {sent} sent")?;
        for (count, what) in self.troubles() {
            writeln!(f, "              {count} {what}")?;
        }
        Ok(())
    }
}

impl Pace {
    /// What did not go by the clock: how many requests, and in which way.
    pub(super) fn troubles(&self) -> impl Iterator<Item = (u64, String)> {
        let in_time = IN_TIME.as_millis();
        let late = format!("sent over {in_time} ms after they were due");
        [
            (
                self.late_for_answers,
                format!("{late}, as their connections awaited answers"),
            ),
            (
                self.late_by_load,
                format!("{late}, as the load generator had no time: give it a CPU (--cpu) or a lower rate"),
            ),
            (
                self.unsent,
                "due and never sent; they count with the time that they waited".to_owned(),
            ),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
    }
}

impl fmt::Display for ShownMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  sessions    {}", self.sessions)?;
        match (
            self.server_private_bytes_before,
            self.server_private_bytes_after,
            self.server_bytes_per_session,
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
