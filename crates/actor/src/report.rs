//! What an operator should know.

use std::fmt;
use std::time::Duration;

use crate::id::ServiceId;

/// Something about a service that deserves a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Report {
    /// Its mailbox has reached a threshold, which doubles with each report.
    Overload {
        /// The slow service.
        service: ServiceId,
        /// The messages that wait.
        length: usize,
    },
    /// Its mailbox is at the hard limit, and messages were lost. Reported when their number has doubled.
    Lost {
        /// The slow service.
        service: ServiceId,
        /// The sender of the last one.
        source: ServiceId,
        /// All that its mailbox has lost.
        lost: u64,
    },
    /// It has handled one message for so long that it may never return.
    Stuck {
        /// The service.
        service: ServiceId,
        /// The sender of the message.
        source: ServiceId,
        /// For how long at least.
        lasting: Duration,
        /// The other services of its loop, which wait for it.
        others: usize,
    },
    /// It has ended, and the end of its code lasts for so long that it may never be over.
    EndStuck {
        /// The service.
        service: ServiceId,
        /// For how long at least.
        lasting: Duration,
        /// The other services of its loop, which wait for it.
        others: usize,
    },
    /// Its code has panicked. An untyped service ends; a typed one goes on, and the caller of the handler gets an error.
    Panicked {
        /// The service.
        service: ServiceId,
        /// What the panic said.
        text: String,
    },
}

impl Report {
    /// The service concerned.
    pub fn service(&self) -> ServiceId {
        match self {
            Self::Overload { service, .. }
            | Self::Lost { service, .. }
            | Self::Stuck { service, .. }
            | Self::EndStuck { service, .. }
            | Self::Panicked { service, .. } => *service,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overload { length, .. } => {
                write!(f, "May overload, message queue length = {length}")
            }
            Self::Lost { source, lost, .. } => {
                write!(
                    f,
                    "mailbox at its hard limit, {lost} messages lost, the last one from {source}"
                )
            }
            Self::Stuck {
                service,
                source,
                lasting,
                others,
            } => write!(
                f,
                "A message from [ {source} ] to [ {service} ] maybe in an endless loop, for {} s, {others} other services wait",
                lasting.as_secs()
            ),
            Self::EndStuck {
                service,
                lasting,
                others,
            } => write!(
                f,
                "The end of [ {service} ] maybe in an endless loop, for {} s, {others} other services wait",
                lasting.as_secs()
            ),
            Self::Panicked { text, .. } => write!(f, "panicked: {text}"),
        }
    }
}
