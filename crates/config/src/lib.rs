//! The configuration of an engine, checked and complete: every default filled in, every reference resolved.
//!
//! [`load`] turns a file into a [`Config`]; nothing else reads TOML. A `Config` travels to the roles over the control
//! channel, so it holds plain values only. This crate knows no processes.
//!
//! In reading order:
//!
//! - `load` finds and parses the file
//! - `process`, `listen`, `framing`, `liveness`, `tls`: the keys, and the rules between them; `address_kind`: what an
//!   address speaks; `known`: the names that listeners may refer to
//! - `route`, `route_path`: what becomes of the requests for a path; `request`: which of them become sessions
//! - `proxies`, `trusted_host`: which proxies are believed; `stream`: the rules for clients, of which `access`
//!   says which may connect, `limit` how many, `rate` how fast they are, `access_log` what is noted of them, and `preread` whether it is read what they ask for by TLS; `tables` with names of
//!   their own
//! - `upstream`, `balance`, `peer_check`, `peer_tls`, `relay`: peers that connections are relayed to; `variables`: texts that a connection completes; `uses`: what
//!   connections must note for them
//! - `server`, `server_name`: servers behind one address, chosen by the name that a TLS client asks for
//! - `resolver`, `service`: how peers are found by names
//! - `datagram_relay`: what is different where datagrams are relayed
//! - `map`: tables from one text to another; `destination`: where connections go; `names`, `naming`: what texts name
//! - `walk` reads single keys
//! - `error`: a mistake and its place; `near` finds slips, `later` names keys of a later version
//! - `host`: the machine that defaults come from
//! - `app`: `[app]`, which only the app understands; `admin`: `[admin]`, the page and metrics; `cluster`:
//!   `[cluster]`, engines on other machines
//! - `cpu_affinity`: which CPUs processes stay on; `lua`: services in Lua instead of an app
//! - `live`: what a reload can change
//! - [`mod@reference`] lists every key for people

mod access;
mod access_log;
mod address_kind;
mod admin;
mod app;
mod balance;
mod bind;
mod cache_control;
mod chosen_certificate;
mod cluster;
mod compression;
mod cpu_affinity;
mod datagram_relay;
mod destination;
mod error;
mod framing;
mod host;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod invariants;
mod known;
mod later;
mod limit;
mod listen;
mod live;
mod liveness;
mod load;
mod lua;
mod map;
mod names;
mod naming;
mod near;
mod no_workers;
mod peer_address;
mod peer_check;
mod peer_tls;
mod preread;
mod process;
mod proxies;
mod proxy_version;
mod rate;
pub mod reference;
mod relay;
mod request;
mod resolver;
mod route;
mod route_path;
mod server;
mod server_name;
mod service;
mod stream;
mod tables;
#[cfg(test)]
mod tests;
mod tls;
mod tls_variables;
mod trusted_host;
mod upstream;
mod uses;
mod variables;
mod walk;
mod watermarks;

use std::path::PathBuf;
use std::time::Duration;

use moorline_net::tls::server::ServerOptions;
use moorline_net::{Address, Framing};
use serde::{Deserialize, Serialize};

