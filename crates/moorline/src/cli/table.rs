//! What `status` and `sessions` look like to people.

use std::fmt::{self, Write};

use moorline_engine::admin::text::{duration, plain, size};
use moorline_engine::control::SessionRow;
use serde_json::Value;

/// Stalls that are shown, the latest first. `status --json` has more.
const STALLS: usize = 5;

/// The whole of `status`. What a newer or older engine leaves out is shown as a dash.
pub(super) fn status(status: &Value) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = [
        findings, supervisor, gateway, still, reloads, upgrades, closing, counts, processes,
        listeners, helpers, stalls,
    ]
    .iter()
    .try_for_each(|part| part(&mut out, status));
    out
}

/// The part of `status` that fits a glance: how the engine is, and what it has counted.
#[cfg(feature = "top")]
pub(super) fn summary(status: &Value) -> String {
    let mut out = String::new();
    let _ = [
        supervisor, gateway, still, reloads, upgrades, closing, counts,
    ]
    .iter()
    .try_for_each(|part| part(&mut out, status));
    out
}

/// What is wrong, the worst first.
fn findings(out: &mut String, status: &Value) -> fmt::Result {
    let found: Vec<_> = rows(status, "/findings").collect();
    writeln!(out, "{}", verdict(found.len()))?;
    for row in found {
        let mark = match row["urgency"].as_str() {
            Some("page") => "WRONG  ",
            _ => "warning",
        };
        writeln!(out, "{mark}  {}", shown(row.get("what")))?;
        writeln!(out, "         to do: {}", shown(row.get("remedy")))?;
    }
    writeln!(out)
}

/// Whether all is well.
pub(super) fn verdict(findings: usize) -> String {
    match findings {
        0 => "healthy".to_owned(),
        1 => "1 thing is wrong".to_owned(),
        findings => format!("{findings} things are wrong"),
    }
}

fn supervisor(out: &mut String, status: &Value) -> fmt::Result {
    let uptime = status
        .pointer("/supervisor/uptime_s")
        .and_then(Value::as_u64)
        .map_or("-".to_owned(), duration);
    let pid = shown(status.pointer("/supervisor/pid"));
    writeln!(out, "supervisor  pid {pid}, up {uptime}")
}

fn gateway(out: &mut String, status: &Value) -> fmt::Result {
    let field = |path: &str| shown(status.pointer(path));
    writeln!(
        out,
        "gateway     pid {}, {} loops, {} sessions, {} accepted, {} messages, {}",
        field("/gateway/pid"),
        field("/gateway/loops"),
        field("/gateway/sessions"),
        field("/gateway/accepted"),
        field("/gateway/messages"),
        memory(status)
    )
}

/// The gateway's threads that stand still.
fn still(out: &mut String, status: &Value) -> fmt::Result {
    let main = status.pointer("/gateway/main_still_ms");
    if let Some(still) = main.filter(|it| !it.is_null()) {
        let still = seconds(Some(still));
        writeln!(out, "  the main thread has been stuck for {still}")?;
    }
    for row in rows(status, "/gateway/still") {
        writeln!(
            out,
            "  loop {} has been stuck for {}",
            shown(row.get("loop")),
            seconds(row.get("ms"))
        )?;
    }
    Ok(())
}

fn reloads(out: &mut String, status: &Value) -> fmt::Result {
    let [done, failed] =
        ["/reloads/done", "/reloads/failed"].map(|path| shown(status.pointer(path)));
    let last = status.pointer("/reloads/last").filter(|it| !it.is_null());
    let last = last.map_or(String::new(), |last| {
        let ago = last.get("ago_s").and_then(Value::as_u64);
        let ago = ago.map_or("-".to_owned(), duration);
        format!("; the last one {ago} ago: {}", shown(last.get("result")))
    });
    writeln!(out, "reloads     {done} done, {failed} failed{last}")
}

/// Only of an engine that has had one.
fn upgrades(out: &mut String, status: &Value) -> fmt::Result {
    let count = |path| status.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let (done, failed) = (count("/upgrades/done"), count("/upgrades/failed"));
    if done + failed == 0 {
        return Ok(());
    }
    let pause = status.pointer("/upgrades/last_pause_ms");
    let pause = pause.and_then(Value::as_f64).map_or(String::new(), |ms| {
        format!("; the last one paused {} ms", ms.ceil())
    });
    writeln!(out, "upgrades    {done} done, {failed} failed{pause}")
}

