//! Many dials, one after the other, summed up.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use moorline_net::dial::{Outcome, StepKind};
use moorline_net::{Address, ConnectCause, Dialer, Timeline};
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{DialFailure, json, makes_no_sense, print};
use crate::bench::Time;

/// The results of many dials.
#[derive(Debug)]
pub(super) struct Summary {
    address: String,
    connected: u64,
    failed: u64,
    /// How often each failure was; the same words are the same failure.
    causes: BTreeMap<String, u64>,
    /// Times of the dials that connected.
    total: Times,
    /// Times of the successful steps, in the order of a dial.
    steps: [(StepKind, Times); 4],
}

/// The most kinds of failure that are kept apart: their words may name something different each time.
const MOST_CAUSES: usize = 16;

impl Summary {
    /// Dials `count` times, or until Ctrl-C. Connections are closed at once.
    ///
    /// # Errors
    /// The first dial shows that the arguments make no sense.
    pub(super) async fn gather(
        dialer: &Dialer,
        address: &Address,
        count: u32,
    ) -> Result<Self, DialFailure> {
        let mut summary = Self {
            address: address.to_string(),
            connected: 0,
            failed: 0,
            causes: BTreeMap::new(),
            total: Times::default(),
            steps: [
                StepKind::Resolve,
                StepKind::Connect,
                StepKind::Proxy,
                StepKind::Tls,
            ]
            .map(|kind| (kind, Times::default())),
        };
        let mut interrupt = signal(SignalKind::interrupt())
            .map_err(|error| DialFailure::Failed(format!("cannot listen for Ctrl-C: {error}")))?;
        for _ in 0..count {
            let Some(dialed) = unless(&mut interrupt, dialer.connect(address)).await else {
                break;
            };
            match dialed {
                Ok(connection) => summary.add_connected(connection.timeline()),
                Err(error) if makes_no_sense(error.cause()) => return Err(error.into()),
                Err(error) => summary.add_failed(error.cause()),
            }
        }
        Ok(summary)
    }

    fn add_connected(&mut self, timeline: &Timeline) {
        self.connected += 1;
        self.total.add(timeline.total());
        for step in timeline.steps() {
            if step.outcome == Outcome::Done {
                let times = self.steps.iter_mut().find(|(kind, _)| *kind == step.kind);
                if let Some((_, times)) = times {
                    times.add(step.took);
                }
            }
        }
    }

    fn add_failed(&mut self, cause: &ConnectCause) {
        self.failed += 1;
        let mut words = cause.to_string();
        if self.causes.len() == MOST_CAUSES && !self.causes.contains_key(&words) {
            words = "others".to_owned();
        }
        *self.causes.entry(words).or_default() += 1;
    }

    /// Prints it.
    ///
    /// # Errors
    /// A dial failed, or there was none.
    pub(super) fn print(&self, as_json: bool) -> Result<(), DialFailure> {
        if as_json {
            print(&(json(self) + "\n"))?;
        } else {
            print(&self.to_string())?;
        }
        if self.connected == 0 && self.failed == 0 {
            let address = &self.address;
            return Err(DialFailure::Failed(format!(
                "stopped before a dial to {address} ended"
            )));
        }
        if self.failed > 0 {
            let dials = self.connected + self.failed;
            return Err(DialFailure::Failed(format!(
                "{} of {dials} dials to {} failed",
                self.failed, self.address
            )));
        }
        Ok(())
    }
}

/// The result of `work`, unless Ctrl-C is pressed.
async fn unless<T>(interrupt: &mut Signal, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        _ = interrupt.recv() => None,
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            connected,
            failed,
            ..
        } = self;
        writeln!(f, "{address}: {connected} connected, {failed} failed")?;
        if *connected > 0 {
            write!(f, "  {:<8}", "")?;
            for column in ["min", "p50", "p90", "p99", "max"] {
                write!(f, "{column:>10}")?;
            }
            writeln!(f)?;
        }
        let steps = self
            .steps
            .iter()
            .map(|(kind, times)| (kind.as_str(), times));
        for (name, times) in steps.chain([("total", &self.total)]) {
            if !times.0.is_empty() {
                write!(f, "  {name:<8}")?;
                let Quantiles {
                    min,
                    p50,
                    p90,
                    p99,
                    max,
                } = times.quantiles();
                for milliseconds in [min, p50, p90, p99, max] {
                    write!(f, "{:>10}", Time(milliseconds * 1e3))?;
                }
                writeln!(f)?;
            }
        }
        for (cause, count) in &self.causes {
            writeln!(f, "  {count} × {cause}")?;
        }
        Ok(())
    }
}

impl Serialize for Summary {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            address: &'a str,
            dials: u64,
            connected: u64,
            failed: u64,
            total_ms: Option<Quantiles>,
            steps: BTreeMap<&'static str, Quantiles>,
            causes: &'a BTreeMap<String, u64>,
        }
        let shown = |times: &Times| (!times.0.is_empty()).then(|| times.quantiles());
        Shown {
            address: &self.address,
            dials: self.connected + self.failed,
            connected: self.connected,
            failed: self.failed,
            total_ms: shown(&self.total),
            steps: self
                .steps
                .iter()
                .filter_map(|(kind, times)| Some((kind.as_str(), shown(times)?)))
                .collect(),
            causes: &self.causes,
        }
        .serialize(to)
    }
}

/// Times in microseconds.
#[derive(Debug)]
struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        /// An hour, in microseconds.
        const LONGEST: u64 = 3_600_000_000;
        Self(Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds and digits are valid"))
    }
}

impl Times {
    fn add(&mut self, time: Option<Duration>) {
        if let Some(time) = time {
            self.0
                .saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        }
    }

    fn quantiles(&self) -> Quantiles {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e3;
        Quantiles {
            min: self.0.min() as f64 / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: self.0.max() as f64 / 1e3,
        }
    }
}

/// Milliseconds.
#[derive(Debug, Serialize)]
struct Quantiles {
    min: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}
