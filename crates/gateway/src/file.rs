//! A file on its way to a peer, and the descriptor that a worker has passed for it.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;

use crate::transfer::Asker;

/// Bytes copied in one call: large enough that the call's own cost does not matter, small enough for others' turns.
const COPY: u64 = 256 * 1024;
/// A descriptor that a worker has passed. Dropping it closes it and returns its credit.
#[derive(Debug)]
pub(crate) struct PassedFile {
    file: OwnedFd,
    under_way: Arc<AtomicUsize>,
}

impl PassedFile {
    /// A file that counts as under way in this number until it is dropped.
    pub(crate) fn new(file: OwnedFd, under_way: &Arc<AtomicUsize>) -> Self {
        under_way.fetch_add(1, Ordering::Relaxed);
        Self {
            file,
            under_way: under_way.clone(),
        }
    }

    /// The number of the descriptor.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl Drop for PassedFile {
    fn drop(&mut self) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A file on its way.
#[derive(Debug)]
pub(crate) struct FilePiece {
    /// The process that sends it.
    pub(crate) from: Asker,
    pub(crate) file: PassedFile,
    pub(crate) offset: u64,
    pub(crate) left: u64,
}

/// The reason why a copy failed.
pub(crate) enum Copied {
    Socket(Errno),
    File(String),
}

impl FilePiece {
    /// The kernel copies as much as one call does; at least one byte.
    pub(crate) fn copy_to(&mut self, socket: impl AsFd) -> Result<usize, Copied> {
        let PassedFile { file, .. } = &self.file;
        let length = self.left.min(COPY) as usize;
        match rustix::fs::sendfile(socket, file, Some(&mut self.offset), length) {
            Ok(0) => Err(self.is_short()),
            Ok(sent) => {
                self.left -= sent as u64;
                Ok(sent)
            }
            Err(error @ (Errno::IO | Errno::INVAL | Errno::OVERFLOW | Errno::NOMEM)) => {
                Err(Copied::File(error.to_string()))
            }
            Err(error) => Err(Copied::Socket(error)),
        }
    }

    /// Reads at most `most` bytes, and at least one, to be encrypted.
    pub(crate) fn read(&mut self, out: &mut Vec<u8>, most: usize) -> Result<(), Copied> {
        let PassedFile { file, .. } = &self.file;
        out.resize(self.left.min(most as u64) as usize, 0);
        match rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut out[..], self.offset)) {
            Ok(0) => Err(self.is_short()),
            Ok(read) => {
                out.truncate(read);
                self.offset += read as u64;
                self.left -= read as u64;
                Ok(())
            }
            Err(error) => Err(Copied::File(error.to_string())),
        }
    }

    fn is_short(&self) -> Copied {
        Copied::File(format!(
            "it has become shorter, {} bytes are missing",
            self.left
        ))
    }
}
