//! How a listener finds out that a peer has vanished: pings of WebSocket, comments among server-sent events, and the probes and timeouts of TCP.

use std::time::Duration;

use moorline_net::Address;
use serde::{Deserialize, Serialize};

use super::error::Reported;
use super::walk::{Field, Section};

/// Under the patience of the proxies and address translators that close silent connections.
const DEFAULT_PING_INTERVAL: Duration = Duration::from_secs(25);
/// More than the slowest mobile networks need for an answer.
const DEFAULT_PONG_TIMEOUT: Duration = Duration::from_secs(20);
const DEFAULT_KEEPALIVE: Duration = Duration::from_secs(60);
/// Long, because it also closes a connection whose peer lives and reads nothing.
const DEFAULT_USER_TIMEOUT: Duration = Duration::from_secs(300);
/// Shorter ones would be measured rather by the machine's pauses.
const LEAST: Duration = Duration::from_secs(1);
/// The longest that Linux takes for keep-alive probes is a little more.
const MOST: Duration = Duration::from_secs(9 * 3600);

const PING_KEYS: &[&str] = &["ping_interval", "pong_timeout"];
const TCP_KEYS: &[&str] = &["tcp_keepalive", "tcp_user_timeout"];

/// How a listener finds out that a peer has vanished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Liveness {
    /// Pings of sessions that began as requests. Default for them: after 25 s, for 20 s.
    pub ping: Option<Ping>,
    /// After this time of silence the kernel probes a TCP connection. Default 60 s.
    pub keepalive: Option<Duration>,
    /// How long sent bytes and probes of a TCP connection may stay unacknowledged. Default 5 min.
    pub user_timeout: Option<Duration>,
}

/// When a session is pinged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// After nothing was received for this long.
    pub interval: Duration,
    /// How long the peer may take to send anything then.
    pub timeout: Duration,
}

/// Reads the keys of a listener.
pub(super) fn liveness(
    section: &Section<'_>,
    address: Option<&Address>,
    has_http_sessions: bool,
) -> Result<Liveness, Reported> {
    let interval = section.read("ping_interval", |field| time_or_off(&field));
    let timeout = section.read("pong_timeout", |field| time(&field));
    let keepalive = section.read("tcp_keepalive", |field| time_or_off(&field));
    let user_timeout = section.read("tcp_user_timeout", |field| time_or_off(&field));
    // Without the address it is unknown which of them belong.
    let address = address.ok_or(Reported)?;
    if !has_http_sessions {
        section.refuse_keys(
            PING_KEYS,
            "has no effect without `websocket` or a route of sessions: other protocols have no pings",
        )?;
    }
    let is_tcp = !matches!(
        address,
        Address::Udp(_) | Address::Unix(_) | Address::Unixgram(_)
    );
    if !is_tcp {
        let reason = format!(
            "has no effect on a {}:// listener: it has no TCP connections",
            address.scheme()
        );
        section.refuse_keys(TCP_KEYS, &reason)?;
    }
    let (interval, timeout) = (interval?, timeout?);
    if interval == Some(None) && timeout.is_some() {
        section.refuse_keys(&["pong_timeout"], "has no effect with `ping_interval` off")?;
    }
    let interval = interval.unwrap_or(Some(DEFAULT_PING_INTERVAL));
    Ok(Liveness {
        ping: interval.filter(|_| has_http_sessions).map(|interval| Ping {
            interval,
            timeout: timeout.unwrap_or(DEFAULT_PONG_TIMEOUT),
        }),
        keepalive: keepalive?
            .unwrap_or(Some(DEFAULT_KEEPALIVE))
            .filter(|_| is_tcp),
        user_timeout: user_timeout?
            .unwrap_or(Some(DEFAULT_USER_TIMEOUT))
            .filter(|_| is_tcp),
    })
}

/// A time, or `None` for `"off"`.
fn time_or_off(field: &Field<'_>) -> Result<Option<Duration>, Reported> {
    if field.value.get_ref().as_str() == Some("off") {
        return Ok(None);
    }
    time(field).map(Some)
}

fn time(field: &Field<'_>) -> Result<Duration, Reported> {
    let time = field.duration()?;
    if (LEAST..=MOST).contains(&time) {
        return Ok(time);
    }
    let hint = match field.key {
        "pong_timeout" => "write 1s to 9h",
        _ => "write 1s to 9h, or \"off\"",
    };
    Err(field.refuse(format!("`{}` is out of its limits", field.key), hint))
}
