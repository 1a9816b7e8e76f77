//! Pipes through which the kernel moves bytes from socket to socket, so that they need not be copied twice.
//!
//! A relay that moves much has one for as long as it takes, or until its sink has room again. There are few for a loop: the kernel
//! bounds the memory of all pipes of a user (`pipe-user-pages-soft`), and gives tiny ones above that. When all are lent, those whose
//! sink has stopped reading are emptied into memory, so that slow readers do not keep the fast ones from theirs.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::io::Errno;
use rustix::pipe::{
    PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice,
};
use slab::Slab;

use crate::ids::{RelayRef, Side};
use moorline_process::relay_pipes::{BYTES, MOST};

/// A pipe with less room than this, in bytes, moves less than the loop's buffer.
const LEAST: usize = 64 * 1024;
/// A sink that takes nothing for this long has stopped reading, in milliseconds: longer than most round trips.
const STALLED_MS: u64 = 500;
/// How often stalled pipes are looked for, in milliseconds, and how many are emptied at once: that takes about a millisecond.
const LOOK_EVERY_MS: u64 = 100;
const MOST_EMPTIED: usize = 8;

/// The pipes of one loop.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    idle: Vec<Pipe>,
    /// All that there are.
    lent: Rc<RefCell<Slab<Option<Borrower>>>>,
    /// A relay got none, since all are lent.
    is_short: bool,
    /// When stalled ones were last looked for, in the loop's milliseconds.
    looked_at: u64,
    /// The kernel gives none that is large enough.
    is_denied: bool,
}

/// A pipe, which is empty unless a relay has it.
#[derive(Debug)]
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    room: usize,
    /// Its place among those that are lent.
    at: usize,
    lent: Rc<RefCell<Slab<Option<Borrower>>>>,
}

/// The way of a relay whose sink has not taken all that a pipe has.
#[derive(Debug, Clone, Copy)]
struct Borrower {
    relay: RelayRef,
    from: Side,
    /// When the sink last took some, in the loop's milliseconds.
    moved_at: u64,
}

impl Pipes {
    /// An empty pipe, if there is one.
    pub(crate) fn take(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.idle.pop() {
            return Some(pipe);
        }
        if self.is_denied {
            return None;
        }
        if self.lent.borrow().len() >= MOST {
            self.is_short = true;
            return None;
        }
        match Pipe::new(&self.lent) {
            Ok(pipe) if pipe.room >= LEAST => Some(pipe),
            Ok(_) => {
                self.is_denied = true;
                tracing::info!(
                    "relays copy: the kernel gives this user no larger pipes (fs.pipe-user-pages-soft)"
                );
                None
            }
            // No descriptor is left, for instance.
            Err(_) => None,
        }
    }

    /// Takes an empty pipe back.
    pub(crate) fn put_back(&mut self, pipe: Pipe) {
        self.lent.borrow_mut()[pipe.at] = None;
        self.idle.push(pipe);
    }

    /// The ways whose pipes are to be emptied, those first that have stalled for the longest time; none while there are idle pipes.
    pub(crate) fn stalled(&mut self, now: u64) -> Vec<(RelayRef, Side)> {
        if !self.is_short || now < self.looked_at + LOOK_EVERY_MS {
            return Vec::new();
        }
        self.looked_at = now;
        self.is_short = false;
        let lent = self.lent.borrow();
        let borrowers = lent.iter().filter_map(|(_, borrower)| *borrower);
        let mut stalled: Vec<_> = borrowers
            .filter(|it| it.moved_at + STALLED_MS <= now)
            .collect();
        stalled.sort_by_key(|it| it.moved_at);
        stalled.truncate(MOST_EMPTIED);
        stalled.iter().map(|it| (it.relay, it.from)).collect()
    }
}

