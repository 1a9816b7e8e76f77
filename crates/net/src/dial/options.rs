//! Options of a dial.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dial::via::Via;
use crate::setters::setters;
use crate::socket_options::SocketOptions;
use crate::tls::TlsOptions;
use crate::unit::as_duration;

/// Options of a dial. As TOML or JSON the same names, unknown ones refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DialOptions {
    /// The time for everything: resolving, connecting, handshakes. 5 s: three lost SYNs (retried after 1 s
    /// and 3 s) and still enough for TLS over a slow path.
    #[serde(with = "as_duration")]
    pub deadline: Duration,
    /// Which address families are tried, and which first.
    pub family: Family,
    /// How long an attempt runs before the next address is tried in parallel (RFC 8305 §5). 250 ms; less than 10 ms
    /// counts as 10 ms.
    #[serde(with = "as_duration")]
    pub attempt_delay: Duration,
    /// How long an answer of the other family waits for one of the preferred (RFC 8305 §3). 50 ms.
    #[serde(with = "as_duration")]
    pub resolution_delay: Duration,
    /// The local address to bind; port 0 takes any. Addresses of the other family are not tried.
    pub bind: Option<SocketAddr>,
    /// The local interface to bind to (`SO_BINDTODEVICE`).
    pub interface: Option<String>,
    /// The proxy to go through.
    pub via: Option<Via>,
    /// Options of the socket.
    pub socket: SocketOptions,
    /// How a `tls://` address is verified.
    pub tls: TlsOptions,
}

setters! {
    DialOptions {
        deadline: Duration,
        family: Family,
        attempt_delay: Duration,
        resolution_delay: Duration,
        bind: Option<SocketAddr>,
        interface: Option<String>,
        via: Option<Via>,
        socket: SocketOptions,
        tls: TlsOptions,
    }
}

/// Which address families are tried, and which first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Family {
    /// Both, in the order that `/etc/gai.conf` sets; where it sets none, IPv6 first (RFC 6724, RFC 8305 §4).
    #[default]
    Both,
    /// Both, IPv6 first.
    PreferIpv6,
    /// Both, IPv4 first.
    PreferIpv4,
    /// IPv6 alone.
    Ipv6,
    /// IPv4 alone.
    Ipv4,
}

impl Default for DialOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(5),
            family: Family::default(),
            attempt_delay: Duration::from_millis(250),
            resolution_delay: Duration::from_millis(50),
            bind: None,
            interface: None,
            via: None,
            socket: SocketOptions::default(),
            tls: TlsOptions::default(),
        }
    }
}

impl DialOptions {
    /// Whether addresses like this one are tried: `family` and `bind` decide.
    pub fn admits(&self, ip: IpAddr) -> bool {
        let bound_otherwise = self.bind.is_some_and(|bind| bind.is_ipv4() != ip.is_ipv4());
        self.family.admits(ip) && !bound_otherwise
    }

    /// Whether any IPv6 address is tried.
    pub(super) fn admits_ipv6(&self) -> bool {
        self.admits(Ipv6Addr::UNSPECIFIED.into())
    }

    /// Whether any IPv4 address is tried.
    pub(super) fn admits_ipv4(&self) -> bool {
        self.admits(Ipv4Addr::UNSPECIFIED.into())
    }
}

impl Family {
    /// Whether addresses like this one are tried.
    pub fn admits(self, ip: IpAddr) -> bool {
        match self {
            Self::Both | Self::PreferIpv6 | Self::PreferIpv4 => true,
            Self::Ipv6 => ip.is_ipv6(),
            Self::Ipv4 => ip.is_ipv4(),
        }
    }
}
