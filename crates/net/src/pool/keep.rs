//! The connections that a pool keeps.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Instant;

use tokio::runtime::Handle;

use crate::connection::Connection;
use crate::liveness::Liveness;

/// The connections that a pool keeps.
pub(crate) trait Keep: AsFd + fmt::Debug + Send + 'static {
    /// Whether it is alive, by a look that does not wait and takes away nothing that its user could read.
    fn liveness(&mut self) -> Liveness;

    /// The peer's address, for the log.
    fn peer(&self) -> Option<SocketAddr>;

    /// Says that an earlier user had left it.
    fn mark_reused(&mut self);

    /// The runtime that looks after those at rest, if there is one.
    fn runtime() -> Option<Handle>;
}

impl Keep for Connection {
    fn liveness(&mut self) -> Liveness {
        self.liveness()
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.peer()
    }

    fn mark_reused(&mut self) {
        self.mark_reused();
    }

    fn runtime() -> Option<Handle> {
        Handle::try_current().ok()
    }
}

/// When a connection came about and was last used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Age {
    pub(super) born: Instant,
    pub(super) used: Instant,
}