impl Pipe {
    fn new(lent: &Rc<RefCell<Slab<Option<Borrower>>>>) -> Result<Self, Errno> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Without rights, and above the limit, it stays as it is.
        let _ = fcntl_setpipe_size(&write, BYTES);
        let room = fcntl_getpipe_size(&write)?;
        let at = lent.borrow_mut().insert(None);
        let lent = lent.clone();
        Ok(Self {
            read,
            write,
            room,
            at,
            lent,
        })
    }

    /// Moves what a socket has into it, at most this number of bytes. Zero: the socket's peer has ended.
    ///
    /// # Errors
    /// The socket has nothing (`EAGAIN`), or is broken.
    pub(crate) fn fill(&self, source: &OwnedFd, most: usize) -> Result<usize, Errno> {
        move_bytes(source, &self.write, self.room.min(most))
    }

    /// The sink of this relay's way has taken some of what is in it, at this time, and not all.
    pub(crate) fn note_borrower(&self, relay: RelayRef, from: Side, moved_at: u64) {
        self.lent.borrow_mut()[self.at] = Some(Borrower {
            relay,
            from,
            moved_at,
        });
    }

    /// Takes this number of bytes, which are in it, out of it.
    ///
    /// # Errors
    /// They are not in it.
    pub(crate) fn read(&self, bytes: usize) -> Result<Vec<u8>, Errno> {
        let mut taken = vec![0; bytes];
        let mut at = 0;
        while at < bytes {
            match rustix::io::read(&self.read, &mut taken[at..]) {
                Ok(0) => return Err(Errno::PIPE),
                Ok(some) => at += some,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    /// Moves this number of bytes out of it, or as many as the socket takes.
    ///
    /// # Errors
    /// The socket is broken.
    pub(crate) fn empty(&self, sink: &OwnedFd, bytes: usize) -> Result<usize, Errno> {
        let mut moved = 0;
        while moved < bytes {
            match move_bytes(&self.read, sink, bytes - moved) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(some) => moved += some,
                Err(error) => return Err(error),
            }
        }
        Ok(moved)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.lent.borrow_mut().remove(self.at);
    }
}

/// Without `MORE`: the kernel would hold back the last bytes.
fn move_bytes(from: &OwnedFd, to: &OwnedFd, bytes: usize) -> Result<usize, Errno> {
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    loop {
        match splice(from, None, to, None, bytes, flags) {
            Err(Errno::INTR) => {}
            moved => return moved,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn there_are_few_pipes_and_one_that_is_dropped_makes_room() {
        let mut pipes = Pipes::default();
        let mut taken: Vec<_> = std::iter::from_fn(|| pipes.take()).collect();
        assert!(taken.len() <= MOST && !taken.is_empty());
        assert!(pipes.take().is_none());
        let (one, other) = (taken.pop(), taken.pop());
        drop(one);
        assert!(pipes.take().is_some());
        pipes.put_back(other.expect("there were several"));
        assert!(pipes.take().is_some());
    }

    #[test]
    fn bytes_go_through_and_what_does_not_fit_stays() {
        let (mut sender, source) = UnixStream::pair().expect("a pair");
        let (sink, mut receiver) = UnixStream::pair().expect("a pair");
        source.set_nonblocking(true).expect("an option");
        sink.set_nonblocking(true).expect("an option");
        let (source, sink) = (OwnedFd::from(source), OwnedFd::from(sink));
        let mut pipes = Pipes::default();
        let pipe = pipes.take().expect("a pipe");
        assert_eq!(pipe.fill(&source, usize::MAX), Err(Errno::AGAIN));
        sender.write_all(b"hello").expect("it fits");
        assert_eq!(pipe.fill(&source, usize::MAX), Ok(5));
        assert_eq!(pipe.empty(&sink, 5), Ok(5));
        let mut came = [0; 5];
        receiver.read_exact(&mut came).expect("it comes");
        assert_eq!(&came, b"hello");
        drop(sender);
        assert_eq!(pipe.fill(&source, usize::MAX), Ok(0));
    }
}
