//! Whose request this is, as the proxies say that it came through: `X-Forwarded-For` or `Forwarded` (RFC 7239).
//!
//! Each proxy adds the address that it has the request from. So the last entry is the word of the proxy that is connected
//! here, the one before it that of the proxy named by the last, and so on. An entry counts if the one behind it names a
//! trusted proxy; all before is what anybody may have written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use moorline_config::{ForwardedHeader, Proxies};
use moorline_protocol::wire::Peer;

/// Whether a listener believes this peer.
pub(crate) fn trusts(proxies: &Proxies, peer: &Peer) -> bool {
    match peer {
        Peer::Ip(address) => proxies.trusts(address.ip()),
        Peer::Unix | Peer::UnixNamed(_) => proxies.trusts_unix,
        _ => false,
    }
}

/// The fields of a request in which proxies name its client, in their order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ForwardedFields<'a> {
    /// The values of `X-Forwarded-For`.
    addresses: Vec<&'a [u8]>,
    /// The last value of `X-Forwarded-Proto`.
    scheme: Option<&'a [u8]>,
    /// The values of `Forwarded`.
    elements: Vec<&'a [u8]>,
}

impl<'a> ForwardedFields<'a> {
    /// Notes a field of the request, if it is one of these.
    pub(crate) fn note(&mut self, name: &str, value: &'a [u8]) {
        match name.len() {
            9 if name.eq_ignore_ascii_case("forwarded") => self.elements.push(value),
            15 if name.eq_ignore_ascii_case("x-forwarded-for") => self.addresses.push(value),
            17 if name.eq_ignore_ascii_case("x-forwarded-proto") => self.scheme = Some(value),
            _ => {}
        }
    }
}

/// What the trusted proxies in front say of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Forwarded<'a> {
    /// The address of the client, with port 0 where the port is not known. `None`: the proxy names none.
    pub(crate) client: Option<SocketAddr>,
    /// Whether the client's connection is encrypted, if that is known.
    pub(crate) is_encrypted: Option<bool>,
    /// The host that the client asked for, if a proxy says so.
    pub(crate) host: Option<&'a str>,
}

/// A quote in `Forwarded` has no end, so nobody knows where the word of a proxy begins.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OpenQuote;

/// What its client is told.
pub(crate) const OPEN_QUOTE: &str = "a quote in Forwarded has no end";

/// Whose request this is. It came over a connection from a trusted proxy.
///
/// # Errors
/// `Forwarded` cannot be taken apart up to the word of the proxy in front. A client has begun a quote, to hide behind the proxy.
pub(crate) fn forwarded<'a>(
    proxies: &Proxies,
    fields: &ForwardedFields<'a>,
) -> Result<Forwarded<'a>, OpenQuote> {
    match proxies.header {
        ForwardedHeader::XForwardedFor => {
            let mut found = Forwarded {
                is_encrypted: fields.scheme.and_then(last_scheme),
                ..Forwarded::default()
            };
            let entries = fields.addresses.iter().rev();
            for entry in entries.flat_map(|value| value.rsplit(|byte| *byte == b',')) {
                if !found.goes_through(text(entry).and_then(address), proxies) {
                    break;
                }
            }
            Ok(found)
        }
        ForwardedHeader::Forwarded => {
            let mut found = Forwarded::default();
            for value in fields.elements.iter().rev() {
                for element in split(value, b',')?.into_iter().rev() {
                    let element = Element::parse(element)?;
                    found.is_encrypted =
                        element.scheme.and_then(is_encrypted).or(found.is_encrypted);
                    found.host = element.host.or(found.host);
                    if !found.goes_through(element.client.and_then(address), proxies) {
                        return Ok(found);
                    }
                }
            }
            Ok(found)
        }
    }
}

impl Forwarded<'_> {
    /// Notes the next entry, from the back. False: it is not another proxy that is trusted, so the one before it is
    /// anybody's word.
    fn goes_through(&mut self, entry: Option<SocketAddr>, proxies: &Proxies) -> bool {
        let Some(address) = entry else {
            return false;
        };
        self.client = Some(address);
        proxies.trusts(address.ip())
    }
}

/// What one proxy says.
#[derive(Default)]
struct Element<'a> {
    client: Option<&'a str>,
    scheme: Option<&'a str>,
    host: Option<&'a str>,
}

impl<'a> Element<'a> {
    fn parse(element: &'a [u8]) -> Result<Self, OpenQuote> {
        let mut parsed = Self::default();
        // What is no text names nothing.
        for pair in split(element, b';')?.into_iter().filter_map(text) {
            let Some((name, value)) = pair.split_once('=') else {
                continue;
            };
            let value = value.trim();
            // No address, scheme or host needs an escape within the quotes.
            let value = match value.strip_prefix('"') {
                Some(value) => value.strip_suffix('"').unwrap_or("?"),
                None => value,
            };
            match name.trim() {
                name if name.eq_ignore_ascii_case("for") => parsed.client = Some(value),
                name if name.eq_ignore_ascii_case("proto") => parsed.scheme = Some(value),
                name if name.eq_ignore_ascii_case("host") => parsed.host = Some(value),
                _ => {}
            }
        }
        Ok(parsed)
    }
}

