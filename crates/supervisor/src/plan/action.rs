//! What the plan wants done.

use std::time::Duration;

use moorline_protocol::command::Scope;
use moorline_protocol::control::{ProcessId, Role};

use super::{Caller, Child};

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Start a gateway from this generation.
    SpawnGateway { incarnation: u32, generation: u32 },
    /// Start a process from this generation.
    SpawnProcess {
        process: ProcessId,
        role: Role,
        generation: u32,
    },
    /// Start a helper, from this generation's executable.
    SpawnHelper {
        run: u32,
        generation: u32,
        helper: moorline_config::Helper,
    },
    /// Send the gateway its start message.
    StartGateway { incarnation: u32 },
    /// Join this process with the present gateway, and send it its start message. The gateway answers with `Attached`.
    StartProcess { process: ProcessId },
    /// Join a process that has started with the present gateway, which follows another. The gateway answers with
    /// `Attached`.
    NewGateway { process: ProcessId },
    /// Tell the gateway what this generation changes, without changing it yet. It answers with `Prepared`.
    Prepare { generation: u32, scope: Scope },
    /// Tell the gateway who serves.
    Activate {
        workers: u16,
        serving: Vec<ProcessId>,
        /// What was prepared as this generation applies from now on.
        prepared: Option<u32>,
    },
    /// Tell a process that it serves.
    Serve { process: ProcessId },
    /// Tell a process that it leads.
    Lead { process: ProcessId },
    /// Tell a process that it does not lead any more.
    Resign { process: ProcessId },
    /// Tell the gateway that this process has ended.
    Dead {
        process: ProcessId,
        fault: bool,
        forced: bool,
    },
    /// Tell the gateway who does not answer, and ask it who waits for them.
    SaySilent { processes: Vec<ProcessId> },
    /// Log that a process has not answered for so long.
    ReportSilent {
        process: ProcessId,
        silent: Duration,
    },
    /// Log that it does again.
    ReportAnswers {
        process: ProcessId,
        silent: Duration,
    },
    /// Run the hook before a stop. Its end is answered with `StopHookEnded`, at once if there is none.
    RunStopHook,
    /// Tell the gateway to drain.
    StopGateway { over: Duration, max_wait: Duration },
    /// Tell the gateway to close the sessions that are there now, of the listeners in these places or all, and to go on.
    Drain {
        number: u64,
        places: Option<Vec<u16>>,
        over: Duration,
        max_wait: Duration,
    },
    /// Tell a process to run its stop hook and exit.
    StopProcess {
        process: ProcessId,
        max_wait: Duration,
    },
    /// Close the gateway's channel, which ends it.
    ReleaseGateway { incarnation: u32 },
    /// Ask a helper to end.
    TerminateHelper { run: u32 },
    /// End a child and whatever it started, now.
    Kill(Child),
    /// Open executable and configuration afresh, as far as they are for this scope, to be known as this generation;
    /// answer with `Opened`.
    Open { generation: u32, scope: Scope },
    /// This generation is what crash restarts use from now on.
    Commit { generation: u32, scope: Scope },
    /// This generation will not be used, for this reason.
    Abandon { generation: u32, reason: String },
    /// The engine serves for the first time.
    Announce,
    /// Answer someone.
    Reply { caller: Caller, reply: Reply },
    /// Every child is gone: remove the files and end; with a reason if this is not what was wanted.
    Exit { failure: Option<String> },
}

/// An answer to someone who asked for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It goes on; more answers follow.
    Progress(String),
    /// It is done.
    Done(String),
    /// It is committed, and not known to be in effect yet, for this reason.
    Unconfirmed(String),
    /// It was not done, for this reason.
    Refused(String),
}
