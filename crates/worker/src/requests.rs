//! What the app asks the supervisor for, and has no answer to yet.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::app::ControlError;
use crate::control::{APP_REQUESTS, AppRequest};

/// Requests on their way to the supervisor, by their numbers.
pub(crate) type Asks = mpsc::Receiver<(u64, AppRequest)>;

/// The app gets the same state for this time: the supervisor has others to answer.
const STATUS_PERIOD: Duration = Duration::from_millis(100);

/// The requests that are not answered.
pub(crate) struct Requests {
    last: Cell<u64>,
    credit: Semaphore,
    open: RefCell<FxHashMap<u64, OpenRequest>>,
    queue: mpsc::Sender<(u64, AppRequest)>,
    /// The state of the engine, and since when.
    status: Mutex<Option<(Instant, String)>>,
    /// Until the process listens to its supervisor.
    asks: RefCell<Option<Asks>>,
}

struct OpenRequest {
    answer: oneshot::Sender<Result<String, ControlError>>,
    partial: String,
}

impl Default for Requests {
    fn default() -> Self {
        let (queue, asks) = mpsc::channel(APP_REQUESTS);
        Self {
            last: Cell::new(0),
            credit: Semaphore::new(APP_REQUESTS),
            open: RefCell::default(),
            queue,
            status: Mutex::default(),
            asks: RefCell::new(Some(asks)),
        }
    }
}

impl Requests {
    /// The requests, for the one who sends them to the supervisor.
    pub(super) fn asks(&self) -> Option<Asks> {
        self.asks.take()
    }

    /// The state of the engine, as it was at most a moment ago. Those who ask at the same time get the same. Cancel-safe.
    pub(crate) async fn status(&self) -> Result<String, ControlError> {
        let mut status = self.status.lock().await;
        if let Some((at, text)) = &*status
            && at.elapsed() < STATUS_PERIOD
        {
            return Ok(text.clone());
        }
        let text = self.ask(AppRequest::Status).await?;
        *status = Some((Instant::now(), text.clone()));
        Ok(text)
    }

    /// Asks for something and waits for the answer. Dropping the future discards the answer.
    pub(crate) async fn ask(&self, request: AppRequest) -> Result<String, ControlError> {
        if self.asks.borrow().is_some() {
            return Err(ControlError::Refused("there is no supervisor".to_owned()));
        }
        // The semaphore is never closed.
        let Ok(credit) = self.credit.acquire().await else {
            return Err(ControlError::SupervisorLost);
        };
        let number = self.last.get() + 1;
        self.last.set(number);
        // There is room: each request in the queue has credit.
        if self.queue.try_send((number, request)).is_err() {
            return Err(ControlError::SupervisorLost);
        }
        // It returns with the answer, even if nobody waits for that any more.
        credit.forget();
        let (answer, answered) = oneshot::channel();
        let partial = String::new();
        self.open
            .borrow_mut()
            .insert(number, OpenRequest { answer, partial });
        answered.await.unwrap_or(Err(ControlError::SupervisorLost))
    }

    /// A part of an answer has come.
    pub(super) fn answered(&self, number: u64, part: Result<String, String>, is_last: bool) {
        let mut open = self.open.borrow_mut();
        let Some(request) = open.get_mut(&number) else {
            return;
        };
        let refused = match part {
            Ok(part) => {
                request.partial.push_str(&part);
                None
            }
            Err(reason) => Some(reason),
        };
        if !is_last && refused.is_none() {
            return;
        }
        self.credit.add_permits(1);
        if let Some(OpenRequest { answer, partial }) = open.remove(&number) {
            // The caller may have gone.
            let _ = answer.send(match refused {
                None => Ok(partial),
                Some(reason) => Err(ControlError::Refused(reason)),
            });
        }
    }

    /// The supervisor is gone, and answers nothing.
    pub(super) fn supervisor_lost(&self) {
        let lost = std::mem::take(&mut *self.open.borrow_mut());
        self.credit.add_permits(lost.len());
    }
}
