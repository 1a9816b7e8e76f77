//! Addresses and errors as text.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An address as scripts see it: without brackets around an IPv6 address.
pub(crate) fn peer_text(address: SocketAddr) -> String {
    format!("{}:{}", address.ip(), address.port())
}

/// An error as the system words it, without its number.
pub(crate) fn io_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// A host, and a port if it is not given apart: `host:port`, `[host]:port`.
pub(crate) fn split_host_port(text: &str, port: Option<u16>) -> Result<(String, u16), String> {
    let invalid = || format!("Invalid address {text}.");
    let split = match (port, text.strip_prefix('[')) {
        (Some(port), Some(inside)) => (inside.strip_suffix(']').ok_or_else(invalid)?, port),
        (Some(port), None) => (text, port),
        (None, inside) => {
            let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
            let port = port.parse().map_err(|_| invalid())?;
            let host = match inside {
                Some(_) => host[1..].strip_suffix(']').ok_or_else(invalid)?,
                None => host,
            };
            (host, port)
        }
    };
    let is_host = |host: &str| {
        let is_letter = |letter: char| letter.is_whitespace() || letter.is_control();
        !host.is_empty() && !host.contains(is_letter)
    };
    match is_host(split.0) {
        true => Ok((split.0.to_owned(), split.1)),
        false => Err(invalid()),
    }
}

const IPV4: u8 = 1;
const IPV6: u8 = 2;

/// The address of a datagram as scripts keep it: opaque bytes.
pub(crate) fn address_bytes(address: SocketAddr) -> Vec<u8> {
    let port = address.port().to_be_bytes();
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => [&[IPV4], &port[..], &ip.octets()].concat(),
        IpAddr::V6(ip) => [&[IPV6], &port[..], &ip.octets()].concat(),
    }
}

/// The address in such bytes.
pub(crate) fn address_in(bytes: &[u8]) -> Option<SocketAddr> {
    let (kind, rest) = bytes.split_first()?;
    let (port, ip) = rest.split_first_chunk()?;
    let ip: IpAddr = match *kind {
        IPV4 => Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?).into(),
        IPV6 => Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_one_text_or_two() {
        for (text, port, expected) in [
            ("a:1", None, Some(("a", 1))),
            ("[::1]:80", None, Some(("::1", 80))),
            ("::1", Some(80), Some(("::1", 80))),
            ("[::1]", Some(80), Some(("::1", 80))),
            ("a", None, None),
            ("a:b", None, None),
            ("a:70000", None, None),
            ("", Some(1), None),
            ("a b", Some(1), None),
            ("[a", Some(1), None),
        ] {
            let split = split_host_port(text, port).ok();
            let expected = expected.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(split, expected, "{text}");
        }
    }

    #[test]
    fn addresses_are_bytes_and_back() {
        for text in ["1.2.3.4:5", "[::1]:65535"] {
            let address = text.parse().expect("it is an address");
            let bytes = address_bytes(address);
            assert_eq!(address_in(&bytes), Some(address));
            assert_eq!(address_in(&bytes[1..]), None);
        }
        assert_eq!(address_in(b""), None);
    }
}
