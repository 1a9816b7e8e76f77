//! The header that goes to a peer: whose connection it gets.

use std::net::{IpAddr, SocketAddr};

use moorline_config::ProxyVersion;

use super::{FIXED, SIGNATURE};

/// The upper half says that it is version 2.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
/// The upper half of the next byte: addresses of IPv4, of IPv6.
const IPV4: u8 = 0x10;
const IPV6: u8 = 0x20;
/// The lower half.
const STREAM: u8 = 0x01;
const DATAGRAM: u8 = 0x02;

/// The ends of a client's connection: its own, and the one that it has connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    /// They send datagrams. Version 1 has no word for that.
    pub(crate) is_datagram: bool,
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
}

/// Writes a header. Without `ends` it says that the connection has no addresses to tell: it is of a client on a Unix socket, or
/// the engine's own.
pub(crate) fn write(version: ProxyVersion, ends: Option<Ends>) -> Vec<u8> {
    match version {
        ProxyVersion::One => line(ends).into_bytes(),
        ProxyVersion::Two => binary(ends),
    }
}

fn line(ends: Option<Ends>) -> String {
    let Some(ends) = ends else {
        return "PROXY UNKNOWN\r\n".to_owned();
    };
    let (client, server) = ends.addresses();
    let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    let (port, server_port) = (ends.client.port(), ends.server.port());
    format!("PROXY {family} {client} {server} {port} {server_port}\r\n")
}

fn binary(ends: Option<Ends>) -> Vec<u8> {
    let (mut addresses, mut kind) = (Vec::new(), [LOCAL, 0]);
    if let Some(ends) = ends {
        let (client, server) = ends.addresses();
        let family = if client.is_ipv4() { IPV4 } else { IPV6 };
        let transport = if ends.is_datagram { DATAGRAM } else { STREAM };
        kind = [PROXY, family | transport];
        for ip in [client, server] {
            match ip {
                IpAddr::V4(ip) => addresses.extend(ip.octets()),
                IpAddr::V6(ip) => addresses.extend(ip.octets()),
            }
        }
        for end in [ends.client, ends.server] {
            addresses.extend(end.port().to_be_bytes());
        }
    }
    let mut header = Vec::with_capacity(FIXED + addresses.len());
    header.extend(SIGNATURE);
    header.extend(kind);
    header.extend((addresses.len() as u16).to_be_bytes());
    header.extend(addresses);
    header
}

impl Ends {
    /// Both addresses in one family: a header has no other form.
    fn addresses(self) -> (IpAddr, IpAddr) {
        let (client, server) = (self.client.ip(), self.server.ip());
        match (client.to_canonical(), server.to_canonical()) {
            (client @ IpAddr::V4(_), server @ IpAddr::V4(_)) => (client, server),
            (client, server) => (within_ipv6(client), within_ipv6(server)),
        }
    }
}

fn within_ipv6(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().into(),
        IpAddr::V6(_) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Announced, LONGEST_LINE, ProxyHeader, read};
    use super::*;

    fn ends(client: &str, server: &str) -> Ends {
        Ends {
            is_datagram: false,
            client: client.parse().expect("an address"),
            server: server.parse().expect("an address"),
        }
    }

    #[test]
    fn a_line_has_both_addresses_in_one_family() {
        for (client, server, expected) in [
            (
                "192.0.2.1:56324",
                "198.51.100.2:443",
                "TCP4 192.0.2.1 198.51.100.2 56324 443",
            ),
            (
                "[2001:db8::1]:1",
                "[::1]:65535",
                "TCP6 2001:db8::1 ::1 1 65535",
            ),
            (
                "[::ffff:192.0.2.1]:7",
                "[::ffff:10.0.0.1]:8",
                "TCP4 192.0.2.1 10.0.0.1 7 8",
            ),
            (
                "192.0.2.1:7",
                "[2001:db8::1]:8",
                "TCP6 ::ffff:192.0.2.1 2001:db8::1 7 8",
            ),
        ] {
            let line = write(ProxyVersion::One, Some(ends(client, server)));
            assert_eq!(line, format!("PROXY {expected}\r\n").as_bytes());
            assert!(line.len() <= LONGEST_LINE);
        }
        assert_eq!(write(ProxyVersion::One, None), b"PROXY UNKNOWN\r\n");
    }

    #[test]
    fn a_binary_header_has_addresses_and_ports_or_speaks_for_the_engine() {
        let of_ipv4 = ends("192.0.2.1:56324", "198.51.100.2:443");
        let four = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 1, 187];
        let expected = [&SIGNATURE[..], &[0x21, 0x11, 0, 12], &four].concat();
        assert_eq!(write(ProxyVersion::Two, Some(of_ipv4)), expected);
        let of_datagrams = Ends {
            is_datagram: true,
            ..of_ipv4
        };
        let header = write(ProxyVersion::Two, Some(of_datagrams));
        assert_eq!(header[12..14], [0x21, 0x12]);
        let of_ipv6 = write(
            ProxyVersion::Two,
            Some(ends("[2001:db8::1]:1", "192.0.2.1:2")),
        );
        assert_eq!(of_ipv6[12..16], [0x21, 0x21, 0, 36]);
        assert_eq!(of_ipv6[16..18], [0x20, 0x01]);
        assert_eq!(of_ipv6[48..], [0, 1, 0, 2]);
        let local = [&SIGNATURE[..], &[0x20, 0, 0, 0]].concat();
        assert_eq!(write(ProxyVersion::Two, None), local);
    }

    #[test]
    fn what_is_written_is_read() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2_000 {
            let mut address = || {
                let ip = match random.bool() {
                    true => IpAddr::from(random.u32(..).to_be_bytes()),
                    false => IpAddr::from(random.u128(..).to_be_bytes()),
                };
                SocketAddr::new(ip, random.u16(..))
            };
            let (client, server) = (address(), address());
            let ends = Ends {
                is_datagram: random.bool(),
                client,
                server,
            };
            for version in [ProxyVersion::One, ProxyVersion::Two] {
                let header = write(version, Some(ends));
                let ProxyHeader::Whole { length, origin } = read(&header) else {
                    panic!("{header:x?} is no header");
                };
                let Announced::Client(origin) = origin else {
                    panic!("{header:x?} names nobody");
                };
                assert_eq!(length, header.len());
                assert_eq!(origin.ip().to_canonical(), client.ip().to_canonical());
                assert_eq!(origin.port(), client.port());
            }
        }
    }
}
