//! Receiving from a socket by address.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Receives into three places as if they were one: our own, one by its address, our own again. Returns how many bytes
/// came, 0 at the end. Never blocks.
///
/// # Safety
/// `length` bytes from `start` on are mapped, may be written, and are used by nobody else in this process.
#[inline]
pub(crate) unsafe fn receive_around(
    socket: BorrowedFd<'_>,
    before: &mut [u8],
    (start, length): (*mut u8, usize),
    after: &mut [u8],
) -> io::Result<usize> {
    let vector = |start: *mut u8, length| libc::iovec {
        iov_base: start.cast(),
        iov_len: length,
    };
    let mut vectors = [
        vector(before.as_mut_ptr(), before.len()),
        vector(start, length),
        vector(after.as_mut_ptr(), after.len()),
    ];
    // SAFETY: all-zero is a valid msghdr: no address, no control, no vectors.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = vectors.as_mut_ptr();
    message.msg_iovlen = vectors.len();
    loop {
        // SAFETY: two vectors are slices that are borrowed for the call, the third is the caller's promise.
        let received =
            unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, libc::MSG_DONTWAIT) };
        if let Ok(received) = usize::try_from(received) {
            return Ok(received);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
