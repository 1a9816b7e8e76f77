//! Waits for several clients at once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags};

use super::client::Client;
use super::connecting::Connecting;
use super::datagram::DatagramClient;
use super::options::{Deadline, Timeout};
use super::stream::poll_until;

/// A client, and the event to wait for.
#[derive(Debug)]
#[non_exhaustive]
pub enum Watch<'a> {
    /// That receiving does not wait: bytes are there, or the end, or an error.
    Receive(&'a mut Client),
    /// That sending does not wait: the kernel has room, or an error.
    Send(&'a mut Client),
    /// That a datagram is there, or an error.
    ReceiveDatagram(&'a DatagramClient),
    /// That the connection is open, or has failed.
    Connect(&'a mut Connecting),
}

/// Waits until at least one of them is ready, and returns the places of all that are; none at the end of the time.
/// Blocks for as long.
///
/// Fails only if the system does: with more of them than the process may have descriptors, for example.
pub fn select(watched: &mut [Watch<'_>], timeout: Timeout) -> io::Result<Vec<usize>> {
    let deadline = timeout.deadline();
    // Bytes may wait inside of a client where the system does not see them.
    let mut ready: Vec<bool> = watched.iter_mut().map(Watch::is_ready_inside).collect();
    loop {
        let mut sockets: Vec<PollFd<'_>> = watched
            .iter()
            .map(|watch| PollFd::from_borrowed_fd(watch.as_fd(), watch.interest()))
            .collect();
        let deadline = match ready.contains(&true) {
            // The others are to have their chance.
            true => Deadline::past(),
            false => deadline,
        };
        let none = poll_until(&mut sockets, deadline)? == 0;
        let happened: Vec<bool> = sockets
            .iter()
            .map(|socket| !socket.revents().is_empty())
            .collect();
        drop(sockets);
        for ((watch, ready), happened) in watched.iter_mut().zip(&mut ready).zip(happened) {
            // The bytes may belong to TLS itself, with nothing to receive.
            *ready = *ready || happened && watch.is_ready();
        }
        if none || ready.contains(&true) {
            let places = ready.iter().enumerate().filter(|(_, ready)| **ready);
            return Ok(places.map(|(place, _)| place).collect());
        }
    }
}

impl Watch<'_> {
    fn is_ready_inside(&mut self) -> bool {
        match self {
            Self::Receive(client) => client.pull(),
            Self::ReceiveDatagram(_) | Self::Send(_) | Self::Connect(_) => false,
        }
    }

    fn is_ready(&mut self) -> bool {
        match self {
            Self::Receive(client) => client.pull(),
            Self::ReceiveDatagram(_) | Self::Send(_) | Self::Connect(_) => true,
        }
    }

    fn interest(&self) -> PollFlags {
        match self {
            Self::Receive(_) | Self::ReceiveDatagram(_) | Self::Connect(_) => PollFlags::IN,
            Self::Send(_) => PollFlags::OUT,
        }
    }
}

impl AsFd for Watch<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Receive(client) | Self::Send(client) => client.as_fd(),
            Self::ReceiveDatagram(client) => client.as_fd(),
            Self::Connect(connecting) => connecting.as_fd(),
        }
    }
}