pub use access::Access;
pub use access_log::{AccessLog, AccessLogLine, AccessLogPath, Escape};
pub use admin::{Admin, Otlp};
pub use app::{check_app, check_app_text};
pub use balance::{Balance, HashMethod, Load, TimeOf};
pub use bind::{BadBind, Bind, BindAddress, parse_bind};
pub use chosen_certificate::ChosenCertificate;
pub use cluster::{Cluster, ClusterLogin};
pub use compression::Compression;
pub use datagram_relay::DatagramRules;
pub use destination::{Destination, address as destination_address};
pub use error::{ConfigError, ConfigErrors};
pub use host::allowed_cpus;
pub use limit::{ConnectionLimit, LimitUse};
pub use live::{live_change, tasks_change};
pub use liveness::{Liveness, Ping};
pub use load::{Loaded, load, load_text, resolved, run_dir, run_dirs};
pub use lua::LuaScript;
pub use map::{Addresses, Map, MapEntries, MapPattern, Share, TextKey};
pub use names::NameId;
pub use peer_check::{Check, CheckKind, Exchange};
pub use peer_tls::PeerTls;
pub use preread::Preread;
pub use process::CONTROL_SOCKET;
pub use proxies::{AnnouncedConnections, ForwardedHeader, Network, Proxies};
pub use proxy_version::ProxyVersion;
pub use rate::{BadRate, Rates, parse_rate};
pub use request::{Origins, Pattern, RequestRules, is_subprotocol, is_token};
pub use resolver::ResolverRules;
pub use route::{PUBLISH_GROUP, Route, RouteKind, Routes, StaticFiles, Token};
pub use route_path::{BadPath, RoutePath, WrongPath};
pub use stream::StreamRules;
pub use tls_variables::TlsVariable;
pub use trusted_host::TrustedHost;
pub use upstream::{MOST_PEERS, Next, Upstream, UpstreamPeer};
pub use uses::Uses;
pub use variables::{Template, TemplatePart, Variable};

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
    /// `[[helpers]]`, in order, and the one that serves `[admin]`.
    pub helpers: Vec<Helper>,
    /// `[cluster]`.
    pub cluster: Option<Cluster>,
    /// `[[listen]]`, in order; a listener is named elsewhere by its place here, which it keeps over reloads.
    pub listeners: Vec<Listener>,
    /// `[upstream.NAME]`, by name.
    pub upstreams: Vec<Upstream>,
    /// `[limit.NAME]`, by name.
    pub limits: Vec<ConnectionLimit>,
    /// `[access_log.NAME]`, by name.
    pub access_logs: Vec<AccessLog>,
    /// `[map.NAME]`, by name. They do not travel with the rest, because they may be large.
    #[serde(skip)]
    pub maps: Vec<Map>,
    /// `[app]` as TOML text, handed to the app as it is.
    pub app: String,
}

impl Config {
    /// The largest message that can be sent to a session of any listener.
    pub fn max_message(&self) -> u64 {
        let max = self.listeners.iter().map(Listener::max_message).max();
        max.unwrap_or(u64::MAX)
    }

    /// The same for a process that does not connect to NATS.
    #[must_use]
    pub fn without_logins(mut self) -> Self {
        if let Some(cluster) = &mut self.cluster {
            (cluster.login, cluster.tls) = (None, None);
        }
        self
    }

    /// An upstream whose peers may see addresses of other machines.
    pub fn transparent_upstream(&self) -> Option<&Upstream> {
        let is_transparent = |it: &&Upstream| it.bind.as_ref().is_some_and(|it| it.is_transparent);
        self.upstreams.iter().find(is_transparent)
    }

    /// The upstream with this name.
    pub fn upstream(&self, name: &str) -> Option<&Upstream> {
        let found = self
            .upstreams
            .binary_search_by(|it| it.name.as_str().cmp(name));
        self.upstreams.get(found.ok()?)
    }
}

