//! Why a dial failed.

use std::fmt;
use std::io;
use std::time::Instant;

use rustix::io::Errno;

use crate::resolve::ResolveError;
use crate::timeline::{Outcome, StepId, StepKind, Timeline};
use crate::tls::{HandshakeError, TlsError};

/// Why a dial failed: the step, the address, the cause, and what was done until then.
pub struct ConnectError(Box<DialReport>);

struct DialReport {
    address: String,
    step: Option<StepKind>,
    cause: ConnectCause,
    timeline: Timeline,
}

/// What made a dial fail.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectCause {
    /// The client is connected already; that connection is undisturbed. Close it first.
    AlreadyConnected,
    /// The address or an option makes no sense, such as TLS options that name a missing file.
    Invalid(String),
    /// This machine has no interface of the name that the options or an IPv6 zone say. It may come.
    NoInterface(String),
    /// The name has no address, or its resolver failed.
    Resolve(ResolveError),
    /// The deadline passed; the step says where.
    Timeout,
    /// The system gave up waiting for the peer by itself, before the deadline (`ETIMEDOUT`).
    TimedOut(io::Error),
    /// The peer's system refused: nothing listens there.
    Refused(io::Error),
    /// The peer broke the connection off while it was made.
    Reset(io::Error),
    /// No way leads there: no route, or a router said so.
    Unreachable(io::Error),
    /// The peer closed in the middle of a handshake.
    EndOfFile,
    /// The TLS handshake failed.
    Tls(TlsError),
    /// The proxy refused or could not connect onward; its words.
    Proxy(String),
    /// This side closed it meanwhile.
    Closed,
    /// Another failure of a system call.
    Io(io::Error),
}

/// A step that failed, before its timeline is closed.
#[derive(Debug)]
pub(super) struct DialFailure {
    /// `None` if none had begun.
    pub(super) step: Option<StepKind>,
    pub(super) cause: ConnectCause,
}

impl DialFailure {
    /// A dial that cannot begin.
    pub(super) fn invalid(problem: impl Into<String>) -> Self {
        Self {
            step: None,
            cause: ConnectCause::Invalid(problem.into()),
        }
    }

    /// The failure of this step.
    pub(super) fn at(step: StepKind, cause: ConnectCause) -> Self {
        Self {
            step: Some(step),
            cause,
        }
    }
}

impl ConnectError {
    /// An error about `address`.
    pub(crate) fn new(
        address: String,
        step: Option<StepKind>,
        cause: ConnectCause,
        timeline: Timeline,
    ) -> Self {
        Self(Box::new(DialReport {
            address,
            step,
            cause,
            timeline,
        }))
    }

    /// An error before any step.
    pub(crate) fn before_dial(address: String, cause: ConnectCause) -> Self {
        Self::new(address, None, cause, Timeline::new(Instant::now()))
    }

    /// The address that was dialed.
    pub fn address(&self) -> &str {
        &self.0.address
    }

    /// The step that failed. `None` if none had begun.
    pub fn step(&self) -> Option<StepKind> {
        self.0.step
    }

    /// What made it fail.
    pub fn cause(&self) -> &ConnectCause {
        &self.0.cause
    }

    /// What was done until then.
    pub fn timeline(&self) -> &Timeline {
        &self.0.timeline
    }

    /// The system's error number, if a system call failed.
    pub fn errno(&self) -> Option<i32> {
        self.0.cause.errno()
    }

    /// Whether another attempt with the same address and options must fail too, because they are wrong.
    ///
    /// The answer of a peer, a network or a name server can change, even a refusal or an expired certificate.
    pub fn is_permanent(&self) -> bool {
        self.0.cause.is_permanent()
    }
}

impl ConnectCause {
    /// KCP is an address's scheme and nothing more.
    pub(crate) fn no_kcp() -> Self {
        Self::Invalid(
            "there is no KCP here: write tcp://host:port, or udp://host:port for datagrams".into(),
        )
    }

