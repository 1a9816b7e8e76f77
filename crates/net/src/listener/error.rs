//! Why a listener does not start.

use std::fmt;
use std::io;

use crate::address::Address;
use crate::framing::InvalidFraming;
use crate::socket::ListenError;

/// Why a listener does not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListenerError {
    /// The address cannot be bound.
    Listen(ListenError),
    /// The address is of a kind that is not served here.
    Scheme(Address),
    /// The framing makes no sense.
    Framing(InvalidFraming),
    /// WebSocket begins with a handshake, which is not made here.
    WebSocket,
    /// The socket is bound, and cannot be watched.
    Io(io::Error),
}

impl fmt::Display for ListenerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(error) => error.fmt(f),
            Self::Scheme(address) => write!(
                f,
                "{address} is not served here: streams are tcp:// or unix://, datagrams udp://"
            ),
            Self::Framing(error) => write!(f, "the framing: {error}"),
            Self::WebSocket => f.write_str(
                "a WebSocket begins with a handshake that is not made here: let the engine serve it",
            ),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ListenerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen(error) => Some(error),
            Self::Framing(error) => Some(error),
            Self::Io(error) => Some(error),
            Self::Scheme(_) | Self::WebSocket => None,
        }
    }
}
