//! What the configuration says, checked and complete: every default filled in, every reference resolved.
//!
//! [`load`] turns a file into this; nobody else reads TOML. The structure travels to the roles over the
//! control channel, so it holds plain values only.
//!
//! In reading order: `load` finds and parses the file; `process`, `listen` and `framing` say which keys there
//! are and what holds between them; `walk` reads single keys, `unit` durations and sizes; `error` says what is
//! wrong and where, with the help of `near` (slips) and `later` (what is not there yet); `host` is the machine
//! that defaults come from; `live` tells what a reload can change.

mod error;
mod framing;
mod host;
mod later;
mod listen;
mod live;
mod load;
mod near;
mod process;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties;
#[cfg(test)]
mod tests;
mod walk;

use std::path::PathBuf;
use std::time::Duration;

use moorline_net::{Address, Framing};
use serde::{Deserialize, Serialize};

pub use error::{ConfigError, ConfigErrors};
pub use live::live_change;
pub use load::{Loaded, load, load_text, run_dir};
pub use process::CONTROL_SOCKET;

/// A whole engine's configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The app's name in process titles and logs: the file name of the configuration's folder or stem.
    pub name: String,
    /// `[engine]`.
    pub engine: Engine,
    /// `[workers]`.
    pub workers: Workers,
    /// `[tasks]`.
    pub tasks: Tasks,
    /// `[[helpers]]`, in order.
    pub helpers: Vec<Helper>,
    /// `[[listen]]`, in order; a listener is named elsewhere by its place here.
    pub listeners: Vec<Listener>,
    /// `[app]` as TOML text, handed to the app as it is.
    pub app: String,
}

/// `[engine]`: what belongs to no single process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Engine {
    /// The folder with lock and control socket; absolute.
    pub run_dir: PathBuf,
    /// Event loops in the gateway, 1 to 64. Default: the CPUs.
    pub gateway_loops: u16,
    /// Shared memory for one process's rings, all loops together, in bytes. Default: the larger of 4 MiB and 1 MiB a loop.
    pub ring_memory: u64,
    /// Whom workers and task workers run as, if the supervisor is root.
    pub user: Option<String>,
    /// Their group; default: that user's own.
    pub group: Option<String>,
    /// Whom the gateway runs as, if the supervisor is root.
    pub gateway_user: Option<String>,
    /// `[engine.log]`.
    pub log: Log,
}

/// `[engine.log]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// Where lines go; standard error if absent. Absolute.
    pub file: Option<PathBuf>,
    /// What is logged, in `tracing`'s filter words. Default "info".
    pub level: String,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// `[workers]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workers {
    /// How many. Default: the CPUs.
    pub count: u16,
    /// How long what is stopping may take to end what it has. Default 10 s; zero ends at once.
    pub max_wait: Duration,
    /// How long a new process may take to become ready. Default 10 s.
    pub start_timeout: Duration,
    /// Which worker a session's messages go to, unless its listener says otherwise.
    pub dispatch: Dispatch,
}

/// Which worker handles what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dispatch {
    /// Chosen when the session is accepted: the worker with the fewest.
    Sticky,
    /// Each message to the next worker.
    RoundRobin,
    /// Each message to the worker with the least in hand.
    LeastBusy,
}

/// `[tasks]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tasks {
    /// How many task workers. Default 0.
    pub count: u16,
    /// How many times a task is given to a worker before it fails. Default 3.
    pub attempts: u32,
}

/// One `[[helpers]]`: a command of the user's own, kept alive alongside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Helper {
    /// Its name in logs; unique.
    pub name: String,
    /// The program and its arguments; not empty.
    pub command: Vec<String>,
}

/// One `[[listen]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listener {
    /// Its name in every event; default: the address as written. Unique.
    pub name: String,
    /// Where it accepts.
    pub address: Address,
    /// How its stream is cut into messages. For `http://` listeners with `websocket`: `Framing::WebSocket`.
    pub framing: Framing,
    /// The path whose requests become WebSocket sessions (`http://` listeners only).
    pub websocket: Option<String>,
    /// The folder that every other path is a file of (`http://` listeners only). Absolute.
    pub static_folder: Option<PathBuf>,
    /// A session that neither received nor sent for so long is closed.
    pub idle_timeout: Option<Duration>,
    /// … that did not receive.
    pub receive_timeout: Option<Duration>,
    /// … that was not sent to.
    pub send_timeout: Option<Duration>,
    /// Outbound bytes queued from which on the app is told `full`. Default 1 MiB.
    pub high_watermark: u64,
    /// … under which it is told `drained`. Default a quarter of the high one.
    pub low_watermark: u64,
    /// … over which the session is closed as slow. Default 8 MiB or twice the high watermark, whichever is more.
    pub hard_limit: u64,
    /// What becomes of a session whose worker dies with its message in hand.
    pub on_crash: OnCrash,
    /// How many times a message is delivered at most under `redeliver`. Default 3.
    pub attempts: u32,
    /// Connections at the same time; more are closed at once. Default 100,000.
    pub max_sessions: u64,
    /// `[workers] dispatch` for this listener's sessions.
    pub dispatch: Dispatch,
}

impl Listener {
    /// One word for what is spoken there: `raw`, `length`, `delimiter`, `line`, `websocket`, `static`
    /// (`http://` with files only) or `datagram`.
    pub fn kind_word(&self) -> &'static str {
        match (&self.address, &self.framing) {
            (Address::Udp(_), _) => "datagram",
            (Address::Http(_), Framing::Raw) => "static",
            (_, Framing::Raw) => "raw",
            (_, Framing::Length(_)) => "length",
            (_, Framing::Delimiter(_)) => "delimiter",
            (_, Framing::Line { .. }) => "line",
            (_, Framing::WebSocket { .. }) => "websocket",
        }
    }
}

/// What becomes of a session whose worker dies with its message in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnCrash {
    /// It is closed.
    Close,
    /// The message is given to the next worker.
    Redeliver,
    /// The message is lost, the session goes on.
    Drop,
}
