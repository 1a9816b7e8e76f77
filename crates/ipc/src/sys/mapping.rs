//! Shared memory in this process's address space.

use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A shared, writable mapping of the beginning of a file; unmapped when dropped.
///
/// Other processes write to it at any time. Its maker checks that the file cannot shrink
/// (see `check_sealed`), since an access behind its end is a bus error.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    size: usize,
}

impl Mapping {
    /// Maps the first `size` bytes of `fd`, which may be closed afterwards.
    pub(crate) fn new(fd: impl AsFd, size: usize) -> io::Result<Self> {
        // SAFETY: no address is asked for, so the kernel chooses one that covers nothing in use.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                size,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd,
                0,
            )
        }?;
        let start =
            NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))?;
        Ok(Self { start, size })
    }

    /// Its first byte, at the beginning of a page.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what mmap gave; all pointers into it hold the mapping, so there are none now.
        // It fails only for a range that was never mapped.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.size) };
    }
}

// SAFETY: the mapping belongs to the process, not to a thread, and gives out nothing but its address.
unsafe impl Send for Mapping {}
// SAFETY: as above; reading the address and size from several threads is harmless.
unsafe impl Sync for Mapping {}
