//! The children of the supervisor, and how they end.

use std::fmt;

use moorline_protocol::control::ProcessId;
use nix::sys::signal::Signal;

/// A child of the supervisor. The numbers are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Child {
    /// The gateway of this incarnation.
    Gateway(u32),
    /// A worker or task worker.
    Process(ProcessId),
    /// One run of a helper.
    Helper(u32),
}

impl fmt::Display for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway(_) => f.write_str("the gateway"),
            Self::Process(id) => write!(f, "process {id}"),
            Self::Helper(run) => write!(f, "helper run {run}"),
        }
    }
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The code it exited with.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

impl Ended {
    /// It was killed by a signal that means a fault of its own, not by someone else.
    pub(crate) fn is_fault(self) -> bool {
        use nix::libc::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};
        matches!(
            self.signal,
            Some(SIGSEGV | SIGBUS | SIGILL | SIGFPE | SIGABRT | SIGTRAP | SIGSYS)
        )
    }

    /// It exited by itself and reports success.
    pub(crate) fn is_success(self) -> bool {
        self.code == Some(0)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exited with code {code}"),
            (None, Some(signal)) => match Signal::try_from(signal) {
                Ok(name) => write!(f, "was killed by {name}"),
                Err(_) => write!(f, "was killed by signal {signal}"),
            },
            (None, None) => f.write_str("ended"),
        }
    }
}
