//! The messages between the supervisor and the roles over their control channels.
//!
//! Each role has one `SOCK_SEQPACKET` pair with the supervisor. It opens with an `ipc::Hello` from the
//! role; every packet after it is one of these messages (postcard) with descriptors beside it. No
//! payload of a session ever travels here.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::session_id::SessionId;
use moorline_config::Config;
pub use moorline_proxy::{PeerSeen, Switch, UpstreamSeen};

/// Names one process: a counter of the supervisor's whose values are never reused.
pub type ProcessId = u32;

/// The kinds of process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Holds every socket.
    Gateway,
    /// Runs the app in this slot.
    Worker(u16),
    /// Runs slow jobs in this slot.
    Task(u16),
}

/// The name of a role in titles, logs and reasons.
pub fn role_name(role: Role) -> String {
    match role {
        Role::Gateway => "gateway".to_owned(),
        Role::Worker(slot) => format!("worker {slot}"),
        Role::Task(slot) => format!("task worker {slot}"),
    }
}

/// The name of a process that runs: `worker 1 (pid 4711)`.
pub fn process_name(role: Role, pid: u32) -> String {
    format!("{} (pid {pid})", role_name(role))
}

/// Supervisor → role.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ToRole {
    /// The first message to a gateway. Descriptors: the scoreboard, then for each listener that is not retired, in order,
    /// its socket and the folders of its files; then the sealed credentials.
    StartGateway {
        /// Which gateway this is, from 1.
        incarnation: u32,
        /// The whole configuration.
        config: Box<Config>,
        /// No serial of a session may be at or below this one.
        last_serial: u64,
    },
    /// The first message to a worker or task worker. Descriptors: the scoreboard, its chime, then for each gateway loop
    /// in order the doorbell by which it wakes the loop, and the region; last the channel for files.
    StartProcess {
        /// Its name in the engine.
        process: ProcessId,
        /// Worker or task worker, and the slot.
        role: Role,
        /// Which deployment it belongs to, from 1; rises with each committed reload.
        generation: u32,
        /// The whole configuration.
        config: Box<Config>,
    },
    /// To a worker or task worker: its generation is committed, and the gateway lets it serve.
    Serving,
    /// To a worker: it is the leader from now on.
    Lead,
    /// To a worker: it is the leader no longer; answered with `Resigned`.
    Resign,
    /// To a worker: the gateway has died, this is its successor. Descriptors: for each loop doorbell and region; last the
    /// channel for files.
    NewGateway,
    /// To a gateway: a process it will serve. Nothing goes there before `Activate`. Answered with `Attached`.
    /// Descriptors: its doorbell, then for each loop the chime of the process and the region, then the channel for its
    /// files.
    Attach {
        /// Its name in the engine.
        process: ProcessId,
        /// Worker or task worker, and the slot.
        role: Role,
        /// Its number in the system, for messages.
        pid: u32,
    },
    /// To a gateway: from now on these processes serve these slots (all slots of both kinds that have one).
    /// Processes that served before and are not named give up their sessions and are reported `Released`.
    /// With fewer worker slots than before the sessions of the missing ones go elsewhere.
    Activate {
        /// The number of worker slots there are from now on.
        workers: u16,
        /// The process that serves each of them now; a slot that is missing waits for one.
        serving: Vec<ProcessId>,
        /// The configuration prepared as this generation applies from now on.
        prepared: Option<u32>,
    },
    /// To a gateway: this process has ended; its messages in progress follow `on_crash`.
    Dead {
        /// Which.
        process: ProcessId,
        /// It ended by a fault signal (SEGV, BUS, ILL, FPE, ABRT, TRAP, SYS).
        fault: bool,
        /// It was killed by the supervisor at `max_wait` after a reload.
        forced: bool,
    },
    /// To a gateway: close the listeners, close the sessions one after the other over `over`, let each end its messages
    /// in progress within `max_wait`, then report `Drained`.
    /// To a worker or task worker: no more records come; run the stop hook and exit. Sent once the gateway
    /// has released it, or when the engine stops.
    Stop {
        /// For a gateway: the time over which the closings are spread, in milliseconds.
        over_ms: u64,
        /// How long it may take beyond that, in milliseconds.
        max_wait_ms: u64,
    },
    /// To a gateway: close the present sessions, and go on accepting; then report `DrainEnded`. It replaces a drain in
    /// progress.
    Drain {
        /// Its number, which rises.
        number: u64,
        /// Only sessions of the listeners at these places.
        places: Option<Vec<u16>>,
        /// Over how much time they are spread, in milliseconds.
        over_ms: u64,
        /// How long a message in progress may take then, in milliseconds.
        max_wait_ms: u64,
    },
    /// To a gateway: list some sessions; answered with `Sessions`.
    ListSessions {
        /// The asker's number for this question.
        question: u64,
        /// The place to continue from.
        from: ListPlace,
    },
    /// To a gateway: tell of some peers; answered with `Upstreams`.
    ListUpstreams {
        /// The asker's number for this question.
        question: u64,
        /// The place to continue from.
        from: UpstreamPlace,
    },
    /// To a gateway: change peers; answered with `PeerSet`.
    SetPeer {
        /// The asker's number for this question.
        question: u64,
        /// The name of the upstream.
        upstream: String,
        /// The address of a peer, or an entry as it is written.
        peer: String,
        /// How.
        change: PeerChange,
    },
    /// Log to this descriptor from now on. A gateway gets the log file, also after it was reopened; a worker or task
    /// worker gets a pipe to the supervisor, right after its start message.
    ReopenLog,
    /// To a gateway: these processes, and no others, are silent. They get no new session. Sent again each second while
    /// there are some; each time the gateway answers with `Waiting`.
    Silent {
        /// Which processes.
        processes: Vec<ProcessId>,
    },
    /// To a gateway: the configuration that applies from the `Activate` on that names this generation. Descriptors: the
    /// sockets, the folders, the sealed credentials, and the log file if there is one. Answered with `Prepared`.
    Prepare {
        /// The generation of the reload that is being prepared.
        generation: u32,
        /// The whole configuration: the listeners it has, in their places, and perhaps more. Those that have become
        /// retired accept nothing from then on.
        config: Box<Config>,
        /// The places whose listeners have another socket than before, or have one again.
        sockets: Vec<u16>,
        /// The place of a listener for each folder that it has.
        folders: Vec<u16>,
    },
    /// To a gateway: the reload has failed; what was prepared for it is closed.
    Forget,
    /// To a worker or task worker: a part of the answer to `Asks`.
    Answered {
        /// The number of the request.
        number: u64,
        /// What was asked for, or why it was refused: up to 32 KiB of it.
        part: Result<String, String>,
        /// No part follows.
        is_last: bool,
    },
}

