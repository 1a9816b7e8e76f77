//! What `status --json` says.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// What `status --json` says, with the fields that users rely on.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    pub supervisor: SupervisorStatus,
    pub gateway: GatewayStatus,
    #[serde(deserialize_with = "living")]
    pub workers: Vec<ProcessStatus>,
    #[serde(deserialize_with = "living")]
    pub tasks: Vec<ProcessStatus>,
    pub helpers: Vec<HelperStatus>,
    pub listeners: Vec<ListenerStatus>,
    pub reloads: Reloads,
    pub lost: Lost,
    pub discarded: u64,
    pub errors: Errors,
    pub stalls: Vec<Stall>,
    pub log_lines_dropped: u64,
    pub closing: Option<Closing>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Stall {
    pub worker: String,
    pub pid: i32,
    pub hook: String,
    pub session: Option<String>,
    pub kind: String,
    pub elapsed_ms: u64,
    pub place: Option<String>,
    pub stack: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct SupervisorStatus {
    pub pid: i32,
}

#[derive(Debug, Clone, Deserialize)]
pub struct GatewayStatus {
    /// 0 while there is no gateway, as the next two are.
    #[serde(deserialize_with = "or_none")]
    pub pid: i32,
    #[serde(deserialize_with = "or_none")]
    pub incarnation: u32,
    #[serde(deserialize_with = "or_none")]
    pub loops: u64,
    pub sessions: u64,
    pub accepted: u64,
    pub messages: u64,
    pub buffered_bytes: u64,
    /// Bytes of each class.
    pub held: BTreeMap<String, u64>,
    pub memory_limit: Option<u64>,
    pub throttled: u64,
    /// How many sessions closed, by reason.
    pub closed: BTreeMap<String, u64>,
    /// How often each limit was reached, by its key.
    pub limits: BTreeMap<String, u64>,
    /// Plain requests, by what became of them.
    pub requests: BTreeMap<String, u64>,
    /// Relayed connections and their bytes.
    pub relays: Relays,
    pub still: Vec<StillLoop>,
    /// How long its main thread stands still, if it does.
    pub main_still_ms: Option<u64>,
}

/// What a gateway has relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Relays {
    pub open: u64,
    pub begun: u64,
    pub failed: u64,
    pub bytes_up: u64,
    pub bytes_down: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ProcessStatus {
    pub slot: u16,
    pub pid: i32,
    pub state: String,
    pub generation: u32,
    pub leader: bool,
    pub handled: u64,
    pub in_progress: u64,
    pub sessions: u64,
    /// How long it has given no sign of life, if it should have.
    pub silent_ms: Option<u64>,
    /// How many sessions wait for it meanwhile.
    pub waiting: Option<u64>,
}

/// Sessions that a stop or a drain closes.
#[derive(Debug, Clone, Deserialize)]
pub struct Closing {
    pub why: String,
    pub left: u64,
    pub of: u64,
}

/// A loop of the gateway that stands still.
#[derive(Debug, Clone, Deserialize)]
pub struct StillLoop {
    #[serde(rename = "loop")]
    pub index: u64,
    pub ms: u64,
}

/// The rows that have a process; the others are slots that wait for one.
fn living<'de, D: serde::Deserializer<'de>>(rows: D) -> Result<Vec<ProcessStatus>, D::Error> {
    let rows = Vec::<serde_json::Value>::deserialize(rows)?;
    let living = rows.into_iter().filter(|row| !row["pid"].is_null());
    living
        .map(|row| ProcessStatus::deserialize(row).map_err(serde::de::Error::custom))
        .collect()
}

#[derive(Debug, Clone, Deserialize)]
pub struct ListenerStatus {
    pub name: String,
    /// With the real port.
    pub address: String,
    pub kind: String,
    /// `accepting`, or `retired` while it has sessions left.
    pub state: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct HelperStatus {
    pub name: String,
    pub pid: Option<i32>,
    pub restarts: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Reloads {
    pub done: u64,
    pub failed: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Lost {
    pub closed_by_crash: u64,
    pub redelivered: u64,
    pub dropped: u64,
    pub reload_forced: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Errors {
    pub handlers: u64,
    pub returned: u64,
    pub panics: u64,
    pub close_hooks: u64,
    pub worker_exits: u64,
    pub stalls: u64,
}

impl Status {
    /// The workers that serve, in order of their slots.
    pub fn ready_workers(&self) -> Vec<ProcessStatus> {
        let mut ready: Vec<_> = self
            .workers
            .iter()
            .filter(|worker| worker.state == "ready")
            .cloned()
            .collect();
        ready.sort_by_key(|worker| worker.slot);
        ready
    }

    /// The process ids of the workers that serve, in order of their slots.
    pub fn worker_pids(&self) -> Vec<i32> {
        self.ready_workers()
            .iter()
            .map(|worker| worker.pid)
            .collect()
    }

    /// How many sessions closed for this reason.
    pub fn closed(&self, reason: &str) -> u64 {
        self.gateway.closed.get(reason).copied().unwrap_or(0)
    }

    /// How often this limit was reached.
    #[track_caller]
    pub fn limit(&self, key: &str) -> u64 {
        self.gateway.limits[key]
    }
}

/// Null stands for the value that is nothing.
fn or_none<'a, T: Deserialize<'a> + Default, D: Deserializer<'a>>(from: D) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}