/// `[engine]`: the settings that belong to no single process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Engine {
    /// The folder with lock and control socket; absolute.
    pub run_dir: PathBuf,
    /// Event loops in the gateway, 1 to 64. Default: the CPUs.
    pub gateway_loops: u16,
    /// Shared memory for one process's rings, all loops together, in bytes. Default: the larger of 8 MiB and 2 MiB a loop.
    pub ring_memory: u64,
    /// Buffered bytes of all sessions together. Near it, large sessions are throttled; at it, they are closed. None:
    /// only each session's own limits apply.
    pub memory_limit: Option<u64>,
    /// Bytes of the events that groups keep, all groups together; near [`memory_limit`](Self::memory_limit) they give way.
    /// Default 64 MiB.
    pub history_memory: u64,
    /// How long a group keeps its events after the last one and its last member. Default 10 min.
    pub history_timeout: Duration,
    /// The user that workers and task workers run as, if the supervisor is root.
    pub user: Option<String>,
    /// Their group; default: that user's own.
    pub group: Option<String>,
    /// The user that the gateway runs as, if the supervisor is root.
    pub gateway_user: Option<String>,
    /// Over how much time a stop spreads the closing of sessions. Default 0: all close at once.
    pub stop_over: Duration,
    /// The close code that WebSocket sessions get when the engine stops or drains: 1001 (going away, the default) or 1012
    /// (service restart).
    pub stop_code: u16,
    /// A gateway is replaced when one of its loops has stood still for this long. Default 30 s; written as zero: never.
    pub kill_after: Option<Duration>,
    /// What workers, task workers and gateway see as `/` once they have changed their user, if the supervisor is root.
    /// Absolute. Helpers and hooks are other programs, and see the real `/`.
    pub chroot: Option<PathBuf>,
    /// `[engine.log]`.
    pub log: Log,
    /// `[engine.hooks]`.
    pub hooks: Hooks,
}

/// `[engine.hooks]`: commands that run when the engine as a whole reaches a state, with the helpers' rights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hooks {
    /// When it serves.
    pub started: Option<Vec<String>>,
    /// When it is told to stop, before anything else happens.
    pub stopping: Option<Vec<String>>,
    /// When every process has ended.
    pub stopped: Option<Vec<String>>,
    /// How long each may take. Default 10 s.
    pub timeout: Duration,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            started: None,
            stopping: None,
            stopped: None,
            // As long as all other waits.
            timeout: Duration::from_secs(10),
        }
    }
}

/// `[engine.log]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// Where lines go; standard error if absent. Absolute.
    pub file: Option<PathBuf>,
    /// Which lines are logged, as a filter of `tracing`. Default "info".
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
    /// How long a process that stops may take to finish its messages. Default 10 s; zero ends at once.
    pub max_wait: Duration,
    /// How long a new process may take to become ready. Default 10 s.
    pub start_timeout: Duration,
    /// Which worker a session's messages go to, unless its listener says otherwise.
    pub dispatch: Dispatch,
    /// A worker is replaced after it has handled this many messages, and up to half as many more, drawn by each worker.
    pub max_requests: Option<u64>,
    /// A handler that keeps the thread for longer is reported with its stack. Default 1 s; written as zero: never.
    pub stall_after: Option<Duration>,
    /// A handler that awaits something for longer is reported with the place where it does. Default: never.
    pub wait_after: Option<Duration>,
    /// A worker is replaced when it has given no sign of life for this long. Default: never.
    pub kill_after: Option<Duration>,
    /// Which CPUs workers and gateway loops stay on.
    pub cpu_affinity: CpuAffinity,
    /// The services in Lua that handle sessions, instead of an app in Rust. For the `moorline` command.
    pub lua: Option<LuaScript>,
}

/// Which CPUs workers and gateway loops stay on: worker k and loop k on the same one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CpuAffinity {
    /// The kernel decides.
    Off,
    /// One each of the CPUs that the supervisor may use.
    Each,
    /// One each of these, by number; not empty.
    Only(Vec<u16>),
}

/// Which worker handles a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dispatch {
    /// Chosen when the session is accepted: the worker with the fewest.
    Sticky,
    /// Each message to the next worker.
    RoundRobin,
    /// Each message to the worker with the fewest messages in progress.
    LeastBusy,
    /// All sessions of one address to the same worker, by rendezvous hashing.
    IpHash,
    /// All sessions bound to one key to the same worker, by rendezvous hashing; sessions without a key as with `sticky`.
    Key,
}

