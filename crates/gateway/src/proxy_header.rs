//! The header of the PROXY protocol, versions 1 and 2, with which a proxy says whose connection this is. Read without a
//! socket: <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>.

pub(crate) mod fields;
pub(crate) mod writer;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How version 2 begins.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The fixed part of version 2 in bytes.
const FIXED: usize = 16;
/// The longest header of version 1 in bytes, with its end.
const LONGEST_LINE: usize = 107;
/// The longest header of either version that is read, in bytes: room for what proxies add about TLS.
pub(crate) const LONGEST: usize = 4096;

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ProxyHeader {
    /// The header goes on.
    Unfinished,
    /// It is whole.
    Whole { length: usize, origin: Announced },
    /// They are no such header.
    Wrong(&'static str),
}

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announced {
    /// That of the client with this address.
    Client(SocketAddr),
    /// That of a client whose address is not known.
    Unknown,
    /// The proxy's own, such as a health check.
    Proxy,
}

/// Reads the header at the front of these bytes. What stands behind it is not looked at.
pub(crate) fn read(received: &[u8]) -> ProxyHeader {
    let begins_as = |start: &[u8]| {
        let common = received.len().min(start.len());
        received[..common] == start[..common]
    };
    if begins_as(&SIGNATURE) {
        return read_binary(received);
    }
    if begins_as(b"PROXY ") {
        return read_line(received);
    }
    ProxyHeader::Wrong("the connection does not begin with a PROXY header")
}

fn read_binary(received: &[u8]) -> ProxyHeader {
    let Some((fixed, rest)) = received.split_first_chunk::<FIXED>() else {
        return ProxyHeader::Unfinished;
    };
    let [.., version_and_command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if version_and_command >> 4 != 2 {
        return ProxyHeader::Wrong("the version of the PROXY header is not 2");
    }
    if FIXED + length > LONGEST {
        return ProxyHeader::Wrong("the PROXY header is too long");
    }
    let Some(rest) = rest.get(..length) else {
        return ProxyHeader::Unfinished;
    };
    let origin = match (version_and_command & 0xf, family) {
        // LOCAL.
        (0, _) => Announced::Proxy,
        // Streams and datagrams over IPv4, over IPv6.
        (1, 0x11 | 0x12) => match rest {
            [a, b, c, d, _, _, _, _, high, low, _, _, ..] => {
                client(Ipv4Addr::new(*a, *b, *c, *d), [*high, *low])
            }
            _ => return ProxyHeader::Wrong("the PROXY header has no room for its addresses"),
        },
        (1, 0x21 | 0x22) => match rest.split_first_chunk::<16>() {
            Some((ip, ports)) if ports.len() >= 20 => {
                client(Ipv6Addr::from(*ip), [ports[16], ports[17]])
            }
            _ => return ProxyHeader::Wrong("the PROXY header has no room for its addresses"),
        },
        // Unix sockets, and what it does not know.
        (1, _) => Announced::Unknown,
        _ => return ProxyHeader::Wrong("the PROXY header has an unknown command"),
    };
    ProxyHeader::Whole {
        length: FIXED + length,
        origin,
    }
}

fn client(ip: impl Into<IpAddr>, port: [u8; 2]) -> Announced {
    Announced::Client(SocketAddr::new(ip.into(), u16::from_be_bytes(port)))
}

fn read_line(received: &[u8]) -> ProxyHeader {
    let within = &received[..received.len().min(LONGEST_LINE)];
    let Some(end) = within.windows(2).position(|two| two == b"\r\n") else {
        return match within.len() < LONGEST_LINE {
            true => ProxyHeader::Unfinished,
            false => ProxyHeader::Wrong("the PROXY header has no end"),
        };
    };
    let length = end + 2;
    let words: Vec<&str> = match str::from_utf8(&received[..end]) {
        Ok(line) => line.split(' ').skip(1).collect(),
        Err(_) => return ProxyHeader::Wrong("the PROXY header is no text"),
    };
    if words.first() == Some(&"UNKNOWN") {
        return ProxyHeader::Whole {
            length,
            origin: Announced::Unknown,
        };
    }
    let client = match words[..] {
        [family @ ("TCP4" | "TCP6"), client, proxy, port, proxy_port] => {
            let is_right = |ip: &IpAddr| ip.is_ipv4() == (family == "TCP4");
            let ip = |text: &str| text.parse::<IpAddr>().ok().filter(is_right);
            // The other address must be one, too.
            ip(proxy)
                .zip(port_of(proxy_port))
                .and_then(|_| Some(SocketAddr::new(ip(client)?, port_of(port)?)))
        }
        _ => None,
    };
    match client {
        Some(client) => ProxyHeader::Whole {
            length,
            origin: Announced::Client(client),
        },
        None => ProxyHeader::Wrong("the PROXY header names no client"),
    }
}

/// A port in decimal digits, without zeros in front.
fn port_of(text: &str) -> Option<u16> {
    let is_right = text.bytes().all(|byte| byte.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_right)
}

#[cfg(any(test, fuzzing))]
pub mod invariants {
    //! What holds for any bytes.

    use super::{LONGEST, ProxyHeader, read};

    /// Any bytes: they are read the same however many of them have come, and a whole header is whole without what follows.
    pub fn header(data: &[u8]) {
        let whole = read(data);
        match &whole {
            ProxyHeader::Whole { length, .. } => {
                assert!(*length <= data.len().min(LONGEST));
                assert_eq!(read(&data[..*length]), whole);
                for shorter in 0..*length {
                    assert_eq!(read(&data[..shorter]), ProxyHeader::Unfinished, "{shorter}");
                }
            }
            ProxyHeader::Unfinished => assert!(data.len() < LONGEST),
            ProxyHeader::Wrong(_) => {
                let mut more = data.to_vec();
                more.extend_from_slice(b"\r\n and more");
                assert!(matches!(read(&more), ProxyHeader::Wrong(_)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    include!("../../../fuzz/replay.rs");

    use super::*;

    #[test]
    fn kept_inputs_break_no_invariant_of_the_header() {
        replay("proxy_header", invariants::header);
    }

    fn client(address: &str) -> Announced {
        Announced::Client(address.parse().expect("an address"))
    }

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = (rest.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[0x20 | command, family], &length, rest].concat()
    }

    #[test]
    fn a_line_names_its_client() {
        for (line, expected) in [
            (
                "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n",
                client("192.0.2.1:56324"),
            ),
            (
                "PROXY TCP6 2001:db8::1 ::1 1 0\r\n",
                client("[2001:db8::1]:1"),
            ),
            ("PROXY UNKNOWN\r\n", Announced::Unknown),
            (
                "PROXY UNKNOWN ffff:f...f:ffff 65535 65535\r\n",
                Announced::Unknown,
            ),
        ] {
            let length = line.len();
            let whole = ProxyHeader::Whole {
                length,
                origin: expected,
            };
            assert_eq!(read(line.as_bytes()), whole, "{line}");
            assert_eq!(read(format!("{line}GET /").as_bytes()), whole, "{line}");
            invariants::header(line.as_bytes());
        }
        for line in [
            "GET / HTTP/1.1\r\n",
            "PROXY\r\n",
            "PROXY \r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 1\r\n",
            "PROXY TCP4 192.0.2.1  198.51.100.2 56324 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 056324 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 +5 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
            "PROXY TCP4 2001:db8::1 ::1 1 1\r\n",
            "PROXY TCP6 192.0.2.1 ::1 1 1\r\n",
            "PROXY TCP4 192.0.2.1 example.org 1 1\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.2 1 1\r\n",
        ] {
            assert!(
                matches!(read(line.as_bytes()), ProxyHeader::Wrong(_)),
                "{line}"
            );
            invariants::header(line.as_bytes());
        }
        let long = format!("PROXY UNKNOWN {}", "x".repeat(LONGEST_LINE));
        assert!(matches!(read(long.as_bytes()), ProxyHeader::Wrong(_)));
    }

    #[test]
    fn a_binary_header_names_its_client_or_the_proxy_speaks_for_itself() {
        let four = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 1, 187];
        let mut six = [0; 36];
        six[..2].copy_from_slice(&[0x20, 0x01]);
        six[15] = 9;
        six[33] = 80;
        let with_more = [&four[..], &[4, 0, 1, 0]].concat();
        for (command, family, rest, expected) in [
            (1, 0x11, &four[..], client("192.0.2.1:56324")),
            (1, 0x12, &with_more, client("192.0.2.1:56324")),
            (1, 0x21, &six, client("[2001::9]:80")),
            (1, 0x31, &[7; 216], Announced::Unknown),
            (1, 0x00, &[], Announced::Unknown),
            (0, 0x11, &four, Announced::Proxy),
            (0, 0x00, &[], Announced::Proxy),
        ] {
            let mut header = binary(command, family, rest);
            let length = header.len();
            let whole = ProxyHeader::Whole {
                length,
                origin: expected,
            };
            assert_eq!(read(&header), whole, "{command} {family:x}");
            invariants::header(&header);
            header.extend_from_slice(b"hello");
            invariants::header(&header);
        }
        for wrong in [
            binary(1, 0x11, &four[..11]),
            binary(1, 0x21, &six[..35]),
            binary(2, 0x11, &four),
            binary(0x10, 0x11, &four),
            binary(1, 0x11, &[0; LONGEST]),
        ] {
            assert!(matches!(read(&wrong), ProxyHeader::Wrong(_)), "{wrong:x?}");
            invariants::header(&wrong);
        }
    }

    #[test]
    fn any_bytes_are_read_the_same_however_they_come() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let words = [
            "PROXY ", "TCP4 ", "TCP6 ", "UNKNOWN ", "1.2.3.4 ", "::1 ", "80 ", "080 ", "\r", "\r\n",
        ];
        for _ in 0..20_000 {
            let mut data = Vec::new();
            match random.u8(..3) {
                0 => {
                    for _ in 0..random.usize(..12) {
                        data.extend_from_slice(words[random.usize(..words.len())].as_bytes());
                    }
                }
                1 => {
                    let rest: Vec<u8> = (0..random.usize(..60)).map(|_| random.u8(..)).collect();
                    let family = [0x11, 0x12, 0x21, 0x22, 0x31, 0, 0x77][random.usize(..7)];
                    data = binary(random.u8(..3), family, &rest);
                    data.truncate(random.usize(..=data.len()));
                }
                _ => data.extend((0..random.usize(..40)).map(|_| random.u8(..))),
            }
            invariants::header(&data);
        }
    }
}
