//! A node of the cluster, as an app talks to its workers.

use std::fmt;
use std::rc::Rc;

use moorline_cluster::OfferError;

use crate::Core;
use crate::app::{Context, NodeCall, NodeTask, PostError};
use crate::asking::{AskedInVain, Reached};

/// A node of the cluster, by its name: see [`Context::on`].
#[derive(Clone)]
pub struct NodeHandle {
    core: Rc<Core>,
    name: Rc<str>,
}

impl Context {
    /// The node of this name. It need not be there: then what is asked of it fails with `Gone`. This node itself may be named,
    /// too.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use moorline_worker::app::{Context, Result};
    ///
    /// async fn score(context: &Context, player: &str) -> Result<Vec<u8>> {
    ///     let node = context.on("b");
    ///     node.post(0, "somebody asks for a score").await?;
    ///     Ok(node.call("score", player).within(Duration::from_secs(1)).await?)
    /// }
    /// ```
    pub fn on(&self, node: impl AsRef<str>) -> NodeHandle {
        NodeHandle {
            core: self.core().clone(),
            name: node.as_ref().into(),
        }
    }
}

impl NodeHandle {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A call to a service of the node: to the hook [`call`](crate::app::App::call) of one of its workers. It starts when it is
    /// awaited. [`on`](NodeCall::on) chooses the worker, and [`within`](NodeCall::within) the time limit, which is ten seconds
    /// otherwise. Calls to this node itself are handled in this process.
    pub fn call<P: AsRef<[u8]>>(&self, service: impl AsRef<str>, payload: P) -> NodeCall<P> {
        NodeCall::new(self.clone(), service.as_ref().to_owned(), payload)
    }

    /// A job for a task worker of the node: as [`Context::task`], with a time limit, which is a minute unless
    /// [`within`](NodeTask::within) says otherwise.
    pub fn task<P: AsRef<[u8]>>(&self, payload: P) -> NodeTask<P> {
        NodeTask::new(self.clone(), payload)
    }

    /// Posts to the worker of the node in this slot, as [`Context::post`] does in this one. It waits while 64 posts or 1 MiB from
    /// this process to this worker are unhandled, for five seconds at most. When it returns, the post was handed to NATS.
    ///
    /// It arrives at most once. It is lost if NATS, the connection or the other worker dies while it is on its way, or if more than
    /// 1,024 calls and posts are in progress there. Posts that one task awaits one after another begin in their order.
    ///
    /// Cancel-safe: a future dropped before its end has posted nothing.
    ///
    /// # Errors
    /// [`PostError::Gone`], [`PostError::Unreachable`], [`PostError::NoSuchWorker`]; [`PostError::TooLarge`] over what the NATS
    /// servers take; [`PostError::Full`] after five seconds; [`PostError::NotServing`] in `start`.
    pub async fn post(&self, worker: u16, bytes: impl AsRef<[u8]>) -> Result<(), PostError> {
        match self.reach()? {
            Reached::Own => self.core.post(worker, bytes.as_ref()).await,
            Reached::Other(node) => {
                let posted = self.core.post_afar(node, worker, bytes.as_ref());
                Ok(posted.await?)
            }
        }
    }

    /// [`post`](Self::post), if there is room now.
    ///
    /// # Errors
    /// [`PostError::Full`] where `post` would wait; [`PostError::NotServing`] before this process serves; else as that.
    pub fn try_post(&self, worker: u16, bytes: impl AsRef<[u8]>) -> Result<(), PostError> {
        match self.reach()? {
            Reached::Own => self.core.try_post(worker, bytes.as_ref()),
            Reached::Other(node) => Ok(self.core.try_post_afar(node, worker, bytes.as_ref())?),
        }
    }

    pub(super) fn core(&self) -> &Rc<Core> {
        &self.core
    }

    pub(super) fn reach(&self) -> Result<Reached, OfferError> {
        self.core.reach(&self.name)
    }
}

impl From<OfferError> for PostError {
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

impl From<AskedInVain> for PostError {
    fn from(error: AskedInVain) -> Self {
        match error {
            AskedInVain::Offer(error) => error.into(),
            AskedInVain::NotServing => Self::NotServing,
            // Its answer is not waited for.
            AskedInVain::Loss(_) => Self::Unreachable,
        }
    }
}

impl fmt::Debug for NodeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NodeHandle").field(&self.name).finish()
    }
}
