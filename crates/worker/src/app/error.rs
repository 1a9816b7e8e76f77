//! Why something could not be handed to the engine: one enum for each operation.

use std::error::Error;
use std::fmt;

use moorline_cluster::OfferError;
use moorline_net::Framing;

/// Why nothing was sent to a session, or why something else was not done for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The session has ended.
    Closed,
    /// The app has closed the session already. `close_now` works even so.
    Closing,
    /// There is no room: the session's outbound queue is over its high watermark, or the way to the
    /// gateway is full. `send` waits instead.
    Full,
    /// The message or the value is too large.
    TooLarge {
        /// The source of the limit.
        limit: SizeLimit,
        /// Its size in bytes.
        size: u64,
        /// The largest there may be.
        max: u64,
    },
    /// The id or the name of an event has a line break or a NUL byte in it.
    BadEvent,
    /// There is no session with this id (any more).
    NoSuchSession,
    /// There is no `udp://` or `unixgram://` listener of this name.
    NoSuchListener,
    /// The datagram listener cannot send to this address: it is of another kind, or the sender has none.
    NoAddress,
    /// The session is with another process, which alone may do this.
    Elsewhere,
    /// This process does not serve yet, and `start` has sent more than can wait until it does: send it in
    /// [`serving`](crate::app::App::serving).
    NotServing,
    /// The gateway has died, and with it all sessions and what groups kept.
    GatewayLost,
    /// The session is on another node, and that is not there: it has stopped, or was not heard for three seconds.
    Gone,
    /// The session is on another node, and NATS is away or this node does not belong to the cluster. Of a message to a group:
    /// the members on this node have been sent it, those on others have not.
    Unreachable,
}

/// The error of an app that asks in `start` for what only the commit brings.
pub(super) const NOT_SERVING: &str = "this process does not serve yet: do it in the `serving` hook";

impl SendError {
    /// The text of [`Closed`](Self::Closed).
    pub(crate) const CLOSED: &str = "the session is closed";
    pub(crate) const NO_SUCH_SESSION: &str = "there is no such session";
    pub(crate) const GONE: &str = "the node of the session is gone";
    pub(crate) const UNREACHABLE: &str = "this node cannot reach other nodes now";
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str(Self::CLOSED),
            Self::Closing => f.write_str("the session is being closed"),
            Self::Full => f.write_str("the outbound queue is full"),
            Self::TooLarge { limit, size, max } => write!(
                f,
                "{} of {size} bytes is over the limit of {max}{}",
                limit.subject(),
                limit.setter()
            ),
            Self::BadEvent => {
                f.write_str("the id or the name of an event has a line break or a NUL byte in it")
            }
            Self::NoSuchSession => f.write_str(Self::NO_SUCH_SESSION),
            Self::NoSuchListener => f.write_str("there is no datagram listener of this name"),
            Self::NoAddress => f.write_str(
                "the listener cannot send to this address: a sender without a name cannot be answered",
            ),
            Self::Elsewhere => f.write_str("the session is with another process"),
            Self::GatewayLost => f.write_str("the gateway has died"),
            Self::Gone => f.write_str(Self::GONE),
            Self::Unreachable => f.write_str(Self::UNREACHABLE),
            Self::NotServing => f.write_str(
                "this process does not serve yet, and more was sent in `start` than can wait: send it in the `serving` hook",
            ),
        }
    }
}

impl Error for SendError {}

impl From<OfferError> for SendError {
    fn from(error: OfferError) -> Self {
        match error {
            OfferError::Unreachable => Self::Unreachable,
            OfferError::Gone => Self::Gone,
            OfferError::Full => Self::Full,
            OfferError::NoSuchSlot => Self::NoSuchSession,
            OfferError::TooLarge { size, max } => Self::TooLarge {
                limit: SizeLimit::NatsPayload,
                size: size as u64,
                max: max as u64,
            },
        }
    }
}

/// The setting behind a size limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SizeLimit {
    /// `max` in the listener's `framing`, or what its length field can count. A header counts too.
    FramingMax,
    /// `max_message` of the listener, for WebSocket.
    MaxMessage,
    /// `hard_limit` of the listener: a larger message would close its session.
    HardLimit,
    /// The size of a datagram.
    Datagram,
    /// A locker has up to 8 KiB.
    Locker,
    /// A label has up to 64 bytes.
    Label,
    /// A key has up to 255 bytes.
    Key,
    /// A group's name has up to 255 bytes.
    GroupName,
    /// A broadcast has up to 4 MiB.
    Broadcast,
    /// The id of an event has up to 128 bytes.
    EventId,
    /// The name of an event has up to 64 bytes.
    EventName,
    /// How many sessions a broadcast can leave out. Here size and limit are their number.
    LeftOut,
    /// `max_payload` of the NATS servers: a larger message does not go to another node.
    NatsPayload,
}

impl SizeLimit {
    /// Whichever key sets the largest message of a framing.
    pub(crate) fn of_framing(framing: &Framing) -> Self {
        match framing {
            Framing::WebSocket { .. } => Self::MaxMessage,
            _ => Self::FramingMax,
        }
    }

