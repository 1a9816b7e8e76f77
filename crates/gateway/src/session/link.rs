//! How far a connection still carries bytes, and what is waited for on its socket.

use serde::{Deserialize, Serialize};

/// How far the connection still carries bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Link {
    /// Both ways.
    Open,
    /// The peer has hung up, so a short read does not mean that the socket is empty.
    HungUp,
    /// The peer's last byte was read.
    HalfClosed,
    /// It broke and nothing more can be sent; what the peer had sent before is still read.
    Broken,
    /// It broke, and all that the peer had sent was read.
    Dead,
}

/// What is waited for on a session's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Interest {
    /// What comes in.
    Input,
    /// Room for output, too: the socket has once not taken all.
    Both,
}

impl Link {
    /// The peer has hung up; what it sent before is still to be read.
    pub(crate) fn hang_up(&mut self) {
        if *self == Link::Open {
            *self = Link::HungUp;
        }
    }

    /// The peer's last byte was read.
    pub(crate) fn end_input(&mut self) {
        *self = match self {
            Link::Open | Link::HungUp | Link::HalfClosed => Link::HalfClosed,
            Link::Broken | Link::Dead => Link::Dead,
        };
    }

    /// Nothing more can be sent.
    pub(crate) fn break_off(&mut self) {
        *self = match self {
            Link::Open | Link::HungUp | Link::Broken => Link::Broken,
            Link::HalfClosed | Link::Dead => Link::Dead,
        };
    }

    /// Whether nothing comes after what the socket has now.
    pub(crate) fn is_hung_up(self) -> bool {
        matches!(self, Link::HungUp | Link::Broken)
    }

    /// Whether all that the peer has sent was read.
    pub(crate) fn is_read(self) -> bool {
        matches!(self, Link::HalfClosed | Link::Dead)
    }

    /// Whether nothing more can be sent.
    pub(crate) fn is_broken(self) -> bool {
        matches!(self, Link::Broken | Link::Dead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_only_ever_carries_less() {
        let mut link = Link::Open;
        link.hang_up();
        assert_eq!(link, Link::HungUp);
        link.end_input();
        assert!(link.is_read() && !link.is_broken());
        link.hang_up();
        assert_eq!(link, Link::HalfClosed);
        link.break_off();
        assert_eq!(link, Link::Dead);
    }

    #[test]
    fn input_before_a_broken_connection_is_read_to_its_end() {
        let mut link = Link::Open;
        link.break_off();
        assert!(link.is_broken() && link.is_hung_up() && !link.is_read());
        link.end_input();
        assert!(link.is_broken() && link.is_read());
    }
}