/// Role → supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum FromRole {
    /// Started and able to serve.
    Ready,
    /// Could not start: `App::start` failed, or a step of the set-up did. The role exits next.
    Failed {
        /// The reason, for the person who asked for the reload.
        reason: String,
    },
    /// From a worker: it is about to stop by itself; its replacement may start.
    Stopping,
    /// From a worker: it has received `Resign` and does not act as the leader any more.
    Resigned,
    /// From a gateway: the answer to `Attach`. After a failure the gateway keeps nothing of the process once it is
    /// `Dead`.
    Attached {
        /// Which.
        process: ProcessId,
        /// Why it cannot be served.
        failure: Option<String>,
    },
    /// From a gateway: the answer to `Prepare`.
    Prepared {
        /// The generation it was for.
        generation: u32,
        /// Why the gateway could not take it.
        failure: Option<String>,
    },
    /// From a gateway: no session is with this process any more and its rings are empty; it may be stopped.
    Released {
        /// Which.
        process: ProcessId,
    },
    /// From a gateway: this process wrote garbage into a ring and must be ended.
    Garbage {
        /// Which.
        process: ProcessId,
        /// The reason.
        reason: String,
    },
    /// From a gateway: every loop has executed one more `Activate`; no message goes to a replaced process any more.
    Activated,
    /// From a gateway: the answer to `ListSessions`. There may be more even if there are no rows.
    Sessions {
        /// The question's number.
        question: u64,
        /// Each session comes once, in no order.
        rows: Vec<SessionRow>,
        /// The place to continue from; none after the last sessions.
        next: Option<ListPlace>,
    },
    /// From a gateway: the answer to `ListUpstreams`.
    Upstreams {
        /// The question's number.
        question: u64,
        /// An upstream with some of its peers; none after the last one.
        seen: Option<UpstreamSeen>,
        /// The place to continue from; none after the last peers.
        next: Option<UpstreamPlace>,
    },
    /// From a gateway: the answer to `SetPeer`.
    PeerSet {
        /// The question's number.
        question: u64,
        /// How many peers were meant, or why none was.
        result: Result<usize, String>,
    },
    /// From a gateway: every session is closed after `Stop`.
    Drained,
    /// From a gateway: the sessions of this drain are closed.
    DrainEnded {
        /// Which.
        number: u64,
    },
    /// From a gateway: how many sessions wait for each silent process.
    Waiting(Vec<(ProcessId, u64)>),
    /// From a worker or task worker: one of its handlers is stuck.
    Stalled(StallReport),
    /// From a gateway: the retired listeners at these places have no connection left.
    Vacant(Vec<u16>),
    /// From a worker or task worker that serves: the app asks for this. Answered with `Answered`.
    Asks {
        /// The process's number for this request.
        number: u64,
        /// What it asks for.
        request: AppRequest,
    },
}

