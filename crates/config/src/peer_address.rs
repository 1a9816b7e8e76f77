//! Which addresses peers may have.

use moorline_net::Address;

/// Why nothing can connect to a peer of this address, if so.
pub(super) fn unfit(address: &Address) -> Option<String> {
    match address {
        Address::Tcp(host_port) | Address::Tls(host_port) | Address::Udp(host_port)
            if host_port.port == 0 =>
        {
            Some("the peer's address has port 0, to which nothing can connect".to_owned())
        }
        Address::Tcp(_) | Address::Tls(_) | Address::Unix(_) | Address::Udp(_) => None,
        other => Some(format!(
            "`{}` is not a peer's address in this version",
            other.scheme()
        )),
    }
}
