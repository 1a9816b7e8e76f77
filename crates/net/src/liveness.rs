//! Whether a connection at rest is alive, by a look that does not wait.

use std::io::{self, Read};
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustls::ClientConnection;

/// The most reads of one look, of 4 KiB and more each: tickets take one or two.
const MOST_READS: usize = 16;

/// What a look at a connection at rest shows.
#[derive(Debug)]
pub(crate) enum Liveness {
    /// Open, and nothing has come.
    Quiet,
    /// Open, with bytes to read.
    Stray,
    /// The peer closed it, or it broke: then with an error that the system tells once, and that whoever reads next
    /// would not see any more.
    Dead(Option<io::Error>),
}

/// Looks at a socket. Nothing that its user could read is taken away.
pub(crate) fn of_socket(socket: BorrowedFd<'_>) -> Liveness {
    let mut byte = [0u8; 1];
    loop {
        match recv(socket, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Liveness::Dead(None),
            Ok(_) => return Liveness::Stray,
            Err(Errno::AGAIN) => return Liveness::Quiet,
            Err(Errno::INTR) => {}
            Err(error) => return Liveness::Dead(Some(error.into())),
        }
    }
}

/// Looks at a TLS connection. Bytes may be the session's own, such as tickets: it takes them in and says what is left.
pub(crate) fn of_session(socket: BorrowedFd<'_>, session: &mut ClientConnection) -> Liveness {
    for _ in 0..MOST_READS {
        let Ok(state) = session.process_new_packets() else {
            // The session tells it again.
            return Liveness::Dead(None);
        };
        if state.plaintext_bytes_to_read() > 0 {
            return Liveness::Stray;
        }
        if state.peer_has_closed() {
            return Liveness::Dead(None);
        }
        match session.read_tls(&mut Now(socket)) {
            Ok(0) => return Liveness::Dead(None),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Liveness::Quiet,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Liveness::Dead(Some(error)),
        }
    }
    // A peer that never stops is no peer to go on with.
    Liveness::Dead(None)
}

/// Reads what is there and never waits.
struct Now<'a>(BorrowedFd<'a>);

impl Read for Now<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (bytes, _) = recv(self.0, buffer, RecvFlags::DONTWAIT)?;
        Ok(bytes)
    }
}