/// What an app asks the engine for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppRequest {
    /// Replace all processes by new ones from the paths.
    Reload,
    /// Drain and end.
    Stop,
    /// Report the state.
    Status,
}

/// Requests of one process that may be unanswered.
pub const APP_REQUESTS: usize = 8;
/// The most of an answer to an app in one message, in bytes.
pub const ANSWER_PART: usize = 32 * 1024;

/// A stuck handler of a worker or task worker: since when, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StallReport {
    /// The app's hook.
    pub hook: String,
    /// The session it is for, if it is for one.
    pub session: Option<SessionId>,
    /// What it does.
    pub kind: StallKind,
    /// For how long.
    pub elapsed_ms: u64,
    /// The innermost frame of the app's own, if there is one.
    pub place: Option<String>,
    /// One line for each frame of the app's own and the few that it has called, the innermost first.
    pub stack: Vec<String>,
}

/// The hook that must end before a process is ready, as reports name it.
pub const START_HOOK: &str = "start";

/// What a stuck handler does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StallKind {
    /// It computes.
    Running,
    /// It is in a system call, which keeps all others waiting.
    Blocked,
    /// It awaits something, and other handlers run meanwhile.
    Waiting,
}

impl StallKind {
    /// What it does there, as in "it awaits something in connect".
    pub fn verb(self) -> &'static str {
        match self {
            StallKind::Running => "computes",
            StallKind::Blocked => "is blocked in a system call",
            StallKind::Waiting => "awaits something",
        }
    }
}

impl std::fmt::Display for StallKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            StallKind::Running => "a handler computes without end and keeps the others waiting",
            StallKind::Blocked => {
                "a handler is blocked in a system call and keeps the others waiting"
            }
            StallKind::Waiting => "a handler awaits something that does not come",
        })
    }
}

/// The place in a list of all sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListPlace {
    /// The gateway loop.
    pub event_loop: u16,
    /// The place in its table.
    pub place: u32,
}

/// The place in a list of all peers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamPlace {
    /// The upstream, in the order of the configuration.
    pub upstream: u16,
    /// The place among its peers.
    pub peer: u16,
}

/// What `moorline upstreams set` changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerChange {
    /// Whether it gets connections.
    Switch(Switch),
    /// Its weight.
    Weight(u32),
}

/// One line of `moorline sessions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// The session's id.
    pub id: SessionId,
    /// The listener's name.
    pub listener: String,
    /// The other end.
    pub peer: String,
    /// Its label; empty if it has none.
    pub label: String,
    /// The worker slot it is with.
    pub worker: Option<u16>,
    /// Seconds since it was accepted.
    pub age_s: u64,
    /// Seconds since something was received.
    pub idle_s: u64,
    /// Messages received.
    pub messages: u64,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes queued for it.
    pub queued: u64,
}

/// The counters of a gateway loop, by their place in its scoreboard row. The gateway's scoreboard has one row a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum LoopCounter {
    /// Sessions now.
    Sessions = 0,
    /// Sessions ever.
    Accepted,
    /// Bytes held for sessions and for processes now.
    BufferedBytes,
    /// Messages received.
    Messages,
    /// Sessions closed because of a crash.
    ClosedByCrash,
    /// Messages given to another worker after a crash.
    Redelivered,
    /// Messages lost by `on_crash = "drop"`.
    Dropped,
    /// Messages whose worker was killed at `max_wait` of a reload.
    ReloadForced,
    /// Records for sessions that had closed meanwhile.
    Discarded,
    /// Highest serial used.
    LastSerial,
    /// Datagrams dropped because their worker's ring was full or missing.
    DatagramsDropped,
    /// Sessions that are not read now because the memory limit is near.
    Throttled,
    /// Sessions closed for each `CloseReason`: this place + the reason's number − 1.
    Closed,
    /// How often each [`Limit`] was reached: this place + the limit's number. It leaves room for more reasons.
    Limits = 25,
    /// Lines that the gateway's log had no room for.
    LogLinesDropped = 32,
    /// Signs of life: turns of the loop, at least one each [`BEAT`], and beats of the main thread.
    Beats,
    /// Sessions that a stop or a drain has not closed yet.
    Closing,
    /// How many there were at its beginning.
    ClosingOf,
    /// Bytes held of each [`MemoryClass`] now: this place + the class's number.
    Held = 40,
    /// Plain requests to the app in progress now.
    Requests = 56,
    /// Plain requests that the app has answered.
    RequestsAnswered,
    /// … whose hook has failed, or whose worker died.
    RequestsFailed,
    /// … that found no worker in time, or too many others that wait.
    RequestsRefused,
    /// … whose client left before it had all of the answer.
    RequestsLeft,
    /// Relayed connections now.
    Relays,
    /// Relayed connections ever.
    RelaysBegun,
    /// … for which no peer could be reached.
    RelaysFailed,
    /// Bytes that clients have sent to peers of upstreams.
    RelayedUp,
    /// Bytes that peers of upstreams have sent to clients.
    RelayedDown,
}

