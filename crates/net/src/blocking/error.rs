//! Why a blocking client could not send or receive.

use std::fmt;
use std::io;

use crate::framing::{EncodeError, FramingError};
use crate::tls::TlsError;

/// Why nothing was received. Nothing that came before is lost: another call finds it.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReceiveError {
    /// It did not come in time.
    Timeout,
    /// The peer ended the stream in the middle.
    EndOfFile {
        /// How many of the wanted bytes had come.
        unfinished: usize,
    },
    /// The peer's system reset the connection.
    Reset(io::Error),
    /// No delimiter came within the bytes that the caller allows.
    Unended {
        /// The most bytes.
        max: usize,
    },
    /// The received bytes do not fit the framing.
    Framing(FramingError),
    /// TLS failed; in TLS 1.3 this is how a server refuses this side's certificate.
    Tls(TlsError),
    /// Another failure of a system call.
    Io(io::Error),
}

/// Why something was not sent.
#[derive(Debug)]
#[non_exhaustive]
pub enum SendError {
    /// The peer did not take it in time. Without a framing the rest can be sent later; with one the stream is
    /// cut in the middle of a message, and takes no more.
    Timeout {
        /// How many bytes went, headers included.
        sent: usize,
    },
    /// It does not fit the framing.
    Unfit(EncodeError),
    /// This side has ended its sending, or stopped in the middle of a message.
    Closed,
    /// The peer has closed or reset the connection.
    Reset(io::Error),
    /// TLS failed.
    Tls(TlsError),
    /// The file ended before the range did, or could not be read.
    File(io::Error),
    /// Another failure of a system call.
    Io(io::Error),
}

impl ReceiveError {
    /// The system's error number, if a system call failed.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Reset(error) | Self::Io(error) => error.raw_os_error(),
            _ => None,
        }
    }

    pub(super) fn new(error: io::Error, unfinished: usize) -> Self {
        match error.kind() {
            _ if is_deadline(&error) => Self::Timeout,
            io::ErrorKind::UnexpectedEof => Self::EndOfFile { unfinished },
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset(error),
            _ => match TlsError::of(&error) {
                Some(error) => Self::Tls(error),
                None => Self::Io(error),
            },
        }
    }
}

impl SendError {
    /// The system's error number, if a system call failed.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Reset(error) | Self::Io(error) | Self::File(error) => error.raw_os_error(),
            _ => None,
        }
    }

    pub(super) fn new(error: io::Error, sent: usize) -> Self {
        match error.kind() {
            _ if is_deadline(&error) => Self::Timeout { sent },
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset(error),
            _ => match TlsError::of(&error) {
                Some(error) => Self::Tls(error),
                None => Self::Io(error),
            },
        }
    }
}

/// The system's own time-out has a number; ours has none.
pub(super) fn is_deadline(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none()
}

impl fmt::Display for ReceiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("timed out: nothing was received"),
            Self::EndOfFile { unfinished } => write!(
                f,
                "the peer ended the stream in the middle: {unfinished} bytes had come"
            ),
            Self::Unended { max } => {
                write!(
                    f,
                    "no delimiter came within the {max} bytes that are allowed"
                )
            }
            Self::Framing(error) => error.fmt(f),
            Self::Tls(error) => error.fmt(f),
            Self::Reset(error) | Self::Io(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout { sent } => {
                write!(f, "the peer took {sent} bytes and no more in time")
            }
            Self::Unfit(error) => error.fmt(f),
            Self::Closed => f.write_str("this side has ended its sending: dial again"),
            Self::Tls(error) => error.fmt(f),
            Self::File(error) => write!(f, "the file: {error}"),
            Self::Reset(error) | Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReceiveError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Framing(error) => Some(error),
            Self::Tls(error) => Some(error),
            Self::Reset(error) | Self::Io(error) => Some(error),
            Self::Timeout | Self::EndOfFile { .. } | Self::Unended { .. } => None,
        }
    }
}

impl std::error::Error for SendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unfit(error) => Some(error),
            Self::Tls(error) => Some(error),
            Self::Reset(error) | Self::File(error) | Self::Io(error) => Some(error),
            Self::Timeout { .. } | Self::Closed => None,
        }
    }
}
