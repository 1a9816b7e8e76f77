//! Whether a connection at rest is alive, by a look that does not wait.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

/// What a look at a connection at rest shows.
#[derive(Debug)]
pub(crate) enum Liveness {
    /// Open, and nothing has come.
    Quiet,
    /// Open, with bytes to read.
    Stray,
    /// The peer closed it, or it broke: then with an error that the system reports once. A later read would not see it
    /// any more.
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
