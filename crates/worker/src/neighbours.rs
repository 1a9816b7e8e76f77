//! The processes of other nodes: what is sent to them, and which of them have sent to this one.

mod groups;

use std::cell::RefCell;
use std::rc::Rc;

use moorline_cluster::{ClusterLink, FrameDraft, FrameHeader, FrameKind, OfferError, PresenceLink};
use rustc_hash::FxHashMap;
use tokio::sync::watch;

use crate::session_id::SessionId;
pub(crate) use groups::{GroupMessage, read_group_message, write_group_message};

/// Sessions whose senders are known. When they are more, all are forgotten: then the sender to a session that has ended is told
/// with the next message.
const MOST_SENT_TO: usize = 4096;
/// Processes that sent to one session; the oldest makes room.
const MOST_SENDERS: usize = 8;

/// The processes of other nodes, as this one sends to them.
pub(crate) struct Neighbours {
    link: Rc<ClusterLink>,
    presence: Rc<PresenceLink>,
    /// The senders to sessions here, to be told if there are none.
    senders: RefCell<FxHashMap<u64, Vec<FrameHeader>>>,
    /// Tells that a node has come or gone.
    changes: watch::Sender<()>,
}

impl Neighbours {
    pub(crate) fn new(link: Rc<ClusterLink>) -> Self {
        Self {
            presence: PresenceLink::new(link.clone()),
            link,
            senders: RefCell::default(),
            changes: watch::Sender::new(()),
        }
    }

    /// Sends something to a session of another node if it can go now.
    pub(crate) fn offer(
        &self,
        id: u64,
        kind: FrameKind,
        (flags, aux): (u8, u16),
        bytes: &[u8],
    ) -> Result<(), OfferError> {
        self.link.offer(draft(id, kind, (flags, aux), bytes))
    }

    /// Sends it, waiting for room, but not without end. Cancel-safe.
    pub(crate) async fn send(
        &self,
        id: u64,
        (flags, aux): (u8, u16),
        bytes: &[u8],
    ) -> Result<(), OfferError> {
        let draft = draft(id, FrameKind::Send, (flags, aux), bytes);
        self.link.send(draft).await
    }

    /// Tells when a node has come or gone.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// A node has come or gone.
    pub(crate) fn have_changed(&self) {
        self.changes.send_replace(());
    }

    pub(crate) fn link(&self) -> &ClusterLink {
        &self.link
    }

    /// The members of groups of other nodes.
    pub(crate) fn presence(&self) -> &Rc<PresenceLink> {
        &self.presence
    }

    /// The gateway does not know a session that somebody has sent to.
    pub(crate) fn unknown(&self, id: u64) {
        for sender in self.senders.borrow_mut().remove(&id).unwrap_or_default() {
            self.link.answer(&sender, FrameKind::Unknown, 0, id);
        }
    }

    /// Notes the sender to a session here.
    pub(crate) fn note_sender(&self, header: FrameHeader) {
        let mut senders = self.senders.borrow_mut();
        if senders.len() >= MOST_SENT_TO && !senders.contains_key(&header.session) {
            senders.clear();
        }
        let of_session = senders.entry(header.session).or_default();
        let is_new = of_session.iter().all(|it| it.process != header.process);
        if is_new {
            if of_session.len() == MOST_SENDERS {
                of_session.remove(0);
            }
            of_session.push(header);
        }
    }
}

fn draft(id: u64, kind: FrameKind, (flags, aux): (u8, u16), payload: &[u8]) -> FrameDraft<'_> {
    FrameDraft {
        node: SessionId::from(id).node(),
        kind,
        flags,
        aux,
        session: id,
        payload,
    }
}