/// `[tasks]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tasks {
    /// How many task workers. Default 0.
    pub count: u16,
    /// How many times a task is given to a worker before it fails. Default 3.
    pub attempts: u32,
    /// A task worker is replaced after it has handled this many tasks, and up to half as many more, drawn by each.
    pub max_requests: Option<u64>,
    /// As for workers. Default: none, since tasks may take long.
    pub stall_after: Option<Duration>,
    /// As for workers.
    pub wait_after: Option<Duration>,
    /// As for workers.
    pub kill_after: Option<Duration>,
}

/// One `[[helpers]]`: a command of the user's own, kept alive alongside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Helper {
    /// Its name in logs; unique.
    pub name: String,
    /// What it does.
    pub task: HelperTask,
}

/// What a helper does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum HelperTask {
    /// It runs this program with these arguments; not empty.
    Command(Vec<String>),
    /// It serves the page and metrics.
    Admin(Admin),
}

/// One `[[listen]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listener {
    /// Its name in every event; default: the address as written. Unique.
    pub name: String,
    /// Where it accepts. `tls://` and `https://` where it has `tls`, however it was written.
    pub address: Address,
    /// Where its connections go, if they are relayed. Then it has no framing but raw, and no routes.
    pub destination: Option<Destination>,
    /// The variables that it sets, by name.
    pub sets: Vec<(String, Template)>,
    /// The hosts for which TLS clients get it, where several servers have one address.
    pub names: Vec<TextKey>,
    /// The name of the listener that has the socket, if this one is a server behind that.
    pub host: Option<String>,
    /// What its connections must note for the texts that they fill in later.
    pub uses: Uses,
    /// When the sessions of datagrams that it relays end.
    pub datagrams: DatagramRules,
    /// How its connections are encrypted, if they are.
    pub tls: Option<ServerOptions>,
    /// How its stream is cut into messages. For HTTP listeners: `Framing::WebSocket`.
    pub framing: Framing,
    /// What becomes of its HTTP requests; empty where no HTTP is spoken.
    pub routes: Routes,
    /// Which requests may become sessions.
    pub requests: RequestRules,
    /// The proxies in front of it.
    pub proxies: Proxies,
    /// How its WebSocket messages are compressed, if they are.
    pub compression: Option<Compression>,
    /// A session that neither received nor sent for this long is closed.
    pub idle_timeout: Option<Duration>,
    /// A session that received nothing for this long is closed.
    pub receive_timeout: Option<Duration>,
    /// A session to which nothing was sent for this long is closed.
    pub send_timeout: Option<Duration>,
    /// How long a session whose peer has half-closed it may neither send anything nor end a handler. Default 5 min.
    pub half_close_timeout: Duration,
    /// How long a TLS handshake may take, and the head of a request. Default 10 s.
    pub handshake_timeout: Duration,
    /// How it finds out that a peer has vanished.
    pub liveness: Liveness,
    /// The least bytes a second of an unfinished message.
    pub min_receive_rate: Option<u64>,
    /// The app is told `full` when more outbound bytes than this are queued. Default 1 MiB.
    pub high_watermark: u64,
    /// The app is told `drained` when fewer are queued. Default a quarter of the high one.
    pub low_watermark: u64,
    /// A session with more queued bytes than this is closed as slow. Default 8 MiB or twice the high watermark, whichever is more.
    pub hard_limit: u64,
    /// What happens to a session whose worker dies while it handles a message of it.
    pub on_crash: OnCrash,
    /// What happens to a session whose handler returns an error. Default `close`, and `keep` with `on_crash = "drop"`.
    pub on_error: OnError,
    /// How many times a message is delivered at most under `redeliver`. Default 3.
    pub attempts: u32,
    /// The rules for clients of a stream listener.
    pub stream: StreamRules,
    /// The certificate for clients, if connections choose it.
    pub certificate: Option<ChosenCertificate>,
    /// Connections at the same time; more are closed at once. Default 100,000.
    pub max_sessions: u64,
    /// The most sessions from one address (an IPv6 network of 64 bits counts as one).
    pub max_sessions_per_address: Option<u32>,
    /// Connections accepted in a second; more wait in the kernel's backlog.
    pub accept_rate: Option<u32>,
    /// The most connections that wait for the gateway to go on with their handshakes; more wait in the kernel. Default 1024.
    pub max_handshakes: u32,
    /// Messages that a peer had sent before its connection broke are delivered. Default false.
    pub deliver_after_close: bool,
    /// `[workers] dispatch` for this listener's sessions.
    pub dispatch: Dispatch,
    /// A reload has removed it: it accepts nothing, and its sessions live until they end. Another listener may have its
    /// name by then.
    pub is_retired: bool,
}

