//! Where something listens or is reached.

use std::ffi::OsStr;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::printable::printable;

/// The longest path of a Unix socket: the kernel's `sun_path` has 108 bytes, the last one a NUL.
pub const MAX_UNIX_PATH_BYTES: usize = 107;

/// Where something listens or is reached.
///
/// ```
/// use moorline_net::Address;
///
/// let address: Address = "tcp://[::1]:9501".parse().unwrap();
/// assert_eq!(address.host_port().unwrap().host, "::1");
/// assert_eq!(address.to_string(), "tcp://[::1]:9501");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Address {
    /// `tcp://host:port`
    Tcp(HostPort),
    /// `tls://host:port`
    Tls(HostPort),
    /// `udp://host:port`
    Udp(HostPort),
    /// `kcp://host:port`
    Kcp(HostPort),
    /// `unix:///path`, or `unix://@name` for an abstract one: its name stands behind a NUL byte then, as
    /// the kernel has it.
    Unix(PathBuf),
    /// `unixgram:///path`, or `unixgram://@name` as above: datagrams.
    Unixgram(PathBuf),
    /// `http://host:port`
    Http(HostPort),
    /// `https://host:port`
    Https(HostPort),
    /// `ws://host:port`
    Ws(HostPort),
    /// `wss://host:port`
    Wss(HostPort),
}

impl Address {
    /// What stands before `://`.
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::Tcp(_) => "tcp",
            Self::Tls(_) => "tls",
            Self::Udp(_) => "udp",
            Self::Kcp(_) => "kcp",
            Self::Unix(_) => "unix",
            Self::Unixgram(_) => "unixgram",
            Self::Http(_) => "http",
            Self::Https(_) => "https",
            Self::Ws(_) => "ws",
            Self::Wss(_) => "wss",
        }
    }

    /// The host and the port; `None` for a Unix socket.
    pub fn host_port(&self) -> Option<&HostPort> {
        match self {
            Self::Tcp(host_port)
            | Self::Tls(host_port)
            | Self::Udp(host_port)
            | Self::Kcp(host_port)
            | Self::Http(host_port)
            | Self::Https(host_port)
            | Self::Ws(host_port)
            | Self::Wss(host_port) => Some(host_port),
            Self::Unix(_) | Self::Unixgram(_) => None,
        }
    }

    /// The file of a Unix socket; `None` for an abstract one, which has no file, and for ports.
    pub fn socket_file(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) | Self::Unixgram(path) if abstract_name(path).is_none() => Some(path),
            _ => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme())?;
        match self {
            Self::Unix(path) | Self::Unixgram(path) => UnixName(path).fmt(f),
            _ => match self.host_port() {
                Some(host_port) => host_port.fmt(f),
                None => Ok(()),
            },
        }
    }
}

/// A Unix socket's path as it is written: `/path` or `@name`.
pub(crate) struct UnixName<'a>(pub(crate) &'a Path);

impl fmt::Display for UnixName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match abstract_name(self.0) {
            Some(name) => write!(f, "@{}", name.display()),
            None => write!(f, "{}", self.0.display()),
        }
    }
}

/// The name of an abstract Unix socket, whose path begins with a NUL byte.
fn abstract_name(path: &Path) -> Option<&Path> {
    let name = path.as_os_str().as_bytes().strip_prefix(b"\0")?;
    Some(Path::new(OsStr::from_bytes(name)))
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        parse(text).map_err(|Flaw { problem, hint }| AddressError {
            address: printable(text),
            problem: printable(&problem),
            hint: printable(&hint),
        })
    }
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HostPort {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port. Zero asks the system for a free one.
    pub port: u16,
}

impl HostPort {
    /// The host, if it is an IP address and needs no resolving. Without its zone.
    pub fn ip(&self) -> Option<IpAddr> {
        match self.host.split_once('%') {
            Some((ip, _)) => ip.parse().ok().map(IpAddr::V6),
            None => self.host.parse().ok(),
        }
    }

    /// What stands behind the `%` of an IPv6 address: the name or the number of an interface.
    pub fn zone(&self) -> Option<&str> {
        self.host.split_once('%').map(|(_, zone)| zone)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only an IPv6 address has colons, with or without a zone.
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Why a text is no address: what is wrong with it and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressError {
    address: String,
    problem: String,
    hint: String,
}

impl AddressError {
    /// What is wrong, for messages that quote the address themselves.
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// What to write instead.
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "address `{}`: {}: {}",
            self.address, self.problem, self.hint
        )
    }
}

impl std::error::Error for AddressError {}

/// A problem and its remedy.
struct Flaw {
    problem: String,
    hint: String,
}

fn flaw<T>(problem: impl Into<String>, hint: impl Into<String>) -> Result<T, Flaw> {
    Err(Flaw {
        problem: problem.into(),
        hint: hint.into(),
    })
}

const SCHEMES: &str = "write one of tcp://host:port, udp://host:port, http://host:port, unix:///path, \
                       or tls://host:port to dial one that speaks TLS";

fn parse(text: &str) -> Result<Address, Flaw> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return if text.starts_with('/') {
            flaw("it has no scheme", format!("write unix://{text}"))
        } else if host_port(text).is_ok() {
            flaw("it has no scheme", format!("write tcp://{text}"))
        } else {
            flaw("it has no scheme", SCHEMES)
        };
    };
    // As browsers show it: the lone slash names no path.
    let origin = || host_port(rest.strip_suffix('/').unwrap_or(rest));
    match scheme.to_ascii_lowercase().as_str() {
        "tcp" => host_port(rest).map(Address::Tcp),
        "tls" => host_port(rest).map(Address::Tls),
        "udp" => host_port(rest).map(Address::Udp),
        "kcp" => host_port(rest).map(Address::Kcp),
        "http" => origin().map(Address::Http),
        "https" => origin().map(Address::Https),
        "ws" => origin().map(Address::Ws),
        "wss" => origin().map(Address::Wss),
        "unix" => unix_path(rest).map(Address::Unix),
        "unixgram" => unix_path(rest).map(Address::Unixgram),
        _ => flaw(format!("`{scheme}` is no scheme known here"), SCHEMES),
    }
}

