//! Opening connections: resolve, race, proxy and TLS handshake, under one deadline.

mod error;
mod options;
mod timeline;
pub mod via;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

pub use error::{ConnectCause, ConnectError};
pub use options::{DialOptions, Family};
pub use timeline::{Outcome, Step, StepId, StepKind, Target, Timeline};

use tokio::net::{TcpStream, UnixStream};

use crate::address::Address;
use crate::connection::{Connection, Stream};
use crate::resolve::Resolver;

/// Opens connections.
///
/// Cloning is cheap; clones share the resolver.
#[derive(Debug, Clone)]
pub struct Dialer {
    options: Arc<DialOptions>,
    resolver: Option<Arc<dyn Resolver>>,
}

impl Dialer {
    /// A dialer with these options and the system's resolver.
    pub fn new(options: DialOptions) -> Self {
        Self {
            options: Arc::new(options),
            resolver: None,
        }
    }

    /// Names are resolved by this one.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Arc<dyn Resolver>) -> Self {
        self.resolver = Some(resolver);
        self
    }

    /// What dials are told.
    pub fn options(&self) -> &DialOptions {
        &self.options
    }

    /// Opens a connection to `address`.
    ///
    /// Cancel-safe: dropping the future ends every step and leaves no descriptor behind.
    pub async fn connect(&self, address: &Address) -> Result<Connection, ConnectError> {
        let mut timeline = Timeline::new(Instant::now());
        let error = |cause: ConnectCause, timeline| {
            ConnectError::new(
                address.to_string(),
                Some(StepKind::Connect),
                cause,
                timeline,
            )
        };
        let dial = async {
            match address {
                Address::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
                _ => {
                    let host_port = address.host_port().expect("only Unix sockets have none");
                    let ip = host_port.ip().ok_or_else(|| {
                        std::io::Error::other("names are not resolved by this version")
                    })?;
                    TcpStream::connect(SocketAddr::new(ip, host_port.port))
                        .await
                        .map(Stream::Tcp)
                }
            }
        };
        match tokio::time::timeout(self.options.deadline, dial).await {
            Ok(Ok(stream)) => {
                timeline.finish(Outcome::Done, &Outcome::Cancelled, Instant::now());
                Ok(Connection::new(stream, timeline))
            }
            Ok(Err(cause)) => {
                timeline.finish(
                    Outcome::Failed(cause.to_string()),
                    &Outcome::Cancelled,
                    Instant::now(),
                );
                Err(error(cause.into(), timeline))
            }
            Err(_) => {
                timeline.finish(Outcome::TimedOut, &Outcome::TimedOut, Instant::now());
                Err(error(ConnectCause::Timeout, timeline))
            }
        }
    }
}
