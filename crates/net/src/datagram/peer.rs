//! The senders and receivers of datagrams.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{SendFlags, SocketAddrAny, SocketAddrUnix, sendto};

use crate::address::UnixName;
use crate::dial::ConnectCause;

/// The sender or receiver of a datagram.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Peer {
    /// Over UDP.
    Ip(SocketAddr),
    /// The path of a Unix socket; an abstract one begins with a NUL byte.
    Unix(PathBuf),
    /// A Unix socket without an address: it cannot be answered.
    Unnamed,
}

impl Peer {
    /// The Unix socket at `path`; an abstract one begins with a NUL byte.
    pub(super) fn unix(path: &Path) -> Result<Self, ConnectCause> {
        unix_address(path)
            .map(|_| Self::Unix(path.to_owned()))
            .map_err(|_| ConnectCause::Invalid("the path of the Unix socket is too long".into()))
    }

    pub(crate) fn from_any(address: Option<SocketAddrAny>) -> Self {
        let Some(address) = address else {
            return Self::Unnamed;
        };
        if let Ok(ip) = SocketAddr::try_from(address.clone()) {
            return Self::Ip(ip);
        }
        let Ok(unix) = SocketAddrUnix::try_from(address) else {
            return Self::Unnamed;
        };
        let bytes = match (unix.path_bytes(), unix.abstract_name()) {
            (Some(path), _) => path.to_vec(),
            (None, Some(name)) => [b"\0", name].concat(),
            (None, None) => return Self::Unnamed,
        };
        Self::Unix(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
    }

    pub(crate) fn send(
        &self,
        socket: impl AsFd,
        bytes: &[u8],
        flags: SendFlags,
    ) -> Result<usize, Errno> {
        match self {
            Self::Ip(peer) => sendto(socket, bytes, flags, peer),
            Self::Unix(path) => sendto(socket, bytes, flags, &unix_address(path)?),
            Self::Unnamed => Err(Errno::DESTADDRREQ),
        }
    }
}

/// A Unix socket's address; an abstract one begins with a NUL byte.
pub(super) fn unix_address(path: &Path) -> Result<SocketAddrUnix, Errno> {
    match path.as_os_str().as_bytes() {
        [0, name @ ..] => SocketAddrUnix::new_abstract_name(name),
        _ => SocketAddrUnix::new(path),
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => UnixName(path).fmt(f),
            Self::Unnamed => f.write_str("(unnamed)"),
        }
    }
}
