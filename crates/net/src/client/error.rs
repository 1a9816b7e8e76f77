//! Why a client cannot send, why its stream broke, why it was closed.

use std::fmt;
use std::io;

use crate::framing::{EncodeError, FramingError};

/// Why a message was not sent.
#[derive(Debug)]
#[non_exhaustive]
pub enum SendError {
    /// The queue is full. Try again after the client has drained, or let `send` wait.
    Full {
        /// How many bytes wait.
        queued: u64,
    },
    /// It does not fit the framing: too large, or without the header that it must bring.
    Unfit(EncodeError),
    /// There is no connection, and nothing is kept for the next one.
    NotConnected,
    /// This side has ended its sending, or is closing.
    Closing,
    /// The file cannot be sent: it cannot be opened, ends before the range does, or may contain the end of a message.
    File(io::Error),
    /// The connection broke.
    Broken(StreamError),
}

/// How a stream broke.
#[derive(Debug)]
#[non_exhaustive]
pub enum StreamError {
    /// There is no connection.
    NotConnected,
    /// A [`Sender`](super::Sender) of this side closed it, and what waited is lost.
    Closed,
    /// The peer ended it in the middle of a message, or without the farewell that TLS demands.
    EndOfFile {
        /// How many bytes of the message had come.
        unfinished: u64,
    },
    /// The peer's system reset it.
    Reset(io::Error),
    /// The system gave up on a peer that no longer answers.
    TimedOut(io::Error),
    /// The received bytes do not fit the framing.
    Framing(FramingError),
    /// A file that was being sent has become shorter, so that its message cannot be finished.
    FileShrank,
    /// A failure of a system call.
    Io(io::Error),
}

/// Why a connection was closed.
#[derive(Debug)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side closed it.
    ByUs,
    /// This side replaced it by a new one.
    Replaced,
    /// The peer closed it, at the end of a message.
    ByPeer,
    /// It broke.
    Broken(StreamError),
}

impl StreamError {
    /// The system's error number, if a system call failed.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Reset(error) | Self::TimedOut(error) | Self::Io(error) => error.raw_os_error(),
            _ => None,
        }
    }
}

impl StreamError {
    /// With the number of bytes of a message before it: the reader of the stream does not know messages.
    pub(super) fn after(self, unfinished: u64) -> Self {
        match self {
            Self::EndOfFile { .. } => Self::EndOfFile { unfinished },
            other => other,
        }
    }

    /// A copy, because both the sender and the receiver report the error.
    pub(super) fn duplicate(&self) -> Self {
        let again = |error: &io::Error| match error.raw_os_error() {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::new(error.kind(), error.to_string()),
        };
        match self {
            Self::NotConnected => Self::NotConnected,
            Self::Closed => Self::Closed,
            Self::EndOfFile { unfinished } => Self::EndOfFile {
                unfinished: *unfinished,
            },
            Self::Reset(error) => Self::Reset(again(error)),
            Self::TimedOut(error) => Self::TimedOut(again(error)),
            Self::Framing(error) => Self::Framing(*error),
            Self::FileShrank => Self::FileShrank,
            Self::Io(error) => Self::Io(again(error)),
        }
    }
}

impl From<io::Error> for StreamError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Self::Reset(error),
            io::ErrorKind::TimedOut => Self::TimedOut(error),
            io::ErrorKind::UnexpectedEof => Self::EndOfFile { unfinished: 0 },
            _ => Self::Io(error),
        }
    }
}

impl From<FramingError> for StreamError {
    fn from(error: FramingError) -> Self {
        Self::Framing(error)
    }
}

impl From<EncodeError> for SendError {
    fn from(error: EncodeError) -> Self {
        Self::Unfit(error)
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { queued } => write!(f, "full: {queued} bytes wait to be sent"),
            Self::Unfit(error) => error.fmt(f),
            Self::NotConnected => f.write_str("not connected"),
            Self::Closing => f.write_str("this side has ended its sending"),
            Self::File(error) => write!(f, "cannot send the file: {error}"),
            Self::Broken(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected => f.write_str("not connected"),
            Self::Closed => f.write_str("closed by us"),
            Self::EndOfFile { unfinished: 0 } => {
                f.write_str("the peer ended the connection without a farewell")
            }
            Self::EndOfFile { unfinished } => write!(
                f,
                "the peer ended the connection {unfinished} bytes into a message"
            ),
            Self::Reset(error) | Self::TimedOut(error) | Self::Io(error) => error.fmt(f),
            Self::Framing(error) => error.fmt(f),
            Self::FileShrank => f.write_str("the file has become shorter while it was sent"),
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByUs => f.write_str("closed by us"),
            Self::Replaced => f.write_str("replaced by a new connection"),
            Self::ByPeer => f.write_str("closed by the peer"),
            Self::Broken(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unfit(error) => Some(error),
            Self::File(error) => Some(error),
            Self::Broken(error) => Some(error),
            _ => None,
        }
    }
}

impl std::error::Error for StreamError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Reset(error) | Self::TimedOut(error) | Self::Io(error) => Some(error),
            Self::Framing(error) => Some(error),
            _ => None,
        }
    }
}
