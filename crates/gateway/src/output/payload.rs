//! What an app sends, and where it lies: in a ring, or put together from parts.

use std::io::IoSlice;
use std::os::fd::AsFd;

use moorline_ipc::Record;
use rustix::io::Errno;

/// Up to this size, in bytes, putting prefix and payload together costs less than telling the kernel of each.
const SMALL: usize = 4 * 1024;

/// What is to be sent, and where it lies.
#[derive(Clone, Copy)]
pub(crate) enum Payload<'a, 'r> {
    Ring(&'a Record<'r>),
    Bytes(&'a [u8]),
}

impl Payload<'_, '_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Payload::Ring(record) => record.len(),
            Payload::Bytes(bytes) => bytes.len(),
        }
    }

    pub(crate) fn head(&self, out: &mut [u8]) -> usize {
        match self {
            Payload::Ring(record) => record.head(out),
            Payload::Bytes(bytes) => {
                let length = bytes.len().min(out.len());
                out[..length].copy_from_slice(&bytes[..length]);
                length
            }
        }
    }

    pub(crate) fn copy_from(&self, offset: usize, out: &mut Vec<u8>) {
        match self {
            Payload::Ring(record) => record.copy_from(offset, out),
            Payload::Bytes(bytes) => out.extend_from_slice(bytes.get(offset..).unwrap_or_default()),
        }
    }

    /// Sends the three parts in one call. `frame` is scratch space.
    pub(crate) fn send(
        &self,
        socket: impl AsFd,
        prefix: &[u8],
        skip: usize,
        suffix: &[u8],
        frame: &mut Vec<u8>,
    ) -> Result<usize, Errno> {
        if self.len() <= SMALL && prefix.len() + suffix.len() > 0 {
            frame.clear();
            frame.extend_from_slice(prefix);
            self.copy_from(skip, frame);
            frame.extend_from_slice(suffix);
            return rustix::net::send(socket, frame, rustix::net::SendFlags::NOSIGNAL);
        }
        let sent = match self {
            Payload::Ring(record) => record.send(socket.as_fd(), prefix, skip, suffix),
            Payload::Bytes(bytes) => {
                let pieces = [
                    IoSlice::new(prefix),
                    IoSlice::new(&bytes[skip.min(bytes.len())..]),
                    IoSlice::new(suffix),
                ];
                // The runtime ignores SIGPIPE, so a closed socket is an error here.
                return rustix::io::writev(socket, &pieces);
            }
        };
        sent.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }
}
