//! What a link and its user say to each other.

use crate::frame::{Frame, FrameKind};
use crate::members::{Node, NodeChange};

/// Which process this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterPlace {
    /// The engine: one that is started later has a higher one.
    pub incarnation: u64,
    /// The process: no other of the cluster has the same.
    pub process: u64,
    /// Its worker slot.
    pub slot: u16,
    /// The deployment it belongs to.
    pub generation: u32,
    /// How many worker slots there are.
    pub slots: u16,
}

/// A message before it is sent.
#[derive(Debug, Clone, Copy)]
pub struct FrameDraft<'a> {
    /// To which node.
    pub node: u16,
    /// What it is for.
    pub kind: FrameKind,
    /// By kind.
    pub flags: u8,
    /// By kind.
    pub aux: u16,
    /// The session concerned, or a number made of a group's name. Frames with the same one stay in order.
    pub session: u64,
    /// The bytes.
    pub payload: &'a [u8],
}

/// Why nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfferError {
    /// NATS is away, or this node does not belong to the cluster.
    Unreachable,
    /// The node is not there.
    Gone,
    /// Too much is on its way, or a process is being replaced.
    Full,
    /// The node has no worker slot of this number.
    NoSuchSlot,
    /// It is larger than what the NATS servers take.
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The largest there may be.
        max: usize,
    },
}

/// News for the user of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterNews {
    /// A node has come or gone.
    Node(NodeChange),
    /// NATS is there again.
    Up,
    /// NATS is away; why, if it is known.
    Away(Option<String>),
    /// This node does not belong to the cluster any more: another one has its name or number.
    Refused(Node),
}

/// What a link tells its news and gives its frames to.
pub trait ClusterUser {
    /// A frame has come. The next one waits until this is done.
    fn take(&self, frame: Frame) -> impl Future<Output = ()>;
    /// Waits until what was taken has had its effect, before another process goes on with what follows.
    fn settle(&self) -> impl Future<Output = ()>;
    /// Something has changed.
    fn tell(&self, news: ClusterNews);
}
