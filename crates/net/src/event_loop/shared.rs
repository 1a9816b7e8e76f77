//! The state that a loop's thread and its handles share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::load::LoadMeter;
use super::task::Job;

/// The state that the loop's thread, its handles and the watchdog share.
pub(super) struct LoopShared {
    pub(super) name: Arc<str>,
    pub(super) stall_after: Option<Duration>,
    pub(super) thread: rustix::thread::Pid,
    pub(super) handle: Handle,
    /// For [`EventLoop::current`](super::EventLoop::current).
    pub(super) owner: Mutex<Weak<Owner>>,
    pub(super) posted: Mutex<VecDeque<Box<dyn Job>>>,
    /// Something is posted, or the watchdog asks.
    pub(super) wake: Notify,
    pub(super) is_stopped: AtomicBool,
    pub(super) has_ended: Mutex<bool>,
    pub(super) ended: Condvar,
    pub(super) load: Arc<LoadMeter>,
    /// The watchdog's question, and the last one that the loop has answered.
    pub(super) asked: AtomicU64,
    pub(super) answered: AtomicU64,
    pub(super) stalls: AtomicU64,
}

/// Ends the loop with the last handle.
pub(super) struct Owner(pub(super) Arc<LoopShared>);
