//! The gateway, the workers, their handlers, and reloads.

use serde_json::Value;

use super::{Finding, FindingKind, Urgency, lately, number, rows, seconds, text};
use crate::text::{counted, duration};

/// For how long a stuck handler is shown, in seconds.
const STALL_SHOWN: u64 = 300;
/// Messages that wait longer than this for their handler are worth a look, in microseconds.
const LONG_WAIT: u64 = 500_000;

pub(super) fn gateway(status: &Value) -> Vec<Finding> {
    if status.pointer("/gateway/pid").is_some_and(Value::is_null) {
        return vec![Finding {
            urgency: Urgency::Page,
            kind: FindingKind::HasNoGateway,
            what: "There is no gateway: nobody can connect.".to_owned(),
            remedy: "The engine starts it again. The log says why it has ended.".to_owned(),
        }];
    }
    let pid = number(status, "/gateway/pid");
    let still = |thread: String, ms: u64| Finding {
        urgency: Urgency::Page,
        kind: FindingKind::GatewayStandsStill,
        what: format!(
            "{thread} of the gateway has stood still for {}.",
            seconds(ms)
        ),
        remedy: format!(
            "It is replaced after `kill_after`. Until then its stack says why: gdb -p {pid}."
        ),
    };
    let main = number(status, "/gateway/main_still_ms");
    let main = (main > 0).then(|| still("The main thread".to_owned(), main));
    let loops = rows(status, "/gateway/still");
    let loops =
        loops.map(|row| still(format!("Loop {}", number(row, "/loop")), number(row, "/ms")));
    main.into_iter().chain(loops).collect()
}

/// Workers and task workers that wait for a restart, or do not answer.
pub(super) fn missing(status: &Value) -> Vec<Finding> {
    let workers = rows(status, "/workers").map(|row| ("Worker", row));
    let tasks = rows(status, "/tasks").map(|row| ("Task worker", row));
    let found = workers.chain(tasks).filter_map(|(name, row)| {
        let name = format!("{name} {}", number(row, "/slot"));
        let (what, remedy) = match row["state"].as_str()? {
            "waiting" => (
                format!(
                    "{name} has no process and is started again in {}: {}.",
                    seconds(number(row, "/retry_in_ms")),
                    text(row, "/reason")
                ),
                "The log has its last words.",
            ),
            "not answering" => (
                format!(
                    "{name} (pid {}) has given no sign of life for {}{}.",
                    number(row, "/pid"),
                    seconds(number(row, "/silent_ms")),
                    match number(row, "/waiting") {
                        0 => String::new(),
                        1 => "; 1 session waits for it".to_owned(),
                        waiting => format!("; {waiting} sessions wait for it"),
                    }
                ),
                "A handler computes or blocks there. It is replaced after `kill_after`.",
            ),
            _ => return None,
        };
        Some(Finding {
            urgency: Urgency::Page,
            kind: FindingKind::WorkersAreMissing,
            what,
            remedy: remedy.to_owned(),
        })
    });
    found.collect()
}

pub(super) fn crashes(status: &Value) -> Vec<Finding> {
    let found = lately(status, "worker_exits", "worker");
    let found = found.map(|times| Finding {
        urgency: Urgency::Ticket,
        kind: FindingKind::WorkersCrash,
        what: format!("Ended without an order: {times}."),
        remedy: "The log has the panic or the signal.".to_owned(),
    });
    found.into_iter().collect()
}

/// The last reload, if it failed.
pub(super) fn reload(status: &Value) -> Vec<Finding> {
    let Some(last) = status.pointer("/reloads/last") else {
        return Vec::new();
    };
    if last["result"] != "failed" {
        return Vec::new();
    }
    vec![Finding {
        urgency: Urgency::Ticket,
        kind: FindingKind::ReloadFailed,
        what: format!(
            "The last reload failed {} ago, and what served before serves on: {}.",
            duration(number(last, "/ago_s")),
            text(last, "/reason").trim_end_matches('.')
        ),
        remedy: "Mend that, and reload again.".to_owned(),
    }]
}

/// Handlers that were found stuck not long ago: each worker's latest.
pub(super) fn stalls(status: &Value) -> Vec<Finding> {
    let now = number(status, "/supervisor/started_at") + number(status, "/supervisor/uptime_s");
    let mut shown: Vec<(&Value, &Value)> = Vec::new();
    let mut found = Vec::new();
    for row in rows(status, "/stalls")
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        let key = (&row["pid"], &row["hook"]);
        if now.saturating_sub(number(row, "/at")) > STALL_SHOWN || shown.contains(&key) {
            continue;
        }
        shown.push(key);
        let place = match (text(row, "/place"), text(row, "/stack/0")) {
            (place, _) if !place.is_empty() => format!(" in {place}"),
            (_, frame) if !frame.is_empty() => format!(" in {frame}"),
            _ => String::new(),
        };
        found.push(Finding {
            urgency: Urgency::Ticket,
            kind: FindingKind::HandlersAreStuck,
            what: format!(
                "A handler of {} (pid {}, hook {}) was found stuck after {}{place}: {}.",
                text(row, "/worker"),
                number(row, "/pid"),
                text(row, "/hook"),
                seconds(number(row, "/elapsed_ms")),
                match row["kind"].as_str() {
                    Some("running") => "it computes",
                    Some("blocked") => "it is blocked in a system call",
                    _ => "it awaits something that does not come",
                },
            ),
            remedy: "`moorline status --json` has its stack under `stalls`.".to_owned(),
        });
    }
    found
}

pub(super) fn failures(status: &Value) -> Vec<Finding> {
    let failed = [
        ("handler_failures", "handler"),
        ("requests_failed", "request"),
    ];
    let failed = failed.map(|(name, noun)| lately(status, name, noun));
    let failed: Vec<_> = failed.into_iter().flatten().collect();
    if failed.is_empty() {
        return Vec::new();
    }
    vec![Finding {
        urgency: Urgency::Ticket,
        kind: FindingKind::HandlersFail,
        what: format!("Failed: {}.", failed.join(", ")),
        remedy: "The log has their errors.".to_owned(),
    }]
}

/// Messages that wait long for their handlers.
pub(super) fn waits(status: &Value) -> Vec<Finding> {
    let wait = number(status, "/waited/lately_us");
    if wait <= LONG_WAIT {
        return Vec::new();
    }
    let busy = rows(status, "/workers").max_by_key(|row| number(row, "/in_progress"));
    let busy = busy.map_or(String::new(), |row| {
        let handlers = counted(number(row, "/in_progress"), "handler");
        format!(
            " The busiest is worker {} with {handlers} in progress.",
            number(row, "/slot")
        )
    });
    vec![Finding {
        urgency: Urgency::Ticket,
        kind: FindingKind::MessagesWait,
        what: format!(
            "A hundredth of the messages wait for their handlers for up to {}, or longer.{busy}",
            seconds(wait / 1000)
        ),
        remedy: "Take more workers, or make handlers faster.".to_owned(),
    }]
}