/// A limit that affects one peer or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Limit {
    /// `max_sessions`: a connection was refused.
    Sessions = 0,
    /// `max_sessions_per_address`: a connection was refused.
    SessionsPerAddress,
    /// `accept_rate`: accepting has waited.
    AcceptRate,
    /// `handshake_timeout`: a handshake or the head of a request was cut off.
    HandshakeTimeout,
    /// `min_receive_rate`: a session was closed.
    MinReceiveRate,
    /// Open files (`ulimit -n`): accepting has paused.
    Descriptors,
    /// `max_handshakes`: accepting has waited.
    Handshakes,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Sessions,
        Self::SessionsPerAddress,
        Self::AcceptRate,
        Self::HandshakeTimeout,
        Self::MinReceiveRate,
        Self::Descriptors,
        Self::Handshakes,
    ];

    /// The key of the configuration, which `status` and logs use too.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sessions => "max_sessions",
            Self::SessionsPerAddress => "max_sessions_per_address",
            Self::AcceptRate => "accept_rate",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::MinReceiveRate => "min_receive_rate",
            Self::Descriptors => "descriptors",
            Self::Handshakes => "max_handshakes",
        }
    }
}

/// The purposes for which the gateway holds bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum MemoryClass {
    /// Received from peers: unfinished tails, undecrypted records, messages that wait or may be delivered again.
    Received = 0,
    /// Queued for one peer each.
    Queued,
    /// Lockers, keys and group memberships of sessions.
    State,
    /// Parts of a process's message that is not whole yet.
    Parts,
    /// Broadcasts that have not reached every member.
    Broadcasts,
    /// Payloads of tasks that have not ended.
    Tasks,
    /// Posts, results and credits that wait for room in a ring or for a process, and the ends of sessions until they are taken.
    Transfers,
    /// Buffers of encryption.
    Tls,
    /// HTTP connections, and the parts of files on their way there.
    Http,
    /// What compression of messages needs: the contexts of sessions, and what sessions share.
    Compression,
    /// Events that groups keep, and those on their way to all loops.
    History,
}

impl MemoryClass {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Received,
        Self::Queued,
        Self::State,
        Self::Parts,
        Self::Broadcasts,
        Self::Tasks,
        Self::Transfers,
        Self::Tls,
        Self::Http,
        Self::Compression,
        Self::History,
    ];

    /// Its name in `status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Queued => "queued",
            Self::State => "state",
            Self::Parts => "parts",
            Self::Broadcasts => "broadcasts",
            Self::Tasks => "tasks",
            Self::Transfers => "transfers",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Compression => "compression",
            Self::History => "history",
        }
    }
}

/// Counters in one row of the gateway's scoreboard.
pub const LOOP_ROW: usize = 72;

/// Counters in the scoreboard of a gateway with this many loops: a row for each, and one for its main thread, which has
/// only [`LoopCounter::Beats`].
pub const fn gateway_board(loops: usize) -> usize {
    main_row(loops) + LOOP_ROW
}

/// Where the row of its main thread begins.
pub const fn main_row(loops: usize) -> usize {
    loops * LOOP_ROW
}

/// A loop of the gateway, its main thread, and a process gives a sign of life at least this often, also when it has nothing to do.
pub const BEAT: Duration = Duration::from_millis(500);

/// The counters of a worker or task worker, by their place in its scoreboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum ProcessCounter {
    /// Messages, datagrams, posts or tasks handled.
    Handled = 0,
    /// Handlers running now.
    InProgress,
    /// Sessions it serves now.
    Sessions,
    /// Handlers that panicked or failed.
    Failures,
    /// Close hooks that panicked or failed.
    CloseFailures,
    /// Sum of the time that messages waited between receipt and handler, in nanoseconds.
    QueuedNs,
    /// Histogram of that time: this place + the number of bits of the microseconds (0 to 31).
    Queued,
    /// Records for sessions that are not here, and datagrams over the bound. Its place is after the histogram.
    Discarded = 38,
    /// Lines that its log had no room for.
    LogLinesDropped,
    /// Signs of life: there is one each [`BEAT`].
    Beats,
    /// Panics of hooks and of other code of the app.
    Panics,
    /// Handlers that were found stuck.
    Stalls,
    /// Errors that hooks have returned, close hooks too.
    Returned,
}

/// Counters in a process's scoreboard.
pub const PROCESS_ROW: usize = 64;
