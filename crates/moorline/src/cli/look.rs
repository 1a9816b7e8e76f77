//! What the commands that show an engine ask it for.

use std::path::Path;

use moorline_engine::admin;
use moorline_engine::command::{self, CommandError, Request, Response};
use moorline_engine::control::UpstreamSeen;
use serde_json::Value;

/// What the engine says of itself. What is wrong is in it, under `findings`.
pub(super) fn status(run_dir: &Path) -> Result<Value, CommandError> {
    let (mut status, upstreams) = state(run_dir)?;
    let findings = admin::findings(&status, &upstreams);
    if let Some(fields) = status.as_object_mut() {
        // Findings are texts, which JSON has.
        let findings = serde_json::to_value(findings).unwrap_or_default();
        fields.insert("findings".to_owned(), findings);
    }
    Ok(status)
}

/// The same without what is wrong, with its upstreams.
pub(super) fn state(run_dir: &Path) -> Result<(Value, Vec<UpstreamSeen>), CommandError> {
    let mut status = Value::Null;
    command::ask(run_dir, Request::Status, |answer| {
        if let Response::Status(told) = answer {
            status = told;
        }
    })?;
    // A gateway that does not answer is found in the status.
    let upstreams = match status.pointer("/gateway/pid") {
        Some(Value::Number(_)) => upstreams(run_dir).unwrap_or_default(),
        _ => Vec::new(),
    };
    Ok((status, upstreams))
}

/// All upstreams with their peers.
pub(super) fn upstreams(run_dir: &Path) -> Result<Vec<UpstreamSeen>, CommandError> {
    let mut upstreams: Vec<UpstreamSeen> = Vec::new();
    command::ask(run_dir, Request::Upstreams, |answer| {
        let Response::Upstream(mut seen) = answer else {
            return;
        };
        match upstreams.last_mut() {
            Some(last) if last.name == seen.name => last.peers.append(&mut seen.peers),
            _ => upstreams.push(seen),
        }
    })?;
    Ok(upstreams)
}
