//! Everything that a gateway starts with.

use std::os::fd::OwnedFd;

use moorline_ipc::{Channel, Scoreboard};

use moorline_config::Config;
use moorline_process::credentials::Credentials;

/// Everything a gateway starts with.
pub struct GatewayStart {
    /// Its control channel to the supervisor.
    pub control: Channel,
    /// Which gateway this is, from 1.
    pub incarnation: u32,
    /// The whole configuration.
    pub config: Config,
    /// No serial of a session may be at or below this one.
    pub last_serial: u64,
    /// A row of `LOOP_ROW` counters for each loop, and one for the main thread.
    pub scoreboard: Scoreboard,
    /// Those that accept, in order of their places.
    pub listeners: Vec<ListenerStart>,
    /// The credentials of each listener.
    pub credentials: Credentials,
    /// The channel to the gateway from which it takes everything, if it follows one.
    pub follows: Option<Channel>,
}

/// Everything that a gateway needs for one listener.
pub struct ListenerStart {
    /// Its place in the configuration.
    pub place: u16,
    /// Bound and listening.
    pub socket: OwnedFd,
    /// The folders of its files, in the order of its routes.
    pub folders: Vec<OwnedFd>,
}
