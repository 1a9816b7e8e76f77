//! A deployment: the executable and the configuration that processes are started from.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use moorline_ipc::{MAX_FDS, MAX_PACKET};
use moorline_net::tls::TlsError;
use rustix::fs::{Mode, OFlags};

use moorline_config::{Config, Loaded};
use moorline_process::credentials::{Credentials, SealedCredentials};
use moorline_process::log;
use moorline_process::open_files::Descriptors;
use moorline_protocol::control::ToRole;
use moorline_protocol::control_channel::encode;

use super::certificates::{self, CertificateEnd};
use super::listeners::{Listeners, Opened};
use super::plan::Shape;
use super::systemd::Given;
use moorline_protocol::command::Scope;

/// A generation: the files as they were when it was opened, independent of later changes at their paths.
pub(super) struct Deployment {
    pub(super) executable: OwnedFd,
    pub(super) config: Config,
    /// Settings that are allowed and probably not intended.
    pub(super) warnings: Vec<String>,
    /// The listeners' certificates when it was opened.
    pub(super) credentials: SealedCredentials,
    /// When they end.
    pub(super) certificates: Vec<CertificateEnd>,
    /// The sockets and folders for the gateway.
    pub(super) listeners: Listeners,
    /// The log file, although its folder may have changed since.
    pub(super) log: Option<OwnedFd>,
}

/// How a reload gets the configuration at a path. It blocks while files are read.
pub type Load = Box<dyn Fn(&Path) -> Result<Loaded, String>>;

/// The file that a reload reads its configuration from.
pub(super) struct ConfigSource {
    pub(super) path: PathBuf,
    pub(super) load: Load,
}

/// The state of the engine when a reload begins.
pub(super) struct Present<'a> {
    /// As the file of the last reload had it, with the task workers' part of the last reload of those.
    pub(super) config: &'a Config,
    /// Warnings that were logged already.
    pub(super) warnings: &'a [String],
    pub(super) listeners: &'a Listeners,
    /// Retired places without sessions.
    pub(super) vacant: &'a BTreeSet<u16>,
}

impl Deployment {
    /// Opens the executable, the configuration and the files that the configuration names.
    ///
    /// # Errors
    /// A file cannot be opened, or the configuration changes a key that only a restart can change. Everything that was
    /// opened is closed again.
    pub(super) fn open(
        executable: &ExecutablePath,
        source: &ConfigSource,
        scope: Scope,
        present: &Present<'_>,
        given: &mut Given,
    ) -> Result<Self, String> {
        if fs::metadata(&source.path).is_ok_and(|found| found.file_type().is_fifo()) {
            let name = source.path.display();
            return Err(format!("{name} is a pipe, which can be read only once"));
        }
        let loaded = (source.load)(&source.path)?;
        let changed = match scope {
            Scope::All => {
                moorline_config::live_change(present.config, loaded.config, present.vacant)
            }
            Scope::Tasks => moorline_config::tasks_change(present.config, loaded.config),
        };
        let config = changed.map_err(|changes| changes.join("\n"))?;
        let warnings = loaded.warnings;
        for warning in warnings.iter().filter(|it| !present.warnings.contains(it)) {
            tracing::warn!("{warning}");
        }
        let executable = executable.open().map_err(|error| {
            format!(
                "cannot open the executable {}: {error}",
                executable.0.display()
            )
        })?;
        let log = log::open(&config.engine.log);
        let log = log.map_err(|error| format!("`engine.log.file`: {error}"))?;
        let (credentials, listeners) = match scope {
            Scope::All => {
                let credentials = usable_credentials(&config).map_err(|error| error.to_string())?;
                let before = Some((present.config, present.listeners));
                let opened = Listeners::open(&config, before, given);
                let opened = opened.map_err(|error| format!("`[[listen]]`: {error}"))?;
                (credentials, opened)
            }
            // The gateway keeps what it has.
            Scope::Tasks => Default::default(),
        };
        let credentials = credentials
            .seal()
            .map_err(|error| format!("cannot keep the certificates: {error}"))?;
        check_messages(&config, &listeners)?;
        Descriptors::of(&config)
            .check()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            executable,
            certificates: certificates::ends(&config),
            config,
            warnings,
            credentials,
            listeners,
            log,
        })
    }

    /// The listeners that have sockets, by name.
    pub(super) fn bound(&self) -> BTreeMap<&str, &Opened> {
        let places = (0..).zip(&self.config.listeners);
        let bound = places.filter(|(_, it)| it.is_bound());
        let opened = bound.filter_map(|(at, it)| Some((&*it.name, self.listeners.get(at)?)));
        opened.collect()
    }

    /// The log file for the gateway, opened separately.
    pub(super) fn log_of_gateway(&self) -> io::Result<Option<OwnedFd>> {
        // A shared one is better than no gateway: a named pipe without a reader cannot be opened again.
        let open = |file: &OwnedFd| log::open_again(file).or_else(|_| file.try_clone());
        self.log.as_ref().map(open).transpose()
    }

    /// A copy of the log file for the supervisor.
    pub(super) fn log_file(&self) -> io::Result<Option<OwnedFd>> {
        self.log.as_ref().map(OwnedFd::try_clone).transpose()
    }

    pub(super) fn shape(&self) -> Shape {
        Shape {
            workers: self.config.workers.count,
            tasks: self.config.tasks.count,
            helpers: self.config.helpers.clone(),
            max_wait: self.config.workers.max_wait,
            start_timeout: self.config.workers.start_timeout,
            stop_over: self.config.engine.stop_over,
            kill_gateway_after: self.config.engine.kill_after,
            kill_worker_after: self.config.workers.kill_after,
            kill_task_after: self.config.tasks.kill_after,
        }
    }
}

