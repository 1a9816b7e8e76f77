//! The way into a role: what a process does that was started by a supervisor, before it is gateway,
//! worker or helper.
//!
//! The descriptors that the environment names are taken out of it and marked close-on-exec before
//! anything else runs; then the hello, the start message, the rights, the log; then the role's own code.

mod helper;
mod start;

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;

use moorline_config::Config;
use moorline_gateway::GatewayStart;
use moorline_ipc::{Channel, Hello, inherited, take_variable};
use moorline_process::affinity::stay;
use moorline_process::log;
use moorline_process::orphan::Supervisor;
use moorline_process::rights::{self, Kept};
use moorline_protocol::control::{FromRole, ProcessId, Role, ToRole, role_name};
use moorline_protocol::control_channel::encode;
use moorline_protocol::start::{CONTROL_FD, EXECUTABLE_FD, HELPER_VARIABLE, ROLE_VARIABLE};
use moorline_worker::ProcessStart;
use moorline_worker::app::{self, App, Context};

use start::Descriptors;

/// The exit code of a role that found garbage in a ring or on its control channel: `EX_SOFTWARE`.
const GARBAGE_CODE: u8 = 70;

/// Runs the role that this process was started for, if it was started by a supervisor.
///
/// To be called first thing in `main`, before arguments are looked at and before any thread exists.
/// `start` makes the app and is called in workers and task workers only.
pub fn run_if_role<A: App>(
    start: impl AsyncFnOnce(Context, A::Settings) -> app::Result<A>,
) -> Option<ExitCode> {
    match recognise() {
        Ok(None) => None,
        Ok(Some(Start::Helper(helper))) => Some(helper::run(&helper)),
        Ok(Some(Start::Role)) => Some(report_end(run(start))),
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

fn run<A: App>(start: impl AsyncFnOnce(Context, A::Settings) -> app::Result<A>) -> io::Result<()> {
    let control = inherited(CONTROL_FD)?;
    drop(inherited(EXECUTABLE_FD)?);
    let control = Channel::from_fd(control);
    let supervisor = Supervisor::find()?;
    control.send(&Hello::current(), &[])?;
    let Some((message, fds)) = start::receive(&control)? else {
        // The supervisor is gone, or does not want this process any more.
        return Ok(());
    };
    let begun = Begun {
        fds: Descriptors::new(fds.map_err(|cut_off| report(cut_off.into(), &control))?),
        control,
        supervisor,
    };
    match message {
        ToRole::StartGateway {
            incarnation,
            config,
            last_serial,
            follows,
        } => begun.gateway((incarnation, follows), *config, last_serial),
        ToRole::StartProcess {
            process,
            role,
            generation,
            engine,
            config,
        } => begun.process((process, role, generation, engine), *config, start),
        _ => Err(report(unexpected(), &begun.control)),
    }
}

/// A role that has its start message.
struct Begun {
    control: Channel,
    supervisor: Supervisor,
    fds: Descriptors,
}

impl Begun {
    fn gateway(
        mut self,
        (incarnation, follows): (u32, bool),
        config: Config,
        last_serial: u64,
    ) -> io::Result<()> {
        let chroot = config.engine.chroot.as_deref();
        let kept = match config.transparent_upstream() {
            Some(_) => Kept::OtherAddresses,
            None => Kept::Nothing,
        };
        let user = config.engine.gateway_user.as_deref();
        let prepared = rights::drop_to(user, None, chroot, kept)
            .and_then(|()| rights::hide_memory())
            .and_then(|()| self.supervisor.follow(config.workers.max_wait))
            .and_then(|()| set_up_log(&self.control, &config, "gateway"))
            .and_then(|flush| Ok((flush, self.fds.gateway(&config, follows)?)));
        let (flush, parts) = prepared.map_err(|error| report(error, &self.control))?;
        let (scoreboard, listeners, credentials, follows) = parts;
        name_thread("gateway");
        let result = moorline_gateway::run(GatewayStart {
            control: self.control,
            incarnation,
            config,
            last_serial,
            scoreboard,
            listeners,
            credentials,
            follows,
        });
        drop(flush);
        result
    }

    fn process<A: App>(
        mut self,
        (process, role, generation, engine): (ProcessId, Role, u32, u64),
        config: Config,
        start: impl AsyncFnOnce(Context, A::Settings) -> app::Result<A>,
    ) -> io::Result<()> {
        let name = match role {
            Role::Task(slot) => format!("task {slot}"),
            Role::Worker(slot) => format!("worker {slot}"),
            Role::Gateway => return Err(report(unexpected(), &self.control)),
        };
        // Opened while the process still has the rights to, and before a `chroot` hides it. Without it stacks have no names.
        let executable = File::open("/proc/self/exe").ok();
        let prepared = rights::drop_to(
            config.engine.user.as_deref(),
            config.engine.group.as_deref(),
            config.engine.chroot.as_deref(),
            Kept::Nothing,
        )
        .and_then(|()| self.supervisor.follow(config.workers.max_wait))
        .and_then(|()| set_up_log(&self.control, &config, &name))
        .and_then(|flush| Ok((flush, self.fds.process(&config)?)));
        let (flush, parts) = prepared.map_err(|error| report(error, &self.control))?;
        let (scoreboard, chime, loops, files) = parts;
        if let Role::Worker(slot) = role {
            stay(&config.workers.cpu_affinity, slot);
        }
        name_thread(&name);
        log::origin::set(role_name(role), generation);
        let names = executable.as_ref().and_then(|file| file.try_clone().ok());
        moorline_worker::report_panics(role_name(role), scoreboard.clone(), names);
        let process = ProcessStart {
            control: self.control,
            process,
            role,
            generation,
            engine,
            config,
            scoreboard,
            chime,
            loops,
            executable,
            files,
        };
        let result = moorline_worker::run(process, start);
        drop(flush);
        result
    }
}

/// Tells the supervisor why this role ends, and gives the reason back.
fn report(error: io::Error, control: &Channel) -> io::Error {
    let failed = FromRole::Failed {
        reason: error.to_string(),
    };
    // If it cannot be told, the exit code tells as much as can be.
    let _ = encode(&failed).and_then(|bytes| control.send(&bytes, &[]));
    error
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