/// The parts of a list, apart from separators within quotes.
///
/// # Errors
/// A quote has no end.
fn split(list: &[u8], separator: u8) -> Result<Vec<&[u8]>, OpenQuote> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let is_separator = |byte: &u8| {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            _ => return *byte == separator && !is_quoted,
        }
        false
    };
    let parts = list.split(is_separator).collect();
    match is_quoted {
        false => Ok(parts),
        true => Err(OpenQuote),
    }
}

/// An entry is decoded alone: a client's that is no text must not hide that of a proxy.
fn text(entry: &[u8]) -> Option<&str> {
    str::from_utf8(entry.trim_ascii()).ok()
}

/// An address with or without a port; one of IPv6 with or without brackets.
fn address(text: &str) -> Option<SocketAddr> {
    let canonical = |ip: IpAddr, port| SocketAddr::new(ip.to_canonical(), port);
    if let Ok(ip) = text.parse() {
        return Some(canonical(ip, 0));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(canonical(address.ip(), address.port()));
    }
    // The port may be missing, or hidden behind a name (RFC 7239 §6.3).
    let ip = match text.strip_prefix('[') {
        Some(rest) => {
            let (ip, port) = rest.split_once(']')?;
            let ip = ip.parse::<Ipv6Addr>().ok()?;
            (port.is_empty() || port.starts_with(':')).then_some(ip.into())?
        }
        None => text.split_once(':')?.0.parse::<Ipv4Addr>().ok()?.into(),
    };
    Some(canonical(ip, 0))
}

/// Whether the last scheme of a list is one of encrypted connections.
fn last_scheme(list: &[u8]) -> Option<bool> {
    let last = list.rsplit(|byte| *byte == b',').next()?;
    is_encrypted(text(last)?)
}

