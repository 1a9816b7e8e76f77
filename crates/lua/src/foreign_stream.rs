//! The end of a connection that the embedding program has.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::process::Process;
use crate::socket::{ForeignIo, SharedSocket, SocketKind, Unread, WaitingEnd};

/// The sockets that the embedding program gives connections to.
#[derive(Clone)]
pub struct ForeignPorts(Arc<Process>);

/// A connection that a script has as a socket. Use it on the thread of the services.
pub struct ForeignStream {
    socket: Arc<SharedSocket>,
    listener: Arc<SharedSocket>,
    process: Arc<Process>,
}

impl ForeignPorts {
    pub(crate) fn new(process: Arc<Process>) -> Self {
        Self(process)
    }

    /// A connection for the socket of this number, which listens: its owner is told when it is started. `None` if it listens no more.
    pub fn accept(&self, listener: u32, peer: String) -> Option<ForeignStream> {
        let registry = &self.0.sockets;
        let listener = registry.find(listener)?;
        let functions = listener.foreign.as_ref()?.functions;
        let id = registry.number();
        let io = ForeignIo::new(functions, peer.clone());
        let shared = SharedSocket::foreign(id, SocketKind::Stream, io, listener.owner(), None);
        let shared = Arc::new(shared);
        shared.silence(Vec::new(), false);
        registry.add(shared.clone());
        listener.foreign.as_ref()?.accept(id, peer);
        listener.wake();
        Some(ForeignStream {
            socket: shared,
            listener,
            process: self.0.clone(),
        })
    }
}

impl ForeignStream {
    /// Its number as a socket.
    pub fn number(&self) -> u32 {
        self.socket.id
    }

    /// Gives its reader these bytes.
    pub fn feed(&self, bytes: &[u8]) {
        let received = &self.socket.received;
        received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.tell(|io| io.feed(bytes));
    }

    /// Nothing comes any more, and nothing is sent: the connection has ended. True if what it has sent is lost, since too many that
    /// have ended wait for a script, and if that is worth a line in the log: it is the first of them.
    pub fn finish(&self) -> bool {
        self.tell(ForeignIo::finish);
        let listener = self.listener.foreign.as_ref();
        match listener.map(|io| io.accepted_ends(self.socket.id)) {
            Some(WaitingEnd::Dropped { is_first }) => {
                self.socket.end();
                self.process.sockets.remove(self.socket.id);
                is_first
            }
            Some(WaitingEnd::Kept) | None => false,
        }
    }

    /// Another process has the connection, and what no script has read of it: nobody reads that here.
    pub fn leave(&self) {
        self.tell(ForeignIo::leave);
    }

    /// These KiB wait to be sent, or none any more.
    pub fn warn(&self, kibibytes: usize) {
        self.tell(|io| io.warn(kibibytes));
    }

    /// What no script has read.
    pub fn unread(&self) -> Unread {
        let io = self.socket.foreign.as_ref();
        io.map(|io| io.unread()).unwrap_or_default()
    }

    /// That, behind its first `skipped` bytes.
    pub fn copy_unread(&self, skipped: usize) -> Vec<u8> {
        let io = self.socket.foreign.as_ref();
        io.map_or_else(Vec::new, |io| io.copy_from(skipped))
    }

    fn tell(&self, what: impl FnOnce(&ForeignIo)) {
        if let Some(io) = &self.socket.foreign {
            what(io);
            self.socket.wake();
        }
    }
}

impl fmt::Debug for ForeignPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ForeignPorts").finish()
    }
}

impl fmt::Debug for ForeignStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ForeignStream")
            .field(&self.socket.id)
            .finish()
    }
}
