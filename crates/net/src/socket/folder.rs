//! Only one process at a time binds a Unix socket in a folder.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;

/// How often a lock that another process holds is tried, a millisecond apart: holders need some 100 µs. Programs that
/// lock their folder for as long as they run, against cleaners, shall not keep sockets out of it.
const TRIES: u32 = 250;
const PAUSE: Duration = Duration::from_millis(1);

/// A lock on the folder of a socket file, from the look at what is there until the new socket listens.
///
/// Without it, two processes that find the same stale file would both remove it: the second one would remove the socket
/// of the first. Only processes that take it are kept apart. It ends with this value, or the process.
#[derive(Debug)]
pub(crate) struct FolderLock {
    /// None if the folder cannot be read, or is locked for long: then the caller continues without the lock.
    _folder: Option<OwnedFd>,
}

impl FolderLock {
    /// Locks the folder of `file`. Waits for another process, at most a quarter of a second.
    pub(crate) fn around(file: &Path) -> Self {
        Self {
            _folder: lock(file),
        }
    }
}

fn lock(file: &Path) -> Option<OwnedFd> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = open(folder, flags, Mode::empty()).ok()?;
    for _ in 0..TRIES {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(folder),
            Err(Errno::WOULDBLOCK) => sleep(PAUSE),
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    None
}
