//! What a client reads and writes: a connection of its own, or one that a pool lends.

use std::fs::File;
use std::io;
#[cfg(feature = "pool")]
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd};

#[cfg(feature = "pool")]
use socket2::SockRef;
#[cfg(feature = "pool")]
use tokio::runtime::Handle;

use super::error::is_deadline;
use super::options::Deadline;
#[cfg(feature = "pool")]
use super::runtime::runtime;
use super::stream::{FileFailure, Stream};
use crate::dial::Timeline;
#[cfg(feature = "pool")]
use crate::liveness::Liveness;
#[cfg(feature = "pool")]
use crate::pool::Keep;
use crate::pool::Lent;

/// A connection, and how it came about.
#[derive(Debug)]
pub(super) struct Dialed {
    pub(super) stream: Stream,
    pub(super) timeline: Timeline,
    pub(super) reused: bool,
}

/// What a client reads and writes.
#[derive(Debug)]
pub(super) enum Link {
    Own(Dialed),
    /// It goes back when it is dropped, unless it is poisoned.
    #[cfg_attr(not(feature = "pool"), expect(dead_code, reason = "no pool lends"))]
    Lent(Box<Lent<Dialed>>),
}

impl Link {
    /// Reads what is there, waiting for the first byte. 0 is the end.
    pub(super) fn read(&mut self, buffer: &mut [u8], deadline: Deadline) -> io::Result<usize> {
        let wanted = buffer.len();
        let read = self.stream.read(buffer, deadline);
        if let Self::Lent(lent) = self {
            match &read {
                Ok(0) if wanted > 0 => lent.poison(),
                Ok(0) => {}
                Ok(_) => lent.read(),
                Err(error) if is_deadline(error) => lent.waits(),
                Err(_) => lent.poison(),
            }
        }
        read
    }

    /// Writes some bytes, waiting for room.
    pub(super) fn write(&mut self, bytes: &[u8], deadline: Deadline) -> io::Result<usize> {
        let written = self.stream.write(bytes, deadline);
        self.note_write(written.as_ref().ok().copied());
        written
    }

    /// Waits until the kernel has all that was written.
    pub(super) fn flush(&mut self, deadline: Deadline) -> io::Result<()> {
        let flushed = self.stream.flush(deadline);
        self.note_write(flushed.as_ref().ok().map(|()| 0));
        flushed
    }

    /// Sends some bytes of a file. 0 is its end.
    pub(super) fn send_file(
        &mut self,
        file: &File,
        offset: u64,
        length: usize,
        deadline: Deadline,
    ) -> Result<usize, FileFailure> {
        let sent = self.stream.send_file(file, offset, length, deadline);
        self.note_write(sent.as_ref().ok().copied());
        sent
    }

    /// Messages were sent.
    pub(super) fn asked(&mut self, messages: u64) {
        if let Self::Lent(lent) = self {
            lent.asked(messages);
        }
    }

    /// A message was received.
    pub(super) fn answered(&mut self) {
        if let Self::Lent(lent) = self {
            lent.answered();
        }
    }

    /// Nothing more comes that was asked for.
    pub(super) fn mark_answered(&mut self) {
        if let Self::Lent(lent) = self {
            lent.mark_answered();
        }
    }

    /// If a pool lends it, it is not to be lent again.
    pub(super) fn poison(&mut self) {
        if let Self::Lent(lent) = self {
            lent.poison();
        }
    }

    /// Bytes were written, or writing failed: the peer may have part of a message.
    fn note_write(&mut self, written: Option<usize>) {
        if let Self::Lent(lent) = self {
            match written {
                Some(0) => {}
                Some(_) => lent.wrote(),
                None => lent.poison(),
            }
        }
    }
}

impl Deref for Link {
    type Target = Dialed;

    fn deref(&self) -> &Dialed {
        match self {
            Self::Own(dialed) => dialed,
            Self::Lent(lent) => lent,
        }
    }
}

impl DerefMut for Link {
    fn deref_mut(&mut self) -> &mut Dialed {
        match self {
            Self::Own(dialed) => dialed,
            Self::Lent(lent) => lent,
        }
    }
}

impl AsFd for Dialed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(feature = "pool")]
impl Keep for Dialed {
    fn liveness(&mut self) -> Liveness {
        self.stream.liveness()
    }

    fn peer(&self) -> Option<SocketAddr> {
        SockRef::from(&self.stream).peer_addr().ok()?.as_socket()
    }

    fn mark_reused(&mut self) {
        self.reused = true;
    }

    /// All blocking clients' own: their threads have none.
    fn runtime() -> Option<Handle> {
        runtime().ok()
    }
}
