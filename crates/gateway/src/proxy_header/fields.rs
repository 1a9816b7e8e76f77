//! What a header of the PROXY protocol says, for the texts of a connection. The header is whole, and was read before.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{FIXED, SIGNATURE};

/// The type of the field about TLS.
const SSL: u8 = 0x20;
/// What stands before the fields within that one: a byte of flags, and four of the outcome of verification.
const SSL_FIXED: usize = 5;

/// The client and the address that it has connected to, as a header names them.
pub(crate) fn ends(header: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    if !header.starts_with(&SIGNATURE) {
        let line = str::from_utf8(header).ok()?;
        let words: Vec<_> = line.trim_end().split(' ').collect();
        let [_, "TCP4" | "TCP6", client, server, port, server_port] = words[..] else {
            return None;
        };
        let end =
            |ip: &str, port: &str| Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?));
        return Some((end(client, port)?, end(server, server_port)?));
    }
    let rest = header.get(FIXED..)?;
    let end = |ip: IpAddr, port: &[u8; 2]| SocketAddr::new(ip, u16::from_be_bytes(*port));
    match header.get(12..14)? {
        [0x21, 0x11 | 0x12] => {
            let (client, rest) = rest.split_first_chunk::<4>()?;
            let (server, rest) = rest.split_first_chunk::<4>()?;
            let (port, rest) = rest.split_first_chunk::<2>()?;
            let (server_port, _) = rest.split_first_chunk::<2>()?;
            let ip = |bytes: &[u8; 4]| IpAddr::from(Ipv4Addr::from(*bytes));
            Some((end(ip(client), port), end(ip(server), server_port)))
        }
        [0x21, 0x21 | 0x22] => {
            let (client, rest) = rest.split_first_chunk::<16>()?;
            let (server, rest) = rest.split_first_chunk::<16>()?;
            let (port, rest) = rest.split_first_chunk::<2>()?;
            let (server_port, _) = rest.split_first_chunk::<2>()?;
            let ip = |bytes: &[u8; 16]| IpAddr::from(Ipv6Addr::from(*bytes));
            Some((end(ip(client), port), end(ip(server), server_port)))
        }
        _ => None,
    }
}

/// The value of the first field of this type.
pub(crate) fn field(header: &[u8], kind: u8) -> Option<&[u8]> {
    find(fields(header)?, kind)
}

/// The value of the first field of this type within the one about TLS.
pub(crate) fn ssl_field(header: &[u8], kind: u8) -> Option<&[u8]> {
    find(field(header, SSL)?.get(SSL_FIXED..)?, kind)
}

/// The outcome of verifying the client's certificate: 0 is success.
pub(crate) fn ssl_verify(header: &[u8]) -> Option<u32> {
    let (_, outcome) = field(header, SSL)?.split_first()?;
    Some(u32::from_be_bytes(*outcome.first_chunk::<4>()?))
}

/// The fields behind the addresses of version 2.
fn fields(header: &[u8]) -> Option<&[u8]> {
    if !header.starts_with(&SIGNATURE) {
        return None;
    }
    let addresses = match header.get(12..14)? {
        [0x21, 0x11 | 0x12] => 12,
        [0x21, 0x21 | 0x22] => 36,
        [0x21, 0x31 | 0x32] => 216,
        _ => return None,
    };
    header.get(FIXED + addresses..)
}

fn find(mut fields: &[u8], kind: u8) -> Option<&[u8]> {
    while let [found, high, low, rest @ ..] = fields {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let value = rest.get(..length)?;
        if *found == kind {
            return Some(value);
        }
        fields = &rest[length..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(family: u8, rest: &[u8]) -> Vec<u8> {
        let length = (rest.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[0x21, family], &length, rest].concat()
    }

    #[test]
    fn fields_are_found_by_their_type_also_within_that_of_tls() {
        let four = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 1, 187];
        let ssl = [
            0x20, 0, 12, 1, 0, 0, 0, 7, 0x22, 0, 4, b'n', b'a', b'm', b'e',
        ];
        let whole = header(
            0x11,
            &[&four[..], &[2, 0, 1, b'a', 0xea, 0, 0], &ssl].concat(),
        );
        assert_eq!(field(&whole, 2), Some(&b"a"[..]));
        assert_eq!(field(&whole, 0xea), Some(&b""[..]));
        assert_eq!(field(&whole, 3), None);
        assert_eq!(ssl_verify(&whole), Some(7));
        assert_eq!(ssl_field(&whole, 0x22), Some(&b"name"[..]));
        assert_eq!(ssl_field(&whole, 2), None);
        let (client, server) = ends(&whole).expect("it names both");
        assert_eq!(client.to_string(), "192.0.2.1:56324");
        assert_eq!(server.to_string(), "198.51.100.2:443");
    }

    #[test]
    fn a_field_that_is_cut_off_is_none() {
        for cut in [&[2, 0][..], &[2, 0, 5, b'a'], &[0x20, 0, 2, 1, 0]] {
            let whole = header(0x11, &[&[0; 12][..], cut].concat());
            assert_eq!(field(&whole, 2), None);
            assert_eq!((ssl_field(&whole, 2), ssl_verify(&whole)), (None, None));
        }
    }

    #[test]
    fn a_line_names_both_ends_and_has_no_fields() {
        let line = b"PROXY TCP6 2001:db8::1 ::1 1 443\r\n";
        let (client, server) = ends(line).expect("it names both");
        assert_eq!(
            (client.port(), server.to_string().as_str()),
            (1, "[::1]:443")
        );
        assert_eq!(field(line, 2), None);
        assert_eq!(ends(b"PROXY UNKNOWN\r\n"), None);
    }
}
