//! Options of a client.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dial::DialOptions;
use crate::framing::Framing;
use crate::setters::setters;
use crate::unit::{as_duration, as_optional_duration, as_optional_size, as_size};

/// Options of a client. As TOML or JSON the same names, unknown ones refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ClientOptions {
    /// How each attempt dials.
    pub dial: DialOptions,
    /// How the stream is cut into messages: raw, unless set. [`Framing::WebSocket`] is the server's side and
    /// is refused.
    #[serde(with = "crate::framing::fields")]
    pub framing: Framing,
    /// What may wait to be sent, in bytes: 2 MiB. One message that is larger passes when nothing else waits.
    #[serde(with = "as_size")]
    pub buffer: u64,
    /// The client is full when more bytes than this wait. 80 % of the buffer unless set.
    #[serde(with = "as_optional_size")]
    pub high_watermark: Option<u64>,
    /// It has drained when no more bytes than this wait. 25 % of the buffer unless set; never above the high watermark.
    #[serde(with = "as_optional_size")]
    pub low_watermark: Option<u64>,
    /// The time between two [`tick`](super::Handler::tick)s. 2 s; less than 1 ms counts as 1 ms.
    #[serde(with = "as_duration")]
    pub tick: Duration,
    /// How long a close may take to send what waits and to see the peer's end; then it is cut off. 5 s, like a
    /// dial.
    #[serde(with = "as_duration")]
    pub close_deadline: Duration,
    /// How long the client of a handler stays open for its answers after the peer's half-close, counted from what it
    /// sent last. Not at all, unless set: it is closed once what waits is sent.
    #[serde(with = "as_optional_duration")]
    pub half_closed_timeout: Option<Duration>,
    /// How a lost connection is made again. Not at all, unless set.
    pub reconnect: Option<Reconnect>,
}

setters! {
    ClientOptions {
        dial: DialOptions,
        framing: Framing,
        buffer: u64,
        high_watermark: Option<u64>,
        low_watermark: Option<u64>,
        tick: Duration,
        close_deadline: Duration,
        half_closed_timeout: Option<Duration>,
        reconnect: Option<Reconnect>,
    }
}

/// How a lost connection is made again. An error that is [permanent](crate::ConnectError::is_permanent) ends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Reconnect {
    /// The wait before the first new attempt; each further one doubles it. 100 ms.
    #[serde(with = "as_duration")]
    pub first: Duration,
    /// The longest wait. 30 s.
    #[serde(with = "as_duration")]
    pub cap: Duration,
    /// Each wait is shortened at random by up to this many per cent, so that the clients of a restarted server do not
    /// return together. 50.
    pub jitter: u8,
    /// A connection that lasted this long was good: the waits begin at the shortest again. 5 s. Without such a limit a
    /// server that accepts and closes at once would be dialed without pause.
    #[serde(with = "as_duration")]
    pub good_after: Duration,
    /// It gives up after this many failures in a row. Never, unless set.
    pub attempts: Option<u32>,
    /// What happens to queued messages when a connection is lost.
    pub queue: Unsent,
}

setters! {
    Reconnect {
        first: Duration,
        cap: Duration,
        jitter: u8,
        good_after: Duration,
        attempts: Option<u32>,
        queue: Unsent,
    }
}

/// What happens to queued messages when a connection is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Unsent {
    /// They are dropped and logged, and nothing can be sent until connected again: for protocols that begin with a
    /// message of their own on each connection.
    #[default]
    Fail,
    /// They go out on the next connection, one of which only a part was sent from its beginning. What the
    /// system had taken already may be lost with the old connection.
    Keep,
}

impl ClientOptions {
    /// The default options with a framing.
    pub fn framed(framing: Framing) -> Self {
        Self {
            framing,
            ..Self::default()
        }
    }

    /// Whether what waits goes out on the next connection.
    pub(super) fn keeps_unsent(&self) -> bool {
        matches!(&self.reconnect, Some(reconnect) if reconnect.queue == Unsent::Keep)
    }
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            dial: DialOptions::default(),
            framing: Framing::Raw,
            buffer: 2 << 20,
            high_watermark: None,
            low_watermark: None,
            tick: Duration::from_secs(2),
            close_deadline: Duration::from_secs(5),
            half_closed_timeout: None,
            reconnect: None,
        }
    }
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            cap: Duration::from_secs(30),
            jitter: 50,
            good_after: Duration::from_secs(5),
            attempts: None,
            queue: Unsent::default(),
        }
    }
}
