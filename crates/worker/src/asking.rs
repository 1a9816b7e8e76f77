//! What this process asks of other nodes.

use std::time::Duration;

use moorline_cluster::{CallAnswer, CallDraft, CallLoss, ClusterLink, OfferError, OpenCall};
use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::Core;
use crate::call_wire::post;
use crate::inquiries::{POST_PATIENCE, PermitAfar};

/// A post that was not answered for this long is lost, or its hook waits for something: others may go.
const POST_LASTS: Duration = Duration::from_secs(60);

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
async fn hold(permit: PermitAfar, open: OpenCall) {
    // Whatever has become of it: it takes no room any more.
    let _ = open.answer(Instant::now() + POST_LASTS).await;
    drop(permit);
}
