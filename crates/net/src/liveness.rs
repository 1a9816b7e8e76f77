//! Whether a connection at rest is alive, by a look that does not wait.

use std::io::{self, Read};
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustls::ClientConnection;

/// The most reads of one look, of 4 KiB and more each: tickets take one or two.
const MOST_READS: usize = 16;

/// What a look at a connection at rest shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Liveness {
    /// Open, and nothing has come.
    Quiet,
    /// Open, with bytes to read.
    Stray,
    /// The peer closed it, or it broke.
    Dead,
}

/// Looks at a socket. Nothing that its user could read is taken away.
pub(crate) fn of_socket(socket: BorrowedFd<'_>) -> Liveness {
    let mut byte = [0u8; 1];
    loop {
        match recv(socket, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Liveness::Dead,
            Ok(_) => return Liveness::Stray,
            Err(Errno::AGAIN) => return Liveness::Quiet,
            Err(Errno::INTR) => {}
            Err(_) => return Liveness::Dead,
        }
    }
}

/// Looks at a TLS connection. Bytes may be the session's own, such as tickets: it takes them in and says what is left.
pub(crate) fn of_session(socket: BorrowedFd<'_>, session: &mut ClientConnection) -> Liveness {
    for _ in 0..MOST_READS {
        let Ok(state) = session.process_new_packets() else {
            return Liveness::Dead;
        };
        if state.plaintext_bytes_to_read() > 0 {
            return Liveness::Stray;
        }
        if state.peer_has_closed() {
            return Liveness::Dead;
        }
        match session.read_tls(&mut Now(socket)) {
            Ok(0) => return Liveness::Dead,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Liveness::Quiet,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Liveness::Dead,
        }
    }
    // A peer that never stops is no peer to go on with.
    Liveness::Dead
}

/// Reads what is there and never waits.
struct Now<'a>(BorrowedFd<'a>);

impl Read for Now<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (bytes, _) = recv(self.0, buffer, RecvFlags::DONTWAIT)?;
        Ok(bytes)
    }
}
