//! Descriptors that this process was started with.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Takes over a descriptor that the parent left open for this process and named in the environment, and
/// marks it close-on-exec so that nothing started from here holds it too.
///
/// Call it once for each, before anything else runs.
///
/// # Errors
/// `InvalidInput` for one of the three standard streams, for a number that is not open, and for a
/// descriptor that is close-on-exec: that one was not inherited but opened here, or taken over already.
pub fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    let refuse = |why: &str| {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("descriptor {fd} {why}"),
        ))
    };
    if fd <= libc::STDERR_FILENO {
        return refuse("cannot be taken over: it is a standard stream or no descriptor at all");
    }
    // SAFETY: fcntl(F_GETFD) touches no memory and changes nothing, whatever the number is.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    if flags == -1 {
        return refuse("is not open: was this process started by the engine?");
    }
    if flags & libc::FD_CLOEXEC != 0 {
        return refuse("was not inherited: it is close-on-exec");
    }
    // SAFETY: as above; the number is open and setting the flag takes no ownership.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, flags | libc::FD_CLOEXEC) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, and nobody here owns it: all that Rust's library and this crate
    // open is close-on-exec from its first moment, and so is, since the line above, what was taken over.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsRawFd, IntoRawFd};

    #[test]
    fn an_inherited_descriptor_is_taken_over_once() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let fd = rustix::io::dup(&one).unwrap().into_raw_fd();
        let owned = inherited(fd).unwrap();
        assert_eq!(owned.as_raw_fd(), fd);
        let flags = rustix::io::fcntl_getfd(&owned).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        assert_eq!(
            inherited(fd).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }

    #[test]
    fn descriptors_that_are_not_open_or_not_inherited_are_refused() {
        let file = std::fs::File::open("/dev/null").unwrap();
        for fd in [-1, 0, 2, 1_000_000, file.as_raw_fd()] {
            assert_eq!(
                inherited(fd).unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{fd}"
            );
        }
    }
}
