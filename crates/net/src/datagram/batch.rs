//! Many datagrams with one system call.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};
use rustix::io::Errno;
use rustix::net::SendFlags;

use super::peer::Peer;
use super::receive::{Received, receive_now};

/// The most datagrams in one system call: the kernel's own limit (`UIO_MAXIOV`).
const MOST_DATAGRAMS: usize = 1024;

/// Room for several datagrams, and those that were received into it.
#[derive(Debug)]
pub struct Batch {
    room: Vec<u8>,
    each: usize,
    received: Vec<Received>,
}

impl Batch {
    /// Room for `datagrams` (1 to 1024) of up to `bytes_each` (at least 1). Memory that no datagram has reached is
    /// not taken from the system.
    pub fn new(datagrams: usize, bytes_each: usize) -> Self {
        let (datagrams, each) = (datagrams.clamp(1, MOST_DATAGRAMS), bytes_each.max(1));
        Self {
            room: vec![0; datagrams.saturating_mul(each)],
            each,
            received: Vec::with_capacity(datagrams),
        }
    }

    /// The last received datagrams, in order: their bytes, and their senders.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Received)> {
        let rooms = self.room.chunks_exact(self.each);
        rooms
            .zip(&self.received)
            .map(|(room, received)| (&room[..received.bytes], received))
    }

    /// Receives what is there over UDP, with one system call.
    pub(super) fn receive_udp(&mut self, socket: BorrowedFd<'_>) -> Result<usize, Errno> {
        let Self {
            room,
            each,
            received,
        } = self;
        received.clear();
        let mut slices: Vec<[IoSliceMut<'_>; 1]> = room
            .chunks_exact_mut(*each)
            .map(|room| [IoSliceMut::new(room)])
            .collect();
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(slices.len(), None);
        let messages = recvmmsg(
            socket.as_raw_fd(),
            &mut headers,
            slices.iter_mut(),
            MsgFlags::MSG_DONTWAIT,
            None,
        )
        .map_err(errno)?;
        received.extend(messages.map(|message| Received {
            bytes: message.bytes,
            peer: message.address.as_ref().map_or(Peer::Unnamed, ip_of),
            is_cut: message.flags.contains(MsgFlags::MSG_TRUNC),
        }));
        Ok(received.len())
    }

    /// Receives what is there from a Unix socket: one system call each, since `recvmmsg` of nix takes every sender
    /// to have an address.
    pub(super) fn receive_unix(&mut self, socket: BorrowedFd<'_>) -> Result<usize, Errno> {
        self.received.clear();
        for room in self.room.chunks_exact_mut(self.each) {
            match receive_now(socket, room) {
                Ok(received) => self.received.push(received),
                Err(error) if self.received.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(self.received.len())
    }
}

/// Sends what there is room for over UDP, with one system call.
pub(super) fn send_udp(
    socket: BorrowedFd<'_>,
    datagrams: &[(&[u8], Option<Peer>)],
) -> Result<usize, Errno> {
    let datagrams = &datagrams[..datagrams.len().min(MOST_DATAGRAMS)];
    let slices: Vec<[IoSlice<'_>; 1]> = datagrams
        .iter()
        .map(|(bytes, _)| [IoSlice::new(bytes)])
        .collect();
    let peers = datagrams
        .iter()
        .map(|(_, peer)| match peer {
            None => Ok(None),
            Some(Peer::Ip(ip)) => Ok(Some(SockaddrStorage::from(*ip))),
            Some(_) => Err(Errno::AFNOSUPPORT),
        })
        .collect::<Result<Vec<_>, Errno>>()?;
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(slices.len(), None);
    let sent = sendmmsg(
        socket.as_raw_fd(),
        &mut headers,
        &slices,
        &peers,
        [],
        MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
    );
    Ok(sent.map_err(errno)?.count())
}

/// Sends what there is room for from a Unix socket, one system call each.
pub(super) fn send_unix(
    socket: BorrowedFd<'_>,
    datagrams: &[(&[u8], Option<Peer>)],
) -> Result<usize, Errno> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    for (sent, (bytes, peer)) in datagrams.iter().enumerate() {
        let result = match peer {
            None => rustix::net::send(socket, bytes, flags),
            Some(peer) => peer.send(socket, bytes, flags),
        };
        match result {
            Ok(_) => {}
            Err(error) if sent == 0 => return Err(error),
            Err(_) => return Ok(sent),
        }
    }
    Ok(datagrams.len())
}

fn ip_of(address: &SockaddrStorage) -> Peer {
    if let Some(ip) = address.as_sockaddr_in() {
        return Peer::Ip(SocketAddr::V4(SocketAddrV4::from(*ip)));
    }
    match address.as_sockaddr_in6() {
        Some(ip) => Peer::Ip(SocketAddr::V6(SocketAddrV6::from(*ip))),
        None => Peer::Unnamed,
    }
}

fn errno(error: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(error as i32)
}
