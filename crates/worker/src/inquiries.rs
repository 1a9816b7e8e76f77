//! What this process asks of other nodes.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use moorline_cluster::{CallAnswer, CallDraft, CallLoss, ClusterLink, OfferError, OpenCall};
use rustc_hash::FxHashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout};

use crate::Core;
use crate::call_wire::post;

/// Posts to one worker of another node that may be unhandled, as to one of this node.
const POSTS: usize = 64;
/// Their bytes. A larger one goes when no others are unhandled.
const POST_BYTES: usize = 1024 * 1024;
/// How long a post waits for room.
const POST_PATIENCE: Duration = Duration::from_secs(5);
/// A post that was not answered for this long is lost, or its hook waits for something: others may go.
const POST_LASTS: Duration = Duration::from_secs(60);

/// What this process asks of other nodes.
#[derive(Default)]
pub(crate) struct Inquiries {
    /// What may be posted, by node and slot.
    posts: RefCell<FxHashMap<(u16, u16), PostRoom>>,
    /// Calls to any worker of a node go to one after the other.
    turn: Cell<u16>,
}

#[derive(Clone)]
struct PostRoom {
    posts: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// The room of one post, until it is answered.
type PostPermit = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// A node, as this process reaches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    /// It is this one.
    Own,
    Other(u16),
}

/// Why something was not asked, or has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AskedInVain {
    Offer(OfferError),
    Loss(CallLoss),
    /// This process does not serve yet.
    NotServing,
}

impl From<OfferError> for AskedInVain {
    fn from(error: OfferError) -> Self {
        Self::Offer(error)
    }
}

impl From<CallLoss> for AskedInVain {
    fn from(loss: CallLoss) -> Self {
        Self::Loss(loss)
    }
}

impl Inquiries {
    fn room(&self, node: u16, slot: u16) -> PostRoom {
        let new = || PostRoom {
            posts: Arc::new(Semaphore::new(POSTS)),
            bytes: Arc::new(Semaphore::new(POST_BYTES)),
        };
        let mut posts = self.posts.borrow_mut();
        posts.entry((node, slot)).or_insert_with(new).clone()
    }

    /// The worker slot of a node whose turn it is.
    fn next_slot(&self, link: &ClusterLink, node: u16) -> u16 {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let slots = link.slots(node).unwrap_or(1).max(1);
        // If nobody serves now, it waits for this one.
        link.served_slot(node, turn).unwrap_or(turn % slots)
    }
}

impl PostRoom {
    fn weight(bytes: &[u8]) -> u32 {
        // At most what the semaphore has, and that fits.
        bytes.len().min(POST_BYTES) as u32
    }

    fn try_take(self, bytes: &[u8]) -> Option<PostPermit> {
        let weight = Self::weight(bytes);
        let post = self.posts.try_acquire_owned().ok()?;
        let bytes = self.bytes.try_acquire_many_owned(weight).ok()?;
        Some((post, bytes))
    }

    async fn take(self, bytes: &[u8]) -> Option<PostPermit> {
        let weight = Self::weight(bytes);
        let taken = async {
            let post = self.posts.acquire_owned().await.ok()?;
            let bytes = self.bytes.acquire_many_owned(weight).await.ok()?;
            Some((post, bytes))
        };
        timeout(POST_PATIENCE, taken).await.ok().flatten()
    }
}

impl Core {
    fn link(&self) -> Result<&ClusterLink, OfferError> {
        let neighbours = self.neighbours.get().ok_or(OfferError::Unreachable)?;
        Ok(neighbours.link())
    }

    /// The node of this name.
    pub(crate) fn reach(&self, name: &str) -> Result<Reached, OfferError> {
        let link = self.link()?;
        if link.own().name == name {
            return Ok(Reached::Own);
        }
        match link.node_named(name) {
            Some(number) => Ok(Reached::Other(number)),
            None if link.is_up() => Err(OfferError::Gone),
            None => Err(OfferError::Unreachable),
        }
    }

    /// Asks a worker of another node: the one in this slot, or any. It waits for the answer up to the deadline.
    pub(crate) async fn ask_afar(
        &self,
        node: u16,
        slot: Option<u16>,
        (flags, payload): (u8, &[u8]),
        deadline: Instant,
    ) -> Result<CallAnswer, AskedInVain> {
        if self.commitment.is_deadlocked() {
            return Err(AskedInVain::NotServing);
        }
        self.commitment.committed().await;
        let link = self.link()?;
        let slot = slot.unwrap_or_else(|| self.inquiries.next_slot(link, node));
        let draft = CallDraft {
            node,
            slot,
            flags,
            payload,
        };
        let open = link.call(draft, deadline).await?;
        Ok(open.answer(deadline).await?)
    }

    /// Posts to a worker of another node, waiting for room.
    pub(crate) async fn post_afar(
        &self,
        node: u16,
        slot: u16,
        bytes: &[u8],
    ) -> Result<(), AskedInVain> {
        if self.commitment.is_deadlocked() {
            return Err(AskedInVain::NotServing);
        }
        self.commitment.committed().await;
        let permit = self.inquiries.room(node, slot).take(bytes).await;
        let permit = permit.ok_or(OfferError::Full)?;
        let deadline = Instant::now() + POST_PATIENCE;
        let open = self.link()?.call(post_draft(node, slot, bytes), deadline);
        let open = open.await?;
        spawn_local(hold(permit, open));
        Ok(())
    }

    /// Posts to a worker of another node, if there is room now.
    pub(crate) fn try_post_afar(
        &self,
        node: u16,
        slot: u16,
        bytes: &[u8],
    ) -> Result<(), AskedInVain> {
        if !self.commitment.is_committed() {
            return Err(AskedInVain::NotServing);
        }
        let permit = self.inquiries.room(node, slot).try_take(bytes);
        let permit = permit.ok_or(OfferError::Full)?;
        let open = self.link()?.try_call(post_draft(node, slot, bytes))?;
        spawn_local(hold(permit, open));
        Ok(())
    }
}

fn post_draft(node: u16, slot: u16, bytes: &[u8]) -> CallDraft<'_> {
    CallDraft {
        node,
        slot,
        flags: post(),
        payload: bytes,
    }
}

/// Keeps the room of a post until it is answered.
async fn hold(permit: PostPermit, open: OpenCall) {
    // Whatever has become of it: it takes no room any more.
    let _ = open.answer(Instant::now() + POST_LASTS).await;
    drop(permit);
}
