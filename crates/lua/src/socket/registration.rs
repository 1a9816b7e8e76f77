//! A descriptor that a loop watches.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::io::unix::AsyncFd;

/// A descriptor that this thread's loop watches until it is dropped. Others may keep it, too.
pub(crate) type WatchedDescriptor = AsyncFd<Arc<OwnedFd>>;

/// Has this thread's loop watch a descriptor.
///
/// # Errors
/// The system does not tell when such a descriptor is ready: it is a file.
#[expect(
    deprecated,
    reason = "its successor is unsafe, since a type might give up its descriptor while registered; an Arc keeps it"
)]
pub(crate) fn watch(descriptor: Arc<OwnedFd>) -> io::Result<WatchedDescriptor> {
    AsyncFd::new(descriptor)
}
