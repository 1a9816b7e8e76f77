//! Everything that a worker or task worker starts with.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::Duration;

use moorline_ipc::{Channel, Chime, Doorbell, Scoreboard};

use crate::config::Config;
use crate::control::{ProcessId, Role};

/// Everything that a worker or task worker starts with.
pub struct ProcessStart {
    /// Its control channel to the supervisor.
    pub control: Channel,
    /// Its name in the engine.
    pub process: ProcessId,
    /// Worker or task worker, and the slot.
    pub role: Role,
    /// The deployment it belongs to.
    pub generation: u32,
    /// When its engine was started, in nanoseconds since the Unix epoch.
    pub engine: u64,
    /// The whole configuration.
    pub config: Config,
    /// Its counters.
    pub scoreboard: Scoreboard,
    /// The descriptor that wakes it.
    pub chime: Chime,
    /// For each gateway loop in order, the doorbell that wakes the loop and the region shared with it.
    pub loops: Vec<(Doorbell, OwnedFd)>,
    /// Its executable, opened before it gave up its rights; its symbols are read from there.
    pub executable: Option<File>,
    /// The channel for descriptors of files.
    pub files: Channel,
}

impl ProcessStart {
    /// After this time a stuck handler is reported.
    pub(super) fn stall_after(&self) -> Option<Duration> {
        match self.role {
            Role::Task(_) => self.config.tasks.stall_after,
            Role::Worker(_) | Role::Gateway => self.config.workers.stall_after,
        }
    }

    /// After this time a handler that awaits something is reported.
    pub(super) fn wait_after(&self) -> Option<Duration> {
        match self.role {
            Role::Task(_) => self.config.tasks.wait_after,
            Role::Worker(_) | Role::Gateway => self.config.workers.wait_after,
        }
    }
}
