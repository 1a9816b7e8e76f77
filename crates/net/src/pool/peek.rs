//! Looks whether a connection at rest is alive, without waiting.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::connection::{Connection, Stream};

/// The most reads of one look, of 4 KiB and more each: tickets take one or two.
const MOST_READS: usize = 16;

/// What a look at a connection at rest shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Open, and nothing has come.
    Quiet,
    /// Open, with bytes to read.
    Stray,
    /// The peer closed it, or it broke.
    Dead,
}

/// Looks at `connection`. Nothing that its user could read is taken away.
pub(super) fn peek(connection: &mut Connection) -> State {
    match connection.stream_mut() {
        Stream::Tcp(stream) => peek_plain(stream.as_fd()),
        Stream::Unix(stream) => peek_plain(stream.as_fd()),
        Stream::Tls(stream) => {
            let (stream, session) = stream.get_mut();
            peek_tls(stream.as_fd(), session)
        }
    }
}

fn peek_plain(socket: BorrowedFd<'_>) -> State {
    let mut byte = [0u8; 1];
    loop {
        match recv(
            socket,
            &mut byte[..],
            RecvFlags::PEEK | RecvFlags::DONTWAIT,
        ) {
            Ok((0, _)) => return State::Dead,
            Ok(_) => return State::Stray,
            Err(Errno::AGAIN) => return State::Quiet,
            Err(Errno::INTR) => {}
            Err(_) => return State::Dead,
        }
    }
}

/// Under TLS bytes may be the session's own, such as tickets: it takes them in and says what is left.
fn peek_tls(socket: BorrowedFd<'_>, session: &mut rustls::ClientConnection) -> State {
    for _ in 0..MOST_READS {
        let Ok(state) = session.process_new_packets() else {
            return State::Dead;
        };
        if state.plaintext_bytes_to_read() > 0 {
            return State::Stray;
        }
        if state.peer_has_closed() {
            return State::Dead;
        }
        match session.read_tls(&mut Now(socket)) {
            Ok(0) => return State::Dead,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return State::Quiet,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return State::Dead,
        }
    }
    // A peer that never stops is no peer to go on with.
    State::Dead
}

/// Reads what is there and never waits.
struct Now<'a>(BorrowedFd<'a>);

impl Read for Now<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (bytes, _) = recv(self.0, buffer, RecvFlags::DONTWAIT)?;
        Ok(bytes)
    }
}
