//! What a dial did, step by step.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::ser::SerializeStruct;

use crate::address::UnixName;

/// What a dial did, step by step, with times. Kept on success and on failure.
///
/// Serialises as `{"outcome","total_ms","steps":[{"step","address","start_ms","ms","outcome","errno"}]}`.
#[derive(Debug, Clone)]
pub struct Timeline {
    started: Instant,
    ended: Option<Duration>,
    outcome: Outcome,
    steps: Vec<Step>,
}

/// One step of a dial. Connection attempts overlap, so steps may too.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Step {
    /// What was done.
    pub kind: StepKind,
    /// The peer, name or path that it was about.
    pub target: Target,
    /// When it began, counted from the beginning of the dial.
    pub start: Duration,
    /// How long it took. `None` while it runs.
    pub took: Option<Duration>,
    /// How it went.
    pub outcome: Outcome,
    /// The system's error number, if a system call decided.
    pub errno: Option<i32>,
}

/// What a step does, in the order in which a dial does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum StepKind {
    /// Asks a resolver for the addresses of a name.
    Resolve,
    /// Opens a socket and connects it.
    Connect,
    /// Asks a proxy to connect onward.
    Proxy,
    /// Shakes hands for TLS.
    Tls,
}

/// How a step, or the dial as a whole, went.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It runs.
    Running,
    /// It succeeded.
    Done,
    /// It failed, for this reason.
    Failed(String),
    /// The deadline ended it.
    TimedOut,
    /// It was ended because its result was no longer needed.
    Cancelled,
}

/// What a step was about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// A name.
    Name(Arc<str>),
    /// One family's addresses of a name, where each family has an answer of its own.
    Addresses {
        /// The name.
        name: Arc<str>,
        /// `AAAA` for IPv6, `A` for IPv4.
        record: &'static str,
    },
    /// A socket address.
    Socket(SocketAddr),
    /// The path of a Unix socket; an abstract one begins with a NUL byte.
    Unix(PathBuf),
}

/// A step of a [`Timeline`] that runs; see [`Timeline::begin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepId(usize);

impl Timeline {
    /// A timeline that begins at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            started: now,
            ended: None,
            outcome: Outcome::Running,
            // The shortest dial has one step, the usual one to a name at most four.
            steps: Vec::with_capacity(1),
        }
    }

    /// A step begins.
    pub fn begin(&mut self, kind: StepKind, target: Target, now: Instant) -> StepId {
        self.steps.push(Step {
            kind,
            target,
            start: now.saturating_duration_since(self.started),
            took: None,
            outcome: Outcome::Running,
            errno: None,
        });
        StepId(self.steps.len() - 1)
    }

    /// A step ends.
    pub fn end(&mut self, id: StepId, outcome: Outcome, errno: Option<i32>, now: Instant) {
        let since = now.saturating_duration_since(self.started);
        let step = &mut self.steps[id.0];
        step.took = Some(since.saturating_sub(step.start));
        step.outcome = outcome;
        step.errno = errno;
    }

    /// The dial ends; what still runs ended now, `left` says how.
    pub fn finish(&mut self, outcome: Outcome, left: &Outcome, now: Instant) {
        let since = now.saturating_duration_since(self.started);
        for step in &mut self.steps {
            if step.took.is_none() {
                step.took = Some(since.saturating_sub(step.start));
                step.outcome = left.clone();
            }
        }
        self.outcome = outcome;
        self.ended = Some(since);
    }

    /// The step that runs; of several that which is nearest to the end. `None` if none had begun.
    pub(super) fn furthest(&self) -> Option<StepKind> {
        let running = self.steps.iter().filter(|step| step.took.is_none());
        running
            .map(|step| step.kind)
            .max()
            .or_else(|| self.steps.last().map(|step| step.kind))
    }

    /// When the dial began.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// How long the dial took. `None` while it runs.
    pub fn total(&self) -> Option<Duration> {
        self.ended
    }

    /// How the dial went.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// The steps, in the order in which they began.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

impl StepKind {
    /// Its name in the JSON form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Proxy => "proxy",
            Self::Tls => "tls",
        }
    }
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("running"),
            Self::Done => f.write_str("ok"),
            Self::Failed(reason) => f.write_str(reason),
            Self::TimedOut => f.write_str("timed out"),
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}

/// One line: each step with its target, when it began, how long it took and how it went.
impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ended {
            Some(total) => write!(f, "{:.3} ms {}", milliseconds(total), self.outcome)?,
            None => self.outcome.fmt(f)?,
        }
        for step in &self.steps {
            let start = milliseconds(step.start);
            write!(f, "; {} {} at {start:.3} ms", step.kind, step.target)?;
            if let Some(took) = step.took {
                write!(f, " took {:.3} ms", milliseconds(took))?;
            }
            write!(f, ": {}", step.outcome)?;
        }
        Ok(())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Addresses { name, record } => write!(f, "{name} {record}"),
            Self::Socket(address) => address.fmt(f),
            Self::Unix(path) => UnixName(path).fmt(f),
        }
    }
}

impl Serialize for Timeline {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut timeline = to.serialize_struct("Timeline", 3)?;
        timeline.serialize_field("outcome", &self.outcome.to_string())?;
        timeline.serialize_field("total_ms", &self.ended.map(milliseconds))?;
        timeline.serialize_field("steps", &self.steps)?;
        timeline.end()
    }
}

impl Serialize for Step {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut step = to.serialize_struct("Step", 6)?;
        step.serialize_field("step", self.kind.as_str())?;
        step.serialize_field("address", &self.target.to_string())?;
        step.serialize_field("start_ms", &milliseconds(self.start))?;
        step.serialize_field("ms", &self.took.map(milliseconds))?;
        step.serialize_field("outcome", &self.outcome.to_string())?;
        step.serialize_field("errno", &self.errno)?;
        step.end()
    }
}

/// Milliseconds, to the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests;