/// How far a stop or a drain has come.
fn closing(out: &mut String, status: &Value) -> fmt::Result {
    let Some(closing) = status.get("closing").filter(|it| !it.is_null()) else {
        return Ok(());
    };
    writeln!(
        out,
        "{:<11} {} of {} sessions are left after {} of {}",
        shown(closing.get("why")),
        shown(closing.get("left")),
        shown(closing.get("of")),
        seconds(closing.get("elapsed_ms")),
        seconds(closing.get("over_ms"))
    )
}

/// The counts that are not zero.
fn counts(out: &mut String, status: &Value) -> fmt::Result {
    for (title, path) in [
        ("lost", "/lost"),
        ("errors", "/errors"),
        ("closed", "/gateway/closed"),
        ("requests", "/gateway/requests"),
        ("relays", "/gateway/relays"),
        ("limits", "/gateway/limits"),
    ] {
        let counts = nonzero(status.pointer(path));
        if !counts.is_empty() {
            writeln!(out, "{title:<11} {counts}")?;
        }
    }
    let held = held(status);
    if !held.is_empty() {
        writeln!(out, "held        {held}")?;
    }
    let dropped = status.pointer("/log_lines_dropped").and_then(Value::as_u64);
    if let Some(lines) = dropped.filter(|&lines| lines > 0) {
        writeln!(out, "log         {lines} lines dropped")?;
    }
    Ok(())
}

/// A row for each worker and task worker, with its problems below it.
fn processes(out: &mut String, status: &Value) -> fmt::Result {
    writeln!(
        out,
        "\n{:<10} {:>8}  {:<13} {:>10} {:>12} {:>11} {:>9}",
        "", "pid", "state", "generation", "handled", "in progress", "sessions"
    )?;
    for (name, path) in [("worker", "/workers"), ("task", "/tasks")] {
        for row in rows(status, path) {
            process(out, name, row)?;
        }
    }
    Ok(())
}

fn process(out: &mut String, name: &str, row: &Value) -> fmt::Result {
    let field = |key: &str| shown(row.get(key));
    writeln!(
        out,
        "{:<10} {:>8}  {:<13} {:>10} {:>12} {:>11} {:>9}",
        format!("{name} {}", field("slot")),
        field("pid"),
        field("state"),
        field("generation"),
        field("handled"),
        field("in_progress"),
        field("sessions")
    )?;
    if row.get("silent_ms").is_some_and(|ms| !ms.is_null()) {
        let silent = seconds(row.get("silent_ms"));
        let waiting = match row.get("waiting").and_then(Value::as_u64) {
            None => String::new(),
            Some(1) => ", 1 session waits".to_owned(),
            Some(sessions) => format!(", {sessions} sessions wait"),
        };
        writeln!(out, "  not answering for {silent}{waiting}")?;
    }
    match row.get("retry_in_ms") {
        Some(wait) => writeln!(out, "  {}; tried again in {wait} ms", field("reason")),
        None => Ok(()),
    }
}

fn listeners(out: &mut String, status: &Value) -> fmt::Result {
    for row in rows(status, "/listeners") {
        let field = |key: &str| shown(row.get(key));
        writeln!(
            out,
            "listener {}: {} ({}), {}",
            field("name"),
            field("address"),
            field("kind"),
            field("state")
        )?;
        let bytes = |key: &str| {
            let bytes = row.get(key).and_then(Value::as_u64);
            bytes.map_or("-".to_owned(), size)
        };
        // Those at places far behind have no counters.
        if row.get("sessions").is_some() {
            writeln!(
                out,
                "  {} sessions, {} accepted, {} refused, {} messages, {} received, {} sent",
                field("sessions"),
                field("accepted"),
                field("refused"),
                field("messages"),
                bytes("received"),
                bytes("sent")
            )?;
        }
    }
    Ok(())
}

fn helpers(out: &mut String, status: &Value) -> fmt::Result {
    for row in rows(status, "/helpers") {
        let field = |key: &str| shown(row.get(key));
        writeln!(
            out,
            "helper {}: pid {}, {} restarts",
            field("name"),
            field("pid"),
            field("restarts")
        )?;
    }
    Ok(())
}

