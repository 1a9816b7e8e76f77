//! The last events of all processes, as the supervisor tells them.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// Events in the order of their times.
#[derive(Debug)]
pub(super) struct Events {
    /// When they were read, on their own clock and since the Unix epoch, in nanoseconds.
    at_ns: u64,
    unix_ns: u64,
    pub(super) list: Vec<Noted>,
}

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Noted {
    /// The process that has noted it.
    pub(super) pid: u64,
    pub(super) at_ns: u64,
    pub(super) kind: String,
    /// In words.
    pub(super) text: String,
    pub(super) detail: u64,
    pub(super) session: u64,
    pub(super) number: u64,
}

/// An event may be written a moment after its time was taken.
const SETTLING_NS: u64 = 200_000_000;

impl Events {
    /// `None` if it is something else.
    pub(super) fn read(told: &Value) -> Option<Self> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let unix_ns = u64::try_from(since.ok()?.as_nanos()).ok()?;
        let rows = told["events"].as_array()?;
        let list = rows.iter().filter_map(Noted::read);
        Some(Self {
            at_ns: told["at_ns"].as_u64()?,
            unix_ns,
            list: list.collect(),
        })
    }

    /// Up to this time no event comes any more.
    pub(super) fn settled_ns(&self) -> u64 {
        self.at_ns.saturating_sub(SETTLING_NS)
    }

    /// A time of their clock since the Unix epoch.
    pub(super) fn unix_ns(&self, at_ns: u64) -> u64 {
        self.unix_ns
            .saturating_sub(self.at_ns.saturating_sub(at_ns))
    }
}

impl Noted {
    fn read(row: &Value) -> Option<Self> {
        let session = row["session"].as_str()?;
        Some(Self {
            pid: row["pid"].as_u64()?,
            at_ns: row["at_ns"].as_u64()?,
            kind: row["event"].as_str()?.to_owned(),
            text: row["text"].as_str()?.to_owned(),
            detail: row["detail"].as_u64()?,
            session: u64::from_str_radix(session, 16).ok()?,
            number: row["number"].as_u64()?,
        })
    }
}