fn is_encrypted(scheme: &str) -> Option<bool> {
    match scheme.to_ascii_lowercase().as_str() {
        "https" | "wss" => Some(true),
        "http" | "ws" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use moorline_config::Network;

    use super::*;

    fn proxies(header: ForwardedHeader) -> Proxies {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"];
        let trusted = trusted.map(|it| Network::parse(it).expect("it is right"));
        Proxies {
            trusted: trusted.into(),
            header,
            ..Proxies::default()
        }
    }

    fn fields<'a, V: AsRef<[u8]> + ?Sized>(fields: &[(&str, &'a V)]) -> ForwardedFields<'a> {
        let mut noted = ForwardedFields::default();
        for (name, value) in fields {
            noted.note(name, V::as_ref(*value));
        }
        noted
    }

    fn by_list<V: AsRef<[u8]> + ?Sized>(values: &[&V]) -> Option<String> {
        let values: Vec<_> = values.iter().map(|it| ("X-Forwarded-For", *it)).collect();
        let proxies = proxies(ForwardedHeader::XForwardedFor);
        let found = forwarded(&proxies, &fields(&values)).expect("it has no quotes");
        found.client.map(|it| it.to_string())
    }

    fn by_elements(value: &[u8]) -> Result<Forwarded<'_>, OpenQuote> {
        let proxies = proxies(ForwardedHeader::Forwarded);
        forwarded(&proxies, &fields(&[("forwarded", value)]))
    }

    #[test]
    fn the_last_address_that_is_no_trusted_proxy_is_the_client() {
        for (values, client) in [
            (&["192.0.2.1"][..], Some("192.0.2.1:0")),
            (&["203.0.113.9, 192.0.2.1"], Some("192.0.2.1:0")),
            (&["203.0.113.9", "192.0.2.1"], Some("192.0.2.1:0")),
            (
                &["203.0.113.9,192.0.2.1 , 10.0.0.2, 10.0.0.1"],
                Some("192.0.2.1:0"),
            ),
            (
                &["192.0.2.1", "10.0.0.2", "2001:db8::1"],
                Some("192.0.2.1:0"),
            ),
            // Only proxies: a client within the network.
            (&["10.0.0.3, 10.0.0.2"], Some("10.0.0.3:0")),
            (&["192.0.2.1:4711"], Some("192.0.2.1:4711")),
            (&["192.0.2.1:_p"], Some("192.0.2.1:0")),
            (&["[2001:db9::1]:_p"], Some("[2001:db9::1]:0")),
            (&["[2001:db9::1]_p"], None),
            (&["192.0.2.1_p"], None),
            (&["[2001:db9::1]:4711"], Some("[2001:db9::1]:4711")),
            (&["[2001:db9::1]"], Some("[2001:db9::1]:0")),
            (&["::ffff:192.0.2.1"], Some("192.0.2.1:0")),
            // The last that is known is a proxy.
            (&["192.0.2.1, unknown, 10.0.0.2"], Some("10.0.0.2:0")),
            (&["192.0.2.1, , 10.0.0.2"], Some("10.0.0.2:0")),
            (&["192.0.2.1, unknown"], None),
            (&["192.0.2.1", ""], None),
            (&[], None),
        ] {
            assert_eq!(by_list(values).as_deref(), client, "{values:?}");
        }
    }

    #[test]
    fn a_client_cannot_hide_behind_what_is_no_text() {
        let values = &b"\xff, 192.0.2.1"[..];
        assert_eq!(by_list(&[values]).as_deref(), Some("192.0.2.1:0"));
        assert_eq!(by_list(&[&b"192.0.2.1, \xff"[..]]), None);
        let found =
            by_elements(b"for=\xff;x=\"\xff, \", for=192.0.2.1;x=\xff").expect("it is whole");
        assert_eq!(found.client, address("192.0.2.1"));
    }

    #[test]
    fn a_quote_without_an_end_hides_what_a_proxy_has_added() {
        for value in [
            "for=\"192.0.2.1",
            "\", for=192.0.2.1",
            "for=203.0.113.9;x=\", for=192.0.2.1",
            "for=203.0.113.9;x=\", for=\"[2001:db9::1]\"",
            "for=203.0.113.9;x=\"\\, for=\"[2001:db9::1]\"",
        ] {
            assert_eq!(by_elements(value.as_bytes()), Err(OpenQuote), "{value}");
        }
        // What the client has written before a field of the proxy's own is not looked at.
        let proxies = proxies(ForwardedHeader::Forwarded);
        let own = [("Forwarded", "x=\""), ("Forwarded", "for=192.0.2.1")];
        let found = forwarded(&proxies, &fields(&own)).expect("the last is whole");
        assert_eq!(found.client, address("192.0.2.1"));
        let through = [("Forwarded", "x=\""), ("Forwarded", "for=10.0.0.2")];
        assert_eq!(forwarded(&proxies, &fields(&through)), Err(OpenQuote));
    }

    #[test]
    fn the_other_header_is_ignored() {
        let both = [
            ("Forwarded", "for=203.0.113.9;proto=https;host=evil.example"),
            ("X-Forwarded-For", "192.0.2.1"),
            ("X-Forwarded-Proto", "http"),
        ];
        let found = forwarded(&proxies(ForwardedHeader::XForwardedFor), &fields(&both));
        let (client, is_encrypted) = (address("192.0.2.1"), Some(false));
        let expected = Forwarded {
            client,
            is_encrypted,
            host: None,
        };
        assert_eq!(found, Ok(expected));
        let found = forwarded(&proxies(ForwardedHeader::Forwarded), &fields(&both));
        let expected = Forwarded {
            client: address("203.0.113.9"),
            is_encrypted: Some(true),
            host: Some("evil.example"),
        };
        assert_eq!(found, Ok(expected));
    }

    #[test]
    fn an_element_names_the_client_with_its_scheme_and_host() {
        for (value, client) in [
            ("for=192.0.2.1", Some("192.0.2.1:0")),
            ("For=\"[2001:db9::1]:4711\"", Some("[2001:db9::1]:4711")),
            (
                "for=203.0.113.9, for=192.0.2.1;by=10.0.0.1",
                Some("192.0.2.1:0"),
            ),
            ("for=192.0.2.1, for=10.0.0.2", Some("192.0.2.1:0")),
            (
                "for=192.0.2.1, for=_hidden, for=10.0.0.2",
                Some("10.0.0.2:0"),
            ),
            // Separators within quotes are none.
            (
                "for=203.0.113.9;x=\", for=203.0.113.8\", for=192.0.2.1;y=\"a\\\",;\"",
                Some("192.0.2.1:0"),
            ),
            ("for=\"192.0.2.1:_p\"", Some("192.0.2.1:0")),
            ("for=unknown", None),
            ("", None),
        ] {
            let found = by_elements(value.as_bytes()).expect("it is whole").client;
            assert_eq!(found.map(|it| it.to_string()).as_deref(), client, "{value}");
        }
        // The outermost proxy that is trusted has the client's own connection.
        let chain = "for=1.1.1.1;host=evil.example;proto=https, for=192.0.2.1;proto=HTTPS;host=a.example, for=10.0.0.2;proto=http";
        let expected = Forwarded {
            client: address("192.0.2.1"),
            is_encrypted: Some(true),
            host: Some("a.example"),
        };
        assert_eq!(by_elements(chain.as_bytes()), Ok(expected));
    }

    #[test]
    fn the_scheme_is_what_the_nearest_proxy_says() {
        for (value, expected) in [
            ("https", Some(true)),
            ("http, WSS", Some(true)),
            ("https, http", Some(false)),
            ("gopher", None),
            ("", None),
        ] {
            let fields = fields(&[("x-forwarded-proto", value)]);
            let found = forwarded(&proxies(ForwardedHeader::XForwardedFor), &fields);
            assert_eq!(found.map(|it| it.is_encrypted), Ok(expected), "{value}");
        }
    }
}
