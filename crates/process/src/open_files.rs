//! Open files: how many each process of an engine needs, and how many it may have.
//!
//! The supervisor raises its soft limit to the hard one, and gateway and workers inherit that. Descriptors that the
//! gateway does not need for itself and its processes are for connections and files. The system gives out the lowest
//! free number, so if the latest one is below a limit, all above it are free.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use moorline_config::Config;
use moorline_protocol::command::ASKERS;

/// What gateway and supervisor have open with any configuration: streams, control channel, runtime, log. Far more than
/// they need.
const FIXED: u64 = 64;
/// What the supervisor keeps open for each process: its control channel, its scoreboard, its doorbell, its pidfd, the pipes
/// of its log and of its standard streams.
const KEPT_BY_SUPERVISOR: u64 = 6;
/// Processes that are on their way at the same time, between their spawn and the gateway's answer about them. Each has
/// descriptors for both sides. The kernel bounds the descriptors under way.
pub const STARTING_AT_ONCE: usize = 8;

/// The soft limit that this process was started with.
static BEFORE: OnceLock<Option<u64>> = OnceLock::new();

/// Raises the limit of open files as far as it goes.
pub fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let _ = BEFORE.set(limit.current);
    // If it cannot be raised it stays, and counts as it is.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}

/// The lowest number that a descriptor could have now. Copying any descriptor shows it. `u64::MAX`: there is none.
pub fn lowest_free(any: impl AsFd) -> u64 {
    let copy = rustix::io::fcntl_dupfd_cloexec(any, 0);
    copy.map_or(u64::MAX, |copy| copy.as_raw_fd() as u64)
}

/// How many descriptors this process has open now, or the lowest number that is free where the system does not count them (before
/// Linux 6.2).
pub fn open_now(any: impl AsFd) -> u64 {
    let counted = std::fs::metadata("/proc/self/fd").map_or(0, |folder| folder.len());
    match counted {
        0 => lowest_free(any),
        counted => counted,
    }
}

/// How many files this process may have open now.
pub fn allowed() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The soft limit as it was before it was [raised](raise). Programs of others get that: some make tables as large as
/// the limit, and `select` cannot handle numbers over 1,023.
pub fn soft_before() -> Option<u64> {
    BEFORE.get().copied().flatten()
}

/// Sets this process's soft limit.
pub fn lower_to(soft: u64) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    // It was in force before, so it can be set; if not, a higher one does no harm.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(soft),
            maximum,
        },
    );
}

/// The open files that a configuration needs, and that a process started from here may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// The hard limit (`ulimit -Hn`).
    pub limit: u64,
    /// What the gateway needs to start with this configuration.
    pub gateway_starts: u64,
    /// What the gateway keeps for itself and its processes, which are twice as many during a reload.
    pub gateway_keeps: u64,
    /// What the supervisor needs.
    pub supervisor: u64,
}

impl Descriptors {
    /// What this configuration needs, compared with the limit of this process.
    pub fn of(config: &Config) -> Self {
        let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        Self::within(limit, config)
    }

    fn within(limit: u64, config: &Config) -> Self {
        let slots = slots(config);
        let per_start = 2 * (2 * loops(config) + 2);
        Self {
            limit,
            gateway_starts: gateway_itself(config) + slots * per_process(config),
            gateway_keeps: reserve(config, config),
            supervisor: FIXED
                + ASKERS as u64
                + sockets(config)
                + KEPT_BY_SUPERVISOR * 2 * slots
                + 3 * config.helpers.len() as u64
                + per_start * (STARTING_AT_ONCE as u64).min(2 * slots),
        }
    }

    /// Open files left for connections and files.
    pub fn left(&self) -> u64 {
        self.limit.saturating_sub(self.gateway_keeps)
    }

