use std::time::Duration;

use moorline_proxy::{PeerSeen, State, UpstreamSeen};
use serde_json::{Value, json};

use super::*;

fn found(status: &Value) -> Vec<(Urgency, FindingKind, String)> {
    let found = findings(status, &[]).into_iter();
    found.map(|it| (it.urgency, it.kind, it.what)).collect()
}

fn peer(address: &str, state: State) -> PeerSeen {
    PeerSeen {
        address: address.to_owned(),
        entry: None,
        state,
        is_backup: false,
        weight: 1,
        warmth: 100,
        open: 0,
        max_connections: None,
        connections: 9,
        failures: 3,
        last_failure: Some(("connection refused".to_owned(), Duration::from_secs(4))),
        connect_time: None,
    }
}

fn upstream(peers: Vec<PeerSeen>) -> UpstreamSeen {
    UpstreamSeen {
        name: "db".to_owned(),
        balance: "round-robin".to_owned(),
        peers,
        unresolved: Vec::new(),
    }
}

#[test]
fn a_healthy_engine_and_one_that_says_nothing_have_none() {
    let status = json!({
        "supervisor": { "started_at": 1000, "uptime_s": 9, "stopping": false },
        "gateway": { "pid": 7, "still": [], "main_still_ms": null, "buffered_bytes": 5, "memory_limit": null, "throttled": 0 },
        "workers": [{ "slot": 0, "pid": 8, "state": "ready", "silent_ms": null, "waiting": null }],
        "tasks": [{ "slot": 0, "pid": 9, "state": "starting" }],
        "reloads": { "done": 1, "failed": 0, "last": { "result": "done", "ago_s": 3 } },
        "stalls": [{ "pid": 8, "hook": "message", "at": 500 }],
        "waited": { "lately_us": 1024 },
        "lately": {},
    });
    for status in [status, json!({}), Value::Null, json!([1])] {
        assert_eq!(found(&status), []);
    }
}

#[test]
fn each_problem_of_processes_has_a_sentence_and_the_worst_is_first() {
    use FindingKind::*;
    let status = json!({
        "supervisor": { "started_at": 1000, "uptime_s": 100 },
        "gateway": { "pid": null },
        "workers": [
            { "slot": 0, "pid": 8, "state": "not answering", "silent_ms": 4200, "waiting": 1, "in_progress": 3 },
            { "slot": 1, "pid": null, "state": "waiting", "retry_in_ms": 3000, "reason": "killed by signal 9" },
        ],
        "reloads": { "last": { "result": "failed", "ago_s": 70, "reason": "line 3\nis wrong." } },
        "stalls": [
            { "worker": "worker 0", "pid": 8, "hook": "message", "kind": "running", "elapsed_ms": 500, "at": 1090, "place": "old" },
            { "worker": "worker 0", "pid": 8, "hook": "message", "kind": "blocked", "elapsed_ms": 5000, "at": 1099, "stack": ["read"] },
        ],
        "waited": { "lately_us": 1 << 21 },
        "lately": { "worker_exits": { "count": 2, "since_s": 61, "ago_s": 5 } },
    });
    let expected = [
        (
            Urgency::Page,
            HasNoGateway,
            "There is no gateway: nobody can connect.",
        ),
        (
            Urgency::Page,
            WorkersAreMissing,
            "Worker 0 (pid 8) has given no sign of life for 4.2 s; 1 session waits for it.",
        ),
        (
            Urgency::Page,
            WorkersAreMissing,
            "Worker 1 has no process and is started again in 3.0 s: killed by signal 9.",
        ),
        (
            Urgency::Ticket,
            WorkersCrash,
            "Ended without an order: 2 workers in the last 1m01s.",
        ),
        (
            Urgency::Ticket,
            ReloadFailed,
            "The last reload failed 1m10s ago, and what served before serves on: line 3 is wrong.",
        ),
        (
            Urgency::Ticket,
            HandlersAreStuck,
            "A handler of worker 0 (pid 8, hook message) was found stuck after 5.0 s in read: it is blocked in a system call.",
        ),
        (
            Urgency::Ticket,
            MessagesWait,
            "A hundredth of the messages wait for their handlers for up to 2.1 s, or longer. The busiest is worker 0 with 3 handlers in progress.",
        ),
    ];
    assert_eq!(
        found(&status),
        expected.map(|(a, b, c)| (a, b, c.to_owned()))
    );
}

