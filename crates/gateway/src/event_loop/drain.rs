//! The sessions that a loop closes one after the other.

use crate::event_loop::pace::Pace;
use crate::ids::SessionRef;

/// Sessions that close one after the other.
#[derive(Debug)]
pub(crate) struct Drain {
    pub(crate) number: u64,
    pub(crate) pace: Pace,
    pub(crate) sessions: Vec<SessionRef>,
    /// How many of them were told to close.
    pub(crate) told: usize,
    /// When sessions with a message in progress are cut off, in the loop's milliseconds.
    pub(crate) end: u64,
}
