//! Whether this machine can reach anything over IPv6.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// An address that only a default route leads to: that of a root name server. Nothing is sent to it.
const FAR_AWAY: SocketAddr = SocketAddr::new(
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x7fd, 0, 0, 0, 0, 0, 1)),
    53,
);

/// Whether a route leads to any IPv6 address beyond this machine and its links. If the system does not say, one does.
pub(super) fn lead_to_ipv6() -> bool {
    // A default route is the usual case. It takes a few µs, and each address takes its time in the other one.
    source_towards(FAR_AWAY).is_some_and(is_of_use) || has_address()
}

/// The local address that the kernel would send from. Connecting a datagram socket sends nothing.
fn source_towards(address: SocketAddr) -> Option<Ipv6Addr> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(address).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V6(ip) => Some(ip),
        IpAddr::V4(_) => None,
    }
}

/// Whether an interface has a usable address: its network is a route, with or without a default one.
fn has_address() -> bool {
    let Ok(addresses) = getifaddrs() else {
        return true;
    };
    let needed = InterfaceFlags::IFF_UP;
    let unwanted = InterfaceFlags::IFF_LOOPBACK;
    addresses
        .filter(|interface| {
            interface.flags.contains(needed) && !interface.flags.intersects(unwanted)
        })
        .filter_map(|interface| interface.address)
        .filter_map(|address| address.as_sockaddr_in6().map(|address| address.ip()))
        .any(is_of_use)
}

/// Whether others than those on the same link can be reached from it.
fn is_of_use(ip: Ipv6Addr) -> bool {
    !ip.is_loopback() && !ip.is_unspecified() && !ip.is_unicast_link_local()
}
