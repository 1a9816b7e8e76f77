//! Clients: those that are not accepted, those that read slowly, and those that are refused.

use serde_json::Value;

use super::{Finding, FindingKind, Urgency, lately, number, rows, text};
use crate::text::{duration, size};

/// Bytes that wait for slow clients and are worth a look.
const MUCH_QUEUED: u64 = 64 << 20;

/// Limits beyond which connections are refused, as `status` names them.
const REFUSING: [&str; 3] = ["max_sessions", "max_sessions_per_address", "limits"];
/// Limits beyond which accepting waits.
const WAITING: [&str; 2] = ["accept_rate", "max_handshakes"];

/// Listeners whose clients wait in the kernel's queue.
pub(super) fn not_accepting(status: &Value) -> Vec<Finding> {
    let found = rows(status, "/listeners").filter_map(|row| {
        let name = text(row, "/name");
        let (urgency, why, remedy) = match row["state"].as_str()? {
            "paused" => (
                Urgency::Page,
                "there is no descriptor or memory for those that connect".to_owned(),
                "Raise the limit (LimitNOFILE= in the unit, `ulimit -n`), or lower `max_sessions`."
                    .to_owned(),
            ),
            "stopped" => (
                Urgency::Ticket,
                "it was told so. Those that connect wait".to_owned(),
                format!("Have it accept again: `moorline accept {name}`, or the page's button."),
            ),
            _ => return None,
        };
        Some(Finding {
            urgency,
            kind: FindingKind::ListenerAcceptsNothing,
            what: format!("Listener {name} accepts nothing: {why}."),
            remedy,
        })
    });
    found.collect()
}

pub(super) fn slow_readers(status: &Value) -> Vec<Finding> {
    let queued = number(status, "/gateway/held/queued");
    let full = number(status, "/gateway/full");
    let closed = lately(status, "closed_slow", "session");
    if closed.is_none() && full == 0 && queued < MUCH_QUEUED {
        return Vec::new();
    }
    let mut parts = Vec::new();
    if full > 0 {
        parts.push(format!("{full} have more queued than `high_watermark`"));
    }
    if let Some(times) = closed {
        parts.push(format!("closed for it: {times}"));
    }
    if queued > 0 {
        parts.push(format!("{} are queued for them", size(queued)));
    }
    vec![Finding {
        urgency: Urgency::Ticket,
        kind: FindingKind::ReadersAreSlow,
        what: format!("Clients read too slowly: {}.", parts.join("; ")),
        remedy: "`moorline sessions` shows what is queued for each. Send less, or let `send_timeout` and `hard_limit` end them sooner."
            .to_owned(),
    }]
}

/// Connections beyond a limit, and the address that most of them come from.
pub(super) fn refused(status: &Value) -> Vec<Finding> {
    let refused = REFUSING.iter().map(|limit| (*limit, "are refused"));
    let waiting = WAITING.iter().map(|limit| (*limit, "wait to be accepted"));
    let found = refused.chain(waiting).filter_map(|(limit, what)| {
        let noun = if what == "are refused" { "connection" } else { "time" };
        let times = lately(status, &format!("limit_{limit}"), noun)?;
        let source = rows(status, "/refused").find(|row| row["limit"] == limit);
        let source = source.map_or(String::new(), |row| {
            format!(
                " Most came from {} to listener {}, the last one {} ago.",
                text(row, "/address"),
                text(row, "/listener"),
                duration(number(row, "/ago_s"))
            )
        });
        Some(Finding {
            urgency: Urgency::Ticket,
            kind: FindingKind::ConnectionsAreRefused,
            what: format!("Connections {what} because of `{limit}`: {times}.{source}"),
            remedy: match source.is_empty() {
                true => "If these are clients of yours, raise the limit.".to_owned(),
                false => "If the address is not one of yours, deny it by `access` or in the firewall; else raise the limit.".to_owned(),
            },
        })
    });
    found.collect()
}
