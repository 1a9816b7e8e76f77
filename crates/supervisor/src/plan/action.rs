//! The actions that the plan orders.

use std::time::Duration;

use moorline_protocol::command::Scope;
use moorline_protocol::control::{ProcessId, Role};

use super::{Caller, Child};

/// An action.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Start a gateway from this generation.
    SpawnGateway { incarnation: u32, generation: u32 },
    /// A step of an upgrade.
    Upgrade(UpgradeAction),
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
    /// Tell the gateway which processes serve.
    Activate {
        workers: u16,
        serving: Vec<ProcessId>,
        /// The configuration prepared as this generation applies from now on.
        prepared: Option<u32>,
    },
    /// Tell a process that it serves.
    Serve { process: ProcessId },
    /// Tell a process that it leads.
    Lead { process: ProcessId },
    /// Tell a process that it is no longer the leader.
    Resign { process: ProcessId },
    /// Tell the gateway that this process has ended.
    Dead {
        process: ProcessId,
        fault: bool,
        forced: bool,
    },
    /// Tell the gateway which processes are silent, and ask how many sessions wait for them.
    SaySilent { processes: Vec<ProcessId> },
    /// Log that a process has been silent for this long.
    ReportSilent {
        process: ProcessId,
        silent: Duration,
    },
    /// Log that it gives signs of life again.
    ReportAnswers {
        process: ProcessId,
        silent: Duration,
    },
    /// Run the hook before a stop. `StopHookEnded` follows when it ends, at once if there is none.
    RunStopHook,
    /// Tell the gateway to drain.
    StopGateway { over: Duration, max_wait: Duration },
    /// Tell the gateway to close the present sessions of the listeners at these places, or of all, and to continue.
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
    /// Open the executable and the configuration again, as far as this scope needs them, as this generation; answer
    /// with `Opened`.
    Open { generation: u32, scope: Scope },
    /// Crash restarts use this generation from now on.
    Commit { generation: u32, scope: Scope },
    /// This generation will not be used, for this reason.
    Abandon { generation: u32, reason: String },
    /// The engine serves for the first time.
    Announce,
    /// Answer someone.
    Reply { caller: Caller, reply: Reply },
    /// All children are gone: remove the files and end, with a reason if the end is a failure.
    Exit { failure: Option<String> },
}

/// A step of an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UpgradeAction {
    /// Start a gateway of the executable that is at the path now, which is to follow the present one. It gets this generation's
    /// configuration.
    SpawnSuccessor { incarnation: u32, generation: u32 },
    /// Send a gateway that is to follow its start message. It answers that it waits.
    StartSuccessor { incarnation: u32 },
    /// Have the present gateway close the connections of listeners whose connections cannot move, as the drain of this number.
    /// Those listeners accept nothing until the upgrade has ended.
    CloseRest {
        number: u64,
        over: Duration,
        max_wait: Duration,
    },
    /// The upgrade ends here: those listeners accept again.
    AcceptAgain,
    /// Tell the present gateway to stop, and to hand everything over to this one. Keep what else it is to be told.
    HandOver { to: u32 },
    /// This gateway is the present one from now on. End the other, and have this one go on.
    SwitchGateway { from: u32, to: u32 },
    /// The present gateway goes on.
    KeepGateway,
    /// An upgrade is done: no session was read for so long.
    Upgraded { pause: Duration },
    /// An upgrade has failed.
    NotUpgraded,
}

/// An answer to a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The command is in progress; more answers follow.
    Progress(String),
    /// It is done.
    Done(String),
    /// It is committed, and not known to be in effect yet, for this reason.
    Unconfirmed(String),
    /// The command failed, for this reason.
    Refused(String),
}