impl Listener {
    /// Whether HTTP is spoken there.
    pub fn is_http(&self) -> bool {
        !self.routes.is_empty()
    }

    /// Whether it takes datagrams. They have sessions only where they are relayed.
    pub fn is_datagram(&self) -> bool {
        address_kind::is_datagram(&self.address)
    }

    /// The largest message that can be sent to a session of it.
    pub fn max_message(&self) -> u64 {
        self.framing.max_message().min(self.hard_limit)
    }

    /// The text of a variable that it sets.
    pub fn set(&self, name: NameId) -> Option<&Template> {
        let mut sets = self.sets.iter();
        let found = sets.find(|(set, _)| NameId::of(set) == name);
        found.map(|(_, text)| text)
    }

    /// Every text that its connections fill in, apart from those of its upstreams.
    fn texts(&self) -> impl Iterator<Item = &Template> {
        let chosen = self.certificate.iter();
        let files = chosen.flat_map(|chosen| [&chosen.certificate, &chosen.key]);
        self.destination
            .iter()
            .filter_map(Destination::text)
            .chain(files)
    }

    /// Whether it has a socket of its own: a server behind another listener has none, and a removed one no more.
    pub fn is_bound(&self) -> bool {
        !self.is_retired && self.host.is_none()
    }

    /// Whether its connections are relayed to peers, and no worker has a part in them.
    pub fn is_relay(&self) -> bool {
        self.destination.is_some()
    }

    /// Whether another gateway can go on with its connections: they are not encrypted, not relayed, and have no context of
    /// their clients' compression.
    pub fn can_move(&self) -> bool {
        let compression = self.compression.as_ref();
        let has_context = compression.is_some_and(|it| it.parameters.client.context_takeover);
        self.tls.is_none() && !self.is_relay() && !has_context
    }

    /// Whether an app must be there for its sessions or requests.
    pub fn needs_app(&self) -> bool {
        !self.is_relay() && (!self.is_http() || self.routes.need_app())
    }

    /// One word for its protocol: `raw`, `length`, `delimiter`, `line`, `websocket`, `http` (without WebSocket), `static`
    /// (with files only), `datagram` or `relay`.
    pub fn kind_word(&self) -> &'static str {
        match (&self.address, &self.framing) {
            _ if self.is_relay() => "relay",
            _ if self.is_datagram() => "datagram",
            _ if self.is_http() => self.http_word(),
            (_, framing) => framing.name(),
        }
    }
}

impl Listener {
    fn http_word(&self) -> &'static str {
        let has = |what: fn(&RouteKind) -> bool| self.routes.iter().any(|route| what(&route.kind));
        match () {
            () if has(|kind| *kind == RouteKind::WebSocket) => "websocket",
            () if has(|kind| !matches!(kind, RouteKind::Static(_))) => "http",
            () => "static",
        }
    }
}

/// What happens to a session whose handler returns an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// It is closed, once its output so far is flushed.
    Close,
    /// It stays open; the message counts as handled.
    Keep,
}

/// What happens to a session whose worker dies while it handles a message of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnCrash {
    /// It is closed.
    Close,
    /// The message is given to the next worker.
    Redeliver,
    /// The message is lost; the session stays open.
    Drop,
}
