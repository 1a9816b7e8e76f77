//! Questions to the gateway that have no answer yet.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use moorline_ipc::Header;
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use super::commitment::Commitment;
use super::outbox::{Outbox, Room};
use crate::app::AskError;
use crate::wire::{Answer, FromProcess, Question};

/// Questions that may be unanswered: an answer's bytes wait in the gateway if the ring is full.
const QUESTIONS: usize = 1024;

/// The questions that are not answered.
#[derive(Default)]
pub(crate) struct Questions {
    next: Cell<u64>,
    open: RefCell<FxHashMap<u64, oneshot::Sender<Answer>>>,
}

impl Questions {
    /// Asks a loop something.
    pub(super) fn ask(
        &self,
        outbox: &Outbox,
        commitment: &Commitment,
        link: usize,
        question: &Question,
    ) -> Result<Asked, AskError> {
        if link >= outbox.links() {
            return Err(AskError::NoSuchSession);
        }
        if commitment.is_deadlocked() {
            return Err(AskError::NotServing);
        }
        if self.open.borrow().len() >= QUESTIONS {
            return Err(AskError::Full);
        }
        let number = self.next.get() + 1;
        self.next.set(number);
        let header = Header {
            kind: FromProcess::Ask as u8,
            session: number,
            ..Header::default()
        };
        // Plain values only: there is nothing in it that could fail to be written.
        let bytes = postcard::to_stdvec(question).unwrap_or_default();
        outbox
            .record(link, header, &[&bytes], Room::Bounded)
            .map_err(|_| AskError::Full)?;
        let (asker, answer) = oneshot::channel();
        self.open.borrow_mut().insert(number, asker);
        Ok(Asked(answer))
    }

    /// An answer is here. False if nothing of this number was asked.
    pub(super) fn answered(&self, number: u64, answer: Answer) -> bool {
        let Some(asker) = self.open.borrow_mut().remove(&number) else {
            return false;
        };
        // The caller may have gone.
        let _ = asker.send(answer);
        true
    }

    /// The gateway has died and will not answer.
    pub(super) fn gateway_lost(&self) {
        self.open.borrow_mut().clear();
    }
}

/// The answer to a question, once it is here.
pub(crate) struct Asked(oneshot::Receiver<Answer>);

impl Future for Asked {
    type Output = Result<Answer, AskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(answer.map_err(|_| AskError::GatewayLost))
    }
}
