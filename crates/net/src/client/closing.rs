//! The closing of a client's connection that is under way.

use std::pin::Pin;

use tokio::time::{Instant, Sleep};

use super::error::CloseReason;

/// A closing that is under way.
#[derive(Debug)]
pub(super) struct Closing {
    pub(super) reason: CloseReason,
    pub(super) deadline: Instant,
    /// When the peer last sent anything.
    pub(super) heard: Instant,
    /// When to look again, whatever happens until then.
    pub(super) timer: Pin<Box<Sleep>>,
    pub(super) peer: PeerSide,
}

/// What the peer does meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PeerSide {
    /// It may send: that is discarded.
    Open,
    /// It has ended its sending.
    Ended,
}
