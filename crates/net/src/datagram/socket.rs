//! A datagram socket on a runtime.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::net::{UdpSocket, UnixDatagram};

use super::peer::{Peer, unix_address};

/// The largest payload over IPv4: 65,535 bytes less the headers of IP and UDP (RFC 768, RFC 791).
const MOST_BYTES_IPV4: usize = 65_507;
/// Over IPv6 the header of IP does not count (RFC 8200 §3).
const MOST_BYTES_IPV6: usize = 65_527;

#[derive(Debug)]
pub(super) enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Socket {
    pub(super) fn udp(socket: socket2::Socket) -> io::Result<Self> {
        UdpSocket::from_std(socket.into()).map(Self::Udp)
    }

    pub(super) fn unix(socket: socket2::Socket) -> io::Result<Self> {
        UnixDatagram::from_std(socket.into()).map(Self::Unix)
    }

    pub(super) fn connect(&self, peer: &Peer) -> io::Result<()> {
        match peer {
            Peer::Ip(address) => rustix::net::connect(self, address)?,
            Peer::Unix(path) => rustix::net::connect(self, &unix_address(path)?)?,
            Peer::Unnamed => return Err(Errno::DESTADDRREQ.into()),
        }
        Ok(())
    }

    /// The largest payload, if the kind of socket sets it.
    pub(super) fn most_bytes(&self) -> Option<usize> {
        match self {
            Self::Udp(socket) => match socket.local_addr() {
                Ok(address) if address.is_ipv6() => Some(MOST_BYTES_IPV6),
                _ => Some(MOST_BYTES_IPV4),
            },
            Self::Unix(_) => None,
        }
    }

    /// Does what needs something to read, as often as it says that there is nothing.
    pub(super) async fn when_readable<T>(
        &self,
        mut receive: impl FnMut(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> io::Result<T> {
        self.when(Interest::READABLE, &mut receive).await
    }

    /// Does what needs room to write, as often as it says that there is none.
    pub(super) async fn when_writable<T>(
        &self,
        mut send: impl FnMut(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> io::Result<T> {
        self.when(Interest::WRITABLE, &mut send).await
    }

    async fn when<T>(
        &self,
        interest: Interest,
        call: &mut impl FnMut(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> io::Result<T> {
        let call = || loop {
            match call(self.as_fd()) {
                Err(Errno::INTR) => {}
                result => return result.map_err(io::Error::from),
            }
        };
        // News of a peer's absence (ICMP) make a socket neither readable nor writable.
        let interest = interest | Interest::ERROR;
        match self {
            Self::Udp(socket) => socket.async_io(interest, call).await,
            Self::Unix(socket) => socket.async_io(interest, call).await,
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Udp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}
