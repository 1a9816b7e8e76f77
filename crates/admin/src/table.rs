//! Every metric, and where `status` has it.

use crate::exposition::MetricKind::{self, Counter, Gauge, Histogram};

/// A metric.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) kind: MetricKind,
    pub(crate) help: &'static str,
    /// The names of its labels.
    pub(crate) labels: &'static [&'static str],
    pub(crate) from: Source,
}

/// Where its values are. A path leads through the tables of `status`.
#[derive(Debug)]
pub(crate) enum Source {
    /// A number. Without one there is no sample.
    Number(&'static [&'static str]),
    /// A number of milliseconds.
    Milliseconds(&'static [&'static str]),
    /// Whether there is something else than `null` or `false`.
    Presence(&'static [&'static str]),
    /// A table: each key is the label's value.
    Table(&'static [&'static str]),
    /// Some numbers, each with the label's value.
    Choice(&'static [(&'static str, &'static [&'static str])]),
    /// A list of tables: the label's value is at the first key, and the number at the second. Those of one label are added.
    Rows(&'static [&'static str], &'static str, &'static str),
    /// As [`Rows`](Self::Rows), in milliseconds.
    MillisecondsOfRows(&'static [&'static str], &'static str, &'static str),
    /// How many tables of a list have each of these texts at this key.
    Count(
        &'static [&'static str],
        &'static str,
        &'static [&'static str],
    ),
    /// How many log2 buckets of microseconds there are, and their sum.
    Buckets(&'static [&'static str]),
    /// The version.
    Version,
    /// Peers of upstreams.
    Peers(OfPeer),
    /// How many peers are left out.
    Omitted,
}

/// What is measured of a peer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OfPeer {
    IsUp,
    Open,
    Connections,
    Failures,
    ConnectTime,
}

const fn metric(
    name: &'static str,
    kind: MetricKind,
    labels: &'static [&'static str],
    from: Source,
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        help,
        labels,
        from,
    }
}

const STATES: &[&str] = &["ready", "starting", "draining", "not answering", "waiting"];

