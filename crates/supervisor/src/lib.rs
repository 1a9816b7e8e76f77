//! The parent of all processes: binds the listeners, starts, watches, reloads and stops the others, and touches no
//! payload. It knows gateway and worker only by their messages.
//!
//! [`serve`] runs an engine. In reading order:
//!
//! - `plan` decides and does nothing; `shell` does and decides nothing
//! - `input`: everything that comes to the shell, from `child`, `signals`, `control_socket`, and `admin_stream`, which looks at tokens
//! - `deployment`: the executable and the configuration that processes are started from; `spawn` starts them
//! - `run_dir`, `listeners`: the lock, the control socket, the listening sockets
//! - `flight`: the files that the last events go into after a crash
//! - `hooks`, `systemd`: commands and messages at start and stop
//! - `certificates`, `disks`, `memory`: figures of the machine that may become short
//! - `status`, `lately`, `stalls`, `output`: counters, those that rose lately, stuck handlers, the workers' log lines

#![forbid(unsafe_code)]

mod admin_stream;
pub mod certificates;
mod child;
mod control_socket;
mod deployment;
pub mod disks;
mod flight;
mod hooks;
mod input;
mod lately;
mod listeners;
mod memory;
mod output;
mod plan;
mod run_dir;
mod shell;
mod signals;
mod spawn;
mod stalls;
mod status;
mod systemd;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use moorline_net::ListenError;
use moorline_net::tls::TlsError;

use moorline_config::Loaded;
use moorline_process::credentials::Credentials;
use moorline_process::log;
use moorline_process::open_files::{self, Descriptors, TooFew};
use moorline_process::rights::hide_memory;

pub use deployment::Load;
use deployment::{ConfigSource, Deployment, ExecutablePath};
use listeners::Listeners;
use run_dir::RunDir;
use shell::Shell;
use systemd::{Given, Notifier};

/// Runs the engine in the foreground until it is told to stop.
///
/// Prints what listens where on standard output, and `ready` once messages are handled. Everything that it has made is
/// gone when this returns: processes, control socket, lock file, Unix sockets.
///
/// # Errors
/// The engine could not be started; nothing of it is left then.
pub fn serve(loaded: Loaded) -> Result<(), ServeError> {
    let load = |path: &Path| moorline_config::load(path).map_err(|errors| errors.to_string());
    serve_from(loaded, Box::new(load))
}

/// [`serve`] with a configuration that `load` makes from the file at its path.
///
/// # Errors
/// As [`serve`].
pub fn serve_from(loaded: Loaded, load: Load) -> Result<(), ServeError> {
    open_files::raise();
    Descriptors::of(&loaded.config)
        .check()
        .map_err(ServeError::Descriptors)?;
    let notifier = Notifier::from_environment().map_err(ServeError::Environment)?;
    let mut given = Given::from_environment().map_err(ServeError::Environment)?;
    let path = ExecutablePath::find().map_err(ServeError::Executable)?;
    let executable = path.open_running().map_err(ServeError::Executable)?;
    spawn::reserve_low_descriptors().map_err(ServeError::Runtime)?;
    let config = &loaded.config;
    let common = loaded.common_run_dir();
    let run_dir = RunDir::claim(&config.engine.run_dir, common.as_deref())?;
    let log_file = log::open(&config.engine.log).map_err(ServeError::Log)?;
    let own = log_file.as_ref().map(OwnedFd::try_clone).transpose();
    let own = own.map_err(ServeError::Log)?;
    let _flush = log::init(&config.engine.log, "supervisor", own).map_err(ServeError::Log)?;
    hide_memory().map_err(ServeError::Runtime)?;
    for warning in loaded.warnings.iter().chain(run_dir.warning()) {
        tracing::warn!("{warning}");
    }
    let listeners = Listeners::open(config, None, &mut given)?;
    if let Some(socket) = given.left() {
        return Err(ServeError::Given(socket));
    }
    let credentials = Credentials::load(config).map_err(ServeError::Tls)?;
    let credentials = credentials.seal().map_err(ServeError::Runtime)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
        .map_err(ServeError::Runtime)?;
    let deployment = Deployment {
        executable,
        certificates: certificates::ends(&loaded.config),
        config: loaded.config,
        warnings: loaded.warnings,
        credentials,
        listeners,
        log: log_file,
    };
    runtime.block_on(async {
        let source = ConfigSource {
            path: loaded.path,
            load,
        };
        let shell = Shell::new(path, source, deployment, given, run_dir, notifier)
            .map_err(ServeError::Runtime)?;
        shell.run().await.map_err(ServeError::Failed)
    })
}

/// Why the engine could not be started, or ended without an order.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// It runs already.
    AlreadyRunning {
        /// The supervisor's pid, as the lock file says.
        pid: Option<u32>,
        /// The path of its lock.
        run_dir: PathBuf,
    },
    /// `run_dir` cannot be used.
    RunDir {
        /// The path.
        run_dir: PathBuf,
        /// The problem, and its remedy.
        reason: String,
    },
    /// A listener could not be bound.
    Listen(ListenError),
    /// The service manager's variables in the environment have invalid values.
    Environment(io::Error),
    /// The service manager passed a socket, but no listener has its name or address.
    Given(String),
    /// A listener's `static` folder could not be opened.
    Static {
        /// The path.
        folder: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A listener's certificate cannot be used.
    Tls(TlsError),
    /// The executable could not be found or opened.
    Executable(io::Error),
    /// The limit of open files is lower than the configuration needs.
    Descriptors(TooFew),
    /// Logging could not be set up.
    Log(io::Error),
    /// The system refused something that the supervisor needs for itself.
    Runtime(io::Error),
    /// A role could not be started.
    Failed(String),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyRunning {
                pid: Some(pid),
                run_dir,
            } => {
                write!(
                    f,
                    "the engine is running already, as process {pid} (lock in {})",
                    run_dir.display()
                )
            }
            Self::AlreadyRunning { pid: None, run_dir } => {
                write!(
                    f,
                    "the engine is running already (lock in {})",
                    run_dir.display()
                )
            }
            Self::RunDir { run_dir, reason } => {
                write!(f, "run_dir {}: {reason}", run_dir.display())
            }
            Self::Listen(error) => write!(f, "{}\n  hint: {}", error.problem(), error.remedy()),
            Self::Environment(source) => {
                write!(f, "cannot use what the service manager passed: {source}")
            }
            Self::Given(socket) => write!(
                f,
                "systemd passed socket {socket}, but no listener has that name or address\n  \
                 hint: give the listener this address, or the socket the listener's name (FileDescriptorName=)"
            ),
            Self::Static { folder, source } => write!(
                f,
                "cannot open the static folder {}: {source}",
                folder.display()
            ),
            Self::Tls(source) => source.fmt(f),
            Self::Executable(source) => write!(f, "cannot open the executable: {source}"),
            Self::Descriptors(source) => source.fmt(f),
            Self::Log(source) => write!(f, "cannot log: {source}"),
            Self::Runtime(source) => write!(f, "cannot start the supervisor: {source}"),
            Self::Failed(reason) => write!(f, "the engine could not be started: {reason}"),
        }
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen(source) => Some(source),
            Self::Tls(source) => Some(source),
            Self::Descriptors(source) => Some(source),
            Self::Static { source, .. }
            | Self::Environment(source)
            | Self::Executable(source)
            | Self::Log(source)
            | Self::Runtime(source) => Some(source),
            Self::AlreadyRunning { .. }
            | Self::Given(_)
            | Self::RunDir { .. }
            | Self::Failed(_) => None,
        }
    }
}
