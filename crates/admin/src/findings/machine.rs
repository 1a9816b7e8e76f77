//! Memory, descriptors, certificates and disks.

use serde_json::Value;

use super::{Finding, FindingKind, Urgency, lately, number, rows, text};
use crate::text::{duration, size};

/// A certificate that ends sooner is renewed now, in seconds.
const ENDS_SOON: u64 = 14 * 86_400;
/// The hundredths of a limit from which it is near.
const NEAR: u64 = 90;
/// A disk with less room than both of these is nearly full: bytes, and hundredths of its size.
const LITTLE_ROOM: (u64, u64) = (256 << 20, 5);
/// A disk with less room is full: a page of the file system may not fit any more.
const NO_ROOM: u64 = 64 << 10;

pub(super) fn memory(status: &Value) -> Vec<Finding> {
    let held = number(status, "/gateway/buffered_bytes");
    let limit = number(status, "/gateway/memory_limit");
    let throttled = number(status, "/gateway/throttled");
    if throttled == 0 && (limit == 0 || held <= limit / 100 * NEAR) {
        return Vec::new();
    }
    let classes = status.pointer("/gateway/held").and_then(Value::as_object);
    let most = classes.into_iter().flatten();
    let most = most.max_by_key(|(_, bytes)| bytes.as_u64());
    let most = most.map_or(String::new(), |(class, bytes)| {
        let bytes = size(bytes.as_u64().unwrap_or_default());
        format!(", most of it for {}: {bytes}", crate::text::plain(class))
    });
    vec![Finding {
        urgency: Urgency::Ticket,
        kind: FindingKind::MemoryIsNearItsLimit,
        what: format!(
            "The gateway holds {} of {}{most}; {} throttled.",
            size(held),
            size(limit),
            match throttled {
                1 => "1 session is".to_owned(),
                sessions => format!("{sessions} sessions are"),
            }
        ),
        remedy: "`queued` is for clients that read slowly: `send_timeout` and `hard_limit` end them. `moorline sessions` names them."
            .to_owned(),
    }]
}

/// Processes whose memory has grown all the time for a while.
pub(super) fn growth(status: &Value) -> Vec<Finding> {
    let named = |kind: &'static str| {
        move |row: &Value| (format!("{kind} {}", number(row, "/slot")), row.clone())
    };
    let workers = rows(status, "/workers").map(named("Worker"));
    let tasks = rows(status, "/tasks").map(named("Task worker"));
    let gateway = status.get("gateway").into_iter();
    let gateway = gateway.map(|row| ("The gateway".to_owned(), row.clone()));
    let left = number(status, "/machine/memory_available");
    let found = workers.chain(tasks).chain(gateway).filter_map(|(name, row)| {
        let each_second = number(&row, "/memory_growth");
        if each_second == 0 {
            return None;
        }
        let full = match left {
            0 => String::new(),
            left => format!("; the machine is full in {} then", duration(left / each_second)),
        };
        Some(Finding {
            urgency: Urgency::Ticket,
            kind: FindingKind::MemoryGrows,
            what: format!(
                "{name} (pid {}) has {} of memory and grows by {} each second{full}.",
                number(&row, "/pid"),
                size(number(&row, "/memory_bytes")),
                size(each_second)
            ),
            remedy: "If it does not end, something is kept and never freed. A reload, or the signal TERM to the worker, replaces it."
                .to_owned(),
        })
    });
    found.collect()
}

pub(super) fn descriptors(status: &Value) -> Vec<Finding> {
    let open = number(status, "/gateway/descriptors/open");
    let limit = number(status, "/gateway/descriptors/limit");
    let paused = lately(status, "limit_descriptors", "time");
    let (urgency, begin) = match paused {
        Some(times) => (
            Urgency::Page,
            format!("Accepting has paused for lack of descriptors: {times}"),
        ),
        None if limit > 0 && open.saturating_mul(100) >= limit.saturating_mul(NEAR) => {
            (Urgency::Ticket, "Descriptors are nearly used up".to_owned())
        }
        None => return Vec::new(),
    };
    let used = match limit {
        0 => String::new(),
        limit => format!("; the gateway has {open} of {limit} open"),
    };
    vec![Finding {
        urgency,
        kind: FindingKind::DescriptorsAreShort,
        what: format!("{begin}{used}."),
        remedy: "Raise the limit (LimitNOFILE= in the unit, `ulimit -n`), or lower `max_sessions`."
            .to_owned(),
    }]
}

pub(super) fn certificates(status: &Value) -> Vec<Finding> {
    let now = number(status, "/supervisor/now");
    let found = rows(status, "/certificates").filter_map(|row| {
        let ends = row["ends_at"].as_u64()?;
        let left = ends.saturating_sub(now);
        let (urgency, when) = match left {
            0 => (
                Urgency::Page,
                format!("has ended {} ago", duration(now - ends)),
            ),
            1..ENDS_SOON => (Urgency::Ticket, format!("ends in {}", duration(left))),
            _ => return None,
        };
        Some(Finding {
            urgency,
            kind: FindingKind::CertificateEnds,
            what: format!(
                "The certificate {} of listener {} {when}.",
                text(row, "/certificate"),
                text(row, "/listener")
            ),
            remedy: "Renew it, and reload: a reload reads it again.".to_owned(),
        })
    });
    found.collect()
}

pub(super) fn disks(status: &Value) -> Vec<Finding> {
    let found = rows(status, "/disks").filter_map(|row| {
        let (free, all) = (row["free"].as_u64()?, number(row, "/size"));
        let (bytes, hundredths) = LITTLE_ROOM;
        if free >= NO_ROOM && (free >= bytes || free >= all / 100 * hundredths) {
            return None;
        }
        Some(Finding {
            urgency: if free < NO_ROOM {
                Urgency::Page
            } else {
                Urgency::Ticket
            },
            kind: FindingKind::DiskIsFull,
            what: format!(
                "The disk of {} has {} of {} left ({}).",
                text(row, "/what"),
                size(free),
                size(all),
                text(row, "/path")
            ),
            remedy: "Make room: log lines are lost without it, and reloads fail.".to_owned(),
        })
    });
    found.collect()
}

pub(super) fn log_lines(status: &Value) -> Vec<Finding> {
    let found = lately(status, "log_lines", "line").map(|times| Finding {
        urgency: Urgency::Ticket,
        kind: FindingKind::LosesLogLines,
        what: format!("The logs have lost lines: {times}."),
        remedy:
            "The disk is slow or full, or there are too many lines: see `level` in [engine.log]."
                .to_owned(),
    });
    found.into_iter().collect()
}
