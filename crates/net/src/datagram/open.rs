//! Opens datagram sockets, on a runtime or without one.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags};
use socket2::Socket;

use super::own;
use super::peer::{Peer, unix_address};
use crate::address::Address;
use crate::dial::{ConnectCause, ConnectError, DialOptions, Dialer, Timeline};
use crate::socket::SocketFile;

/// The most datagrams that are discarded when a socket is connected: more than its buffer holds. So a peer that never
/// stops does not hold it up for ever.
const MOST_DROPPED: usize = 65_536;

/// A datagram socket that was opened. It never blocks.
#[derive(Debug)]
pub(crate) struct OpenedSocket {
    pub(crate) socket: Socket,
    /// The file of a Unix socket with a path of its own.
    pub(crate) file: Option<SocketFile>,
    pub(crate) is_connected: bool,
    pub(crate) timeline: Timeline,
}

impl OpenedSocket {
    /// A socket with an address of its own, that talks to anyone.
    pub(crate) fn bind(own: &Address, options: &DialOptions) -> Result<Self, ConnectError> {
        let bound = match own {
            Address::Udp(host_port) => match host_port.ip() {
                Some(ip) => bind_udp(SocketAddr::new(ip, host_port.port), options),
                None => Err(ConnectCause::Invalid(
                    "a name is no address of one's own: write an IP address".into(),
                )),
            },
            Address::Unixgram(path) => own::at(path, options),
            _ => Err(no_datagrams(own)),
        };
        let (socket, file) = bound.map_err(|cause| failed(own, cause))?;
        Ok(Self {
            socket,
            file,
            is_connected: false,
            timeline: Timeline::new(Instant::now()),
        })
    }

    /// One that talks to one peer. Cancel-safe.
    pub(crate) async fn connect(dialer: &Dialer, peer: &Address) -> Result<Self, ConnectError> {
        let options = dialer.options();
        let (socket, timeline) = match peer {
            Address::Udp(host_port) => {
                let connect = |address| connect_udp(address, options);
                dialer.connect_udp(peer, host_port, connect).await?
            }
            Address::Unixgram(_) => {
                let socket = own::anywhere(options).map_err(|cause| failed(peer, cause))?;
                let timeline = reconnect(&socket, dialer, peer).await?;
                (socket, timeline)
            }
            _ => return Err(failed(peer, no_datagrams(peer))),
        };
        drop_queued(socket.as_fd());
        Ok(Self {
            socket,
            file: None,
            is_connected: true,
            timeline,
        })
    }
}

/// From now on the socket talks to this peer alone; earlier datagrams of others are dropped. If it fails or is dropped,
/// nothing changes.
pub(crate) async fn reconnect(
    socket: impl AsFd,
    dialer: &Dialer,
    peer: &Address,
) -> Result<Timeline, ConnectError> {
    let socket = socket.as_fd();
    let connect = |peer: &Peer| connect_now(socket, peer);
    let ((), timeline) = match (peer, is_unix(socket)) {
        (Address::Udp(host_port), false) => {
            let connect = |address| connect(&Peer::Ip(address));
            dialer.connect_udp(peer, host_port, connect).await?
        }
        (Address::Unixgram(path), true) => {
            let connect = |path: &Path| connect(&Peer::unix(path)?);
            dialer.connect_unixgram(peer, path, connect)?
        }
        (Address::Udp(_) | Address::Unixgram(_), _) => {
            let reason = format!("this client's own socket is not for {}://", peer.scheme());
            return Err(failed(peer, ConnectCause::Invalid(reason)));
        }
        _ => return Err(failed(peer, no_datagrams(peer))),
    };
    drop_queued(socket);
    Ok(timeline)
}

/// From now on the socket talks to anyone again, from the same port.
pub(crate) fn disconnect(socket: impl AsFd) -> io::Result<()> {
    let socket = socket.as_fd();
    let had = own_ip(socket);
    rustix::net::connect_unspec(socket)?;
    // The kernel takes a port away that it has chosen itself, with the peer that it may have chosen it for.
    if let (Some(had), Some(mut own)) = (had, own_ip(socket))
        && own.port() == 0
    {
        own.set_port(had.port());
        rustix::net::bind(socket, &own)?;
    }
    Ok(())
}

/// The address that it receives at, if it is one of UDP.
fn own_ip(socket: BorrowedFd<'_>) -> Option<SocketAddr> {
    SocketAddr::try_from(rustix::net::getsockname(socket).ok()?).ok()
}

/// Whether it is a Unix socket; else it is one of UDP.
pub(crate) fn is_unix(socket: impl AsFd) -> bool {
    rustix::net::sockopt::socket_domain(socket) == Ok(AddressFamily::UNIX)
}

fn bind_udp(
    own: SocketAddr,
    options: &DialOptions,
) -> Result<(Socket, Option<SocketFile>), ConnectCause> {
    options.check_udp()?;
    let socket = options.udp_socket(own)?;
    socket.bind(&own.into())?;
    Ok((socket, None))
}

fn connect_udp(peer: SocketAddr, options: &DialOptions) -> Result<Socket, ConnectCause> {
    let socket = options.udp_socket(peer)?;
    options.bind_udp(&socket)?;
    socket.connect(&peer.into())?;
    Ok(socket)
}

fn connect_now(socket: BorrowedFd<'_>, peer: &Peer) -> Result<(), ConnectCause> {
    let connected = match peer {
        Peer::Ip(address) => rustix::net::connect(socket, address),
        Peer::Unix(path) => {
            unix_address(path).and_then(|address| rustix::net::connect(socket, &address))
        }
        Peer::Unnamed => Err(Errno::DESTADDRREQ),
    };
    Ok(connected.map_err(io::Error::from)?)
}

/// Datagrams from before it was connected may be from anyone.
fn drop_queued(socket: BorrowedFd<'_>) {
    for _ in 0..MOST_DROPPED {
        // Everything else was a discarded datagram, or an error of an earlier one.
        let thrown = rustix::net::recv(socket, &mut [0u8; 1][..], RecvFlags::DONTWAIT);
        if let Err(Errno::AGAIN) = thrown {
            return;
        }
    }
}

fn no_datagrams(address: &Address) -> ConnectCause {
    if let Address::Kcp(_) = address {
        return ConnectCause::no_kcp();
    }
    ConnectCause::Invalid(format!(
        "{}:// carries no datagrams: write udp://host:port or unixgram:///path",
        address.scheme()
    ))
}

fn failed(address: &Address, cause: ConnectCause) -> ConnectError {
    ConnectError::new(
        address.to_string(),
        None,
        cause,
        Timeline::new(Instant::now()),
    )
}
