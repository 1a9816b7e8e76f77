//! Runs the services of a process.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use moorline_actor::{LaunchOptions, ServiceId, System, SystemOptions};

use crate::output;
use crate::process::Process;
use crate::service::LuaService;
use crate::state::Program;

/// What runs, and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RunOptions {
    /// The first service's script.
    pub script: PathBuf,
    /// Its arguments: words, since a script gets words.
    pub arguments: Vec<String>,
    /// Where services and modules are found: patterns with `?`, separated by semicolons. The script's folder is behind them.
    pub path: Option<String>,
    /// The event loops.
    pub loops: u8,
}

impl RunOptions {
    /// Runs this script on one loop.
    pub fn new(script: impl Into<PathBuf>) -> Self {
        Self {
            script: script.into(),
            arguments: Vec::new(),
            path: None,
            loops: 1,
        }
    }
}

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

/// Runs a script and all that it launches. Blocks until the services have ended, or one has called `skynet.abort`.
///
/// # Errors
/// The system gives no threads, or the script's path is no text.
pub fn run(options: &RunOptions) -> io::Result<Ended> {
    let script = options.script.to_str().ok_or_else(|| {
        let text = format!("{} is no text", options.script.display());
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })?;
    let (folder, file) = script.rsplit_once('/').unwrap_or((".", script));
    let name = file.strip_suffix(".lua").unwrap_or(file);
    let own = format!("{folder}/?.lua;{folder}/?/init.lua");
    let path = match &options.path {
        Some(path) => format!("{path};{own}"),
        None => own,
    };
    let process = Arc::new(Process::new(&path));
    let system = System::start(SystemOptions {
        loops: options.loops,
        report: Box::new(|report| output::log(report.service(), report.to_string().as_bytes())),
        ..SystemOptions::default()
    })?;
    let mut line = vec![name.to_owned()];
    line.extend(options.arguments.iter().cloned());
    let first = Program::Script {
        line: line.join(" "),
        is_first: true,
    };
    // Their names are there before the first script is, on whatever loop they start.
    let launcher = launch(&system, &process, Program::Launcher, true)?;
    system.give_name(".launcher", launcher);
    let unique = launch(&system, &process, Program::Unique, true)?;
    system.give_name(".service", unique);
    launch(&system, &process, first, false)?;
    system.wait();
    system.end_within(LAST_TURN);
    match process.has_failed.load(Ordering::Acquire) {
        true => Ok(Ended::NotStarted),
        false => Ok(Ended::Well),
    }
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
        ..LaunchOptions::default()
    };
    let launched = system.launch_actor(options, move |port| {
        LuaService::start(port, process, &program)
    });
    launched.map_err(io::Error::other)
}
