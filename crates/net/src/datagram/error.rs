//! Why a datagram was not sent or received.

use std::fmt;
use std::io;

use rustix::io::Errno;

/// Why a datagram was not sent or received. The client can still be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum DatagramError {
    /// No datagram can be that large.
    TooLarge {
        /// Its size, in bytes.
        size: usize,
        /// The largest that passes. `None` if the system does not say: a Unix socket's buffer sets the limit, or
        /// the path to the peer.
        max: Option<usize>,
    },
    /// The client is not connected, and no peer is named.
    NoPeer,
    /// Nothing listens at the peer, as its system says about an earlier datagram.
    Refused(io::Error),
    /// No way leads to the peer.
    Unreachable(io::Error),
    /// The peer's queue is full.
    Full,
    /// Nothing came, or there was no room, in the time that a [blocking client](crate::blocking::DatagramClient) has.
    TimedOut,
    /// Another failure of a system call.
    Io(io::Error),
}

impl DatagramError {
    /// The system's error number, if a system call failed.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused(error) | Self::Unreachable(error) | Self::Io(error) => {
                error.raw_os_error()
            }
            _ => None,
        }
    }
}

impl From<io::Error> for DatagramError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused(error),
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
                Self::Unreachable(error)
            }
            io::ErrorKind::WouldBlock => Self::Full,
            _ if Errno::from_io_error(&error) == Some(Errno::DESTADDRREQ) => Self::NoPeer,
            _ => Self::Io(error),
        }
    }
}

impl fmt::Display for DatagramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge {
                size,
                max: Some(max),
            } => write!(f, "a datagram of {size} bytes, at most {max} pass"),
            Self::TooLarge { size, max: None } => {
                write!(f, "a datagram of {size} bytes is too large to pass")
            }
            Self::NoPeer => f.write_str("no peer: connect first, or name a peer"),
            Self::Full => f.write_str("the peer's queue is full"),
            Self::TimedOut => f.write_str("nothing came, or there was no room, in time"),
            Self::Refused(error) | Self::Unreachable(error) | Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DatagramError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(error) | Self::Unreachable(error) | Self::Io(error) => Some(error),
            _ => None,
        }
    }
}
