//! Why a pool lends nothing.

use std::fmt;
use std::time::Duration;

use crate::dial::ConnectError;

/// Why a pool lends nothing.
#[derive(Debug)]
#[non_exhaustive]
pub enum PoolError {
    /// A new connection was needed and could not be made.
    Connect(ConnectError),
    /// All connections were in use for as long as the pool lets wait.
    Timeout {
        /// The address of the connection.
        address: String,
        /// How long it waited.
        waited: Duration,
    },
    /// All connections are in use, and as many wait as may.
    Full {
        /// The address of the connection.
        address: String,
        /// How many wait.
        waiting: usize,
    },
    /// The id belongs to another address, or to the same one with other options.
    IdTaken {
        /// The id.
        id: String,
        /// The address that it belongs to.
        address: String,
    },
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => error.fmt(f),
            Self::Timeout { address, waited } => write!(
                f,
                "all connections to {address} were in use for {} ms: raise max_per_key or max_total, or give them back sooner",
                waited.as_millis()
            ),
            Self::Full { address, waiting } => write!(
                f,
                "all connections to {address} are in use and {waiting} wait already: raise max_per_key, max_total or max_waiting"
            ),
            Self::IdTaken { id, address } => write!(
                f,
                "the id `{id}` belongs to {address} with its options: choose another one"
            ),
        }
    }
}

impl std::error::Error for PoolError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ConnectError> for PoolError {
    fn from(error: ConnectError) -> Self {
        Self::Connect(error)
    }
}