    /// The system's error number, if a system call failed.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused(error)
            | Self::Reset(error)
            | Self::Unreachable(error)
            | Self::TimedOut(error)
            | Self::Io(error) => error.raw_os_error(),
            _ => None,
        }
    }

    fn is_permanent(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::Tls(TlsError::Options(_)) => true,
            Self::Resolve(error) => matches!(error, ResolveError::InvalidName { .. }),
            // This system does not have the protocol.
            Self::Io(error) => matches!(
                Errno::from_io_error(error),
                Some(Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT)
            ),
            _ => false,
        }
    }

    /// As the outcome of a step.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Timeout | Self::TimedOut(_) => Outcome::TimedOut,
            _ => Outcome::Failed(self.to_string()),
        }
    }

    /// How much it says of the peer, where several addresses failed for several reasons: its system's
    /// answer most, then silence, then what never left this machine, then that there was no address; least what is
    /// permanent.
    pub(super) fn weight(&self) -> u8 {
        match self {
            // Another attempt may not meet the others again, so it does not speak for them.
            permanent if permanent.is_permanent() => 0,
            Self::Resolve(ResolveError::NoRoute { .. }) => 1,
            Self::Resolve(ResolveError::NotFound { .. }) => 2,
            Self::Resolve(_) => 3,
            Self::Unreachable(_) => 4,
            Self::Io(_) | Self::Invalid(_) | Self::NoInterface(_) => 5,
            Self::Timeout | Self::TimedOut(_) => 6,
            _ => 7,
        }
    }
}

impl Timeline {
    /// A step ends with this result.
    pub(crate) fn end_with<T>(
        &mut self,
        id: StepId,
        result: &Result<T, ConnectCause>,
        now: Instant,
    ) {
        match result {
            Ok(_) => self.end(id, Outcome::Done, None, now),
            Err(cause) => self.end(id, cause.outcome(), cause.errno(), now),
        }
    }
}

impl From<io::Error> for ConnectCause {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused(error),
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted => Self::Reset(error),
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
                Self::Unreachable(error)
            }
            io::ErrorKind::TimedOut => Self::TimedOut(error),
            io::ErrorKind::UnexpectedEof => Self::EndOfFile,
            _ => Self::Io(error),
        }
    }
}

impl From<HandshakeError> for ConnectCause {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::Tls(error) => Self::Tls(error),
            HandshakeError::Stream(error) => error.into(),
        }
    }
}

impl fmt::Display for ConnectCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyConnected => f.write_str("already connected: close it first"),
            Self::Invalid(reason) | Self::NoInterface(reason) => f.write_str(reason),
            Self::Resolve(error) => error.fmt(f),
            Self::Timeout => f.write_str("timed out"),
            Self::Refused(error)
            | Self::Reset(error)
            | Self::Unreachable(error)
            | Self::TimedOut(error)
            | Self::Io(error) => error.fmt(f),
            Self::EndOfFile => f.write_str("the peer closed in the middle of the handshake"),
            Self::Tls(error) => error.fmt(f),
            Self::Proxy(words) => write!(f, "the proxy: {words}"),
            Self::Closed => f.write_str("closed by us"),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DialReport {
            address,
            step,
            cause,
            ..
        } = &*self.0;
        match step {
            Some(step) => write!(f, "cannot connect to {address}: {step}: {cause}"),
            None => write!(f, "cannot connect to {address}: {cause}"),
        }
    }
}

impl fmt::Debug for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectError")
            .field("address", &self.0.address)
            .field("step", &self.0.step)
            .field("cause", &self.0.cause)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.cause {
            ConnectCause::Resolve(error) => Some(error),
            ConnectCause::Tls(error) => Some(error),
            ConnectCause::Refused(error)
            | ConnectCause::Reset(error)
            | ConnectCause::Unreachable(error)
            | ConnectCause::TimedOut(error)
            | ConnectCause::Io(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
