//! Requests to processes of other nodes, and their answers.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::frame::{FrameHeader, FrameKind};
use crate::link::ClusterLink;
use crate::pending::OpenCall;
use crate::user::{FrameDraft, OfferError};

/// How long a call waits for room at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// A call before it is sent.
#[derive(Debug, Clone, Copy)]
pub struct CallDraft<'a> {
    /// To which node.
    pub node: u16,
    /// To the process of which worker slot.
    pub slot: u16,
    /// What it is: by its user.
    pub flags: u8,
    /// The bytes.
    pub payload: &'a [u8],
}

impl ClusterLink {
    /// The number of the node of this name, if it is there.
    pub fn node_named(&self, name: &str) -> Option<u16> {
        self.members.borrow().named(name)
    }

    /// How many worker slots a node has, if it is there.
    pub fn slots(&self, node: u16) -> Option<u16> {
        self.members.borrow().slots(node)
    }

    /// A worker slot of a node that is served: the first from this one on. `None`: nobody serves there for now.
    pub fn served_slot(&self, node: u16, from: u16) -> Option<u16> {
        let members = self.members.borrow();
        let slots = members.slots(node)?;
        let mut from_there = (0..slots).map(|more| (from % slots + more) % slots);
        from_there.find(|&slot| members.serving(node, slot).is_some())
    }

    /// Sends a call if it can go now.
    ///
    /// # Errors
    /// It was not sent.
    pub fn try_call(&self, draft: CallDraft<'_>) -> Result<OpenCall, OfferError> {
        let open = self.pending.open().ok_or(OfferError::Full)?;
        self.send_call(draft, &open)?;
        Ok(open)
    }

    /// Sends a call, waiting for room, but not without end. Cancel-safe.
    ///
    /// # Errors
    /// It was not sent. [`OfferError::Full`] after five seconds, or at the deadline, or if too many are not answered yet.
    pub async fn call(
        &self,
        draft: CallDraft<'_>,
        deadline: Instant,
    ) -> Result<OpenCall, OfferError> {
        let open = self.pending.open().ok_or(OfferError::Full)?;
        let until = deadline.min(Instant::now() + PATIENCE);
        loop {
            let mut news = std::pin::pin!(self.news.notified());
            news.as_mut().enable();
            match self.send_call(draft, &open) {
                Err(OfferError::Full) if timeout_at(until, news).await.is_ok() => {}
                sent => return sent.map(|()| open),
            }
        }
    }

    fn send_call(&self, draft: CallDraft<'_>, open: &OpenCall) -> Result<(), OfferError> {
        let frame = FrameDraft {
            node: draft.node,
            kind: FrameKind::Call,
            flags: draft.flags,
            aux: draft.slot,
            session: open.number(),
            payload: draft.payload,
        };
        let sent = self.try_offer_to(frame, Some(draft.slot));
        if let Ok(process) = sent {
            open.sent_to(draft.node, process);
        }
        self.count(&frame, sent.map(drop))
    }

    /// Answers a call. It needs no room: how many calls there are is bounded.
    ///
    /// # Errors
    /// It was not sent. [`OfferError::Full`]: try it again.
    pub fn answer_call(
        &self,
        to: &FrameHeader,
        outcome: u8,
        payload: &[u8],
    ) -> Result<(), OfferError> {
        let header = FrameHeader {
            kind: FrameKind::Answer,
            flags: outcome,
            aux: self.place.slot,
            node: self.own().number,
            process: self.place.process,
            position: 0,
            session: to.session,
        };
        let sent = self.publish(to.node, to.process, &header, payload);
        sent.map_err(|error| error.for_payload(payload.len()))
    }
}
