//! The way into a role: what a process does that was started by a supervisor, before it is gateway,
//! worker or helper.
//!
//! The descriptors that the environment names are taken out of it and marked close-on-exec before
//! anything else runs; then the hello, the start message, the rights, the log; then the role's own code.

mod affinity;
mod orphan;
mod rights;
mod signals;
mod start;

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use moorline_ipc::{Channel, Hello, Scoreboard, inherited, take_variable};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::config::Config;
use crate::control::{FromRole, Role, ToRole, role_name};
use crate::control_channel::encode;
use crate::credentials::Credentials;
use crate::descriptors;
use crate::worker::{self, ProcessStart};
use crate::{gateway, log};

use orphan::Supervisor;
use start::Descriptors;

pub(crate) use affinity::{allowed, stay};
pub(crate) use orphan::outlive;
pub(crate) use rights::hide_memory;
pub(crate) use signals::{leave_term_to_supervisor, leave_to_supervisor};

/// The environment variable that makes a process a role.
pub(crate) const ROLE_VARIABLE: &str = "MOORLINE_ROLE";
/// The environment variable that makes a process a helper. Its value: a [`HelperStart`] in JSON.
pub(crate) const HELPER_VARIABLE: &str = "MOORLINE_HELPER";
/// Where a role finds its control channel.
pub(crate) const CONTROL_FD: RawFd = 3;
/// Where a role finds the executable it was started from. It stays open across exec, so that a script
/// in its place can be read by its interpreter too.
pub(crate) const EXECUTABLE_FD: RawFd = 4;

/// The exit code of a role that found garbage in a ring or on its control channel: `EX_SOFTWARE`.
const GARBAGE_CODE: u8 = 70;

/// Everything a gateway starts with.
pub(crate) struct GatewayStart {
    pub control: Channel,
    pub incarnation: u32,
    pub config: Config,
    pub last_serial: u64,
    /// A row of `LOOP_ROW` counters for each loop.
    pub scoreboard: Scoreboard,
    /// Those that accept, in order of their places.
    pub listeners: Vec<ListenerStart>,
    /// What each listener shows who connects.
    pub credentials: Credentials,
}

/// What a gateway needs for one listener.
pub(crate) struct ListenerStart {
    pub place: u16,
    pub socket: OwnedFd,
    /// Its `static` folder.
    pub folder: Option<OwnedFd>,
}

/// What a helper is started with.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HelperStart {
    pub command: Vec<String>,
    pub user: Option<String>,
    pub group: Option<String>,
    /// The soft limit of open files that the supervisor was started with.
    pub open_files: Option<u64>,
}

/// Runs the role that this process was started for, if it was started by a supervisor.
///
/// To be called first thing in `main`, before arguments are looked at and before any thread exists.
/// `factory` makes the app and is called in workers and task workers only.
pub fn run_if_role<A: App>(factory: impl FnOnce() -> A) -> Option<ExitCode> {
    match recognise() {
        Ok(None) => None,
        Ok(Some(Start::Helper(start))) => Some(run_helper(&start)),
        Ok(Some(Start::Role)) => Some(report_end(run(factory))),
        Err(error) => Some(report_end(Err(error))),
    }
}

enum Start {
    /// Gateway, worker or task worker: the start message says which.
    Role,
    /// A [`HelperStart`] in JSON.
    Helper(String),
}

/// Takes what the supervisor said out of the environment, so that what the app starts does not take
/// itself for a role.
fn recognise() -> io::Result<Option<Start>> {
    if let Some(start) = take_variable(HELPER_VARIABLE)? {
        return Ok(Some(Start::Helper(start.to_string_lossy().into_owned())));
    }
    Ok(take_variable(ROLE_VARIABLE)?.map(|_| Start::Role))
}

