//! Options of sockets that connect.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use socket2::{Socket, TcpKeepalive};

use crate::dial::ConnectCause;
use crate::setters::setters;

/// Options of a socket that connects. Every socket is close-on-exec and non-blocking besides.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SocketOptions {
    /// `TCP_NODELAY`: on, since messages are written whole and waiting would only delay their ends.
    pub no_delay: bool,
    /// `SO_REUSEADDR`: off; only a bound local port gains from it.
    pub reuse_address: bool,
    /// `SO_KEEPALIVE` and its times: off, a timer of the protocol on top tells more.
    pub keep_alive: Option<KeepAlive>,
    /// Closing a TCP connection resets it, and bytes that wait in the kernel are lost (`SO_LINGER` with zero seconds).
    /// Off: the kernel delivers what is queued. Other times of `SO_LINGER` are not offered, because closing would block
    /// the thread.
    pub reset_on_close: bool,
    /// `SO_SNDBUF` in bytes: the system's, which grows by itself; a set one does not.
    pub send_buffer: Option<usize>,
    /// `SO_RCVBUF` in bytes: the system's, as above.
    pub receive_buffer: Option<usize>,
    /// `TCP_USER_TIMEOUT`, how long sent data may stay unacknowledged: the system's, about 15 minutes.
    #[serde(with = "crate::unit::as_optional_duration")]
    pub user_timeout: Option<Duration>,
}

setters! {
    SocketOptions {
        no_delay: bool,
        reuse_address: bool,
        keep_alive: Option<KeepAlive>,
        reset_on_close: bool,
        send_buffer: Option<usize>,
        receive_buffer: Option<usize>,
        user_timeout: Option<Duration>,
    }
}

/// Times of keep-alive probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
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

setters! {
    KeepAlive {
        idle: Duration,
        interval: Duration,
        count: u32,
    }
}

impl SocketOptions {
    /// Sets them on a TCP socket that is not connected yet.
    pub(crate) fn set_on_tcp(&self, socket: &Socket) -> Result<(), ConnectCause> {
        if self.no_delay {
            set("no_delay", socket.set_tcp_nodelay(true))?;
        }
        if self.reuse_address {
            set("reuse_address", socket.set_reuse_address(true))?;
        }
        if self.reset_on_close {
            set("reset_on_close", socket.set_linger(Some(Duration::ZERO)))?;
        }
        if let Some(times) = &self.keep_alive {
            let times = TcpKeepalive::new()
                .with_time(times.idle)
                .with_interval(times.interval)
                .with_retries(times.count);
            set("keep_alive", socket.set_tcp_keepalive(&times))?;
        }
        if self.user_timeout.is_some() {
            set(
                "user_timeout",
                socket.set_tcp_user_timeout(self.user_timeout),
            )?;
        }
        self.set_on_unix(socket)
    }

    /// Sets on a Unix socket those that have a meaning there: the buffers.
    pub(crate) fn set_on_unix(&self, socket: &Socket) -> Result<(), ConnectCause> {
        if let Some(bytes) = self.send_buffer {
            set("send_buffer", socket.set_send_buffer_size(bytes))?;
        }
        if let Some(bytes) = self.receive_buffer {
            set("receive_buffer", socket.set_recv_buffer_size(bytes))?;
        }
        Ok(())
    }
}

/// Names the option that the system refuses.
fn set(option: &str, result: io::Result<()>) -> Result<(), ConnectCause> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => ConnectCause::Invalid(format!(
            "the system refuses the value of the socket option `{option}`: choose one in its range"
        )),
        _ => error.into(),
    })
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            no_delay: true,
            reuse_address: false,
            keep_alive: None,
            reset_on_close: false,
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
