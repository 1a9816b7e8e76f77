//! A datagram socket on a runtime.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::net::sockopt::socket_domain;
use tokio::io::Interest;
use tokio::net::{UdpSocket, UnixDatagram};

use super::open::is_unix;

/// The largest payload over IPv4: 65,535 bytes less the headers of IP and UDP (RFC 768, RFC 791).
const MOST_BYTES_IPV4: usize = 65_507;
/// Over IPv6 the header of IP does not count (RFC 8200 §3).
const MOST_BYTES_IPV6: usize = 65_527;

/// The largest payload, if the kind of socket sets it.
pub(crate) fn most_bytes(socket: impl AsFd) -> Option<usize> {
    match socket_domain(socket) {
        Ok(AddressFamily::INET) => Some(MOST_BYTES_IPV4),
        Ok(AddressFamily::INET6) => Some(MOST_BYTES_IPV6),
        _ => None,
    }
}

#[derive(Debug)]
pub(super) enum DatagramSocket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl DatagramSocket {
    pub(super) fn new(socket: socket2::Socket) -> io::Result<Self> {
        match is_unix(&socket) {
            true => UnixDatagram::from_std(socket.into()).map(Self::Unix),
            false => UdpSocket::from_std(socket.into()).map(Self::Udp),
        }
    }

    /// The largest payload, if the kind of socket sets it.
    pub(super) fn most_bytes(&self) -> Option<usize> {
        most_bytes(self)
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

impl AsFd for DatagramSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Udp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}
