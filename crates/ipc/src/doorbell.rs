//! What wakes the consumer of a ring that sleeps.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{EventfdFlags, eventfd};

/// An eventfd that one loop or worker sleeps on and all who write into its rings may ring.
///
/// Register it edge-triggered: each [`Doorbell::ring`] is an edge of its own, so nobody needs to read it.
#[derive(Debug)]
pub struct Doorbell(OwnedFd);

impl Doorbell {
    /// A new one, silent, close-on-exec and non-blocking.
    ///
    /// # Errors
    /// Out of descriptors or memory.
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(
            0,
            EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK,
        )?))
    }

    /// Takes over a doorbell that another process made.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Another handle to the same doorbell.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// Wakes whoever sleeps on it.
    pub fn ring(&self) {
        let once = 1u64.to_ne_bytes();
        // Only a full counter refuses, and a process that means harm can fill it. A write that is
        // refused wakes nobody, so empty it and write again.
        if rustix::io::write(&self.0, &once).is_err() {
            self.clear();
            let _ = rustix::io::write(&self.0, &once);
        }
    }

    /// Takes back the rings so far, for those who wait for the level and not the edge.
    pub fn clear(&self) {
        // An error means that it is clear.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// For event loops that register descriptors by number.
impl AsRawFd for Doorbell {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<Doorbell> for OwnedFd {
    fn from(doorbell: Doorbell) -> Self {
        doorbell.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn is_ringing(doorbell: &Doorbell) -> bool {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut [PollFd::new(doorbell, PollFlags::IN)], Some(&now)).unwrap() == 1
    }

    #[test]
    fn a_ring_is_heard_by_every_handle_until_cleared() {
        let doorbell = Doorbell::new().unwrap();
        let other = doorbell.try_clone().unwrap();
        assert!(!is_ringing(&other));
        doorbell.ring();
        doorbell.ring();
        assert!(is_ringing(&other));
        other.clear();
        assert!(!is_ringing(&doorbell));
        other.clear();
    }

    #[test]
    fn a_counter_that_somebody_filled_still_rings() {
        use rustix::event::epoll;
        let doorbell = Doorbell::new().unwrap();
        let queue = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&queue, &doorbell, epoll::EventData::new_u64(1), flags).unwrap();
        rustix::io::write(&doorbell, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let edges = || {
            let mut events = Vec::with_capacity(4);
            epoll::wait(
                &queue,
                rustix::buffer::spare_capacity(&mut events),
                Some(&now),
            )
            .unwrap()
        };
        assert_eq!(edges(), 1);
        assert_eq!(edges(), 0);
        doorbell.ring();
        assert_eq!(edges(), 1);
        // … and so does one that nobody reads.
        doorbell.ring();
        assert_eq!(edges(), 1);
    }
}
