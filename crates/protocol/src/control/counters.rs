//! What gateway loops and processes count, and where in their scoreboards.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use moorline_ipc::FLIGHT_COUNTERS;

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
    /// Lines that the gateway's log had no room for.
    LogLinesDropped = 32,
    /// Signs of life: turns of the loop, at least one each [`BEAT`], and beats of the main thread.
    Beats,
    /// Sessions that a stop or a drain has not closed yet.
    Closing,
    /// How many there were at its beginning.
    ClosingOf,
    /// Sessions now with more queued than `high_watermark`.
    Full,
    /// Of the main thread: descriptors that the gateway has open.
    Descriptors,
    /// Of the main thread: how many it may have for itself and for connections.
    DescriptorsMost,
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
    /// Lines of access logs that could not be written, or not in time.
    AccessLinesLost,
    /// How often each [`Limit`] was reached: this place + the limit's number. Its place leaves room for more counters before it, and
    /// the row for more limits.
    Limits = 96,
}

/// A limit that affects one peer or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    /// `access`: a connection was refused.
    Access,
    /// `limits`: a connection was refused.
    Keys,
    /// … or would have been, but for `dry_run`.
    KeysDryRun,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Sessions,
        Self::SessionsPerAddress,
        Self::AcceptRate,
        Self::HandshakeTimeout,
        Self::MinReceiveRate,
        Self::Descriptors,
        Self::Handshakes,
        Self::Access,
        Self::Keys,
        Self::KeysDryRun,
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
            Self::Access => "access",
            Self::Keys => "limits",
            Self::KeysDryRun => "limits_dry_run",
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

/// What is counted of a listener, if its place is below [`COUNTED_LISTENERS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum ListenerCounter {
    /// Sessions and relays now.
    Sessions = 0,
    /// Sessions and relays ever.
    Accepted,
    /// Connections that a limit, `access` or a rule about proxies has refused.
    Refused,
    /// Messages received, datagrams too.
    Messages,
    /// Bytes that clients have sent.
    Received,
    /// Bytes that were sent to clients.
    Sent,
    /// Whether connections wait that the loop has no descriptor or memory for: 1, or 0.
    Paused,
}

impl ListenerCounter {
    /// All that have a name of their own in `status`.
    pub const ALL: [Self; 6] = [
        Self::Sessions,
        Self::Accepted,
        Self::Refused,
        Self::Messages,
        Self::Received,
        Self::Sent,
    ];

    /// Its name in `status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Messages => "messages",
            Self::Received => "received",
            Self::Sent => "sent",
            Self::Paused => "paused",
        }
    }

    /// Where the counter of the listener at this place is in the row of a loop. `None`: it has none.
    #[inline]
    pub fn of(self, listener: u16) -> Option<usize> {
        let listener = usize::from(listener);
        (listener < COUNTED_LISTENERS).then(|| OTHERS + listener * LISTENER_ROW + self as usize)
    }
}

/// Listeners at places from this one on have no counters of their own: the scoreboard has a fixed size.
pub const COUNTED_LISTENERS: usize = 64;
/// Counters of a listener in a row, with room for more.
const LISTENER_ROW: usize = 8;
/// Counters in a row before those of listeners.
const OTHERS: usize = 128;

/// Counters in one row of the gateway's scoreboard.
pub const LOOP_ROW: usize = OTHERS + COUNTED_LISTENERS * LISTENER_ROW;

/// Counters in the scoreboard of a gateway with this many loops: a row for each, and one for its main thread, which has
/// only [`LoopCounter::Beats`] and descriptors; then the ring of the flight recorder for each of them.
pub const fn gateway_board(loops: usize) -> usize {
    gateway_flight(loops, loops + 1)
}

/// Where the ring of the flight recorder for a loop begins; for the main thread with the number after the last loop's.
pub const fn gateway_flight(loops: usize, thread: usize) -> usize {
    main_row(loops) + LOOP_ROW + thread * FLIGHT_COUNTERS
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

/// Counters of a process. Its ring of the flight recorder begins behind them.
pub const PROCESS_ROW: usize = 64;

/// Counters in a process's scoreboard.
pub const PROCESS_BOARD: usize = PROCESS_ROW + FLIGHT_COUNTERS;