/// The latest stalls, the last one first.
fn stalls(out: &mut String, status: &Value) -> fmt::Result {
    let stalls: Vec<_> = rows(status, "/stalls").collect();
    for row in stalls.iter().rev().take(STALLS) {
        let field = |key: &str| shown(row.get(key));
        let place = row.get("place").filter(|place| !place.is_null());
        writeln!(
            out,
            "stall: {}, {} hook, session {}, {} for {} ms, in {}",
            field("worker"),
            field("hook"),
            shown(row.get("session")),
            field("kind"),
            field("elapsed_ms"),
            shown(place.or(row.pointer("/stack/0")))
        )?;
    }
    Ok(())
}

/// Milliseconds, as in "4.2 s".
fn seconds(milliseconds: Option<&Value>) -> String {
    let milliseconds = milliseconds.and_then(Value::as_u64).unwrap_or_default();
    format!("{:.1} s", milliseconds as f64 / 1000.0)
}

/// The memory that the gateway holds, and the sessions that this throttles.
fn memory(status: &Value) -> String {
    let number = |path| status.pointer(path).and_then(Value::as_u64);
    let held = number("/gateway/buffered_bytes").map_or("-".to_owned(), size);
    let limit = number("/gateway/memory_limit")
        .map_or(String::new(), |limit| format!(" of {}", size(limit)));
    let waiting = number("/gateway/throttled")
        .filter(|sessions| *sessions > 0)
        .map_or(String::new(), |sessions| {
            format!(", {sessions} sessions throttled")
        });
    format!("{held}{limit} buffered{waiting}")
}

/// The memory that the gateway holds, by class.
fn held(status: &Value) -> String {
    let classes = status.pointer("/gateway/held").and_then(Value::as_object);
    let shown: Vec<_> = classes
        .into_iter()
        .flatten()
        .filter_map(|(class, bytes)| Some((class, bytes.as_u64().filter(|bytes| *bytes > 0)?)))
        .map(|(class, bytes)| format!("{} {}", size(bytes), plain(class)))
        .collect();
    shown.join(", ")
}

pub(super) fn sessions_head() -> String {
    format!(
        "{:<18} {:<24} {:<22} {:>6} {:>8} {:>8} {:>10} {:>10} {:>10} {:>10}  label, or upstream and peer",
        "id", "listener", "peer", "worker", "age", "idle", "messages", "received", "sent", "queued"
    )
}

pub(super) fn session(row: &SessionRow) -> String {
    // It may come from a client: no escape sequences from there into the terminal.
    let last = match &row.relay {
        None => plain(&row.label),
        Some(relay) => {
            let peer = relay.peer.as_deref().unwrap_or("no peer");
            format!("{} {}", plain(&relay.upstream), plain(peer))
        }
    };
    let line = format!(
        "{:<18} {:<24} {:<22} {:>6} {:>8} {:>8} {:>10} {:>10} {:>10} {:>10}  {}",
        row.id,
        plain(&row.listener),
        plain(&row.peer),
        row.worker.map_or("-".to_owned(), |slot| slot.to_string()),
        duration(row.age_s),
        duration(row.idle_s),
        row.messages,
        size(row.received),
        size(row.sent),
        size(row.queued),
        last.trim_start()
    );
    line.trim_end().to_owned()
}

fn rows<'a>(status: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    status
        .pointer(path)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        // It may come from a script or a peer: no escape sequences from there into the terminal.
        Some(Value::String(text)) => plain(text),
        Some(value) => value.to_string(),
    }
}

