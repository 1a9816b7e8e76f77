//! Connections at rest, watched for their peer's end.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How many events are taken with one system call.
const EVENTS: usize = 128;

/// Connections at rest, watched for whatever comes.
///
/// An epoll instance of its own: a connection belongs to the runtime that it was dialed on, and one of a blocking client
/// to none.
#[derive(Debug, Clone)]
pub(super) struct PoolWatch(Arc<OwnedFd>);

impl PoolWatch {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self(Arc::new(epoll)))
    }

    /// Watches a connection under this number. Each time that something comes is one event.
    pub(super) fn add(&self, connection: impl AsFd, number: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&*self.0, connection, EventData::new_u64(number), flags)?;
        Ok(())
    }

    /// Stops watching it. A closed connection is not watched either.
    pub(super) fn remove(&self, connection: impl AsFd) {
        // It fails for a descriptor that is not watched, which is fine.
        let _ = epoll::delete(&*self.0, connection);
    }

    /// The numbers of some on which something has come; none if nothing has. Does not wait.
    pub(super) fn take(&self) -> Vec<u64> {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
        let room = rustix::buffer::spare_capacity(&mut events);
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        match epoll::wait(&*self.0, room, Some(&now)) {
            Ok(_) => events.iter().map(|event| event.data.u64()).collect(),
            // A signal: the next look takes them.
            Err(_) => Vec::new(),
        }
    }

    /// Readable on this runtime while there are events.
    pub(super) fn on_runtime(&self) -> io::Result<AsyncFd<Self>> {
        // Its successor is unsafe, because a type might give up its descriptor early; this one keeps it.
        #[expect(deprecated)]
        AsyncFd::with_interest(self.clone(), Interest::READABLE)
    }
}

impl AsFd for PoolWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for PoolWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
