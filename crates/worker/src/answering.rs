//! What other nodes ask of this process, and the way of the answers.

use std::rc::Rc;
use std::time::Duration;

use moorline_cluster::{Frame, FrameHeader, OfferError};
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

use crate::Core;
use crate::app::{Context, TaskError};
use crate::call_wire::{CallOutcome, Inquiry};
use crate::calls_in_hand::ReplyTo;

/// How long an answer waits for room on its way to NATS.
const PATIENCE: Duration = Duration::from_secs(5);
/// Why an answer was too large takes no more bytes than this.
const LONGEST_REASON: usize = 128;
const TRIES_AGAIN: Duration = Duration::from_millis(2);

/// The way back for one answer. If it is dropped unused, the caller is not answered.
pub(crate) struct Reply {
    core: Rc<Core>,
    /// `None` once it is used.
    to: Option<ReplyTo>,
    bytes: usize,
}

/// A call of another node has come.
pub(crate) fn take(core: &Rc<Core>, frame: &Frame) {
    let to = ReplyTo::Afar(frame.header);
    match Inquiry::decode(frame.header.flags, &frame.payload) {
        Some(inquiry) => begin(core, inquiry, to, frame.payload.len()),
        None => answer(core, to, CallOutcome::NoSuchService, Vec::new()),
    }
}

/// Calls a service in this process itself.
pub(crate) fn take_own(
    core: &Rc<Core>,
    inquiry: Inquiry,
    bytes: usize,
) -> oneshot::Receiver<(CallOutcome, Vec<u8>)> {
    let (tell, told) = oneshot::channel();
    begin(core, inquiry, ReplyTo::Here(tell), bytes);
    told
}

fn begin(core: &Rc<Core>, inquiry: Inquiry, to: ReplyTo, bytes: usize) {
    let refused = match core.commitment.is_committed() {
        true => core.calls_in_hand.begin(inquiry, to, bytes),
        false => Some(to),
    };
    if let Some(to) = refused {
        answer(core, to, CallOutcome::Full, Vec::new());
    }
}

impl Reply {
    pub(crate) fn new(core: Rc<Core>, to: ReplyTo, bytes: usize) -> Self {
        Self {
            core,
            to: Some(to),
            bytes,
        }
    }

    /// The number of the node that has asked.
    pub(crate) fn node(&self) -> u16 {
        match &self.to {
            Some(ReplyTo::Afar(header)) => header.node,
            _ => self.core.node,
        }
    }

    pub(crate) fn send(mut self, outcome: CallOutcome, payload: Vec<u8>) {
        if let Some(to) = self.to.take() {
            answer(&self.core, to, outcome, payload);
        }
    }

    /// Gives a task to the task workers of this engine, and answers with its result.
    pub(crate) fn with_task(self, slot: Option<u16>, within: Duration, bytes: &[u8]) {
        let context = Context::new(self.core.clone());
        let mut task = context.task(bytes.to_vec()).within(within);
        if let Some(slot) = slot {
            task = task.on(slot);
        }
        // A stop waits for the result.
        let pending = self.core.counters.pending_timer();
        spawn_local(async move {
            let _pending = pending;
            match task.await {
                Ok(result) => self.send(CallOutcome::Done, result),
                Err(error) => {
                    let outcome = outcome_of(&error);
                    let reason = match error {
                        TaskError::Failed(reason) => reason,
                        error => error.to_string(),
                    };
                    self.send(outcome, reason.into_bytes());
                }
            }
        });
    }
}

fn outcome_of(error: &TaskError) -> CallOutcome {
    match error {
        TaskError::Full => CallOutcome::Full,
        TaskError::NoTaskWorkers => CallOutcome::NoTaskWorkers,
        TaskError::NoSuchTaskWorker => CallOutcome::NoSuchTaskWorker,
        TaskError::GatewayLost => CallOutcome::GatewayLost,
        TaskError::Timeout => CallOutcome::Timeout,
        _ => CallOutcome::Failed,
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.core.calls_in_hand.end(self.bytes);
    }
}

fn answer(core: &Rc<Core>, to: ReplyTo, outcome: CallOutcome, payload: Vec<u8>) {
    match to {
        ReplyTo::Here(tell) => {
            // The caller may have gone.
            let _ = tell.send((outcome, payload));
        }
        ReplyTo::Afar(header) => {
            let mut answer = AnswerAfar {
                header,
                outcome,
                payload,
            };
            if !answer.goes(core) {
                spawn_local(answer.go_later(core.clone()));
            }
        }
    }
}

/// An answer to another node.
struct AnswerAfar {
    header: FrameHeader,
    outcome: CallOutcome,
    payload: Vec<u8>,
}

impl AnswerAfar {
    /// Sends it, if there is room. True: it is done with.
    fn goes(&mut self, core: &Core) -> bool {
        let Some(neighbours) = core.neighbours.get() else {
            return true;
        };
        let link = neighbours.link();
        let outcome = self.outcome as u8;
        match link.answer_call(&self.header, outcome, &self.payload) {
            Err(OfferError::Full) => false,
            Err(OfferError::TooLarge { size, max }) => {
                let reason = match self.payload.len() {
                    // NATS takes next to nothing: there is no answer.
                    0 => return true,
                    // It was the reason, which is too large as well.
                    1..=LONGEST_REASON => Vec::new(),
                    _ => format!("its result of {size} bytes is over the limit of {max}").into(),
                };
                (self.outcome, self.payload) = (CallOutcome::Failed, reason);
                self.goes(core)
            }
            // Without NATS there is no way to the caller, who knows that.
            _ => true,
        }
    }

    async fn go_later(mut self, core: Rc<Core>) {
        // A stop waits for it.
        let _pending = core.counters.pending_timer();
        let until = Instant::now() + PATIENCE;
        while !self.goes(&core) && Instant::now() < until {
            sleep(TRIES_AGAIN).await;
        }
    }
}
