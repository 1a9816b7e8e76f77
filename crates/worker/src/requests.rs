//! What the app asks the supervisor for, and has no answer to yet.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::sync::{Semaphore, mpsc, watch};
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
    status: RefCell<Status>,
    /// Until the process listens to its supervisor.
    asks: RefCell<Option<Asks>>,
}

/// What is known of the state of the engine.
#[derive(Default)]
struct Status {
    /// The number of the request for it that is not answered. There is one at most.
    asked: Option<u64>,
    /// The state, and since when.
    last: Option<(Instant, String)>,
}

struct OpenRequest {
    answer: watch::Sender<StatusAnswer>,
    partial: String,
    /// What returns with the answer.
    credit: usize,
}

/// Nothing until it has come.
type StatusAnswer = Option<Result<String, ControlError>>;

impl Default for Requests {
    fn default() -> Self {
        let (queue, asks) = mpsc::channel(APP_REQUESTS);
        Self {
            last: Cell::new(0),
            // The request for the state has a place of its own.
            credit: Semaphore::new(APP_REQUESTS - 1),
            open: RefCell::default(),
            queue,
            status: RefCell::default(),
            asks: RefCell::new(Some(asks)),
        }
    }
}

impl Requests {
    /// The requests, for the one who sends them to the supervisor.
    pub(super) fn asks(&self) -> Option<Asks> {
        self.asks.take()
    }

    /// The state of the engine, as it was at most a moment ago. Those who ask at the same time get the same, and none waits
    /// for the others to be polled. Cancel-safe.
    pub(crate) async fn status(&self) -> Result<String, ControlError> {
        if let Some((at, text)) = &self.status.borrow().last
            && at.elapsed() < STATUS_PERIOD
        {
            return Ok(text.clone());
        }
        let answered = match self.status_under_way() {
            Some(answered) => answered,
            None => {
                let (number, answered) = self.send(AppRequest::Status, 0)?;
                self.status.borrow_mut().asked = Some(number);
                answered
            }
        };
        answer(answered).await
    }

    fn status_under_way(&self) -> Option<watch::Receiver<StatusAnswer>> {
        let number = self.status.borrow().asked?;
        let open = self.open.borrow();
        open.get(&number).map(|request| request.answer.subscribe())
    }

    /// Asks for something and waits for the answer. Dropping the future discards the answer.
    pub(crate) async fn ask(&self, request: AppRequest) -> Result<String, ControlError> {
        // The semaphore is never closed.
        let Ok(credit) = self.credit.acquire().await else {
            return Err(ControlError::SupervisorLost);
        };
        let (_, answered) = self.send(request, 1)?;
        // It returns with the answer, even if nobody waits for that any more.
        credit.forget();
        answer(answered).await
    }

    /// Sends a request that has credit or needs none. Returns its number and where the answer will be.
    fn send(
        &self,
        request: AppRequest,
        credit: usize,
    ) -> Result<(u64, watch::Receiver<StatusAnswer>), ControlError> {
        if self.asks.borrow().is_some() {
            return Err(ControlError::Refused("there is no supervisor".to_owned()));
        }
        let number = self.last.get() + 1;
        self.last.set(number);
        // There is room for all requests that may be under way.
        if self.queue.try_send((number, request)).is_err() {
            return Err(ControlError::SupervisorLost);
        }
        let (answer, answered) = watch::channel(None);
        let request = OpenRequest {
            answer,
            partial: String::new(),
            credit,
        };
        self.open.borrow_mut().insert(number, request);
        Ok((number, answered))
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
        let Some(request) = open.remove(&number) else {
            return;
        };
        self.credit.add_permits(request.credit);
        let mut status = self.status.borrow_mut();
        if status.asked == Some(number) {
            status.asked = None;
            if refused.is_none() {
                status.last = Some((Instant::now(), request.partial.clone()));
            }
        }
        request.answer.send_replace(Some(match refused {
            None => Ok(request.partial),
            Some(reason) => Err(ControlError::Refused(reason)),
        }));
    }

    /// The supervisor is gone, and answers nothing.
    pub(super) fn supervisor_lost(&self) {
        let lost = std::mem::take(&mut *self.open.borrow_mut());
        let credit = lost.values().map(|request| request.credit).sum();
        self.credit.add_permits(credit);
        self.status.borrow_mut().asked = None;
    }
}

async fn answer(mut answered: watch::Receiver<StatusAnswer>) -> Result<String, ControlError> {
    let answer = answered.wait_for(Option::is_some).await;
    let answer = answer.ok().and_then(|answer| answer.clone());
    answer.unwrap_or(Err(ControlError::SupervisorLost))
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn a_request_for_the_state_that_is_not_polled_delays_no_other() {
        let requests = Requests::default();
        let mut asks = requests.asks().expect("not taken before");
        let mut cx = Context::from_waker(Waker::noop());
        let (mut held, mut other) = (pin!(requests.status()), pin!(requests.status()));
        assert!(held.as_mut().poll(&mut cx).is_pending());
        assert!(other.as_mut().poll(&mut cx).is_pending());
        let (number, _) = asks.try_recv().expect("a request");
        requests.answered(number, Ok("well".to_owned()), true);
        let well = Poll::Ready(Ok("well".to_owned()));
        assert_eq!(other.as_mut().poll(&mut cx), well);
        // It was asked for once, and is kept for a moment.
        assert_eq!(pin!(requests.status()).poll(&mut cx), well);
        assert_eq!(held.as_mut().poll(&mut cx), well);
        assert!(asks.try_recv().is_err());
    }

    #[test]
    fn a_request_for_the_state_ends_with_the_supervisor() {
        let requests = Requests::default();
        let _asks = requests.asks().expect("not taken before");
        let mut cx = Context::from_waker(Waker::noop());
        let mut asked = pin!(requests.status());
        assert!(asked.as_mut().poll(&mut cx).is_pending());
        requests.supervisor_lost();
        let lost = Poll::Ready(Err(ControlError::SupervisorLost));
        assert_eq!(asked.as_mut().poll(&mut cx), lost);
    }
}
