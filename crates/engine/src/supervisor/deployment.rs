//! What processes are started from: an executable that is held open, and a configuration.

use std::env;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::config::{self, Config};
use crate::credentials::{Credentials, SealedCredentials};

use super::plan::Shape;

/// A generation: what was at the paths when it was opened, whatever is there now.
pub(super) struct Deployment {
    pub(super) executable: OwnedFd,
    pub(super) config: Config,
    /// What the listeners showed when it was opened.
    pub(super) credentials: SealedCredentials,
}

impl Deployment {
    /// Opens executable and configuration afresh.
    ///
    /// # Errors
    /// Either cannot be read, or a certificate cannot be shown, or the configuration wants something that only a
    /// restart can bring.
    pub(super) fn open(
        executable: &ExecutablePath,
        config: &Path,
        present: &Config,
    ) -> Result<Self, String> {
        let loaded = config::load(config).map_err(|errors| errors.to_string())?;
        config::live_change(present, &loaded.config).map_err(|changes| changes.join("\n"))?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let credentials = Credentials::load(&loaded.config)
            .map_err(|error| error.to_string())?
            .seal()
            .map_err(|error| format!("cannot keep the certificates: {error}"))?;
        let executable = executable.open().map_err(|error| {
            format!(
                "cannot open the executable {}: {error}",
                executable.0.display()
            )
        })?;
        Ok(Self {
            executable,
            config: loaded.config,
            credentials,
        })
    }

    pub(super) fn shape(&self) -> Shape {
        Shape {
            workers: self.config.workers.count,
            tasks: self.config.tasks.count,
            helpers: self.config.helpers.clone(),
            max_wait: self.config.workers.max_wait,
            start_timeout: self.config.workers.start_timeout,
        }
    }
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

    /// The binary that runs now, whatever is at the path meanwhile.
    pub(super) fn open_running(&self) -> io::Result<OwnedFd> {
        open(Path::new("/proc/self/exe"))
    }

    pub(super) fn as_path(&self) -> &Path {
        &self.0
    }

    fn open(&self) -> io::Result<OwnedFd> {
        if !fs::metadata(&self.0)?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is not a file",
            ));
        }
        open(&self.0)
    }
}

/// To be executed, not read: whoever may run it may also deploy it.
fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// As a shell finds a command. Not resolved any further: symbolic links are the point.
fn absolute(name: &Path) -> Option<PathBuf> {
    if name.components().count() > 1 || name.is_absolute() {
        return std::path::absolute(name).ok();
    }
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| File::open(path).is_ok())
        .and_then(|path| std::path::absolute(path).ok())
}
