//! The events that the plan receives.

use std::time::Duration;

use moorline_protocol::command::Scope;
use moorline_protocol::control::ProcessId;

use super::vitals::Signs;
use super::{Caller, Child, DrainRequest, Ended, Shape};

/// An event.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A child could not be started.
    SpawnFailed { child: Child, reason: String },
    /// Its hello matched.
    Hello(Child),
    /// It is able to serve.
    Ready(Child),
    /// It cannot start, or speaks another protocol.
    Failed { child: Child, reason: String },
    /// It has ended and was reaped.
    Exited { child: Child, end: Ended },
    /// Someone else has told a worker to stop, and it asks for its replacement.
    Stopping(ProcessId),
    /// A process that was ordered to resign is no longer the leader.
    Resigned(ProcessId),
    /// The gateway of this incarnation has executed one more `Activate`.
    Activated(u32),
    /// The gateway of this incarnation can serve this process, or cannot for this reason.
    Attached {
        incarnation: u32,
        process: ProcessId,
        failure: Option<String>,
    },
    /// The gateway of this incarnation has prepared this generation, or cannot, for this reason.
    Prepared {
        incarnation: u32,
        generation: u32,
        failure: Option<String>,
    },
    /// The gateway has taken every session from this process.
    Released(ProcessId),
    /// The gateway found garbage in this process's ring.
    Garbage { process: ProcessId, reason: String },
    /// The gateway of this incarnation has closed every session after `StopGateway`.
    Drained(u32),
    /// Someone asks for a reload.
    ReloadAsked {
        caller: Option<Caller>,
        scope: Scope,
    },
    /// The app in a process asks for a reload.
    AppReloadAsked { by: ProcessId, caller: Caller },
    /// The answer to `Action::Open`.
    Opened(Result<Shape, String>),
    /// Someone asks for an upgrade of the gateway.
    UpgradeAsked {
        caller: Caller,
        /// What cannot move is closed, spread over this time.
        close_rest: Option<Duration>,
    },
    /// The gateway of this incarnation waits to take everything from the present one.
    Waits(u32),
    /// The gateway of this incarnation has handed everything over, or cannot for this reason.
    HandedOver {
        incarnation: u32,
        failure: Option<String>,
    },
    /// The gateway of this incarnation goes on with this many sessions, after this pause.
    GoesOn {
        incarnation: u32,
        sessions: u64,
        pause: Duration,
    },
    /// Someone asks the engine to stop; a second time: at once.
    StopAsked,
    /// The answer to `Action::RunStopHook`.
    StopHookEnded,
    /// Someone asks for sessions to be closed.
    DrainAsked {
        caller: Caller,
        request: DrainRequest,
    },
    /// The gateway of this incarnation has closed all sessions of the drain of this number, `count` of them.
    DrainEnded {
        incarnation: u32,
        number: u64,
        count: u64,
    },
    /// Signs of life, each [`LOOK`].
    Looked(Signs),
    /// `next_timeout` has come.
    Tick,
}
