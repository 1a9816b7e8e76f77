//! What other nodes ask of this process, and the way of the answers.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::time::Duration;

use moorline_cluster::{Frame, FrameHeader, OfferError};
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

use crate::Core;
use crate::app::{Context, TaskError};
use crate::call_wire::{CallOutcome, Inquiry};

/// Calls, posts and tasks of other nodes that may be in progress. Those beyond are refused as `Full`.
const MOST_INQUIRIES: usize = 1024;
/// Their bytes.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// How long an answer waits for room on its way to NATS.
const PATIENCE: Duration = Duration::from_secs(5);
const TRIES_AGAIN: Duration = Duration::from_millis(2);

/// Runs the hook for an inquiry.
type Carrier = Box<dyn Fn(Inquiry, Reply)>;

/// What other nodes ask of this process.
#[derive(Default)]
pub(crate) struct Answering {
    /// It is there once hooks may run.
    carrier: OnceCell<Carrier>,
    in_progress: Cell<(usize, usize)>,
}

/// The way back for one answer. If it is dropped unused, the caller is not answered.
pub(crate) struct Reply {
    core: Rc<Core>,
    to: ReplyTo,
    bytes: usize,
}

enum ReplyTo {
    /// A process of another node.
    Afar(FrameHeader),
    /// A caller in this process.
    Here(oneshot::Sender<(CallOutcome, Vec<u8>)>),
}

impl Answering {
    /// Hooks may run from now on.
    pub(crate) fn connect(&self, carrier: impl Fn(Inquiry, Reply) + 'static) {
        // It is connected once.
        let _ = self.carrier.set(Box::new(carrier));
    }

    /// A call of another node has come.
    pub(crate) fn take(core: &Rc<Core>, frame: &Frame) {
        let to = ReplyTo::Afar(frame.header);
        match Inquiry::decode(frame.header.flags, &frame.payload) {
            Some(inquiry) => Self::begin(core, inquiry, to, frame.payload.len()),
            None => ReplyTo::answer(to, core, CallOutcome::NoSuchService, Vec::new()),
        }
    }

    /// Calls a service in this process itself.
    pub(crate) fn take_own(
        core: &Rc<Core>,
        inquiry: Inquiry,
        bytes: usize,
    ) -> oneshot::Receiver<(CallOutcome, Vec<u8>)> {
        let (tell, told) = oneshot::channel();
        Self::begin(core, inquiry, ReplyTo::Here(tell), bytes);
        told
    }

    fn begin(core: &Rc<Core>, inquiry: Inquiry, to: ReplyTo, bytes: usize) {
        let this = &core.answering;
        let (number, all_bytes) = this.in_progress.get();
        let is_full = number >= MOST_INQUIRIES || (number > 0 && all_bytes + bytes > MOST_BYTES);
        let carrier = match this.carrier.get() {
            Some(carrier) if !is_full && core.commitment.is_committed() => carrier,
            _ => return to.answer(core, CallOutcome::Full, Vec::new()),
        };
        this.in_progress.set((number + 1, all_bytes + bytes));
        let core = core.clone();
        carrier(inquiry, Reply { core, to, bytes });
    }
}

impl Reply {
    /// The number of the node that has asked.
    pub(crate) fn node(&self) -> u16 {
        match &self.to {
            ReplyTo::Afar(header) => header.node,
            ReplyTo::Here(_) => self.core.node,
        }
    }

    pub(crate) fn send(mut self, outcome: CallOutcome, payload: Vec<u8>) {
        let (closed, _) = oneshot::channel();
        let to = std::mem::replace(&mut self.to, ReplyTo::Here(closed));
        to.answer(&self.core, outcome, payload);
    }

    /// Gives a task to the task workers of this engine, and answers with its result.
    pub(crate) fn with_task(self, slot: Option<u16>, within: Duration, bytes: &[u8]) {
        let context = Context::new(self.core.clone());
        let mut task = context.task(bytes.to_vec()).within(within);
        if let Some(slot) = slot {
            task = task.on(slot);
        }
        spawn_local(async move {
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
        let in_progress = &self.core.answering.in_progress;
        let (number, bytes) = in_progress.get();
        in_progress.set((number - 1, bytes - self.bytes));
    }
}

impl ReplyTo {
    fn answer(self, core: &Rc<Core>, outcome: CallOutcome, payload: Vec<u8>) {
        match self {
            Self::Here(tell) => {
                // The caller may have gone.
                let _ = tell.send((outcome, payload));
            }
            Self::Afar(header) => {
                let mut answer = Answer {
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
}

/// An answer to another node.
struct Answer {
    header: FrameHeader,
    outcome: CallOutcome,
    payload: Vec<u8>,
}

impl Answer {
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
                let reason = format!("its result of {size} bytes is over the limit of {max}");
                (self.outcome, self.payload) = (CallOutcome::Failed, reason.into_bytes());
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
