//! A place in a pool's queue.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::core::Ticket;
use super::error::PoolError;
use super::keep::Keep;
use super::key::PoolKey;
use super::lent::{Home, Kept, Permit};
#[cfg(feature = "blocking")]
use crate::park::wait_for;

/// A pool, as its waiting callers know it.
pub(super) trait WaiterQueue<C: Keep>: Home<C> {
    /// A waiter goes away.
    fn leave(&self, key: &PoolKey, ticket: Ticket);

    /// A waiter was handed nothing.
    fn time_out(&self, key: &PoolKey) -> PoolError;
}

/// When somebody is served.
pub(crate) enum Turn<C: Keep> {
    Now(Handed<C>),
    Later(Waiting<C>),
}

/// A permit, and the connection in it if there is one.
pub(crate) struct Handed<C: Keep> {
    pub(super) permit: Permit<C>,
    pub(super) kept: Option<Kept<C>>,
}

/// A waiting caller.
pub(super) struct Waiter<C: Keep> {
    pub(super) key: PoolKey,
    pub(super) handed: oneshot::Sender<Handed<C>>,
}

/// A place in the queue. Dropping it leaves the queue.
pub(crate) struct Waiting<C: Keep> {
    pub(super) shared: Arc<dyn WaiterQueue<C>>,
    pub(super) key: PoolKey,
    pub(super) ticket: Ticket,
    pub(super) receiver: oneshot::Receiver<Handed<C>>,
}

impl<C: Keep> Handed<C> {
    pub(super) fn into_parts(self) -> (PoolKey, Option<Kept<C>>) {
        (self.permit.into_key(), self.kept)
    }
}

impl<C: Keep> Waiting<C> {
    /// The connection that is handed over, within the pool's waiting time.
    pub(crate) async fn handed(mut self) -> Result<Handed<C>, PoolError> {
        let waited = self.shared.options().max_wait;
        let handed = tokio::time::timeout(waited, &mut self.receiver).await;
        self.outcome(handed.ok())
    }

    /// The same; blocks.
    #[cfg(feature = "blocking")]
    pub(crate) fn handed_blocking(mut self) -> Result<Handed<C>, PoolError> {
        let waited = self.shared.options().max_wait;
        let handed = wait_for(&mut self.receiver, waited);
        self.outcome(handed)
    }

    fn outcome(
        &self,
        handed: Option<Result<Handed<C>, oneshot::error::RecvError>>,
    ) -> Result<Handed<C>, PoolError> {
        match handed {
            Some(Ok(handed)) => Ok(handed),
            // The queue holds the sender until it is used; its end without a value means that the wait failed, too.
            Some(Err(_)) | None => Err(self.shared.time_out(&self.key)),
        }
    }
}

impl<C: Keep> Drop for Waiting<C> {
    fn drop(&mut self) {
        self.shared.leave(&self.key, self.ticket);
        // A connection that was handed over at this very moment is not lost.
        self.receiver.close();
        if let Ok(handed) = self.receiver.try_recv() {
            let (key, kept) = handed.into_parts();
            self.shared.give_back(key, kept);
        }
    }
}