/// Certificates that the gateway could not use are refused here.
fn usable_credentials(config: &Config) -> Result<Credentials, TlsError> {
    let credentials = Credentials::load(config)?;
    credentials.ready(config, &Credentials::default(), &[])?;
    credentials.ready_for_peers(&Credentials::default())?;
    Ok(credentials)
}

/// A role gets a configuration in one message.
fn check_messages(config: &Config, listeners: &Listeners) -> Result<(), String> {
    /// The scoreboard, the credentials, the channel to the gateway before it.
    const OTHERS: usize = 3;
    /// More bytes than a `StartGateway` or `StartProcess` has beside the configuration, and more than another reload can make
    /// `[tasks]` longer.
    const BESIDE: usize = 64;
    let sockets: Vec<_> = listeners.iter().map(|(place, _)| place).collect();
    let folders = listeners.iter();
    let folders = folders.flat_map(|(place, opened)| opened.folders.iter().map(move |_| place));
    let folders: Vec<_> = folders.collect();
    let descriptors = OTHERS + sockets.len() + folders.len();
    // At its longest: every listener has another socket than before.
    let prepare = ToRole::Prepare {
        generation: u32::MAX,
        config: Box::new(config.clone()),
        sockets,
        folders,
    };
    let bytes = encode(&prepare).map_err(|error| error.to_string())?.len() + BESIDE;
    if bytes > MAX_PACKET || descriptors > MAX_FDS {
        let retired = config.listeners.iter().filter(|it| it.is_retired).count();
        return Err(format!(
            "the configuration is too large for one message to a process ({bytes} of {MAX_PACKET} bytes, {descriptors} of \
             {MAX_FDS} descriptors): `[app]` has {} bytes, and of {} `[[listen]]` {retired} are removed ones, which go with a \
             restart of the engine",
            config.app.len(),
            config.listeners.len(),
        ));
    }
    Ok(())
}

/// Where a reload finds the executable.
pub(super) struct ExecutablePath(PathBuf);

impl ExecutablePath {
    /// The path as the command was called, if that leads to the running binary, so that a symbolic link
    /// that is switched to another build deploys it; else the running binary's own path.
    pub(super) fn find() -> io::Result<Self> {
        let running = fs::metadata("/proc/self/exe")?;
        let called = env::args_os()
            .next()
            .map(PathBuf::from)
            .and_then(|name| absolute(&name));
        let is_running = |path: &PathBuf| {
            fs::metadata(path)
                .is_ok_and(|found| (found.dev(), found.ino()) == (running.dev(), running.ino()))
        };
        match called.filter(is_running) {
            Some(path) => Ok(Self(path)),
            None => env::current_exe().map(Self),
        }
    }

    /// The running binary, independent of later changes at the path.
    pub(super) fn open_running(&self) -> io::Result<OwnedFd> {
        open(Path::new("/proc/self/exe"))
    }

    pub(super) fn as_path(&self) -> &Path {
        &self.0
    }

    /// What is there now.
    pub(super) fn open(&self) -> io::Result<OwnedFd> {
        if !fs::metadata(&self.0)?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is not a file",
            ));
        }
        open(&self.0)
    }
}

/// Opened for execution only: a user who may execute it may deploy it, too.
fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// As a shell finds a command. Symbolic links are kept: a deployment may consist of changing one.
fn absolute(name: &Path) -> Option<PathBuf> {
    if name.components().count() > 1 || name.is_absolute() {
        return std::path::absolute(name).ok();
    }
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| File::open(path).is_ok())
        .and_then(|path| std::path::absolute(path).ok())
}
