//! Work posted to a loop: what its poster holds, and what the loop runs.

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use tokio::sync::oneshot;
use tokio::task::{AbortHandle, spawn_local};

use super::lock::lock;

/// Work that was posted to a loop. As a future: its result.
///
/// Dropping it does not stop the work.
#[derive(Debug)]
pub struct Task<T> {
    phase: Arc<Mutex<TaskPhase>>,
    result: oneshot::Receiver<Result<T, TaskError>>,
}

/// Why work has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskError {
    /// It was cancelled.
    Cancelled,
    /// It panicked, with these words. They have been logged.
    Panicked(String),
    /// The loop has ended.
    Stopped,
    /// [`MAX_POSTED`](super::MAX_POSTED) pieces of work wait to be started already.
    Full,
}

#[derive(Debug)]
enum TaskPhase {
    /// It has not been started, or is on its way to its first wait.
    Posted,
    /// It waits for something.
    Spawned(AbortHandle),
    Cancelled,
    Ended,
}

impl<T> Task<T> {
    /// Cancels it: none of it runs after this returns. A call from another thread does not wait for a poll that is
    /// running. Its future is dropped on its loop. Does nothing if it has ended.
    pub fn cancel(&self) {
        let mut phase = lock(&self.phase);
        match &*phase {
            TaskPhase::Ended => return,
            TaskPhase::Spawned(spawned) => spawned.abort(),
            TaskPhase::Posted | TaskPhase::Cancelled => {}
        }
        *phase = TaskPhase::Cancelled;
    }

    /// Whether it has ended, was cancelled or never will run.
    pub fn is_finished(&self) -> bool {
        matches!(*lock(&self.phase), TaskPhase::Cancelled | TaskPhase::Ended)
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.result).poll(context).map(|result| {
            result.unwrap_or_else(|_| {
                Err(match *lock(&self.phase) {
                    TaskPhase::Cancelled => TaskError::Cancelled,
                    _ => TaskError::Stopped,
                })
            })
        })
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("cancelled"),
            Self::Panicked(words) => write!(f, "it panicked: {words}"),
            Self::Stopped => f.write_str("the event loop has ended"),
            Self::Full => f.write_str("too much work waits for the event loop"),
        }
    }
}

impl std::error::Error for TaskError {}

/// Work that waits to be started. Dropped, it never will be.
pub(super) trait Job: Send {
    /// Begins it on the loop of this name, up to its first wait.
    fn start(self: Box<Self>, event_loop: &Arc<str>);
    /// Drops it and says why.
    fn refuse(self: Box<Self>, why: TaskError);
}

/// A job and its poster's end.
pub(super) fn new<F, Fut>(make: F) -> (Box<dyn Job>, Task<Fut::Output>)
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future + 'static,
    Fut::Output: Send + 'static,
{
    let phase = Arc::new(Mutex::new(TaskPhase::Posted));
    let (tell, result) = oneshot::channel();
    let report = TaskReport {
        phase: phase.clone(),
        tell: Some(tell),
    };
    (Box::new(Posted { make, report }), Task { phase, result })
}

struct Posted<F, T> {
    make: F,
    report: TaskReport<T>,
}

impl<F, Fut> Job for Posted<F, Fut::Output>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future + 'static,
    Fut::Output: Send + 'static,
{
    fn start(self: Box<Self>, event_loop: &Arc<str>) {
        let Self { make, report } = *self;
        if matches!(*lock(&report.phase), TaskPhase::Cancelled) {
            return contained(event_loop, || drop(make)).unwrap_or(());
        }
        // Most work ends without waiting, and is no task then. A future that waits is polled again as a task,
        // which is what it asks to be woken as.
        let first = contained(event_loop, || {
            let mut future = Box::pin(make());
            match future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
            {
                Poll::Ready(value) => Ok(value),
                Poll::Pending => Err(future),
            }
        });
        let future = match first {
            Ok(Err(future)) => future,
            // The value may be unwanted, and dropping it runs the poster's code, too.
            Ok(Ok(value)) => return contained(event_loop, || report.end(Ok(value))).unwrap_or(()),
            Err(panicked) => return report.end(Err(panicked)),
        };
        let phase = report.phase.clone();
        let spawned = spawn_local(run(future, event_loop.clone(), report)).abort_handle();
        let mut phase = lock(&phase);
        match *phase {
            TaskPhase::Posted => *phase = TaskPhase::Spawned(spawned),
            TaskPhase::Cancelled => spawned.abort(),
            TaskPhase::Spawned(_) | TaskPhase::Ended => {}
        }
    }

    fn refuse(self: Box<Self>, why: TaskError) {
        self.report.end(Err(why));
    }
}

async fn run<Fut: Future>(
    mut future: Pin<Box<Fut>>,
    event_loop: Arc<str>,
    report: TaskReport<Fut::Output>,
) {
    let ended = poll_fn(
        |context| match contained(&event_loop, || future.as_mut().poll(context)) {
            Ok(polled) => polled.map(Ok),
            Err(panicked) => Poll::Ready(Err(panicked)),
        },
    );
    let ended = ended.await;
    report.end(ended);
}

/// The way back to the poster. Dropped, it says that the work has ended without a result.
struct TaskReport<T> {
    phase: Arc<Mutex<TaskPhase>>,
    tell: Option<oneshot::Sender<Result<T, TaskError>>>,
}

impl<T> TaskReport<T> {
    fn end(mut self, result: Result<T, TaskError>) {
        if let (true, Some(tell)) = (self.close(), self.tell.take()) {
            // The poster may have gone.
            let _ = tell.send(result);
        }
    }

    /// Whether it was not cancelled.
    fn close(&self) -> bool {
        let mut phase = lock(&self.phase);
        let is_cancelled = matches!(*phase, TaskPhase::Cancelled);
        if !is_cancelled {
            *phase = TaskPhase::Ended;
        }
        !is_cancelled
    }
}

impl<T> Drop for TaskReport<T> {
    fn drop(&mut self) {
        self.close();
    }
}

/// Runs it; a panic is logged and harms nothing else.
pub(crate) fn contained<T>(event_loop: &str, run: impl FnOnce() -> T) -> Result<T, TaskError> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let words = panic_words(&*panic);
        tracing::error!(%event_loop, panic = %words, "a task on an event loop panicked");
        TaskError::Panicked(words)
    })
}

fn panic_words(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(words), _) => (*words).to_owned(),
        (_, Some(words)) => words.clone(),
        _ => "without words".to_owned(),
    }
}
