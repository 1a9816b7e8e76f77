//! The listening sockets of a loop.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::ids::ListenerId;
use moorline_config::Config;

/// The listening sockets of one loop, by their place in the configuration.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    /// Streams that this loop accepts from.
    streams: Vec<Option<OwnedFd>>,
    /// Datagram sockets: every loop may send from them.
    datagrams: Vec<Option<Arc<OwnedFd>>>,
    /// Those of them that this loop receives from.
    receives: Vec<bool>,
}

impl Sockets {
    /// The stream socket of a listener that this loop accepts from.
    pub(crate) fn stream(&self, listener: ListenerId) -> Option<&OwnedFd> {
        self.streams.get(listener.index())?.as_ref()
    }

    /// A listener's datagram socket.
    pub(crate) fn datagrams(&self, listener: ListenerId) -> Option<&OwnedFd> {
        self.datagrams.get(listener.index())?.as_deref()
    }

    /// The same, if this loop receives from it.
    pub(crate) fn received_from(&self, listener: ListenerId) -> Option<&Arc<OwnedFd>> {
        let receives = self.receives.get(listener.index()) == Some(&true);
        let socket = self.datagrams.get(listener.index())?.as_ref();
        socket.filter(|_| receives)
    }

    /// The listener's socket, if this loop waits for what comes in there.
    pub(crate) fn waited_for(&self, listener: ListenerId) -> Option<BorrowedFd<'_>> {
        let at = listener.index();
        if let Some(Some(stream)) = self.streams.get(at) {
            return Some(stream.as_fd());
        }
        match (self.datagrams.get(at), self.receives.get(at)) {
            (Some(Some(socket)), Some(true)) => Some(socket.as_fd()),
            _ => None,
        }
    }

    /// A listener has this socket from now on.
    pub(crate) fn put(&mut self, listener: ListenerId, socket: Socket) {
        let at = listener.index();
        if self.streams.len() <= at {
            self.streams.resize_with(at + 1, || None);
            self.datagrams.resize(at + 1, None);
            self.receives.resize(at + 1, false);
        }
        match socket {
            Socket::Stream(socket) => self.streams[at] = Some(socket),
            Socket::Datagram { socket, receives } => {
                self.datagrams[at] = Some(socket);
                self.receives[at] = receives;
            }
        }
    }

    /// Drops a listener's socket.
    pub(crate) fn take(&mut self, listener: ListenerId) {
        let at = listener.index();
        if at < self.streams.len() {
            self.streams[at] = None;
            self.datagrams[at] = None;
            self.receives[at] = false;
        }
    }

    /// Closes them.
    pub(crate) fn close(&mut self) {
        self.streams.clear();
        self.receives.clear();
    }
}

/// A listening socket, as one loop has it.
#[derive(Debug)]
pub(crate) enum Socket {
    Stream(OwnedFd),
    Datagram {
        socket: Arc<OwnedFd>,
        /// This is the loop that receives from it.
        receives: bool,
    },
}

/// Divides the listeners among the loops: streams to loop 0, which hands connections on; each datagram socket to
/// one loop for receiving and to all for sending.
pub(crate) fn share_out(
    config: &Config,
    sockets: Vec<(ListenerId, OwnedFd)>,
    loops: usize,
) -> Vec<Vec<(ListenerId, Socket)>> {
    let mut shares: Vec<_> = (0..loops).map(|_| Vec::new()).collect();
    for (place, socket) in sockets {
        let Some(listener) = config.listeners.get(place.index()) else {
            continue;
        };
        if !listener.is_datagram() {
            shares[0].push((place, Socket::Stream(socket)));
            continue;
        }
        let socket = Arc::new(socket);
        for (index, share) in shares.iter_mut().enumerate() {
            let socket = Socket::Datagram {
                socket: socket.clone(),
                receives: place.index() % loops == index,
            };
            share.push((place, socket));
        }
    }
    shares
}
