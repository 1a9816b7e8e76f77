//! Bytes in and out of a socket, with or without TLS, each call under a deadline.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use super::options::Deadline;
use crate::connection;
use crate::liveness::{self, Liveness};
use crate::tls::{self, BlockingStream, ClientConnection};

/// The size of one read of a file where the kernel cannot send it: four TLS records.
const FILE_CHUNK_BYTES: usize = 64 << 10;

/// A socket, with or without TLS. It never blocks by itself; deadlines are waited for by `poll`.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(OwnedFd),
    Tls(OwnedFd, Box<ClientConnection>),
}

impl Stream {
    /// Takes a socket out of the runtime that it was dialed on.
    pub(super) fn new(stream: connection::Stream) -> io::Result<Self> {
        Ok(match stream {
            connection::Stream::Tcp(stream) => Self::Plain(stream.into_std()?.into()),
            connection::Stream::Unix(stream) => Self::Plain(stream.into_std()?.into()),
            connection::Stream::Tls(stream) => {
                let (socket, session) = stream.into_inner();
                Self::Tls(socket.into_std()?.into(), Box::new(session))
            }
        })
    }

    /// Reads what is there, waiting for the first byte. 0 is the end.
    pub(super) fn read(&mut self, buffer: &mut [u8], deadline: Deadline) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => WaitingSocket::new(socket, deadline).read(buffer),
            Self::Tls(socket, session) => {
                let session: &mut ClientConnection = session;
                let mut socket = WaitingSocket::new(socket, deadline);
                BlockingStream::new(session, &mut socket).read(buffer)
            }
        }
    }

    /// Writes some bytes, waiting for room.
    pub(super) fn write(&mut self, bytes: &[u8], deadline: Deadline) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => WaitingSocket::new(socket, deadline).write(bytes),
            Self::Tls(socket, session) => {
                let session: &mut ClientConnection = session;
                let mut socket = WaitingSocket::new(socket, deadline);
                let mut stream = BlockingStream::new(session, &mut socket);
                // Bytes that the session took before are written first, and report its error.
                stream.flush()?;
                stream.write(bytes)
            }
        }
    }

    /// Waits until the kernel has all that was written.
    pub(super) fn flush(&mut self, deadline: Deadline) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(socket, session) => {
                let session: &mut ClientConnection = session;
                let mut socket = WaitingSocket::new(socket, deadline);
                BlockingStream::new(session, &mut socket).flush()
            }
        }
    }

    /// Sends some bytes of a file. 0 is its end.
    pub(super) fn send_file(
        &mut self,
        file: &File,
        offset: u64,
        length: usize,
        deadline: Deadline,
    ) -> Result<usize, FileFailure> {
        let Self::Plain(socket) = self else {
            let mut chunk = vec![0; length.min(FILE_CHUNK_BYTES)];
            let read = file
                .read_at(&mut chunk, offset)
                .map_err(FileFailure::File)?;
            let mut sent = 0;
            while sent < read {
                sent += self
                    .write(&chunk[sent..read], deadline)
                    .map_err(FileFailure::Stream)?;
            }
            return Ok(read);
        };
        let mut offset = offset;
        loop {
            match sendfile(&*socket, file, Some(&mut offset), length) {
                Ok(sent) => return Ok(sent),
                Err(Errno::AGAIN) => {
                    wait(socket.as_fd(), PollFlags::OUT, deadline).map_err(FileFailure::Stream)?;
                }
                Err(Errno::INTR) => {}
                Err(error @ (Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN)) => {
                    return Err(FileFailure::Stream(error.into()));
                }
                Err(error) => return Err(FileFailure::File(error.into())),
            }
        }
    }

    /// Ends the sending: the peer reads to the end. Receiving continues.
    pub(super) fn finish(&mut self, deadline: Deadline) -> io::Result<()> {
        if let Self::Tls(_, session) = self {
            session.send_close_notify();
        }
        self.flush(deadline)?;
        Ok(shutdown(self.as_fd(), Shutdown::Write)?)
    }

    pub(super) fn liveness(&mut self) -> Liveness {
        match self {
            Self::Plain(socket) => liveness::of_socket(socket.as_fd()),
            Self::Tls(socket, session) => tls::look(socket.as_fd(), session),
        }
    }

    #[cfg(feature = "tls")]
    pub(super) fn session(&self) -> Option<&ClientConnection> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(_, session) => Some(session),
        }
    }
}

/// The failed side when a file was sent.
#[derive(Debug)]
pub(super) enum FileFailure {
    File(io::Error),
    Stream(io::Error),
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(socket) | Self::Tls(socket, _) => socket.as_fd(),
        }
    }
}

/// A socket that is waited for.
struct WaitingSocket<'a> {
    socket: BorrowedFd<'a>,
    deadline: Deadline,
}

impl<'a> WaitingSocket<'a> {
    fn new(socket: &'a OwnedFd, deadline: Deadline) -> Self {
        Self {
            socket: socket.as_fd(),
            deadline,
        }
    }
}

impl Read for WaitingSocket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match recv(self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((bytes, _)) => return Ok(bytes),
                Err(Errno::AGAIN) => wait(self.socket, PollFlags::IN, self.deadline)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Write for WaitingSocket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match send(
                self.socket,
                bytes,
                SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
            ) {
                Ok(sent) => return Ok(sent),
                Err(Errno::AGAIN) => wait(self.socket, PollFlags::OUT, self.deadline)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits for a socket. A signal does not end the wait.
pub(super) fn wait(socket: BorrowedFd<'_>, what: PollFlags, deadline: Deadline) -> io::Result<()> {
    let mut watched = [PollFd::from_borrowed_fd(socket, what)];
    match poll_until(&mut watched, deadline)? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

/// Waits until one of them is ready, and says how many are; 0 at the deadline. A signal does not end the wait.
pub(super) fn poll_until(watched: &mut [PollFd<'_>], deadline: Deadline) -> io::Result<usize> {
    loop {
        // A time too long for the kernel means for ever.
        let left = deadline
            .left()
            .and_then(|left| Timespec::try_from(left).ok());
        match poll(watched, left.as_ref()) {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}
