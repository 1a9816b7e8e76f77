//! Runs the services of a process.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use moorline_actor::{
    Kind, LaunchOptions, Message, Payload, Report, ServiceId, System, SystemOptions,
};

use crate::hangup;
use crate::log_file::LogFile;
use crate::options::{Log, RunOptions};
use crate::outlet;
use crate::output::{self, LogSink};
use crate::pid_file::PidFile;
use crate::process::Process;
use crate::service::LuaService;
use crate::state::Program;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All services have ended, or one has called `skynet.abort`.
    Well,
    /// The first service did not start. The log says why.
    NotStarted,
}

/// How long services have for the message that they handle when the others have ended.
const LAST_TURN: Duration = Duration::from_secs(1);

/// Runs a service and all that it launches. Blocks until the services have ended, or one has called `skynet.abort`.
///
/// # Errors
/// The system gives no threads, the log cannot be opened, or the process cannot leave its terminal.
pub fn run(options: &RunOptions) -> io::Result<Ended> {
    // Before there are threads.
    let _pid_file = match &options.pid_file {
        Some(path) => Some(PidFile::leave_terminal(path)?),
        None => None,
    };
    let log_file = match &options.log {
        Log::File(path) => Some(Arc::new(LogFile::open(path)?)),
        _ => None,
    };
    if let Some(file) = &log_file {
        output::log_to(LogSink::File(file.clone()));
    }
    let mut process = Process::new(options);
    // There are 255 loops at most: 255 leave no room for another.
    process.own_loop = (options.loops < u8::MAX).then_some(options.loops.into());
    let process = Arc::new(process);
    let system = System::start(SystemOptions {
        loops: options.loops,
        reserved: 1,
        report: reporter(&process),
        ..SystemOptions::default()
    })?;
    let logger = match &options.log {
        Log::Service(line) => Some(launch_logger(&system, &process, line)?),
        _ => None,
    };
    if options.is_deployment {
        hangup::watch(reopen(&system, log_file, logger))?;
    }
    let first = Program::Script {
        line: options.first.clone(),
        is_first: true,
    };
    launch_own(&system, &process)?;
    launch(&system, &process, first, false)?;
    system.wait();
    system.end_within(LAST_TURN);
    outlet::flush();
    match process.has_failed.load(Ordering::Acquire) {
        true => Ok(Ended::NotStarted),
        false => Ok(Ended::Well),
    }
}

/// Kinds of messages that the service of a log gets: a line, and that it is time to open its file again.
const TEXT: Kind = Kind(0);
const SYSTEM: Kind = Kind(4);

/// Launches the service that gets the lines of the log.
fn launch_logger(system: &System, process: &Arc<Process>, line: &str) -> io::Result<ServiceId> {
    let program = Program::Script {
        line: line.to_owned(),
        is_first: false,
    };
    let logger = launch(system, process, program, true)?;
    system.give_name(".logger", logger);
    let post = system.poster();
    let send = move |source, text: &[u8]| {
        let payload = Payload::Bytes(text.to_vec());
        post(logger, message(source, TEXT, payload))
    };
    output::log_to(LogSink::Service(logger, Arc::new(send)));
    Ok(logger)
}

/// What a `SIGHUP` does.
fn reopen(
    system: &System,
    file: Option<Arc<LogFile>>,
    logger: Option<ServiceId>,
) -> impl Fn() + Send + 'static {
    let post = system.poster();
    move || {
        if let Some(Err(error)) = file.as_ref().map(|file| file.reopen()) {
            output::log(ServiceId::NONE, error.to_string().as_bytes());
        }
        if let Some(logger) = logger {
            post(logger, message(ServiceId::NONE, SYSTEM, Payload::Empty));
        }
    }
}

fn message(source: ServiceId, kind: Kind, payload: Payload) -> Message {
    Message {
        source,
        session: 0,
        kind,
        payload,
    }
}

/// Logs what the system reports, and the stack of a service that does not return.
pub(crate) fn reporter(process: &Arc<Process>) -> Box<dyn Fn(&Report) + Send + Sync> {
    let process = process.clone();
    Box::new(move |report| {
        let is_stuck = matches!(report, Report::Stuck { .. });
        if is_stuck && process.is_client(report.service()) {
            return;
        }
        output::log(report.service(), report.to_string().as_bytes());
        if let Report::Stuck {
            service, lasting, ..
        }
        | Report::EndStuck {
            service, lasting, ..
        } = report
            && process.watches.is_stuck(*service)
        {
            cut_off(&process, *service, *lasting);
        }
    })
}

/// Lets a service that does not end have as much time as it had, then has its finalizers fail: the others of its loop wait for it.
fn cut_off(process: &Arc<Process>, service: ServiceId, more: Duration) {
    let process = process.clone();
    let cut = move || {
        thread::sleep(more);
        let say = || {
            output::log(
                service,
                b"its end lasts too long: its finalizers are cut off",
            )
        };
        process.watches.cut_off(service, say);
    };
    // Without a thread it stays as it is: it was named.
    let _ = thread::Builder::new().name("cutter".into()).spawn(cut);
}

/// Launches the services that every other one may ask for. Their names are there before the first script is, on whatever loop they
/// start.
pub(crate) fn launch_own(system: &System, process: &Arc<Process>) -> io::Result<()> {
    let launcher = launch(system, process, Program::Launcher, true)?;
    system.give_name(".launcher", launcher);
    let unique = launch(system, process, Program::Unique, true)?;
    system.give_name(".service", unique);
    Ok(())
}

fn launch(
    system: &System,
    process: &Arc<Process>,
    program: Program,
    is_daemon: bool,
) -> io::Result<ServiceId> {
    let process = process.clone();
    let options = LaunchOptions {
        is_daemon,
        // Those of the program's own have a loop of their own.
        on: process.own_loop.filter(|_| is_daemon),
    };
    let launched = system.launch_actor(options, move |port| {
        LuaService::start(port, process, &program)
    });
    launched.map_err(io::Error::other)
}
