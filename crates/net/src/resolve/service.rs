//! Services of the DNS (RFC 2782).

use std::time::Duration;

/// A server of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceServer {
    /// Those with the lowest number come first; others stand in for them.
    pub priority: u16,
    /// Its share among those with the same priority. 0: a small one.
    pub weight: u16,
    /// Its port.
    pub port: u16,
    /// Its name.
    pub host: String,
}

/// The servers of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceAnswer {
    /// Not empty; in the source's order.
    pub servers: Vec<ServiceServer>,
    /// How long the answer holds. `None` if the source does not say.
    pub ttl: Option<Duration>,
}
