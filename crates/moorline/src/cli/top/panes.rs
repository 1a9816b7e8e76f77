//! The panes, and the rows of each.

use moorline_engine::admin::text::{duration, plain, size};
use moorline_engine::control::{SessionRow, UpstreamSeen};
use serde_json::Value;

use super::history::{Bytes, History};
use super::sample::{Sample, number};

/// What is shown at once. Its number, from 1, is its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pane {
    Overview,
    Workers,
    Listeners,
    Sessions,
    Peers,
    Memory,
    Wrong,
}

impl Pane {
    pub(super) const ALL: [Self; 7] = [
        Self::Overview,
        Self::Workers,
        Self::Listeners,
        Self::Sessions,
        Self::Peers,
        Self::Memory,
        Self::Wrong,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Workers => "workers",
            Self::Listeners => "listeners",
            Self::Sessions => "sessions",
            Self::Peers => "peers",
            Self::Memory => "memory",
            Self::Wrong => "wrong",
        }
    }

    /// The one that many places behind it.
    pub(super) fn next(self, places: usize) -> Self {
        Self::ALL[(self as usize + places) % Self::ALL.len()]
    }

    /// How many columns its table has.
    pub(super) fn columns(self) -> usize {
        self.heads().len()
    }

    /// The heads of its table.
    pub(super) fn heads(self) -> &'static [&'static str] {
        match self {
            Self::Overview | Self::Wrong => &[],
            Self::Workers => &[
                "process", "pid", "state", "gen", "sessions", "busy", "handled", "a second",
                "memory",
            ],
            Self::Listeners => &[
                "listener", "address", "kind", "state", "sessions", "in/s", "out/s",
            ],
            Self::Sessions => &[
                "queued", "client", "label", "worker", "age", "idle", "received", "sent",
                "listener",
            ],
            Self::Peers => &[
                "upstream",
                "peer",
                "state",
                "open",
                "failed",
                "total",
                "connect",
                "last failure",
            ],
            Self::Memory => &["what", "amount"],
        }
    }

    /// The rows of its table, in their own order.
    pub(super) fn rows(self, sample: &Sample, history: &History) -> Vec<TableRow> {
        match self {
            Self::Overview | Self::Wrong => Vec::new(),
            Self::Workers => workers(sample, history),
            Self::Listeners => {
                let rows = sample.rows("/listeners");
                rows.map(|row| listener(row, history)).collect()
            }
            Self::Sessions => {
                let mut rows: Vec<_> = sample.sessions.iter().collect();
                // The slowest readers first.
                rows.sort_by_key(|row| std::cmp::Reverse(row.queued));
                rows.into_iter().map(session).collect()
            }
            Self::Peers => sample.upstreams.iter().flat_map(peers).collect(),
            Self::Memory => memory(sample),
        }
    }
}

/// A row of a table.
#[derive(Debug, Clone)]
pub(super) struct TableRow {
    pub(super) cells: Vec<Cell>,
    /// Something is wrong there.
    pub(super) is_bad: bool,
}

/// A text, and the number that it stands for.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) number: Option<u64>,
}

fn word(text: &str) -> Cell {
    let text = plain(text);
    Cell { text, number: None }
}

fn count(number: u64) -> Cell {
    measure(number.to_string(), number)
}

fn measure(text: String, number: u64) -> Cell {
    Cell {
        text,
        number: Some(number),
    }
}

/// A text of a table.
fn field(row: &Value, key: &str) -> Cell {
    word(row.get(key).and_then(Value::as_str).unwrap_or("-"))
}

/// Keeps the rows with this text and sorts them: numbers from the largest, texts from the first.
pub(super) fn chosen(
    mut rows: Vec<TableRow>,
    filter: &str,
    (column, is_reversed): (Option<usize>, bool),
) -> Vec<TableRow> {
    let filter = filter.to_lowercase();
    rows.retain(|row| {
        let mut cells = row.cells.iter();
        filter.is_empty() || cells.any(|cell| cell.text.to_lowercase().contains(&filter))
    });
    if let Some(column) = column {
        rows.sort_by(|a, b| {
            let (Some(a), Some(b)) = (a.cells.get(column), b.cells.get(column)) else {
                return std::cmp::Ordering::Equal;
            };
            b.number.cmp(&a.number).then_with(|| a.text.cmp(&b.text))
        });
    }
    if is_reversed {
        rows.reverse();
    }
    rows
}

