//! A call to a service of a node, before it is made.

use std::error::Error;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use moorline_cluster::{CallLoss, OfferError};
use tokio::time::{Instant, timeout_at};

use crate::answering;
use crate::app::NodeHandle;
use crate::app::error::NOT_SERVING;
use crate::asking::{AskedInVain, Reached};
use crate::call_wire::{CallOutcome, Inquiry, LONGEST_NAME, service_call};

/// How long a call waits, unless it says otherwise.
const WITHIN: Duration = Duration::from_secs(10);

/// A call to a service of a node: see [`NodeHandle::call`]. It starts when it is awaited, and always ends: with the answer or with an
/// error, at its time limit at the latest.
///
/// Dropping the future discards the answer. The call is carried out all the same if it was sent.
#[must_use = "a call is made when it is awaited"]
pub struct NodeCall<P> {
    node: NodeHandle,
    service: String,
    payload: P,
    slot: Option<u16>,
    within: Duration,
}

impl<P: AsRef<[u8]>> NodeCall<P> {
    pub(super) fn new(node: NodeHandle, service: String, payload: P) -> Self {
        Self {
            node,
            service,
            payload,
            slot: None,
            within: WITHIN,
        }
    }

    /// Calls the worker in this slot, from 0. Otherwise the workers of the node have their turns.
    pub fn on(mut self, slot: u16) -> Self {
        self.slot = Some(slot);
        self
    }

    /// Limits the wait for room and for the answer to this time. Otherwise it is ten seconds.
    pub fn within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }
}

impl<P: AsRef<[u8]>> IntoFuture for NodeCall<P> {
    type Output = Result<Vec<u8>, CallError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output>>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self {
            node,
            service,
            payload,
            slot,
            within,
        } = self;
        let (flags, framed) = service_call(&service, payload.as_ref());
        let deadline = deadline(within);
        Box::pin(async move {
            if service.len() > LONGEST_NAME {
                return Err(CallError::NoSuchService);
            }
            match node.reach()? {
                Reached::Own => {
                    let bytes = Bytes::from(framed).slice(1 + service.len()..);
                    call_own(&node, slot, service, bytes, deadline).await
                }
                Reached::Other(number) => {
                    let asked = node
                        .core()
                        .ask_afar(number, slot, (flags, &framed), deadline);
                    let answer = asked.await?;
                    let outcome = CallOutcome::from_u8(answer.outcome);
                    told(outcome, answer.payload.into())
                }
            }
        })
    }
}

/// A moment that is far enough away for `within` of any length.
pub(super) fn deadline(within: Duration) -> Instant {
    let now = Instant::now();
    // Above a year nobody notices.
    now + within.min(Duration::from_secs(365 * 24 * 3600))
}

async fn call_own(
    node: &NodeHandle,
    slot: Option<u16>,
    name: String,
    bytes: Bytes,
    deadline: Instant,
) -> Result<Vec<u8>, CallError> {
    let core = node.core();
    if slot.is_some_and(|slot| slot != core.slot()) {
        return Err(CallError::Elsewhere);
    }
    let size = bytes.len();
    let answer = answering::take_own(core, Inquiry::Service { name, bytes }, size);
    match timeout_at(deadline, answer).await {
        Ok(Ok((outcome, payload))) => told(outcome, payload),
        Ok(Err(_)) => Err(CallError::WorkerLost),
        Err(_) => Err(CallError::Timeout),
    }
}

fn told(outcome: CallOutcome, payload: Vec<u8>) -> Result<Vec<u8>, CallError> {
    match outcome {
        CallOutcome::Done => Ok(payload),
        CallOutcome::NoSuchService => Err(CallError::NoSuchService),
        CallOutcome::Full => Err(CallError::Full),
        _ => Err(CallError::Failed(
            String::from_utf8_lossy(&payload).into_owned(),
        )),
    }
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// Too much is on its way to the worker, or too many calls are not answered yet: 4,096 of this process, or 1,024 in the other one.
    Full,
    /// The worker knows no service of this name.
    NoSuchService,
    /// The node has no worker slot of this number.
    NoSuchWorker,
    /// It is larger than what the NATS servers take.
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The largest there may be.
        max: u64,
    },
    /// Its answer did not come in time. It may have been carried out.
    Timeout,
    /// The service has failed, and says why.
    Failed(String),
    /// The node is not there, or was lost before the answer.
    Gone,
    /// The worker has ended before it has answered. It may have carried out the call.
    WorkerLost,
    /// NATS is away, or was away before the answer came, or this node does not belong to a cluster.
    Unreachable,
    /// It is for another worker of this node: leave [`on`](NodeCall::on) away, or [post](crate::app::Context::post) to it.
    Elsewhere,
    /// It was made in [`start`](crate::app::App::start): make it in [`serving`](crate::app::App::serving).
    NotServing,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("too many calls are not answered yet"),
            Self::NoSuchService => f.write_str("there is no service of this name"),
            Self::NoSuchWorker => f.write_str("the node has no worker in this slot"),
            Self::TooLarge { size, max } => write!(
                f,
                "a call of {size} bytes is over the limit of {max}, which `max_payload` of the NATS servers sets"
            ),
            Self::Timeout => f.write_str("the answer did not come in time"),
            Self::Failed(reason) => write!(f, "the service failed: {reason}"),
            Self::Gone => f.write_str("the node is gone"),
            Self::WorkerLost => f.write_str("the worker has ended before it answered"),
            Self::Unreachable => f.write_str("no other node can be reached now"),
            Self::Elsewhere => {
                f.write_str("another worker of this node cannot be called: post to it")
            }
            Self::NotServing => f.write_str(NOT_SERVING),
        }
    }
}

impl Error for CallError {}

impl From<OfferError> for CallError {
    fn from(error: OfferError) -> Self {
        match error {
            OfferError::Unreachable => Self::Unreachable,
            OfferError::Gone => Self::Gone,
            OfferError::Full => Self::Full,
            OfferError::NoSuchSlot => Self::NoSuchWorker,
            OfferError::TooLarge { size, max } => Self::TooLarge {
                size: size as u64,
                max: max as u64,
            },
        }
    }
}

impl From<AskedInVain> for CallError {
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

impl<P> fmt::Debug for NodeCall<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeCall")
            .field("node", &self.node)
            .field("service", &self.service)
            .field("slot", &self.slot)
            .field("within", &self.within)
            .finish_non_exhaustive()
    }
}