    /// Why an engine cannot start with this limit, if it cannot.
    ///
    /// # Errors
    /// Gateway or supervisor need more than the limit.
    pub fn check(self) -> Result<Self, TooFew> {
        match self.gateway_starts.max(self.supervisor) > self.limit {
            true => Err(TooFew(self)),
            false => Ok(self),
        }
    }
}

impl fmt::Display for Descriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            limit,
            gateway_keeps,
            supervisor,
            ..
        } = self;
        write!(
            f,
            "of {limit} open files (ulimit -Hn) the gateway keeps {gateway_keeps} for itself and its processes, {} are left \
             for connections; the supervisor needs {supervisor}",
            self.left()
        )
    }
}

/// The limit of open files is lower than what an engine needs to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooFew(Descriptors);

impl fmt::Display for TooFew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let needed = self.0.gateway_starts.max(self.0.supervisor);
        write!(
            f,
            "the configuration needs {needed} open files, and {} are allowed\n  \
             hint: raise the hard limit (ulimit -Hn, LimitNOFILE= in a systemd unit), or have fewer `gateway_loops` or \
             processes",
            self.0.limit
        )
    }
}

impl std::error::Error for TooFew {}

/// What the gateway keeps free of connections and files while it changes from one configuration to another. With the
/// same configuration twice: what it keeps free while it has that one.
pub fn reserve(before: &Config, after: &Config) -> u64 {
    let itself = gateway_itself(before).max(gateway_itself(after));
    let old = slots(before) * per_process(before);
    let new = slots(after) * per_process(after);
    itself + (old + new).max(2 * new)
}

/// What the gateway has open without any process: two for each loop, and one more while a process is attached; sockets
/// and folders, twice during a reload.
fn gateway_itself(config: &Config) -> u64 {
    FIXED + 3 * loops(config) + 2 * sockets(config)
}

/// What the gateway has open for each process: its doorbell, its channel for files twice, its chime and its region for each
/// loop.
fn per_process(config: &Config) -> u64 {
    2 * loops(config) + 3
}

fn loops(config: &Config) -> u64 {
    u64::from(config.engine.gateway_loops)
}

fn slots(config: &Config) -> u64 {
    u64::from(config.workers.count) + u64::from(config.tasks.count)
}

/// A socket for each listener, and its folders, or room for one.
fn sockets(config: &Config) -> u64 {
    let listeners = config.listeners.iter();
    let each = listeners.map(|listener| 1 + listener.routes.folders().count().max(1));
    each.sum::<usize>() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn shaped(loops: u16, workers: u16) -> Config {
        let text = format!(
            "[engine]\ngateway_loops = {loops}\n[workers]\ncount = {workers}\n\
             [[listen]]\naddress = \"tcp://127.0.0.1:0\"\n"
        );
        let loaded = moorline_config::load_text(&text, Path::new("/shaped.toml"));
        loaded.unwrap().config
    }

    #[test]
    fn a_reload_keeps_room_for_the_old_processes_and_the_new() {
        let (small, large) = (shaped(4, 10), shaped(4, 100));
        let itself = 64 + 3 * 4 + 2 * 2;
        assert_eq!(reserve(&small, &small), itself + 20 * 11);
        // A growing configuration: the need after the reload is the largest.
        assert_eq!(reserve(&small, &large), itself + 200 * 11);
        assert_eq!(reserve(&large, &small), itself + 110 * 11);
    }

    #[test]
    fn a_configuration_without_enough_descriptors_is_refused_with_the_numbers() {
        let config = shaped(64, 64);
        let needs = Descriptors::within(65_536, &config).check().unwrap();
        assert_eq!(needs.gateway_starts, 64 + 192 + 4 + 64 * 131);
        assert_eq!(needs.left(), 65_536 - (64 + 192 + 4 + 128 * 131));
        let refused = Descriptors::within(1024, &config).check().unwrap_err();
        let text = refused.to_string();
        let start = "the configuration needs 8644 open files, and 1024 are allowed\n  hint: ";
        assert!(text.starts_with(start), "{text}");
    }
}
