//! A job for a task worker of another node, before it is given out.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use moorline_cluster::{CallLoss, OfferError};

use crate::app::node_call::deadline;
use crate::app::{Context, NodeHandle, TaskError};
use crate::asking::{AskedInVain, Reached};
use crate::call_wire::{CallOutcome, task};

/// How long a task of another node is waited for, unless it says otherwise.
const WITHIN: Duration = Duration::from_secs(60);

/// A job for a task worker of another node: see [`NodeHandle::task`]. It starts when it is awaited. A worker of that node gives it to a task
/// worker, and sends the result back.
///
/// Dropping the future discards the result. The task runs to its end if it was sent.
#[must_use = "a task is given out when it is awaited"]
pub struct NodeTask<P> {
    node: NodeHandle,
    payload: P,
    slot: Option<u16>,
    within: Duration,
}

impl<P: AsRef<[u8]>> NodeTask<P> {
    pub(super) fn new(node: NodeHandle, payload: P) -> Self {
        Self {
            node,
            payload,
            slot: None,
            within: WITHIN,
        }
    }

    /// Runs it in the task worker of this slot, from 0.
    pub fn on(mut self, slot: u16) -> Self {
        self.slot = Some(slot);
        self
    }

    /// Limits the wait for room and for the result to this time. Otherwise it is a minute.
    pub fn within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }
}

impl<P: AsRef<[u8]>> IntoFuture for NodeTask<P> {
    type Output = Result<Vec<u8>, TaskError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output>>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self {
            node,
            payload,
            slot,
            within,
        } = self;
        let (flags, framed) = task(slot, within, payload.as_ref());
        let deadline = deadline(within);
        Box::pin(async move {
            match node.reach()? {
                Reached::Own => {
                    let context = Context::new(node.core().clone());
                    let task = context.task(framed[6..].to_vec()).within(within);
                    match slot {
                        Some(slot) => task.on(slot).await,
                        None => task.await,
                    }
                }
                Reached::Other(number) => {
                    let asked = node
                        .core()
                        .ask_afar(number, None, (flags, &framed), deadline);
                    let answer = asked.await?;
                    let outcome = CallOutcome::from_u8(answer.outcome);
                    told(outcome, answer.payload.into())
                }
            }
        })
    }
}

fn told(outcome: CallOutcome, payload: Vec<u8>) -> Result<Vec<u8>, TaskError> {
    Err(match outcome {
        CallOutcome::Done => return Ok(payload),
        CallOutcome::Full => TaskError::Full,
        CallOutcome::NoTaskWorkers => TaskError::NoTaskWorkers,
        CallOutcome::NoSuchTaskWorker => TaskError::NoSuchTaskWorker,
        CallOutcome::GatewayLost => TaskError::GatewayLost,
        CallOutcome::Timeout => TaskError::Timeout,
        CallOutcome::Failed | CallOutcome::NoSuchService => {
            TaskError::Failed(String::from_utf8_lossy(&payload).into_owned())
        }
    })
}

impl From<OfferError> for TaskError {
    fn from(error: OfferError) -> Self {
        match error {
            OfferError::Unreachable => Self::Unreachable,
            OfferError::Gone | OfferError::NoSuchSlot => Self::Gone,
            OfferError::Full => Self::Full,
            OfferError::TooLarge { size, max } => Self::TooLarge {
                size: size as u64,
                max: max as u64,
            },
        }
    }
}

impl From<AskedInVain> for TaskError {
    fn from(error: AskedInVain) -> Self {
        match error {
            AskedInVain::Offer(error) => error.into(),
            AskedInVain::NotServing => Self::NotServing,
            AskedInVain::Loss(CallLoss::Timeout) => Self::Timeout,
            AskedInVain::Loss(CallLoss::NodeLost) => Self::Gone,
            AskedInVain::Loss(CallLoss::ProcessLost) => Self::WorkerLost,
            AskedInVain::Loss(CallLoss::Unreachable) => Self::Unreachable,
        }
    }
}

impl<P> fmt::Debug for NodeTask<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeTask")
            .field("node", &self.node)
            .field("slot", &self.slot)
            .field("within", &self.within)
            .finish_non_exhaustive()
    }
}
