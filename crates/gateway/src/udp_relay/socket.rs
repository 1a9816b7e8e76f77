//! The sockets of relayed datagrams: which address a datagram was sent to, and from which its answer leaves.

use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::own_address::{OpenFault, OwnAddress};

/// A datagram of a client: its length, its sender, and the address that it was sent to if the socket has several.
pub(crate) type Received = (usize, SocketAddr, Option<IpAddr>);

/// Room for the address that a datagram was sent to, of either family.
#[derive(Debug)]
pub(crate) struct Control(Vec<u8>);

impl Default for Control {
    fn default() -> Self {
        Self(nix::cmsg_space!(nix::libc::in6_pktinfo))
    }
}

/// Whether a listener's socket is bound to all addresses of the machine. Then each datagram tells which one it was sent to from
/// now on.
pub(crate) fn tells_addresses(socket: &OwnedFd) -> bool {
    let bound = rustix::net::getsockname(socket).ok();
    let Some(bound) = bound.and_then(|it| SocketAddr::try_from(it).ok()) else {
        return false;
    };
    // Both fail on a socket of the other family.
    bound.ip().is_unspecified()
        && match bound {
            SocketAddr::V4(_) => setsockopt(socket, Ipv4PacketInfo, &true).is_ok(),
            SocketAddr::V6(_) => setsockopt(socket, Ipv6RecvPacketInfo, &true).is_ok(),
        }
}

/// Receives a client's datagram. `None`: its sender has no address.
///
/// # Errors
/// There is none (`EAGAIN`), or those of the system.
pub(crate) fn receive(
    socket: &OwnedFd,
    buffer: &mut [u8],
    control: Option<&mut Control>,
) -> Result<Option<Received>, Errno> {
    let Some(Control(control)) = control else {
        let (_, length, sender) = rustix::net::recvfrom(socket, buffer, RecvFlags::DONTWAIT)?;
        let sender = sender.and_then(|it| SocketAddr::try_from(it).ok());
        return Ok(sender.map(|sender| (length, sender, None)));
    };
    let mut slices = [IoSliceMut::new(buffer)];
    let received = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut slices,
        Some(control),
        MsgFlags::MSG_DONTWAIT,
    )
    .map_err(errno)?;
    let local = received
        .cmsgs()
        .ok()
        .and_then(|mut all| all.find_map(local));
    let sender = received.address.as_ref().and_then(ip);
    Ok(sender.map(|sender| (received.bytes, sender, local)))
}

/// Sends an answer to a client, from this address.
///
/// # Errors
/// The kernel has no room (`EAGAIN`), or does not send it.
pub(crate) fn answer(
    socket: &OwnedFd,
    client: &SocketAddr,
    local: Option<IpAddr>,
    datagram: &[u8],
) -> Result<(), Errno> {
    let Some(local) = local else {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        return rustix::net::sendto(socket, datagram, flags, client).map(drop);
    };
    let slices = [IoSlice::new(datagram)];
    let to = SockaddrStorage::from(*client);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let send = |control: ControlMessage<'_>| {
        sendmsg(socket.as_raw_fd(), &slices, &[control], flags, Some(&to))
    };
    let sent = match local {
        IpAddr::V4(ip) => send(ControlMessage::Ipv4PacketInfo(&nix::libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: nix::libc::in_addr {
                s_addr: ip.to_bits().to_be(),
            },
            ipi_addr: nix::libc::in_addr { s_addr: 0 },
        })),
        IpAddr::V6(ip) => send(ControlMessage::Ipv6PacketInfo(&nix::libc::in6_pktinfo {
            ipi6_addr: nix::libc::in6_addr {
                s6_addr: ip.octets(),
            },
            ipi6_ifindex: 0,
        })),
    };
    sent.map(drop).map_err(errno)
}

/// A socket that is connected to a peer.
///
/// # Errors
/// It cannot be opened, bound to this local address, or connected.
pub(crate) fn connect(peer: &SocketAddr, own: Option<OwnAddress>) -> Result<OwnedFd, OpenFault> {
    let family = match peer {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
    if let Some(own) = own {
        own.put_on(&socket, peer)?;
    }
    rustix::net::connect(&socket, peer).map_err(OpenFault::Connecting)?;
    Ok(socket)
}

/// Sends a datagram to the peer that a socket is connected to.
///
/// # Errors
/// That of an earlier datagram, which the peer's machine or the network has refused: this one is not sent then. The kernel has no
/// room (`EAGAIN`), or does not send it.
pub(crate) fn send(socket: &OwnedFd, datagram: &[u8]) -> Result<(), Errno> {
    rustix::net::send(socket, datagram, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map(drop)
}

/// Takes a datagram of the peer that a socket is connected to.
///
/// # Errors
/// There is none (`EAGAIN`), or that of an earlier datagram.
pub(crate) fn take(socket: &OwnedFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    let (_, length) = rustix::net::recv(socket, buffer, RecvFlags::DONTWAIT)?;
    Ok(length)
}

/// The address that an answer must leave from. One that many machines share is none.
fn local(message: ControlMessageOwned) -> Option<IpAddr> {
    match message {
        // The kernel's choice if the datagram was sent to many machines.
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            let bits = u32::from_be(info.ipi_spec_dst.s_addr);
            Some(Ipv4Addr::from_bits(bits).into())
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            let ip = std::net::Ipv6Addr::from(info.ipi6_addr.s6_addr);
            (!ip.is_multicast()).then_some(ip.into())
        }
        _ => None,
    }
}

fn ip(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(ip) = address.as_sockaddr_in() {
        return Some(SocketAddrV4::from(*ip).into());
    }
    Some(SocketAddrV6::from(*address.as_sockaddr_in6()?).into())
}

fn errno(error: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(error as i32)
}
