//! What an engine is at one moment.

use moorline_engine::admin::{Finding, findings};
use moorline_engine::control::{SessionRow, UpstreamSeen};
use serde_json::Value;

/// The most sessions that are looked at.
pub(super) const MOST_SESSIONS: usize = 2000;

/// What an engine is at one moment.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) status: Value,
    pub(super) upstreams: Vec<UpstreamSeen>,
    /// The first ones, if they were asked for.
    pub(super) sessions: Vec<SessionRow>,
    pub(super) findings: Vec<Finding>,
}

impl Sample {
    pub(super) fn new(
        status: Value,
        upstreams: Vec<UpstreamSeen>,
        sessions: Vec<SessionRow>,
    ) -> Self {
        Self {
            findings: findings(&status, &upstreams),
            status,
            upstreams,
            sessions,
        }
    }

    /// A number of the state; 0 where there is none.
    pub(super) fn number(&self, pointer: &str) -> u64 {
        number(&self.status, pointer)
    }

    /// The rows of a list of the state.
    pub(super) fn rows(&self, pointer: &str) -> impl Iterator<Item = &Value> {
        let list = self.status.pointer(pointer).and_then(Value::as_array);
        list.into_iter().flatten()
    }
}

/// A number of a table; 0 where there is none.
pub(super) fn number(value: &Value, pointer: &str) -> u64 {
    let found = value.pointer(pointer).and_then(Value::as_u64);
    found.unwrap_or_default()
}
