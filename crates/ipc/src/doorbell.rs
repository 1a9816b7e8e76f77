//! What wakes the consumer of a ring that sleeps.
//!
//! A doorbell is an eventfd with two ends: [`Doorbell`] rings, [`Chime`] is waited on. Nobody reads it: it is
//! registered edge-triggered, and each ring is an edge of its own.
//!
//! An eventfd is one open file description, however many processes hold it, and with it they share its flags and its
//! counter. A process that is not trusted could make a write block for ever, or take rings away. So:
//!
//! - a trusted process that rings gives the other one no eventfd, but an epoll set that watches it ([`Doorbell::chime`]).
//!   Through the set one can wait, and nothing else;
//! - a trusted process that waits has an eventfd for each process that rings it. It registers the eventfd and never reads,
//!   writes or changes it, so there is nothing to block ([`Chime::from_fd`]).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{EventfdFlags, epoll, eventfd};

/// The end of a doorbell that rings.
///
/// Dropping the last handle to it takes back a ring that its chime has not heard yet: keep it for as long as somebody waits.
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

    /// The end to wait on, for a process that is not trusted with the doorbell itself: whatever it does to its end, a
    /// ring does not block, and it hears every ring as long as it waits for them.
    ///
    /// # Errors
    /// Out of descriptors or memory, or too many epoll registrations (`fs.epoll.max_user_watches`).
    pub fn chime(&self) -> io::Result<Chime> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let token = epoll::EventData::new_u64(0);
        epoll::add(&set, &self.0, token, Chime::EDGE)?;
        Ok(Chime(set))
    }

    /// Wakes the process that waits on its chime.
    #[inline]
    pub fn ring(&self) {
        // Nobody reads the counter, and no machine lives until 2^64 rings fill it. A process that fills its own doorbell
        // is not heard any more, which is its own loss.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

/// The end of a doorbell that is waited on, with an epoll registration for [`Chime::EDGE`].
///
/// Dropping it ends the registration only if no other process holds the doorbell: take it out of the set first.
#[derive(Debug)]
pub struct Chime(OwnedFd);

impl Chime {
    /// How a chime is registered: each ring is an edge.
    pub const EDGE: epoll::EventFlags = epoll::EventFlags::IN.union(epoll::EventFlags::ET);

    /// Takes over what another process made: an end from [`Doorbell::chime`], or a doorbell's own descriptor, which from
    /// here on cannot be rung through.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

macro_rules! is_descriptor {
    ($end:ty) => {
        impl AsFd for $end {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.0.as_fd()
            }
        }

        /// For event loops that register descriptors by number.
        impl AsRawFd for $end {
            fn as_raw_fd(&self) -> RawFd {
                self.0.as_raw_fd()
            }
        }

        impl From<$end> for OwnedFd {
            fn from(end: $end) -> Self {
                end.0
            }
        }
    };
}

is_descriptor!(Doorbell);
is_descriptor!(Chime);

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::Timespec;
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    use rustix::io::Errno;

    const NOW: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };

    fn set_of(end: impl AsFd) -> OwnedFd {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        epoll::add(&set, end, epoll::EventData::new_u64(1), Chime::EDGE).unwrap();
        set
    }

    fn edges(set: &OwnedFd) -> usize {
        let mut events = Vec::with_capacity(4);
        epoll::wait(set, rustix::buffer::spare_capacity(&mut events), Some(&NOW)).unwrap()
    }

    #[test]
    fn each_ring_is_an_edge_at_either_kind_of_end_without_a_read() {
        let doorbell = Doorbell::new().unwrap();
        let other = doorbell.try_clone().unwrap();
        let chime = doorbell.chime().unwrap();
        let (through_set, direct) = (set_of(&chime), set_of(&doorbell));
        for _ in 0..3 {
            assert_eq!((edges(&through_set), edges(&direct)), (0, 0));
            other.ring();
            assert_eq!((edges(&through_set), edges(&direct)), (1, 1));
        }
        // A process that waits on the set itself hears the same.
        other.ring();
        assert_eq!((edges(&chime.0), edges(&chime.0)), (1, 0));
    }

    #[test]
    fn the_waiting_end_can_neither_block_nor_silence_the_doorbell() {
        let doorbell = Doorbell::new().unwrap();
        let chime = doorbell.chime().unwrap();
        // What a hostile process can do with it.
        fcntl_setfl(&chime, OFlags::empty()).unwrap();
        for write in [u64::MAX - 1, 1] {
            let refused = rustix::io::write(&chime, &write.to_ne_bytes());
            assert_eq!(refused, Err(Errno::INVAL));
        }
        assert_eq!(rustix::io::read(&chime, &mut [0; 8]), Err(Errno::INVAL));
        assert!(
            fcntl_getfl(&doorbell).unwrap().contains(OFlags::NONBLOCK),
            "its flags are its own"
        );
        let honest = set_of(&chime);
        doorbell.ring();
        assert_eq!(edges(&honest), 1);
        drop((honest, chime));
        doorbell.ring();
        let next = doorbell.chime().unwrap();
        let honest = set_of(&next);
        edges(&honest);
        doorbell.ring();
        assert_eq!(edges(&honest), 1);
    }
}