fn nonzero(counts: Option<&Value>) -> String {
    let counts = counts.and_then(Value::as_object).into_iter().flatten();
    let shown: Vec<_> = counts
        .filter(|(_, count)| count.as_u64().is_some_and(|count| count > 0))
        .map(|(name, count)| format!("{count} {}", plain(name).replace('_', " ")))
        .collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn status_shows_every_process_and_only_the_losses_that_happened() {
        let text = status(&json!({
            "supervisor": { "pid": 7, "uptime_s": 3725 },
            "gateway": { "pid": 8, "loops": 2, "sessions": 5, "accepted": 9, "messages": 100, "buffered_bytes": 2048,
                "closed": { "peer": 4, "slow": 0 }, "limits": { "accept_rate": 3, "descriptors": 0 } },
            "workers": [{ "slot": 0, "pid": 9, "state": "ready", "generation": 3, "handled": 100, "in_progress": 1, "sessions": 5 },
                { "slot": 2, "pid": 10, "state": "not answering", "silent_ms": 4230, "waiting": 3 },
                { "slot": 1, "pid": null, "state": "waiting", "retry_in_ms": 400, "reason": "exited with code 7" }],
            "listeners": [{ "name": "door", "address": "tcp://127.0.0.1:7000", "kind": "line", "state": "retired" }],
            "reloads": { "done": 2, "failed": 1 },
            "upgrades": { "done": 3, "failed": 0, "last_pause_ms": 4.1 },
            "lost": { "closed_by_crash": 0 },
        }));
        assert!(text.contains("pid 7, up 1h02m"), "{text}");
        assert!(text.contains("2.0 KiB buffered"), "{text}");
        assert!(text.contains("closed      4 peer\n"), "{text}");
        assert!(text.contains("limits      3 accept rate\n"), "{text}");
        assert!(text.contains("worker 0          9  ready"), "{text}");
        assert!(text.contains("worker 1          -  waiting"), "{text}");
        assert!(
            text.contains("  not answering for 4.2 s, 3 sessions wait\n"),
            "{text}"
        );
        assert!(
            text.contains("  exited with code 7; tried again in 400 ms\n"),
            "{text}"
        );
        assert!(
            text.contains("listener door: tcp://127.0.0.1:7000 (line), retired\n"),
            "{text}"
        );
        assert!(
            text.contains("upgrades    3 done, 0 failed; the last one paused 5 ms\n"),
            "{text}"
        );
        assert!(!text.contains("lost"), "{text}");
    }

    #[test]
    fn what_is_wrong_stands_first_and_nothing_reaches_the_terminal_raw() {
        let text = status(&json!({
            "findings": [
                { "urgency": "page", "kind": "x", "what": "A \u{1b}[2J.", "remedy": "B." },
                { "urgency": "ticket", "kind": "y", "what": "C.", "remedy": "D." },
            ],
            "workers": [{ "slot": 0, "state": "waiting", "retry_in_ms": 1, "reason": "\u{9b}31m\n" }],
            "helpers": [{ "name": "\u{1b}]0;title\u{7}", "pid": 1, "restarts": 0 }],
            "stalls": [{ "worker": "\u{1b}c", "hook": "x", "session": "\u{1b}c", "place": "y" }],
            "reloads": { "done": 0, "failed": 1, "last": { "result": "failed", "ago_s": 7 } },
        }));
        let head = "2 things are wrong\nWRONG    A \\u{1b}[2J.\n         to do: B.\nwarning  C.\n         to do: D.\n\nsupervisor";
        assert!(text.starts_with(head), "{text}");
        assert!(
            text.contains("1 failed; the last one 7s ago: failed\n"),
            "{text}"
        );
        let raw = text.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(raw, None, "{text:?}");
    }

    #[test]
    fn an_engine_without_findings_is_healthy() {
        assert!(status(&json!({})).starts_with("healthy\n\n"));
    }

    #[test]
    fn the_peer_of_a_relay_has_no_escape_sequences() {
        let row: SessionRow = serde_json::from_value(json!({
            "id": "0000000000000001", "listener": "door", "peer": "127.0.0.1:1", "label": "", "worker": null, "age_s": 1, "idle_s": 1,
            "messages": 0, "received": 0, "sent": 0, "queued": 0,
            "relay": { "upstream": "a", "peer": "b\u{1b}[2J", "attempts": 1 },
        }))
        .expect("a row");
        let text = session(&row);
        assert!(text.ends_with(r"  a b\u{1b}[2J"), "{text:?}");
    }

    #[test]
    fn status_shows_how_near_the_memory_limit_is() {
        let text = status(&json!({
            "gateway": { "buffered_bytes": 7 << 20, "memory_limit": 8 << 20, "throttled": 3,
                "held": { "received": 6 << 20, "tls": 1 << 20, "http": 0 } },
        }));
        assert!(
            text.contains("7.0 MiB of 8.0 MiB buffered, 3 sessions throttled\n"),
            "{text}"
        );
        assert!(
            text.contains("held        6.0 MiB received, 1.0 MiB tls\n"),
            "{text}"
        );
    }

    #[test]
    fn status_of_a_gateway_that_holds_nothing_names_no_class() {
        let text = status(&json!({ "gateway": { "held": { "received": 0, "tls": 0 } } }));
        assert!(!text.contains("held"), "{text}");
    }
}