#[test]
fn a_machine_that_becomes_short_of_something_is_told() {
    use FindingKind::*;
    let status = json!({
        "supervisor": { "now": 1_000_000 },
        "machine": { "memory_available": 100 << 20 },
        "gateway": { "pid": 7, "buffered_bytes": 19 << 20, "memory_limit": 20 << 20, "throttled": 2,
            "held": { "queued": 18 << 20, "tls": 1 << 20 }, "descriptors": { "open": 950, "limit": 1000 } },
        "workers": [{ "slot": 1, "pid": 8, "state": "ready", "memory_bytes": 3 << 20, "memory_growth": 1 << 20 }],
        "certificates": [
            { "listener": "door", "certificate": "a.pem", "ends_at": 1_000_000 - 60 },
            { "listener": "door", "certificate": "b.pem", "ends_at": 1_000_000 + 86_400 },
            { "listener": "door", "certificate": "c.pem", "ends_at": 1_000_000 + 90 * 86_400 },
        ],
        "disks": [
            { "what": "log", "path": "/var/log", "free": 0, "size": 1 << 30 },
            { "what": "run_dir", "path": "/run", "free": 90 << 20, "size": 100 << 20 },
        ],
        "lately": { "log_lines": { "count": 1, "since_s": 0, "ago_s": 0 } },
    });
    let expected = [
        (
            Urgency::Page,
            CertificateEnds,
            "The certificate a.pem of listener door has ended 1m00s ago.",
        ),
        (
            Urgency::Page,
            DiskIsFull,
            "The disk of log has 0 B of 1.0 GiB left (/var/log).",
        ),
        (
            Urgency::Ticket,
            DescriptorsAreShort,
            "Descriptors are nearly used up; the gateway has 950 of 1000 open.",
        ),
        (
            Urgency::Ticket,
            CertificateEnds,
            "The certificate b.pem of listener door ends in 1d00h.",
        ),
        (
            Urgency::Ticket,
            MemoryIsNearItsLimit,
            "The gateway holds 19.0 MiB of 20.0 MiB, most of it for queued: 18.0 MiB; 2 sessions are throttled.",
        ),
        (
            Urgency::Ticket,
            MemoryGrows,
            "Worker 1 (pid 8) has 3.0 MiB of memory and grows by 1.0 MiB each second; the machine is full in 1m40s then.",
        ),
        (
            Urgency::Ticket,
            LosesLogLines,
            "The logs have lost lines: 1 line in the last 1s.",
        ),
    ];
    assert_eq!(
        found(&status),
        expected.map(|(a, b, c)| (a, b, c.to_owned()))
    );
}

#[test]
fn clients_that_read_slowly_or_are_refused_are_told_with_their_address() {
    let status = json!({
        "gateway": { "pid": 7, "held": { "queued": 3 << 20 }, "full": 2 },
        "refused": [{ "limit": "max_sessions_per_address", "listener": "door", "address": "10.1.2.3", "ago_s": 1 }],
        "lately": {
            "closed_slow": { "count": 1, "since_s": 5, "ago_s": 5 },
            "limit_max_sessions_per_address": { "count": 900, "since_s": 9, "ago_s": 0 },
            "limit_accept_rate": { "count": 4, "since_s": 9, "ago_s": 0 },
            "limit_descriptors": { "count": 1, "since_s": 9, "ago_s": 0 },
        },
    });
    let texts: Vec<_> = found(&status)
        .into_iter()
        .map(|(_, _, what)| what)
        .collect();
    let expected = [
        "Accepting has paused for lack of descriptors: 1 time in the last 9s.",
        "Clients read too slowly: 2 have more queued than `high_watermark`; closed for it: 1 session in the last 5s; 3.0 MiB are queued for them.",
        "Connections are refused because of `max_sessions_per_address`: 900 connections in the last 9s. Most came from 10.1.2.3 to listener door, the last one 1s ago.",
        "Connections wait to be accepted because of `accept_rate`: 4 times in the last 9s.",
    ];
    assert_eq!(texts, expected);
}

