//! Ctrl-C ends a run early instead of throwing its results away.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use tokio::signal::unix::{SignalKind, signal};

/// Tells whether the user pressed Ctrl-C; a third time ends the process at once.
#[derive(Debug, Clone, Default)]
pub(super) struct Interrupt(Arc<AtomicU8>);

impl Interrupt {
    /// Begins to listen, on a thread that sleeps otherwise. Without a handler, Ctrl-C kills the process.
    pub(super) fn listen() -> io::Result<Self> {
        let interrupt = Self::default();
        let heard = interrupt.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        thread::Builder::new()
            .name("interrupt".to_owned())
            .spawn(move || runtime.block_on(heard.count()))?;
        Ok(interrupt)
    }

    /// The run must end now.
    pub(super) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// Outstanding answers are not awaited either.
    pub(super) fn is_raised_twice(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 1
    }

    async fn count(self) {
        /// What a shell reports for a process that SIGINT ended.
        const KILLED_BY_INTERRUPT: i32 = 130;
        let Ok(mut signals) = signal(SignalKind::interrupt()) else {
            return;
        };
        while signals.recv().await.is_some() {
            if self.0.fetch_add(1, Ordering::Relaxed) >= 2 {
                std::process::exit(KILLED_BY_INTERRUPT);
            }
        }
    }
}
