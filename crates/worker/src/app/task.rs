//! A job for a task worker, before it is given out.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::Core;
use crate::app::TaskError;

/// A job for a task worker: see [`Context::task`](crate::app::Context::task).
///
/// It starts when it is awaited or detached. Dropping the future that waits for its result discards the result; the task
/// runs to its end.
#[must_use = "a task is given out when it is awaited or detached"]
pub struct Task<P> {
    core: Rc<Core>,
    payload: P,
    slot: Option<u16>,
    deadline: Option<Instant>,
}

impl<P: AsRef<[u8]>> Task<P> {
    pub(crate) fn new(core: Rc<Core>, payload: P) -> Self {
        Self {
            core,
            payload,
            slot: None,
            deadline: None,
        }
    }

    /// Runs it in the task worker of this slot, from 0. While that one is replaced the task waits for its successor, up to
    /// `start_timeout`. After that any task worker may run it.
    pub fn on(mut self, slot: u16) -> Self {
        self.slot = Some(slot);
        self
    }

    /// Limits the wait for the result to this time, from now on.
    pub fn within(mut self, time: Duration) -> Self {
        self.deadline = Instant::now().checked_add(time);
        self
    }

    /// Starts the task without waiting for the result. Its failure is logged by the task worker.
    ///
    /// # Errors
    /// It could not be started.
    pub fn detach(self) -> Result<(), TaskError> {
        self.core.begin_task(self.payload.as_ref(), self.slot, None)
    }
}

impl<P: AsRef<[u8]>> IntoFuture for Task<P> {
    type Output = Result<Vec<u8>, TaskError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output>>>;

    fn into_future(self) -> Self::IntoFuture {
        let (answer, result) = oneshot::channel();
        let begun = self
            .core
            .begin_task(self.payload.as_ref(), self.slot, Some(answer));
        let deadline = self.deadline;
        Box::pin(async move {
            begun?;
            let result = match deadline {
                Some(deadline) => match timeout_at(deadline, result).await {
                    Ok(result) => result,
                    Err(_) => return Err(TaskError::Timeout),
                },
                None => result.await,
            };
            result.unwrap_or(Err(TaskError::GatewayLost))
        })
    }
}

impl<P> fmt::Debug for Task<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("slot", &self.slot)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