fn report_end(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The supervisor, which reads this, may be what has ended.
            let _ = writeln!(io::stderr(), "moorline: a role ended: {error}");
            match error.kind() {
                // What another process wrote was wrong, not this one.
                io::ErrorKind::InvalidData => ExitCode::from(GARBAGE_CODE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run<A: App>(factory: impl FnOnce() -> A) -> io::Result<()> {
    let control = inherited(CONTROL_FD)?;
    drop(inherited(EXECUTABLE_FD)?);
    let control = Channel::from_fd(control);
    let supervisor = Supervisor::find()?;
    control.send(&Hello::current(), &[])?;
    let Some((message, fds)) = start::receive(&control)? else {
        // The supervisor is gone, or has found out that it does not want this process.
        return Ok(());
    };
    let report = |error: io::Error, control: &Channel| {
        let failed = FromRole::Failed {
            reason: error.to_string(),
        };
        // If it cannot be told, the exit code tells as much as can be.
        let _ = encode(&failed).and_then(|bytes| control.send(&bytes, &[]));
        error
    };
    let fds = fds.map_err(|cut_off| report(cut_off.into(), &control))?;
    let mut fds = Descriptors::new(fds);
    match message {
        ToRole::StartGateway {
            incarnation,
            config,
            last_serial,
        } => {
            let chroot = config.engine.chroot.as_deref();
            let prepared = rights::drop_to(config.engine.gateway_user.as_deref(), None, chroot)
                .and_then(|()| rights::hide_memory())
                .and_then(|()| supervisor.follow(config.workers.max_wait))
                .and_then(|()| set_up_log(&control, &config, "gateway"))
                .and_then(|flush| Ok((flush, fds.gateway(&config)?)));
            let (flush, parts) = prepared.map_err(|error| report(error, &control))?;
            let (scoreboard, listeners, credentials) = parts;
            name_thread("gateway");
            let start = GatewayStart {
                control,
                incarnation,
                config: *config,
                last_serial,
                scoreboard,
                listeners,
                credentials,
            };
            let result = gateway::run(start);
            drop(flush);
            result
        }
        ToRole::StartProcess {
            process,
            role,
            generation,
            config,
        } => {
            let name = match role {
                Role::Task(slot) => format!("task {slot}"),
                Role::Worker(slot) => format!("worker {slot}"),
                Role::Gateway => return Err(report(unexpected(), &control)),
            };
            // With the rights it still has, and before it may be out of sight. Without it stacks have no names.
            let executable = File::open("/proc/self/exe").ok();
            let prepared = rights::drop_to(
                config.engine.user.as_deref(),
                config.engine.group.as_deref(),
                config.engine.chroot.as_deref(),
            )
            .and_then(|()| supervisor.follow(config.workers.max_wait))
            .and_then(|()| set_up_log(&control, &config, &name))
            .and_then(|flush| Ok((flush, fds.process(&config)?)));
            let (flush, parts) = prepared.map_err(|error| report(error, &control))?;
            let (scoreboard, chime, loops, files) = parts;
            if let Role::Worker(slot) = role {
                stay(&config.workers.cpu_affinity, slot);
            }
            name_thread(&name);
            log::origin::set(role_name(role), generation);
            let names = executable.as_ref().and_then(|file| file.try_clone().ok());
            worker::report_panics(role_name(role), scoreboard.clone(), names);
            let start = ProcessStart {
                control,
                process,
                role,
                generation,
                config: *config,
                scoreboard,
                chime,
                loops,
                executable,
                files,
            };
            let result = worker::run(start, factory);
            drop(flush);
            result
        }
        _ => Err(report(unexpected(), &control)),
    }
}

fn unexpected() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the supervisor began with something else than a start message",
    )
}

/// The log file, if there is one, comes in a message of its own right after the start message.
fn set_up_log(control: &Channel, config: &Config, role: &str) -> io::Result<log::Flush> {
    let file = match config.engine.log.file {
        Some(_) => match start::receive(control)? {
            Some((ToRole::ReopenLog, fds)) => fds?.into_iter().next(),
            _ => None,
        },
        None => None,
    };
    log::init(&config.engine.log, role, file)
}

/// What ps and top show beside the title.
fn name_thread(role: &str) {
    if let Ok(name) = CString::new(role) {
        // A name is a convenience; the title in `argv[0]` is there anyway.
        let _ = rustix::thread::set_name(&name);
    }
}

/// Becomes the user's command.
fn run_helper(start: &str) -> ExitCode {
    let error = match become_helper(start) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    eprintln!("cannot be started: {error}");
    ExitCode::FAILURE
}

fn become_helper(start: &str) -> io::Result<std::convert::Infallible> {
    drop(inherited(EXECUTABLE_FD)?);
    let start: HelperStart = serde_json::from_str(start)?;
    if let Some(soft) = start.open_files {
        descriptors::lower_to(soft);
    }
    // Its command lies outside of the `chroot`.
    rights::drop_to(start.user.as_deref(), start.group.as_deref(), None)?;
    // It has no control channel that would tell it that the supervisor is gone. Asked for after the
    // change of user, which forgets it.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM)?;
    let (program, arguments) = start
        .command
        .split_first()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "its command is empty"))?;
    let error = Command::new(program).args(arguments).exec();
    Err(io::Error::new(error.kind(), format!("{program}: {error}")))
}
