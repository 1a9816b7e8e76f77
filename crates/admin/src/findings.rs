//! What is wrong with an engine, from what it says of itself: the one place with these rules.
//!
//! The page, `moorline status` and `moorline top` show them. Each kind has an alert of the same name in
//! `contrib/prometheus/alerts.yml`.

mod connections;
mod machine;
mod peers;
mod processes;
#[cfg(test)]
mod tests;

use std::fmt;

use moorline_proxy::UpstreamSeen;
use serde::Serialize;
use serde_json::Value;

use crate::text::{counted, duration};

/// Findings of one kind that are told in full; one more says how many there are beside them.
const EACH: usize = 5;

/// Something that is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How soon somebody must look at it.
    pub urgency: Urgency,
    /// Which rule has found it.
    pub kind: FindingKind,
    /// A sentence that says what is wrong: printable characters in one line.
    pub what: String,
    /// What to do about it, likewise.
    pub remedy: String,
}

/// How soon somebody must look, as the alerts' label `severity` has it. The worst is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Urgency {
    /// Now: clients notice it.
    Page,
    /// Today: it may become worse.
    Ticket,
}

/// What can be wrong. The alert about it has this name, after `Moorline`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // The rules say it, and the alerts.
pub enum FindingKind {
    HasNoGateway,
    GatewayStandsStill,
    WorkersAreMissing,
    DescriptorsAreShort,
    ListenerAcceptsNothing,
    RelaysFindNoPeer,
    CertificateEnds,
    DiskIsFull,
    WorkersCrash,
    ReloadFailed,
    HandlersAreStuck,
    HandlersFail,
    MessagesWait,
    MemoryIsNearItsLimit,
    MemoryGrows,
    ReadersAreSlow,
    ConnectionsAreRefused,
    PeerIsDown,
    NameIsNotResolved,
    LosesLogLines,
}

impl FindingKind {
    /// All of them.
    #[cfg(test)]
    const ALL: [Self; 20] = [
        Self::HasNoGateway,
        Self::GatewayStandsStill,
        Self::WorkersAreMissing,
        Self::DescriptorsAreShort,
        Self::ListenerAcceptsNothing,
        Self::RelaysFindNoPeer,
        Self::CertificateEnds,
        Self::DiskIsFull,
        Self::WorkersCrash,
        Self::ReloadFailed,
        Self::HandlersAreStuck,
        Self::HandlersFail,
        Self::MessagesWait,
        Self::MemoryIsNearItsLimit,
        Self::MemoryGrows,
        Self::ReadersAreSlow,
        Self::ConnectionsAreRefused,
        Self::PeerIsDown,
        Self::NameIsNotResolved,
        Self::LosesLogLines,
    ];
}

/// As in JSON.
impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Everything that is wrong, the worst first. `status` is what `moorline status --json` prints; what a newer or older engine
/// leaves out is taken as in order.
pub fn findings(status: &Value, upstreams: &[UpstreamSeen]) -> Vec<Finding> {
    let mut found = Vec::new();
    for rule in [
        processes::gateway,
        processes::missing,
        processes::crashes,
        processes::reload,
        processes::stalls,
        processes::failures,
        processes::waits,
        machine::memory,
        machine::growth,
        machine::descriptors,
        machine::certificates,
        machine::disks,
        machine::log_lines,
        connections::not_accepting,
        connections::slow_readers,
        connections::refused,
    ] {
        few(rule(status), &mut found);
    }
    few(peers::down(upstreams), &mut found);
    few(peers::unresolved(upstreams), &mut found);
    few(peers::unreachable(status, upstreams), &mut found);
    // Rules stand in the order of what they find.
    found.sort_by_key(|it| (it.urgency, it.kind));
    found
}

/// Adds the first of these, and the number of the others.
fn few(all: Vec<Finding>, found: &mut Vec<Finding>) {
    let rest = all.len().saturating_sub(EACH);
    let more = all.last().filter(|_| rest > 0).map(|last| Finding {
        what: format!("There are {rest} more of this kind."),
        ..last.clone()
    });
    found.extend(all.into_iter().take(EACH));
    found.extend(more);
}

/// A number of the state; 0 where there is none.
fn number(value: &Value, pointer: &str) -> u64 {
    let found = value.pointer(pointer).and_then(Value::as_u64);
    found.unwrap_or_default()
}

/// A text of the state, as it may be shown.
fn text(value: &Value, pointer: &str) -> String {
    let found = value.pointer(pointer).and_then(Value::as_str);
    crate::text::plain(found.unwrap_or_default())
}

/// The rows of a list of the state.
fn rows<'a>(status: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    let list = status.pointer(pointer).and_then(Value::as_array);
    list.into_iter().flatten()
}

/// What has happened lately, as in "3 in the last 12s". `None`: nothing.
fn lately(status: &Value, name: &str, noun: &str) -> Option<String> {
    let row = status.get("lately")?.get(name)?;
    let count = number(row, "/count");
    let since = duration(number(row, "/since_s").max(1));
    (count > 0).then(|| format!("{} in the last {since}", counted(count, noun)))
}

/// Milliseconds, as in "4.2 s".
fn seconds(milliseconds: u64) -> String {
    format!("{:.1} s", milliseconds as f64 / 1000.0)
}
