//! The messages between the supervisor and the roles over their control channels.
//!
//! Each role has one `SOCK_SEQPACKET` pair with the supervisor. It opens with an `ipc::Hello` from the
//! role; every packet after it is one of these messages (postcard) with descriptors beside it. No
//! payload of a session ever travels here.

mod counters;

use serde::{Deserialize, Serialize};

use crate::session_id::SessionId;
pub use counters::{
    BEAT, COUNTED_LISTENERS, LOOP_ROW, Limit, ListenerCounter, LoopCounter, MemoryClass,
    PROCESS_BOARD, PROCESS_ROW, ProcessCounter, gateway_board, gateway_flight, main_row,
};
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
    /// its socket and the folders of its files; then the sealed credentials; last, if it follows another gateway, the channel
    /// to that one.
    StartGateway {
        /// Which gateway this is, from 1.
        incarnation: u32,
        /// The whole configuration.
        config: Box<Config>,
        /// No serial of a session may be at or below this one.
        last_serial: u64,
        /// It takes everything from the present gateway: it answers with `Waits`, then with `Ready`, and stands still until
        /// `GoOn`.
        follows: bool,
    },
    /// To a gateway: stand still, and hand everything over to the gateway at the other end of this channel. Answered with
    /// `HandedOver`. Then comes `GoOn` or `Leave`, and nothing else before.
    HandOver {
        /// HTTP connections whose requests take too long are cut.
        cuts_http: bool,
    },
    /// To a gateway that stands still: go on.
    GoOn,
    /// To a gateway that has handed everything over: another one goes on with it. End, and close nothing before.
    Leave,
    /// The first message to a worker or task worker. Descriptors: the scoreboard, its chime, then for each gateway loop
    /// in order the doorbell by which it wakes the loop, and the region; last the channel for files.
    StartProcess {
        /// Its name in the engine.
        process: ProcessId,
        /// Worker or task worker, and the slot.
        role: Role,
        /// Which deployment it belongs to, from 1; rises with each committed reload.
        generation: u32,
        /// When its engine was started, in nanoseconds since the Unix epoch: another run has a higher one.
        engine: u64,
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
        /// HTTP connections of all listeners end, too, within both times.
        ends_http: bool,
    },
    /// To a gateway: list some sessions; answered with `Sessions`.
    ListSessions {
        /// The asker's number for this question.
        question: u64,
        /// The place to continue from.
        from: ListPlace,
    },
    /// To a gateway: close a session or a relayed connection; answered with `SessionClosed`.
    CloseSession {
        /// The asker's number for this question.
        question: u64,
        /// Which.
        id: SessionId,
    },
    /// To a gateway: from now on the listeners at these places, and no others, accept no connections.
    StopAccepting {
        /// Their places.
        places: Vec<u16>,
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
    /// From a gateway: the answer to `CloseSession`.
    SessionClosed {
        /// The question's number.
        question: u64,
        /// Whether there is such a session.
        is_there: bool,
    },
    /// From a gateway: the answer to `SetPeer`.
    PeerSet {
        /// The question's number.
        question: u64,
        /// How many peers were meant, or why none was.
        result: Result<usize, String>,
    },
    /// From a gateway that follows another: it can take everything now.
    Waits,
    /// From a gateway: the answer to `HandOver`.
    HandedOver {
        /// Why it cannot hand everything over: it goes on.
        failure: Option<String>,
    },
    /// From a gateway that has followed another: it goes on.
    GoesOn {
        /// The sessions that it has taken.
        sessions: u64,
        /// For how long no session was read, in microseconds.
        pause_us: u64,
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
    /// From a gateway, at most once a second for each loop: a connection that stands for most of those that a limit keeps out.
    Refused {
        /// The limit, as `status` names it.
        limit: String,
        /// The listener's name.
        listener: String,
        /// Where it came from.
        address: String,
    },
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
    /// The session's id, or the number of a relayed connection.
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
    /// Where it is relayed to, if it is: then the bytes are those that a side has sent and the other one has taken.
    pub relay: Option<RelayRow>,
}

/// Where a connection or the datagrams of a client are relayed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayRow {
    /// The name of the upstream.
    pub upstream: String,
    /// The address of the present peer, also while it is connected to.
    pub peer: Option<String>,
    /// Attempts to connect so far.
    pub attempts: u32,
}
