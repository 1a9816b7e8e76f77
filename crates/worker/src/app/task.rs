//! A job for a task worker, before it is given out.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::app::TaskError;
use crate::{Core, TaskOrder};

/// A job for a task worker: see [`Context::task`](crate::app::Context::task).
///
/// It starts when it is awaited or detached. If 64 tasks of this process are unfinished it waits until one has ended, in the
/// order of the waits; one of [`Context::try_task`](crate::app::Context::try_task) is refused with [`TaskError::Full`] then.
///
/// Dropping the future that waits for room gives out nothing. Dropping the future that waits for its result discards the result;
/// the task runs to its end.
///
/// ```no_run
/// use std::time::Duration;
///
/// use moorline_worker::app::{Context, Result};
///
/// async fn thumbnail(context: &Context, picture: &[u8]) -> Result<Vec<u8>> {
///     Ok(context.task(picture).within(Duration::from_secs(30)).await?)
/// }
/// ```
#[must_use = "a task is given out when it is awaited or detached"]
pub struct Task<P> {
    core: Rc<Core>,
    payload: P,
    slot: Option<u16>,
    deadline: Option<Instant>,
    full: WhenFull,
}

/// What a task does while there is no room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenFull {
    Wait,
    Refuse,
}

impl<P: AsRef<[u8]>> Task<P> {
    pub(crate) fn new(core: Rc<Core>, payload: P, full: WhenFull) -> Self {
        Self {
            core,
            payload,
            slot: None,
            deadline: None,
            full,
        }
    }

    /// Runs it in the task worker of this slot, from 0. While that one is replaced the task waits for its successor, up to
    /// `start_timeout`. After that any task worker may run it.
    pub fn on(mut self, slot: u16) -> Self {
        self.slot = Some(slot);
        self
    }

    /// Limits the wait for room and for the result to this time, from now on.
    pub fn within(self, time: Duration) -> Self {
        let deadline = Instant::now().checked_add(time);
        self.until(deadline)
    }

    /// Limits the wait as [`within`](Self::within) does.
    pub(crate) fn until(mut self, deadline: Option<Instant>) -> Self {
        self.deadline = deadline;
        self
    }

    /// Starts the task without waiting for the result. Its failure is logged by the task worker. Cancel-safe: a future dropped
    /// before its end has started nothing.
    ///
    /// # Errors
    /// It could not be started; [`TaskError::NotServing`] if it would wait while `start` runs, also in a task that `start` has
    /// spawned.
    pub async fn detach(self) -> Result<(), TaskError> {
        let order = || self.order(None);
        match self.core.try_task(order()) {
            Err(TaskError::Full) if self.full == WhenFull::Wait => {
                in_time(self.deadline, self.core.task(order())).await
            }
            begun => begun,
        }
    }

    /// Starts the task without waiting for anything.
    ///
    /// # Errors
    /// It could not be started; [`TaskError::Full`] if there is no room now.
    pub fn try_detach(self) -> Result<(), TaskError> {
        self.core.try_task(self.order(None))
    }

    fn order(&self, answer: Option<oneshot::Sender<Result<Vec<u8>, TaskError>>>) -> TaskOrder<'_> {
        TaskOrder {
            bytes: self.payload.as_ref(),
            slot: self.slot,
            answer,
        }
    }
}

impl<P: AsRef<[u8]>> IntoFuture for Task<P> {
    type Output = Result<Vec<u8>, TaskError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output>>>;

    fn into_future(self) -> Self::IntoFuture {
        let (answer, result) = oneshot::channel();
        let begun = self.core.try_task(self.order(Some(answer)));
        let deadline = self.deadline;
        if begun != Err(TaskError::Full) || self.full == WhenFull::Refuse {
            return Box::pin(async move {
                begun?;
                in_time(deadline, received(result)).await
            });
        }
        let (core, slot, payload) = (self.core, self.slot, self.payload.as_ref().to_vec());
        Box::pin(in_time(deadline, async move {
            let (answer, result) = oneshot::channel();
            let order = TaskOrder {
                bytes: &payload,
                slot,
                answer: Some(answer),
            };
            core.task(order).await?;
            drop(payload);
            received(result).await
        }))
    }
}

async fn received(
    result: oneshot::Receiver<Result<Vec<u8>, TaskError>>,
) -> Result<Vec<u8>, TaskError> {
    result.await.unwrap_or(Err(TaskError::GatewayLost))
}

async fn in_time<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<T, TaskError>>,
) -> Result<T, TaskError> {
    match deadline {
        Some(deadline) => timeout_at(deadline, work)
            .await
            .unwrap_or(Err(TaskError::Timeout)),
        None => work.await,
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
