//! Whether the files that processes pass are taken: not while the gateway hands everything over.

use std::sync::Arc;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// The gate that all files pass.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileGate(Arc<RwLock<()>>);

impl FileGate {
    /// Waits until files are taken. They are as long as this is kept.
    pub(crate) async fn pass(&self) -> OwnedRwLockReadGuard<()> {
        self.0.clone().read_owned().await
    }

    /// Waits until none is being taken. None is as long as this is kept.
    pub(crate) async fn close(&self) -> OwnedRwLockWriteGuard<()> {
        self.0.clone().write_owned().await
    }
}