#[test]
fn a_listener_that_accepts_nothing_is_told_with_the_reason() {
    let listener = |state: &str| json!({ "name": "door", "state": state });
    let status =
        json!({ "listeners": (["accepting", "retired", "stopped", "paused"].map(listener)) });
    let expected = [
        (
            Urgency::Page,
            FindingKind::ListenerAcceptsNothing,
            "Listener door accepts nothing: there is no descriptor or memory for those that connect.",
        ),
        (
            Urgency::Ticket,
            FindingKind::ListenerAcceptsNothing,
            "Listener door accepts nothing: it was told so. Those that connect wait.",
        ),
    ];
    assert_eq!(
        found(&status),
        expected.map(|(a, b, c)| (a, b, c.to_owned()))
    );
}

#[test]
fn a_small_limit_of_descriptors_is_near_only_when_it_is() {
    for (open, limit, is_found) in [(10, 64, false), (57, 64, false), (58, 64, true)] {
        let status =
            json!({ "gateway": { "pid": 7, "descriptors": { "open": open, "limit": limit } } });
        assert_eq!(!found(&status).is_empty(), is_found, "{open} of {limit}");
    }
}

#[test]
fn a_peer_that_fails_is_told_with_its_failure_and_pages_if_no_other_is_left() {
    let one = upstream(vec![
        peer("10.0.0.1:1", State::Out),
        peer("10.0.0.2:1", State::Up),
    ]);
    let all = upstream(vec![
        peer("10.0.0.1:1\u{1b}[2J", State::Unhealthy),
        peer("10.0.0.2:1", State::Down),
    ]);
    let told = |upstream: &UpstreamSeen| {
        let found = findings(&Value::Null, std::slice::from_ref(upstream)).into_iter();
        found.map(|it| (it.urgency, it.what)).collect::<Vec<_>>()
    };
    let text = "Peer 10.0.0.1:1 of upstream db is out: connection refused, 4s ago.".to_owned();
    assert_eq!(told(&one), [(Urgency::Ticket, text)]);
    let text = "Peer 10.0.0.1:1\\u{1b}[2J of upstream db is unhealthy: connection refused, 4s ago. No other peer is left.";
    assert_eq!(told(&all), [(Urgency::Page, text.to_owned())]);
    let status = json!({ "lately": { "relays_failed": { "count": 2, "since_s": 3, "ago_s": 1 } } });
    let up = upstream(vec![peer("10.0.0.1:1", State::Up)]);
    assert_eq!(
        findings(&status, &[up])[0].what,
        "Relayed connections find no peer: 2 connections in the last 3s. 10.0.0.1:1 of db: connection refused, 4s ago."
    );
    let mut dead = upstream(Vec::new());
    dead.unresolved = vec![("db.example".to_owned(), "no such name".to_owned())];
    assert_eq!(
        findings(&Value::Null, &[dead])[0].what,
        "The name db.example of upstream db is not resolved: no such name."
    );
}

#[test]
fn each_kind_has_an_alert_of_its_name() {
    let alerts = include_str!("../../../../contrib/prometheus/alerts.yml");
    for kind in FindingKind::ALL {
        assert!(
            alerts.contains(&format!("- alert: Moorline{kind:?}\n")),
            "{kind}"
        );
    }
}

#[test]
fn however_many_are_of_one_kind_few_are_told() {
    let peers = (0..5000).map(|at| peer(&format!("10.0.0.1:{at}"), State::Out));
    let found = findings(&Value::Null, &[upstream(peers.collect())]);
    assert_eq!(found.len(), EACH + 1);
    assert_eq!(found[EACH].what, "There are 4995 more of this kind.");
}
