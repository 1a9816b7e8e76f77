//! Handing bytes to a socket by address.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Bytes that the kernel is to read: an address and a length, because what lies in shared memory must not
/// become a slice while another process may write to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece<'a> {
    start: *const u8,
    length: usize,
    bytes: PhantomData<&'a u8>,
}

impl<'a> Piece<'a> {
    /// Bytes of shared memory.
    ///
    /// # Safety
    /// `length` bytes from `start` on stay mapped for `'a`.
    #[inline]
    pub(crate) unsafe fn shared(start: *const u8, length: usize) -> Self {
        Self {
            start,
            length,
            bytes: PhantomData,
        }
    }

    /// Bytes of our own.
    #[inline]
    pub(crate) fn own(bytes: &'a [u8]) -> Self {
        Self {
            start: bytes.as_ptr(),
            length: bytes.len(),
            bytes: PhantomData,
        }
    }
}

/// Sends the pieces as if they were one; returns how many bytes the socket took. Never blocks, never
/// raises SIGPIPE. Nothing to send is no call.
#[inline]
pub(crate) fn send_pieces(socket: BorrowedFd<'_>, pieces: [Piece<'_>; 3]) -> io::Result<usize> {
    let mut vectors = [libc::iovec {
        iov_base: ptr::null_mut(),
        iov_len: 0,
    }; 3];
    let mut count = 0;
    for piece in pieces.iter().filter(|piece| piece.length > 0) {
        vectors[count] = libc::iovec {
            iov_base: piece.start.cast_mut().cast(),
            iov_len: piece.length,
        };
        count += 1;
    }
    if count == 0 {
        return Ok(0);
    }
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    loop {
        let sent = if let ([only, ..], 1) = (&vectors, count) {
            // SAFETY: the piece is mapped while the call reads it, and the kernel only reads.
            unsafe { libc::send(socket.as_raw_fd(), only.iov_base, only.iov_len, flags) }
        } else {
            // SAFETY: all-zero is a valid msghdr: no address, no control, no vectors.
            let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
            message.msg_iov = vectors.as_mut_ptr();
            message.msg_iovlen = count;
            // SAFETY: `count` vectors are filled in, each a piece that is mapped while the call reads it.
            unsafe { libc::sendmsg(socket.as_raw_fd(), &message, flags) }
        };
        if let Ok(sent) = usize::try_from(sent) {
            return Ok(sent);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
