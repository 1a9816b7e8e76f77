//! Pipes through which the kernel moves bytes from socket to socket, so that they need not be copied twice.
//!
//! A relay that moves much has one for as long as it takes, or until its sink has room again. There are few for a loop: the kernel
//! bounds the memory of all pipes of a user (`pipe-user-pages-soft`), and gives tiny ones above that.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::io::Errno;
use rustix::pipe::{
    PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice,
};

/// Pipes of one loop.
const MOST: usize = 64;
/// The capacity of one in bytes, if the kernel allows it.
const WANTED: usize = 256 * 1024;
/// A pipe with less room than this, in bytes, moves less than the loop's buffer.
const LEAST: usize = 64 * 1024;

/// The pipes of one loop.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    idle: Vec<Pipe>,
    /// All that there are, also those with relays.
    count: Rc<Cell<usize>>,
    /// The kernel gives none that is large enough.
    is_denied: bool,
}

/// A pipe, which is empty unless a relay has it.
#[derive(Debug)]
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    room: usize,
    count: Rc<Cell<usize>>,
}

impl Pipes {
    /// An empty pipe, if there is one.
    pub(crate) fn take(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.idle.pop() {
            return Some(pipe);
        }
        if self.is_denied || self.count.get() >= MOST {
            return None;
        }
        match Pipe::new(&self.count) {
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
        self.idle.push(pipe);
    }
}

impl Pipe {
    fn new(count: &Rc<Cell<usize>>) -> Result<Self, Errno> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Without rights, and above the limit, it stays as it is.
        let _ = fcntl_setpipe_size(&write, WANTED);
        let room = fcntl_getpipe_size(&write)?;
        count.set(count.get() + 1);
        let count = count.clone();
        Ok(Self {
            read,
            write,
            room,
            count,
        })
    }

    /// Moves what a socket has into it, at most this number of bytes. Zero: the socket's peer has ended.
    ///
    /// # Errors
    /// The socket has nothing (`EAGAIN`), or is broken.
    pub(crate) fn fill(&self, source: &OwnedFd, most: usize) -> Result<usize, Errno> {
        move_bytes(source, &self.write, self.room.min(most))
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
        self.count.set(self.count.get() - 1);
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
