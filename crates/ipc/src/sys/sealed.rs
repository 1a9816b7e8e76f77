//! Anonymous files whose size can no longer change.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create,
};

/// A holder of the descriptor may write, but not cut the file (a bus error for all that map it), grow it, or seal it against
/// the writing of others.
const SEALS: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::SEAL);

/// A file of `size` zero bytes in memory that begins with `head`, sealed and close-on-exec.
pub(crate) fn create_sealed(name: &str, size: usize, head: &[u8]) -> io::Result<OwnedFd> {
    let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&fd, size as u64)?;
    let mut written = 0;
    while written < head.len() {
        written += rustix::io::pwrite(&fd, &head[written..], written as u64)?;
    }
    fcntl_add_seals(&fd, SEALS)?;
    Ok(fd)
}

/// The size of a file that is sealed as `create_sealed` does it.
///
/// # Errors
/// `InvalidData` for a file without these seals, or that is no file in memory.
pub(crate) fn check_sealed(fd: impl AsFd) -> io::Result<usize> {
    let not_sealed = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "the shared memory is not sealed",
        )
    };
    let seals = fcntl_get_seals(&fd).map_err(|_| not_sealed())?;
    if !seals.contains(SEALS) {
        return Err(not_sealed());
    }
    usize::try_from(fstat(&fd)?.st_size).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "the shared memory has an impossible size",
        )
    })
}
