//! The output of `status`, as far as tests need it.

use serde::Deserialize;

/// The state of a running [`Engine`](super::Engine), from `status --json`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Sessions that are open.
    pub sessions: u64,
    /// Reloads that were committed.
    pub reloads: u64,
    /// Handlers that have returned an error or panicked.
    pub handler_errors: u64,
    /// The living worker processes.
    pub workers: Vec<WorkerStatus>,
}

/// A worker process.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// Its slot, from 0.
    pub slot: u16,
    /// Its process id.
    pub pid: i32,
    /// Its deployment, from 1.
    pub generation: u32,
    /// It serves; if not, it starts or drains.
    pub is_ready: bool,
}

/// The rows and fields of the JSON that are read.
#[derive(Deserialize)]
pub(super) struct Json {
    gateway: Gateway,
    reloads: Reloads,
    errors: ErrorCounts,
    workers: Vec<Worker>,
}

#[derive(Deserialize)]
struct Gateway {
    sessions: u64,
}

#[derive(Deserialize)]
struct Reloads {
    done: u64,
}

#[derive(Deserialize)]
struct ErrorCounts {
    handlers: u64,
}

#[derive(Deserialize)]
struct Worker {
    slot: u16,
    pid: Option<i32>,
    state: String,
    generation: Option<u32>,
}

impl From<Json> for Status {
    fn from(json: Json) -> Self {
        let living = |row: Worker| {
            Some(WorkerStatus {
                slot: row.slot,
                pid: row.pid?,
                generation: row.generation.unwrap_or(0),
                is_ready: row.state == "ready",
            })
        };
        Self {
            sessions: json.gateway.sessions,
            reloads: json.reloads.done,
            handler_errors: json.errors.handlers,
            workers: json.workers.into_iter().filter_map(living).collect(),
        }
    }
}
