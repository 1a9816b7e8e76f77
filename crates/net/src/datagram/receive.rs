//! One datagram from a socket.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::peer::Peer;

/// A datagram that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// How many bytes of it are in the buffer.
    pub bytes: usize,
    /// Its sender.
    pub peer: Peer,
    /// It was longer than the buffer: the rest is lost.
    pub is_cut: bool,
}

pub(crate) fn receive_now(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Received, Errno> {
    let room = buffer.len();
    let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
    let (_, bytes, peer) = rustix::net::recvfrom(socket, buffer, flags)?;
    Ok(Received {
        bytes: bytes.min(room),
        peer: Peer::from_any(peer),
        is_cut: bytes > room,
    })
}
