//! The runtime of all blocking clients.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread;

use tokio::runtime::{Builder, Handle};

/// The runtime of all dials of blocking clients; its thread never ends.
static RUNTIME: Mutex<Option<Handle>> = Mutex::new(None);

/// The runtime of all dials of blocking clients, which also watches their connections at rest.
pub(super) fn runtime() -> io::Result<Handle> {
    let mut known = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*known {
        return Ok(handle.clone());
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name("moorline-dial".into())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    *known = Some(handle.clone());
    Ok(handle)
}
