//! What is spoken at the address of a listener: datagrams, HTTP, or a stream.

use moorline_net::Address;

use super::walk::Section;

/// Those that make a listener one of HTTP.
pub(super) const KEYS_OF_HTTP: &[&str] = &["websocket", "static", "route"];

/// Whether it is one of datagrams.
pub(super) fn is_datagram(address: &Address) -> bool {
    matches!(address, Address::Udp(_) | Address::Unixgram(_))
}

/// Whether HTTP is spoken there. A Unix socket has no scheme for it, so its keys say so.
pub(super) fn is_http(section: &Section<'_>, address: &Address) -> bool {
    match address {
        Address::Http(_) | Address::Https(_) => true,
        Address::Unix(_) => KEYS_OF_HTTP.iter().any(|key| section.has(key)),
        _ => false,
    }
}
