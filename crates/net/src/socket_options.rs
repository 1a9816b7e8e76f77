//! Options of sockets that connect.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Options of a socket that connects. Every socket is close-on-exec and non-blocking besides.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SocketOptions {
    /// `TCP_NODELAY`: on, since messages are written whole and waiting would only delay their ends.
    pub no_delay: bool,
    /// `SO_REUSEADDR`: off; only a bound local port gains from it.
    pub reuse_address: bool,
    /// `SO_KEEPALIVE` and its times: off, a timer of the protocol on top tells more.
    pub keep_alive: Option<KeepAlive>,
    /// `SO_LINGER` in whole seconds: off, close returns at once and the kernel delivers what is queued. Zero
    /// resets the connection on close.
    pub linger_seconds: Option<u16>,
    /// `SO_SNDBUF` in bytes: the system's, which grows by itself; a set one does not.
    pub send_buffer: Option<usize>,
    /// `SO_RCVBUF` in bytes: the system's, as above.
    pub receive_buffer: Option<usize>,
    /// `TCP_USER_TIMEOUT`, how long sent data may stay unacknowledged: the system's, about 15 minutes.
    #[serde(with = "crate::unit::as_optional_duration")]
    pub user_timeout: Option<Duration>,
}

/// Times of keep-alive probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeepAlive {
    /// Silence before the first probe. 60 s: under the patience of most address translators.
    #[serde(with = "crate::unit::as_duration")]
    pub idle: Duration,
    /// Time between probes. 10 s.
    #[serde(with = "crate::unit::as_duration")]
    pub interval: Duration,
    /// Unanswered probes after which the connection is dead. 3.
    pub count: u32,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            no_delay: true,
            reuse_address: false,
            keep_alive: None,
            linger_seconds: None,
            send_buffer: None,
            receive_buffer: None,
            user_timeout: None,
        }
    }
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(60),
            interval: Duration::from_secs(10),
            count: 3,
        }
    }
}
