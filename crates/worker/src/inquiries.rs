//! What this process may ask of other nodes: its room for posts, and whose turn it is.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use moorline_cluster::ClusterLink;
use rustc_hash::FxHashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Posts to one worker of another node that may be unhandled, as to one of this node.
const POSTS: usize = 64;
/// Their bytes. A larger one goes when no others are unhandled.
const POST_BYTES: usize = 1024 * 1024;
/// How long a post waits for room.
pub(crate) const POST_PATIENCE: Duration = Duration::from_secs(5);

/// What this process asks of other nodes.
#[derive(Default)]
pub(crate) struct Inquiries {
    /// What may be posted, by node and slot.
    posts: RefCell<FxHashMap<(u16, u16), PostRoom>>,
    /// Calls to any worker of a node go to one after the other.
    turn: Cell<u16>,
}

#[derive(Clone)]
pub(crate) struct PostRoom {
    posts: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// The room of one post, until it is answered.
pub(crate) type PermitAfar = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Inquiries {
    pub(crate) fn room(&self, node: u16, slot: u16) -> PostRoom {
        let new = || PostRoom {
            posts: Arc::new(Semaphore::new(POSTS)),
            bytes: Arc::new(Semaphore::new(POST_BYTES)),
        };
        let mut posts = self.posts.borrow_mut();
        posts.entry((node, slot)).or_insert_with(new).clone()
    }

    /// The worker slot of a node whose turn it is.
    pub(crate) fn next_slot(&self, link: &ClusterLink, node: u16) -> u16 {
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

    pub(crate) fn try_take(self, bytes: &[u8]) -> Option<PermitAfar> {
        let weight = Self::weight(bytes);
        let post = self.posts.try_acquire_owned().ok()?;
        let bytes = self.bytes.try_acquire_many_owned(weight).ok()?;
        Some((post, bytes))
    }

    pub(crate) async fn take(self, bytes: &[u8]) -> Option<PermitAfar> {
        let weight = Self::weight(bytes);
        let taken = async {
            let post = self.posts.acquire_owned().await.ok()?;
            let bytes = self.bytes.acquire_many_owned(weight).await.ok()?;
            Some((post, bytes))
        };
        timeout(POST_PATIENCE, taken).await.ok().flatten()
    }
}