    fn subject(self) -> &'static str {
        match self {
            Self::FramingMax | Self::MaxMessage | Self::HardLimit => "a message",
            Self::Datagram => "a datagram",
            Self::Locker => "a locker",
            Self::Label => "a label",
            Self::Key => "a key",
            Self::GroupName => "a group's name",
            Self::Broadcast => "a broadcast",
            Self::EventId => "an event's id",
            Self::EventName => "an event's name",
            Self::LeftOut => "a list of sessions to leave out",
            Self::NatsPayload => "a message to another node",
        }
    }

    /// Which key sets it, unless it is fixed.
    fn setter(self) -> &'static str {
        match self {
            Self::FramingMax => ", which `max` in the listener's framing sets",
            Self::MaxMessage => ", which `max_message` of the listener sets",
            Self::HardLimit => ", which `hard_limit` of the listener sets",
            Self::NatsPayload => ", which `max_payload` of the NATS servers sets",
            Self::Datagram
            | Self::Locker
            | Self::Label
            | Self::Key
            | Self::GroupName
            | Self::Broadcast
            | Self::EventId
            | Self::EventName
            | Self::LeftOut => "",
        }
    }
}

/// Why nothing was posted to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PostError {
    /// Too much that was posted to this worker before has not been handled yet.
    Full,
    /// There is no worker slot of this number.
    NoSuchWorker,
    /// It is larger than a post can be.
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The largest there may be.
        max: u64,
    },
    /// It was sent in [`start`](crate::app::App::start), after more than can wait until this process serves: send it in
    /// [`serving`](crate::app::App::serving).
    NotServing,
    /// The worker is on another node, and that is not there.
    Gone,
    /// The worker is on another node, and NATS is away or this node does not belong to the cluster.
    Unreachable,
}

impl fmt::Display for PostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("too many posts to this worker are not handled yet"),
            Self::NoSuchWorker => f.write_str("there is no worker in this slot"),
            Self::TooLarge { size, max } => {
                write!(f, "a post of {size} bytes is over the limit of {max}")
            }
            Self::Gone => f.write_str("the node of the worker is gone"),
            Self::Unreachable => f.write_str("no other node can be reached now"),
            Self::NotServing => f.write_str(NOT_SERVING),
        }
    }
}

impl Error for PostError {}

/// Why a task has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskError {
    /// Too many tasks of this process have not ended yet.
    Full,
    /// The configuration has no task workers: set `[tasks] count`.
    NoTaskWorkers,
    /// There is no task worker in the slot that was chosen.
    NoSuchTaskWorker,
    /// It is larger than a task can be.
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The largest there may be.
        max: u64,
    },
    /// A task cannot give out tasks.
    NotAWorker,
    /// Its result did not come in time. It runs all the same.
    Timeout,
    /// It failed in the task worker, which says why.
    Failed(String),
    /// The gateway, which keeps tasks, has died.
    GatewayLost,
    /// Its result was awaited in [`start`](crate::app::App::start), and no task is given out before this process serves:
    /// use [`serving`](crate::app::App::serving).
    NotServing,
    /// It is for another node, and that is not there, or was lost before the result.
    Gone,
    /// The worker of the other node that had given it out has ended. It may run all the same.
    WorkerLost,
    /// It is for another node, and NATS is away, or was away before the result came, or this node does not belong to the cluster.
    Unreachable,
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("too many tasks have not ended yet"),
            Self::NoTaskWorkers => {
                f.write_str("there are no task workers: set `count` under `[tasks]`")
            }
            Self::NoSuchTaskWorker => f.write_str("there is no task worker in this slot"),
            Self::TooLarge { size, max } => {
                write!(f, "a task of {size} bytes is over the limit of {max}")
            }
            Self::NotAWorker => f.write_str("a task cannot give out tasks"),
            Self::Timeout => f.write_str("the task's result did not come in time"),
            Self::Failed(reason) => write!(f, "the task failed: {reason}"),
            Self::GatewayLost => f.write_str("the gateway was lost while the task ran"),
            Self::Gone => f.write_str("the node of the task is gone"),
            Self::WorkerLost => f.write_str("the worker that had given the task out has ended"),
            Self::Unreachable => f.write_str("no other node can be reached now"),
            Self::NotServing => f.write_str(NOT_SERVING),
        }
    }
}

impl Error for TaskError {}

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AskError {
    /// Too many questions of this process are not answered yet, or the way to the gateway is full.
    Full,
    /// There is no session with this id (any more).
    NoSuchSession,
    /// The gateway, which knows the answer, has died.
    GatewayLost,
    /// The session is on another node: it can be sent to and closed, and nothing else.
    Unreachable,
    /// It was asked in [`start`](crate::app::App::start), and nothing is answered before this process serves: ask in
    /// [`serving`](crate::app::App::serving).
    NotServing,
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "too many questions are not answered yet",
            Self::NoSuchSession => "there is no such session",
            Self::GatewayLost => "the gateway was lost before it answered",
            Self::Unreachable => "the session is on another node, which cannot be asked",
            Self::NotServing => NOT_SERVING,
        })
    }
}

impl Error for AskError {}
