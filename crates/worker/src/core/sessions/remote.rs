//! What is sent to sessions of other nodes.

use std::rc::Rc;

use moorline_cluster::{FrameKind, OfferError};

use super::{Form, Refusal, SessionState};
use crate::app::SendError;
use crate::neighbours::Neighbours;
use crate::wire::FORCE;

impl SessionState {
    #[cold]
    pub(super) fn offer_afar(&self, bytes: &[u8], form: Form) -> Result<(), Refusal> {
        if self.is_closing.get() {
            return Err(Refusal::Never(SendError::Closing));
        }
        let neighbours = self.serving_neighbours().map_err(Refusal::Never)?;
        let offered = neighbours.offer(self.id, FrameKind::Send, form.parts(), bytes);
        offered.map_err(|error| match error {
            OfferError::Full => Refusal::Watermark,
            error => Refusal::Never(error.into()),
        })
    }

    /// Sends a message, waiting for room. Cancel-safe.
    pub(crate) async fn send_afar(&self, bytes: &[u8], form: Form) -> Result<(), SendError> {
        if self.is_closing.get() {
            return Err(SendError::Closing);
        }
        let commitment = &self.core.commitment;
        if commitment.is_deadlocked() {
            return Err(SendError::NotServing);
        }
        commitment.committed().await;
        let neighbours = self.neighbours()?;
        let sent = neighbours.send(self.id, form.parts(), bytes).await;
        Ok(sent?)
    }

    #[cold]
    pub(super) fn close_afar(&self, flags: u8, code: u16, text: &str) -> Result<(), SendError> {
        if self.is_closing.get() && flags & FORCE == 0 {
            return Err(SendError::Closing);
        }
        let neighbours = self.serving_neighbours()?;
        neighbours.offer(self.id, FrameKind::Close, (flags, code), text.as_bytes())?;
        self.is_closing.set(true);
        Ok(())
    }

    /// Has it join or leave a group.
    pub(crate) fn group_afar(&self, kind: FrameKind, group: &[u8]) -> Result<(), SendError> {
        let neighbours = self.serving_neighbours()?;
        Ok(neighbours.offer(self.id, kind, (0, 0), group)?)
    }

    /// The ring keeps what a process sends before it serves; nobody keeps this.
    fn serving_neighbours(&self) -> Result<&Rc<Neighbours>, SendError> {
        match self.core.commitment.is_committed() {
            true => self.neighbours(),
            false => Err(SendError::NotServing),
        }
    }

    fn neighbours(&self) -> Result<&Rc<Neighbours>, SendError> {
        self.core.neighbours.get().ok_or(SendError::Unreachable)
    }
}
