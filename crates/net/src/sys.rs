//! The system calls that no dependency offers without `unsafe`.

use std::ffi::c_int;
use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{Getter, Opcode, ioctl};

/// `SIOCOUTQ`, as `linux/sockios.h` has it: the number of `TIOCOUTQ`.
const SIOCOUTQ: Opcode = 0x5411;

/// How many sent bytes a stream socket's peer has not acknowledged; over a Unix socket, not read. The end of sending
/// counts as one.
///
/// # Errors
/// The descriptor is none of a stream socket.
pub fn unacknowledged(socket: impl AsFd) -> io::Result<usize> {
    // SAFETY: the kernel's SIOCOUTQ writes one `int` and reads nothing; of another kind of descriptor it is refused, or
    // is TIOCOUTQ, which writes the same.
    let bytes: c_int = unsafe { ioctl(socket, Getter::<SIOCOUTQ, c_int>::new())? };
    Ok(usize::try_from(bytes).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    #[test]
    fn bytes_that_a_peer_has_no_room_for_are_unacknowledged_until_it_reads() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while let Ok(bytes) = stream.write(&[0; 64 * 1024]) {
            sent += bytes;
        }
        assert!(unacknowledged(&stream).unwrap() > 0);
        peer.read_exact(&mut vec![0; sent]).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while unacknowledged(&stream).unwrap() > 0 {
            assert!(Instant::now() < deadline, "the peer has read everything");
            std::thread::yield_now();
        }
    }
}