/// All of them, in the order of the text.
pub(crate) const METRICS: &[Metric] = &[
    metric(
        "moorline_info",
        Gauge,
        &["version"],
        Source::Version,
        "1, with the version of the engine.",
    ),
    metric(
        "moorline_start_time_seconds",
        Gauge,
        &[],
        Source::Number(&["supervisor", "started_at"]),
        "When the engine was started, in Unix time.",
    ),
    metric(
        "moorline_stopping",
        Gauge,
        &[],
        Source::Presence(&["supervisor", "stopping"]),
        "1 while the engine stops.",
    ),
    metric(
        "moorline_gateway_up",
        Gauge,
        &[],
        Source::Presence(&["gateway", "pid"]),
        "1 while there is a gateway.",
    ),
    metric(
        "moorline_gateway_starts",
        Gauge,
        &[],
        Source::Number(&["gateway", "incarnation"]),
        "The number of the gateway: more than 1 if one was replaced.",
    ),
    metric(
        "moorline_gateway_loop_still_seconds",
        Gauge,
        &["loop"],
        Source::MillisecondsOfRows(&["gateway", "still"], "loop", "ms"),
        "How long a loop of the gateway has given no sign of life, of those that are late.",
    ),
    metric(
        "moorline_gateway_main_still_seconds",
        Gauge,
        &[],
        Source::Milliseconds(&["gateway", "main_still_ms"]),
        "How long the gateway's main thread has given no sign of life, if it is late.",
    ),
    metric(
        "moorline_sessions",
        Gauge,
        &[],
        Source::Number(&["gateway", "sessions"]),
        "Sessions that are open.",
    ),
    metric(
        "moorline_sessions_throttled",
        Gauge,
        &[],
        Source::Number(&["gateway", "throttled"]),
        "Sessions that are not read because the memory limit is near.",
    ),
    metric(
        "moorline_sessions_accepted_total",
        Counter,
        &[],
        Source::Number(&["gateway", "accepted"]),
        "Sessions that were begun.",
    ),
    metric(
        "moorline_sessions_closed_total",
        Counter,
        &["reason"],
        Source::Table(&["gateway", "closed"]),
        "Sessions that have ended.",
    ),
    metric(
        "moorline_sessions_closing",
        Gauge,
        &[],
        Source::Number(&["closing", "left"]),
        "Sessions that a stop or a drain has not closed yet.",
    ),
    metric(
        "moorline_messages_received_total",
        Counter,
        &[],
        Source::Number(&["gateway", "messages"]),
        "Messages that sessions have sent.",
    ),
    metric(
        "moorline_messages_handled_total",
        Counter,
        &[],
        Source::Number(&["handled"]),
        "Messages, datagrams, posts and tasks that the app has handled.",
    ),
    metric(
        "moorline_message_wait_seconds",
        Histogram,
        &[],
        Source::Buckets(&["waited"]),
        "How long messages have waited for their handler.",
    ),
    metric(
        "moorline_messages_redelivered_total",
        Counter,
        &[],
        Source::Number(&["lost", "redelivered"]),
        "Messages that were given to another worker after a crash.",
    ),
    metric(
        "moorline_messages_dropped_total",
        Counter,
        &[],
        Source::Number(&["lost", "dropped"]),
        "Messages that a crash has lost where on_crash is drop.",
    ),
    metric(
        "moorline_messages_forced_total",
        Counter,
        &[],
        Source::Number(&["lost", "reload_forced"]),
        "Messages whose worker was killed at max_wait of a reload.",
    ),
    metric(
        "moorline_sessions_closed_by_crash_total",
        Counter,
        &[],
        Source::Number(&["lost", "closed_by_crash"]),
        "Sessions that a crash of their worker has closed.",
    ),
    metric(
        "moorline_datagrams_dropped_total",
        Counter,
        &[],
        Source::Number(&["lost", "datagrams_dropped"]),
        "Datagrams that found no room at their worker.",
    ),
    metric(
        "moorline_records_discarded_total",
        Counter,
        &[],
        Source::Number(&["discarded"]),
        "What the app has sent to sessions that had closed meanwhile.",
    ),
    metric(
        "moorline_listener_sessions",
        Gauge,
        &["listener"],
        Source::Rows(&["listeners"], "name", "sessions"),
        "Sessions and relays of a listener.",
    ),
    metric(
        "moorline_listener_accepted_total",
        Counter,
        &["listener"],
        Source::Rows(&["listeners"], "name", "accepted"),
        "Sessions and relays of a listener that were begun.",
    ),
    metric(
        "moorline_listener_refused_total",
        Counter,
        &["listener"],
        Source::Rows(&["listeners"], "name", "refused"),
        "Connections of a listener that a limit, `access` or a rule about proxies has refused.",
    ),
    metric(
        "moorline_listener_messages_total",
        Counter,
        &["listener"],
        Source::Rows(&["listeners"], "name", "messages"),
        "Messages that sessions of a listener have sent.",
    ),
    metric(
        "moorline_listener_received_bytes_total",
        Counter,
        &["listener"],
        Source::Rows(&["listeners"], "name", "received"),
        "Bytes that clients of a listener have sent.",
    ),
    metric(
        "moorline_listener_sent_bytes_total",
        Counter,
        &["listener"],
        Source::Rows(&["listeners"], "name", "sent"),
        "Bytes that were sent to clients of a listener.",
    ),
    metric(
        "moorline_requests_in_progress",
        Gauge,
        &[],
        Source::Number(&["gateway", "requests", "in_progress"]),
        "Plain requests that the app is answering.",
    ),
    metric(
        "moorline_requests_total",
        Counter,
        &["result"],
        Source::Choice(&[
            ("answered", &["gateway", "requests", "answered"]),
            ("failed", &["gateway", "requests", "failed"]),
            ("refused", &["gateway", "requests", "refused"]),
            ("client_left", &["gateway", "requests", "client_left"]),
        ]),
        "Plain requests to the app.",
    ),
    metric(
        "moorline_relays",
        Gauge,
        &[],
        Source::Number(&["gateway", "relays", "open"]),
        "Relayed connections that are open.",
    ),
    metric(
        "moorline_relays_begun_total",
        Counter,
        &[],
        Source::Number(&["gateway", "relays", "begun"]),
        "Relayed connections that were begun.",
    ),
    metric(
        "moorline_relays_failed_total",
        Counter,
        &[],
        Source::Number(&["gateway", "relays", "failed"]),
        "Relayed connections for which no peer could be reached.",
    ),
    metric(
        "moorline_relayed_bytes_total",
        Counter,
        &["direction"],
        Source::Choice(&[
            ("up", &["gateway", "relays", "bytes_up"]),
            ("down", &["gateway", "relays", "bytes_down"]),
        ]),
        "Bytes from clients to peers (up) and from peers to clients (down).",
    ),
    metric(
        "moorline_upstream_peer_up",
        Gauge,
        &["upstream", "peer"],
        Source::Peers(OfPeer::IsUp),
        "1 if the peer gets connections.",
    ),
    metric(
        "moorline_upstream_peer_connections",
        Gauge,
        &["upstream", "peer"],
        Source::Peers(OfPeer::Open),
        "Connections to the peer that are open or on their way.",
    ),
    metric(
        "moorline_upstream_peer_connections_total",
        Counter,
        &["upstream", "peer"],
        Source::Peers(OfPeer::Connections),
        "Connections for which the peer was chosen, since the upstream was configured.",
    ),
    metric(
        "moorline_upstream_peer_failures_total",
        Counter,
        &["upstream", "peer"],
        Source::Peers(OfPeer::Failures),
        "How many of them failed.",
    ),
    metric(
        "moorline_upstream_peer_connect_seconds",
        Gauge,
        &["upstream", "peer"],
        Source::Peers(OfPeer::ConnectTime),
        "The average time to connect.",
    ),
    metric(
        "moorline_upstream_peers_omitted",
        Gauge,
        &[],
        Source::Omitted,
        "Peers beyond the first 1,000, which have no metrics.",
    ),
    metric(
        "moorline_limits_reached_total",
        Counter,
        &["limit"],
        Source::Table(&["gateway", "limits"]),
        "How often a limit was reached.",
    ),
    metric(
        "moorline_memory_bytes",
        Gauge,
        &["class"],
        Source::Table(&["gateway", "held"]),
        "What the gateway holds for sessions and processes.",
    ),
    metric(
        "moorline_memory_limit_bytes",
        Gauge,
        &[],
        Source::Number(&["gateway", "memory_limit"]),
        "memory_limit, if there is one.",
    ),
    metric(
        "moorline_workers",
        Gauge,
        &["state"],
        Source::Count(&["workers"], "state", STATES),
        "Workers in each state.",
    ),
    metric(
        "moorline_worker_sessions",
        Gauge,
        &["slot"],
        Source::Rows(&["workers"], "slot", "sessions"),
        "Sessions of a worker.",
    ),
    metric(
        "moorline_worker_in_progress",
        Gauge,
        &["slot"],
        Source::Rows(&["workers"], "slot", "in_progress"),
        "Handlers that run in a worker.",
    ),
    metric(
        "moorline_worker_handled",
        Gauge,
        &["slot"],
        Source::Rows(&["workers"], "slot", "handled"),
        "What the present processes of a worker's slot have handled.",
    ),
    metric(
        "moorline_worker_silent_seconds",
        Gauge,
        &["slot"],
        Source::MillisecondsOfRows(&["workers"], "slot", "silent_ms"),
        "How long a worker has given no sign of life, if it is late.",
    ),
    metric(
        "moorline_tasks",
        Gauge,
        &["state"],
        Source::Count(&["tasks"], "state", STATES),
        "Task workers in each state.",
    ),
    metric(
        "moorline_task_in_progress",
        Gauge,
        &["slot"],
        Source::Rows(&["tasks"], "slot", "in_progress"),
        "Tasks that run in a task worker.",
    ),
    metric(
        "moorline_helper_restarts",
        Gauge,
        &["helper"],
        Source::Rows(&["helpers"], "name", "restarts"),
        "How often a helper was started again.",
    ),
    metric(
        "moorline_reloading",
        Gauge,
        &[],
        Source::Presence(&["reloads", "running"]),
        "1 while a reload is in progress.",
    ),
    metric(
        "moorline_reloads_total",
        Counter,
        &["result"],
        Source::Choice(&[
            ("done", &["reloads", "done"]),
            ("failed", &["reloads", "failed"]),
        ]),
        "Reloads.",
    ),
    metric(
        "moorline_handler_failures_total",
        Counter,
        &[],
        Source::Number(&["errors", "handlers"]),
        "Handlers that panicked or returned an error.",
    ),
    metric(
        "moorline_hook_errors_total",
        Counter,
        &[],
        Source::Number(&["errors", "returned"]),
        "Errors that hooks have returned.",
    ),
    metric(
        "moorline_panics_total",
        Counter,
        &[],
        Source::Number(&["errors", "panics"]),
        "Panics of the app.",
    ),
    metric(
        "moorline_close_hook_failures_total",
        Counter,
        &[],
        Source::Number(&["errors", "close_hooks"]),
        "Close hooks that failed.",
    ),
    metric(
        "moorline_worker_exits_total",
        Counter,
        &[],
        Source::Number(&["errors", "worker_exits"]),
        "Workers and task workers that ended without being told to.",
    ),
    metric(
        "moorline_stalls_total",
        Counter,
        &[],
        Source::Number(&["errors", "stalls"]),
        "Handlers that were found stuck.",
    ),
    metric(
        "moorline_log_lines_dropped_total",
        Counter,
        &[],
        Source::Number(&["log_lines_dropped"]),
        "Lines that a log had no room for.",
    ),
    metric(
        "moorline_access_log_lines_lost_total",
        Counter,
        &[],
        Source::Number(&["lost", "access_log_lines"]),
        "Lines of access logs that could not be written, or not in time.",
    ),
];
