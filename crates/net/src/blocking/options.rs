//! Options of blocking clients.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::dial::DialOptions;
use crate::framing::Framing;
use crate::setters::setters;
use crate::unit::{self, UnitError};

/// How long a call may take unless it is said: as long as a dial.
const USUAL: Timeout = Timeout::After(Duration::from_secs(5));

/// Options of a blocking client. As TOML or JSON the same names, unknown ones refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ClientOptions {
    /// How the connection is opened, with a deadline of its own.
    pub dial: DialOptions,
    /// How long each later call may take. 5 s.
    pub timeout: Timeout,
    /// How [`receive_message`](super::Client::receive_message) cuts messages and [`send`](super::Client::send)
    /// wraps them. Raw. That of WebSocket, a server's, is refused.
    #[serde(with = "crate::framing::fields")]
    pub framing: Framing,
}

setters! {
    ClientOptions {
        dial: DialOptions,
        timeout: Timeout,
        framing: Framing,
    }
}

/// Options of a blocking datagram client. As TOML or JSON the same names, unknown ones
/// refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DatagramOptions {
    /// How the socket is opened, with a deadline of its own for a name to resolve.
    pub dial: DialOptions,
    /// How long each later call may take. 5 s.
    pub timeout: Timeout,
}

setters! {
    DatagramOptions {
        dial: DialOptions,
        timeout: Timeout,
    }
}

impl Default for DatagramOptions {
    fn default() -> Self {
        Self {
            dial: DialOptions::default(),
            timeout: USUAL,
        }
    }
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            dial: DialOptions::default(),
            timeout: USUAL,
            framing: Framing::Raw,
        }
    }
}

impl ClientOptions {
    /// The contradiction in them, and its remedy.
    pub(super) fn check(&self) -> Result<(), String> {
        #[cfg(feature = "websocket")]
        if let Framing::WebSocket { .. } = self.framing {
            return Err("the websocket framing is a server's: use another one".into());
        }
        self.framing.validate().map_err(|error| error.to_string())
    }
}

/// How long a call may take. Written as a duration, `5s`, or as `never`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Timeout {
    /// It ends with an error after so long. Zero: it does what can be done at once.
    After(Duration),
    /// As long as it takes.
    Never,
}

impl Timeout {
    /// When a call that begins now must be done.
    pub(super) fn deadline(self) -> Deadline {
        Deadline(match self {
            // Too far for the clock to hold is never.
            Self::After(duration) => Instant::now().checked_add(duration),
            Self::Never => None,
        })
    }
}

impl FromStr for Timeout {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        match text {
            "never" => Ok(Self::Never),
            _ => unit::duration(text).map(Self::After),
        }
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(duration) => write!(f, "{}ms", duration.as_millis()),
            Self::Never => f.write_str("never"),
        }
    }
}

impl TryFrom<String> for Timeout {
    type Error = UnitError;

    fn try_from(text: String) -> Result<Self, UnitError> {
        text.parse()
    }
}

impl From<Timeout> for String {
    fn from(timeout: Timeout) -> Self {
        timeout.to_string()
    }
}

/// When a call must be done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    /// It is past: what cannot be done at once is not.
    pub(super) fn past() -> Self {
        Self(Some(Instant::now()))
    }

    /// The time until then; `None`: for ever.
    pub(super) fn left(self) -> Option<Duration> {
        self.0
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}
