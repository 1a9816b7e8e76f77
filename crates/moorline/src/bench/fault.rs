//! Failures of connections, and wrong answers.

use std::collections::BTreeMap;
use std::fmt;

use rustix::io::Errno;

/// A failure that ends one connection early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// It could not be made.
    Connect(Errno),
    /// The WebSocket handshake was answered with this instead.
    Refused(String),
    /// The server ended it.
    Closed,
    /// Reading or writing failed.
    Broken(Errno),
    /// The answer before this one came a second time.
    Doubled,
    /// The answer differs from this byte on.
    Wrong { at: usize },
    /// More came than was asked for.
    Surplus { bytes: usize },
    /// Nothing came.
    Missing,
}

impl Fault {
    /// The kind's name in counts.
    fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) | Self::Refused(_) => "not connected",
            Self::Closed => "closed",
            Self::Broken(_) => "broken",
            Self::Doubled => "doubled",
            Self::Wrong { .. } => "wrong",
            Self::Surplus { .. } => "surplus",
            Self::Missing => "missing",
        }
    }
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        Self::Broken(errno)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(errno) => write!(f, "connecting failed: {errno}"),
            Self::Refused(line) => write!(f, "the WebSocket handshake was answered with `{line}`"),
            Self::Closed => f.write_str("the server closed the connection"),
            Self::Broken(errno) => write!(f, "the connection broke: {errno}"),
            Self::Doubled => f.write_str("the answer before came a second time"),
            Self::Wrong { at } => write!(f, "the answer differs at byte {at}"),
            Self::Surplus { bytes } => write!(f, "{bytes} bytes more than the answer came"),
            Self::Missing => f.write_str("no answer came"),
        }
    }
}

/// All faults of a run: how many of each kind, and the first few in words.
#[derive(Debug, Default)]
pub(super) struct Faults {
    counts: BTreeMap<&'static str, u64>,
    examples: Vec<String>,
}

impl Faults {
    /// Enough to show the problem, few enough to read.
    const EXAMPLES: usize = 5;

    pub(super) fn add(&mut self, connection: usize, sequence: u64, fault: &Fault) {
        *self.counts.entry(fault.kind()).or_default() += 1;
        if self.examples.len() < Self::EXAMPLES {
            self.examples.push(format!(
                "connection {connection}, request {sequence}: {fault}"
            ));
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    pub(super) fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    pub(super) fn examples(&self) -> &[String] {
        &self.examples
    }
}
