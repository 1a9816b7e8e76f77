//! What a worker or task worker is started with.

use std::os::fd::OwnedFd;

use moorline_ipc::{Channel, Doorbell, Scoreboard};

use crate::config::Config;
use crate::control::{ProcessId, Role};

/// What a worker or task worker is started with.
pub(crate) struct ProcessStart {
    /// Its control channel to the supervisor.
    pub(crate) control: Channel,
    /// Its name in the engine.
    pub(crate) process: ProcessId,
    /// Worker or task worker, and the slot.
    pub(crate) role: Role,
    /// The deployment it belongs to.
    pub(crate) generation: u32,
    /// The whole configuration.
    pub(crate) config: Config,
    /// Its counters.
    pub(crate) scoreboard: Scoreboard,
    /// What wakes it.
    pub(crate) doorbell: Doorbell,
    /// For each gateway loop in order, the loop's doorbell and the region shared with it.
    pub(crate) loops: Vec<(Doorbell, OwnedFd)>,
    /// Where descriptors of files go.
    pub(crate) files: Channel,
}
