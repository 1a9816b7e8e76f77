//! The state that a listener and its sessions share.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio::sync::{Semaphore, watch};

/// The state that the listener and its sessions share.
#[derive(Debug)]
pub(super) struct ListenerShared {
    pub(super) sessions: AtomicUsize,
    pub(super) places: Arc<Semaphore>,
    pub(super) max_sessions: u32,
    /// Whether everything must end.
    pub(super) ending: watch::Sender<bool>,
}
