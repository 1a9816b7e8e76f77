//! Where a peer is.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use moorline_net::Address;

/// Where a peer is. It needs no resolving.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PeerAddress {
    /// TCP.
    Tcp(SocketAddr),
    /// UDP.
    Udp(SocketAddr),
    /// A Unix socket's path. That of an abstract one begins with a NUL byte.
    Unix(Arc<Path>),
}

impl PeerAddress {
    /// The address that is written, unless it is a name. A zone of an IPv6 address is a name, too: the system knows its
    /// number.
    pub(crate) fn written(address: &Address) -> Option<Self> {
        match address {
            Address::Unix(path) => Some(Self::Unix(path.as_path().into())),
            other => {
                let host_port = other.host_port()?;
                let ip = host_port.ip().filter(|_| host_port.zone().is_none())?;
                Some(Self::of(other, SocketAddr::new(ip, host_port.port)))
            }
        }
    }

    /// What a written name means, at this address.
    pub(crate) fn of(written: &Address, at: SocketAddr) -> Self {
        match written {
            Address::Udp(_) => Self::Udp(at),
            _ => Self::Tcp(at),
        }
    }

    /// Without its scheme: `10.0.0.1:3306`, `/run/a.sock`, `@name`.
    pub fn bare(&self) -> String {
        let whole = self.to_string();
        let bare = whole.split_once("://").map(|(_, bare)| bare.to_owned());
        bare.unwrap_or(whole)
    }

    /// Its IP address; `None` for a Unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) | Self::Udp(address) => Some(address.ip()),
            Self::Unix(_) => None,
        }
    }
}

/// As it is written in a configuration.
impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Unix(path) => Address::Unix(path.to_path_buf()).fmt(f),
        }
    }
}
