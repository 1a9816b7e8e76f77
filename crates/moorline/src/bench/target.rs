//! Where the load goes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

use moorline_net::{Address, HostPort};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::sockopt::set_tcp_nodelay;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, socket_with,
};

/// Where the load goes.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// As it was written.
    text: String,
    endpoint: Endpoint,
    /// The path of a `ws://` address, with its host: what the handshake asks for.
    web_socket: Option<(String, String)>,
}

#[derive(Debug, Clone)]
enum Endpoint {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// One source address has some 28,000 ports for the same destination; past this many connections the
/// next address is used.
const CONNECTIONS_PER_SOURCE: u64 = 20_000;

impl Target {
    /// Begins to connect without waiting; `nth` counts the connections made so far and chooses the source
    /// address. The socket becomes writable when connected. `Again`: a Unix socket's backlog is full.
    pub(super) fn connect(&self, source: Source, nth: u64) -> Result<OwnedFd, Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (socket, outcome) = match &self.endpoint {
            Endpoint::Tcp(address) => {
                let family = match address {
                    SocketAddr::V4(_) => AddressFamily::INET,
                    SocketAddr::V6(_) => AddressFamily::INET6,
                };
                let socket = socket_with(family, SocketType::STREAM, flags, None)?;
                set_tcp_nodelay(&socket, true)?;
                if let Some(source) = source.of(address.ip(), nth) {
                    bind(&socket, &SocketAddr::new(source.into(), 0))?;
                }
                let outcome = connect(&socket, address);
                (socket, outcome)
            }
            Endpoint::Unix(path) => {
                let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
                let outcome = connect(&socket, &SocketAddrUnix::new(path)?);
                (socket, outcome)
            }
        };
        match outcome {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
            Err(errno) => Err(errno),
        }
    }

    /// Path and host of a WebSocket handshake, if the target wants one.
    pub(super) fn web_socket(&self) -> Option<(&str, &str)> {
        let (path, host) = self.web_socket.as_ref()?;
        Some((path, host))
    }
}

/// Which of the loopback's many addresses connections come from; elsewhere the kernel chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The next one once the ports of one run short.
    WhenShort,
    /// Another for each connection, as each leaves its port in TIME_WAIT for a minute.
    EachTime,
}

impl Source {
    fn of(self, destination: IpAddr, nth: u64) -> Option<Ipv4Addr> {
        let IpAddr::V4(destination) = destination else {
            return None;
        };
        let which = match self {
            Self::WhenShort => nth / CONNECTIONS_PER_SOURCE,
            Self::EachTime => nth % 60_000 + 1,
        };
        if !destination.is_loopback() || which == 0 {
            return None;
        }
        // 127.1.0.0 upwards: clear of 127.0.0.1 and whatever else listens near it.
        Some(Ipv4Addr::from_bits(
            Ipv4Addr::new(127, 1, 0, 0).to_bits() + (which as u32 & 0xffff),
        ))
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("ws://") {
            let (host, path) = rest
                .split_once('/')
                .map_or((rest, "/".to_owned()), |(host, path)| {
                    (host, format!("/{path}"))
                });
            let address: Address = format!("tcp://{host}").parse().map_err(describe)?;
            let Address::Tcp(host_port) = address else {
                return Err(format!("`{text}` is no WebSocket address"));
            };
            return Ok(Self {
                text: text.to_owned(),
                endpoint: Endpoint::Tcp(resolve(&host_port)?),
                web_socket: Some((path, host.to_owned())),
            });
        }
        let endpoint = match text.parse().map_err(describe)? {
            Address::Tcp(host_port) => Endpoint::Tcp(resolve(&host_port)?),
            Address::Unix(path) => Endpoint::Unix(path),
            _ => {
                return Err(
                    "the load goes to tcp://HOST:PORT, unix:///PATH or ws://HOST:PORT/PATH"
                        .to_owned(),
                );
            }
        };
        Ok(Self {
            text: text.to_owned(),
            endpoint,
            web_socket: None,
        })
    }
}

fn describe(error: moorline_net::AddressError) -> String {
    error.to_string()
}

/// The first address of a name: a benchmark is about one server, not about all a name stands for.
fn resolve(host_port: &HostPort) -> Result<SocketAddr, String> {
    (host_port.host.as_str(), host_port.port)
        .to_socket_addrs()
        .map_err(|error| format!("`{}` cannot be resolved: {error}", host_port.host))?
        .next()
        .ok_or_else(|| format!("`{}` has no address", host_port.host))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_web_socket_address_has_a_path_and_a_host() {
        let target: Target = "ws://127.0.0.1:9500/chat?room=1".parse().unwrap();
        assert_eq!(
            target.web_socket(),
            Some(("/chat?room=1", "127.0.0.1:9500"))
        );
        let target: Target = "ws://127.0.0.1:9500".parse().unwrap();
        assert_eq!(target.web_socket(), Some(("/", "127.0.0.1:9500")));
    }

    #[test]
    fn only_the_loopback_has_addresses_to_spread_over() {
        let here = IpAddr::from([127, 0, 0, 1]);
        let elsewhere = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(Source::WhenShort.of(here, 19_999), None);
        assert_eq!(
            Source::WhenShort.of(here, 20_000),
            Some(Ipv4Addr::new(127, 1, 0, 1))
        );
        assert_eq!(
            Source::EachTime.of(here, 300),
            Some(Ipv4Addr::new(127, 1, 1, 45))
        );
        assert_eq!(Source::EachTime.of(elsewhere, 300), None);
    }
}
