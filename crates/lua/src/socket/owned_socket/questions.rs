//! What others ask of a socket.

use super::OwnedSocket;

impl OwnedSocket {
    /// Whether the script can read and write it.
    pub(crate) fn is_connected(&self) -> bool {
        let is_open = self.io.is_some() || (self.shared.foreign.is_some() && !self.is_ended);
        is_open && !self.is_input_over
    }

    /// Whether it has no step, and is woken when there is one.
    pub(crate) fn is_waiting(&self) -> bool {
        self.is_waiting && self.steps.is_empty() && !self.is_ended
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.is_ended
    }

    pub(crate) fn is_connecting(&self) -> bool {
        self.opening.is_some() || self.starter.is_some()
    }
}
