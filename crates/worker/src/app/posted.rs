//! The senders of posts.

use std::fmt;

/// The sender of a [post](crate::app::Context::post).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PostedBy {
    /// The worker in this slot, which may be this one.
    Worker(u16),
    /// The task worker in this slot.
    Task(u16),
    /// A process of the node of this number.
    Node(u16),
}

impl fmt::Display for PostedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worker(slot) => write!(f, "worker {slot}"),
            Self::Task(slot) => write!(f, "task worker {slot}"),
            Self::Node(number) => write!(f, "node {number}"),
        }
    }
}