fn host_port(text: &str) -> Result<HostPort, Flaw> {
    if let Some(at) = text.find(['/', '?', '#']) {
        return flaw(
            format!("`{}` follows the port", &text[at..]),
            "leave it out, an address ends with the port",
        );
    }
    if text.contains('@') {
        return flaw("it names a user", "leave out what stands before the `@`");
    }
    let (host, port) = if let Some(bracketed) = text.strip_prefix('[') {
        let Some((host, after)) = bracketed.split_once(']') else {
            return flaw(
                "its `[` is not closed",
                "write [address]:port, as in [::1]:9501",
            );
        };
        // What follows `%` is a zone, the name of an interface.
        let ip = host.split('%').next().unwrap_or(host);
        let is_odd = |c: char| c.is_whitespace() || c.is_control();
        if ip.parse::<Ipv6Addr>().is_err() || host.contains(is_odd) {
            return flaw(
                format!("`{host}` is no IPv6 address"),
                "write only IPv6 addresses in brackets, as in [::1]:9501",
            );
        }
        (host, after.strip_prefix(':'))
    } else if text.matches(':').count() > 1 {
        return flaw(
            "it has more than one colon",
            "put an IPv6 address in brackets, as in [::1]:9501",
        );
    } else {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        check_name(host)?;
        (host, port)
    };
    let Some(port) = port.filter(|port| !port.is_empty()) else {
        return flaw("it has no port", "end it with a port, as in 127.0.0.1:9501");
    };
    // `parse` alone would take a plus sign.
    match port.parse() {
        Ok(number) if port.bytes().all(|byte| byte.is_ascii_digit()) => Ok(HostPort {
            host: host.to_owned(),
            port: number,
        }),
        _ => flaw(
            format!("`{port}` is no port"),
            "write a number from 0 to 65535; 0 takes any free port",
        ),
    }
}

/// Checks a host that stands without brackets: an IPv4 address or a name.
fn check_name(host: &str) -> Result<(), Flaw> {
    const ALL: &str = "write a name or an IP address; to listen on, 0.0.0.0 is every IPv4 address of this machine, [::] every IPv6 one";
    if host.is_empty() {
        return flaw("it has no host", ALL);
    }
    if host == "*" {
        return flaw("`*` is no host", ALL);
    }
    let is_name_byte =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if !host.bytes().all(is_name_byte) {
        return flaw(
            format!("`{host}` is no host"),
            "write an IP address, or a name of letters, digits, hyphens and dots",
        );
    }
    if ends_in_number(host) && host.parse::<IpAddr>().is_err() {
        return flaw(
            format!("`{host}` is no IPv4 address"),
            "write four numbers from 0 to 255, as in 127.0.0.1",
        );
    }
    Ok(())
}

/// Whether the last part of a name is a number, decimal or hexadecimal. No top-level domain is one (RFC 3696 §2), and
/// resolvers would read an IPv4 address out of it: 10.0.0.1 out of `10.1`, 127.0.0.1 out of `0x7f000001`.
pub(crate) fn ends_in_number(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let last = host.rsplit('.').next().unwrap_or_default();
    match last.get(..2) {
        Some("0x" | "0X") => last[2..].bytes().all(|byte| byte.is_ascii_hexdigit()),
        _ => !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

fn unix_path(text: &str) -> Result<PathBuf, Flaw> {
    if let Some(name) = text.strip_prefix('@') {
        return abstract_path(name);
    }
    if !text.starts_with('/') {
        return flaw(
            "its path is not absolute",
            "write three slashes and the whole path, as in unix:///run/app.sock",
        );
    }
    if text.ends_with('/') {
        return flaw(
            "it names a folder",
            "name the socket's file in it, as in unix:///run/app.sock",
        );
    }
    if text.contains('\0') {
        return flaw("its path has a NUL byte", "take it out");
    }
    match excess_bytes(Path::new(text)) {
        0 => Ok(PathBuf::from(text)),
        excess => flaw(
            format!(
                "its path has {} bytes, the system allows {MAX_UNIX_PATH_BYTES}",
                MAX_UNIX_PATH_BYTES + excess
            ),
            format!("shorten it by {excess}, for example with a folder nearer to the root"),
        ),
    }
}

fn abstract_path(name: &str) -> Result<PathBuf, Flaw> {
    if name.is_empty() {
        return flaw("it has no name", "write one, as in unix://@chat");
    }
    // The kernel would take it, but nobody could type it.
    if name.contains('\0') {
        return flaw("its name has a NUL byte", "take it out");
    }
    let path = PathBuf::from(format!("\0{name}"));
    match excess_bytes(&path) {
        0 => Ok(path),
        excess => flaw(
            format!("its name has {} bytes, {excess} too many", name.len()),
            format!("shorten it by {excess}"),
        ),
    }
}

/// By how many bytes a path is too long for a Unix socket.
pub(crate) fn excess_bytes(path: &Path) -> usize {
    path.as_os_str()
        .as_bytes()
        .len()
        .saturating_sub(MAX_UNIX_PATH_BYTES)
}

#[cfg(any(test, fuzzing))]
pub(crate) mod invariants;
#[cfg(test)]
mod tests;