fn workers(sample: &Sample, history: &History) -> Vec<TableRow> {
    let process = |name: String, row: &Value| {
        let pid = number(row, "/pid");
        let state = row.get("state").and_then(Value::as_str);
        let state = state.unwrap_or("-");
        let silent = number(row, "/silent_ms") / 1000;
        let state_text = match silent {
            0 => state.to_owned(),
            silent => format!("{state} {silent}s"),
        };
        let memory = number(row, "/memory_bytes");
        TableRow {
            cells: vec![
                word(&name),
                count(pid),
                word(&state_text),
                count(number(row, "/generation")),
                count(number(row, "/sessions")),
                count(number(row, "/in_progress")),
                count(number(row, "/handled")),
                count(history.handled(pid)),
                match memory {
                    0 => word("-"),
                    memory => measure(size(memory), memory),
                },
            ],
            is_bad: matches!(state, "not answering" | "waiting"),
        }
    };
    let workers = sample.rows("/workers");
    let workers = workers.map(|row| process(format!("worker {}", number(row, "/slot")), row));
    let tasks = sample.rows("/tasks");
    let tasks = tasks.map(|row| process(format!("task {}", number(row, "/slot")), row));
    workers.chain(tasks).collect()
}

fn listener(row: &Value, history: &History) -> TableRow {
    let Bytes { received, sent } = history.moved(row);
    let mut cells: Vec<_> = ["name", "address", "kind", "state"]
        .map(|key| field(row, key))
        .into();
    cells.push(count(number(row, "/sessions")));
    cells.extend([received, sent].map(|bytes| measure(size(bytes), bytes)));
    let state = row.get("state").and_then(Value::as_str);
    TableRow {
        cells,
        is_bad: matches!(state, Some("paused" | "stopped")),
    }
}

fn session(row: &SessionRow) -> TableRow {
    let target = match &row.relay {
        None => word(&row.label),
        Some(relay) => {
            let peer = relay.peer.as_deref().unwrap_or("no peer");
            word(&format!("{} {peer}", relay.upstream))
        }
    };
    let worker = row.worker.map(u64::from);
    TableRow {
        cells: vec![
            measure(size(row.queued), row.queued),
            word(&row.peer),
            target,
            worker.map_or(word("-"), count),
            measure(duration(row.age_s), row.age_s),
            measure(duration(row.idle_s), row.idle_s),
            measure(size(row.received), row.received),
            measure(size(row.sent), row.sent),
            word(&row.listener),
        ],
        is_bad: false,
    }
}

fn peers(upstream: &UpstreamSeen) -> Vec<TableRow> {
    let seen = upstream.peers.iter().map(|peer| {
        let state = peer.state.to_string();
        let failure = peer.last_failure.as_ref();
        let failure = failure.map(|(why, ago)| format!("{} ago: {why}", duration(ago.as_secs())));
        let connect = peer.connect_time.map(|time| {
            let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            measure(format!("{time:.1?}"), micros)
        });
        TableRow {
            is_bad: matches!(state.as_str(), "out" | "unhealthy"),
            cells: vec![
                word(&upstream.name),
                word(&peer.address),
                word(&state),
                count(peer.open.into()),
                count(peer.failures),
                count(peer.connections),
                connect.unwrap_or_else(|| word("-")),
                word(failure.as_deref().unwrap_or("")),
            ],
        }
    });
    let unresolved = upstream.unresolved.iter().map(|(name, why)| {
        let mut cells = vec![word(&upstream.name), word(name), word("not resolved")];
        cells.extend([(); 4].map(|()| word("-")));
        cells.push(word(why));
        TableRow {
            cells,
            is_bad: true,
        }
    });
    seen.chain(unresolved).collect()
}

/// What the gateway holds, what processes have, and what was lost, as far as it is not 0.
fn memory(sample: &Sample) -> Vec<TableRow> {
    let mut rows = Vec::new();
    let mut add = |what: String, cell: Cell| {
        rows.push(TableRow {
            cells: vec![word(&what), cell],
            is_bad: false,
        });
    };
    let bytes = |bytes: u64| measure(size(bytes), bytes);
    let held = sample.number("/gateway/buffered_bytes");
    add("held by the gateway".to_owned(), bytes(held));
    for (class, held) in table(sample, "/gateway/held") {
        add(format!("held: {class}"), bytes(held));
    }
    let processes = [
        ("supervisor", sample.status.get("supervisor")),
        ("gateway", sample.status.get("gateway")),
    ];
    for (name, row) in processes {
        let used = row.map_or(0, |row| number(row, "/memory_bytes"));
        if used > 0 {
            add(format!("memory of the {name}"), bytes(used));
        }
    }
    for (title, path) in [
        ("lost", "/lost"),
        ("errors", "/errors"),
        ("closed", "/gateway/closed"),
        ("limit", "/gateway/limits"),
        ("requests", "/gateway/requests"),
        ("relays", "/gateway/relays"),
    ] {
        for (name, times) in table(sample, path) {
            add(format!("{title}: {}", name.replace('_', " ")), count(times));
        }
    }
    let lines = sample.number("/log_lines_dropped");
    if lines > 0 {
        add("log lines dropped".to_owned(), count(lines));
    }
    rows
}

fn table<'a>(sample: &'a Sample, path: &str) -> impl Iterator<Item = (&'a String, u64)> {
    let table = sample.status.pointer(path).and_then(Value::as_object);
    let numbers = table.into_iter().flatten();
    numbers.filter_map(|(name, value)| Some((name, value.as_u64().filter(|value| *value > 0)?)))
}
