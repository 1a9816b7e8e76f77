//! `SIGHUP`, which tells a deployment to open its log again.

use std::io;
use std::thread::Builder as ThreadBuilder;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// Calls `act` for each `SIGHUP` from now on, on a thread of its own that ends with the process.
///
/// # Errors
/// The system gives no thread, no epoll set, or no handler.
pub(crate) fn watch(act: impl Fn() + Send + 'static) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let mut hangups = {
        let _entered = runtime.enter();
        signal(SignalKind::hangup())?
    };
    let thread = ThreadBuilder::new().name("hangup".into());
    thread.spawn(move || {
        runtime.block_on(async {
            while hangups.recv().await.is_some() {
                act();
            }
        });
    })?;
    Ok(())
}
