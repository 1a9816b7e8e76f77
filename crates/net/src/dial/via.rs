//! Going through a proxy: SOCKS5 (RFC 1928, RFC 1929) or HTTP CONNECT (RFC 9110 §9.3.6).

mod credentials;
mod http_connect;
#[cfg(any(test, fuzzing))]
pub(crate) mod invariants;
mod socks5;

use std::fmt;
use std::str::FromStr;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

pub use credentials::Credentials;

use super::error::ConnectCause;
use crate::address::HostPort;
use crate::setters::setters;

/// A proxy: `socks5://[user:password@]host:port` or `http://[user:password@]host:port`.
///
/// User and password are percent-encoded where they contain what has a meaning in such a text, `%`, `@`, `:`
/// and `/` above all. The name of the target is resolved by the proxy; the proxy's own is resolved, and its
/// addresses are raced, as any other.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub struct Via {
    /// How it is spoken to.
    pub protocol: ViaProtocol,
    /// Where it is.
    pub proxy: HostPort,
    /// The user and password.
    pub credentials: Option<Credentials>,
}

/// How a proxy is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ViaProtocol {
    /// SOCKS version 5.
    Socks5,
    /// `CONNECT` over HTTP/1.1.
    HttpConnect,
}

impl Via {
    /// A proxy that asks for no password.
    pub fn new(protocol: ViaProtocol, proxy: HostPort) -> Self {
        Self {
            protocol,
            proxy,
            credentials: None,
        }
    }
}

setters! {
    Via {
        credentials: Option<Credentials>,
    }
}

impl Via {
    /// Asks the proxy at the other end of `stream` to connect to `target`.
    pub(super) async fn open(
        &self,
        stream: &mut TcpStream,
        target: &HostPort,
    ) -> Result<(), ConnectCause> {
        if let Some(zone) = target.zone() {
            return Err(ConnectCause::Invalid(format!(
                "the zone `{zone}` is an interface of this machine, which means nothing to a proxy"
            )));
        }
        let credentials = self.credentials.as_ref();
        match self.protocol {
            ViaProtocol::Socks5 => socks5::open(stream, target, credentials).await,
            ViaProtocol::HttpConnect => http_connect::open(stream, target, credentials).await,
        }
    }
}

impl FromStr for Via {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (protocol, rest) = match text.split_once("://") {
            Some(("socks5", rest)) => (ViaProtocol::Socks5, rest),
            Some(("http", rest)) => (ViaProtocol::HttpConnect, rest),
            _ => return Err("write socks5://host:port or http://host:port".into()),
        };
        let (credentials, host_port) = match rest.rsplit_once('@') {
            Some((who, host_port)) => {
                let (user, password) = who.split_once(':').unwrap_or((who, ""));
                let decoded = |part| {
                    let decoded = percent_decode_str(part).decode_utf8();
                    decoded.map_err(|_| "user and password must be UTF-8 when percent-decoded")
                };
                let credentials = Credentials {
                    user: decoded(user)?.into_owned(),
                    password: decoded(password)?.into_owned(),
                };
                (Some(credentials), host_port)
            }
            None => (None, rest),
        };
        // The lone slash names no path, as in an address.
        let host_port = host_port.strip_suffix('/').unwrap_or(host_port);
        let proxy = format!("tcp://{host_port}")
            .parse::<crate::Address>()
            .map_err(|error| format!("{}: {}", error.problem(), error.hint()))?;
        let proxy = proxy.host_port().expect("a tcp address has them").clone();
        Ok(Self {
            protocol,
            proxy,
            credentials,
        })
    }
}

impl TryFrom<String> for Via {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Via> for String {
    fn from(via: Via) -> Self {
        let scheme = match via.protocol {
            ViaProtocol::Socks5 => "socks5",
            ViaProtocol::HttpConnect => "http",
        };
        match via.credentials {
            Some(Credentials { user, password }) => {
                let [user, password] =
                    [&user, &password].map(|part| utf8_percent_encode(part, NON_ALPHANUMERIC));
                format!("{scheme}://{user}:{password}@{}", via.proxy)
            }
            None => format!("{scheme}://{}", via.proxy),
        }
    }
}

impl fmt::Debug for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Via")
            .field("protocol", &self.protocol)
            .field("proxy", &self.proxy)
            .field("credentials", &self.credentials)
            .finish()
    }
}
