//! How an app ends a session.

use moorline_ipc::Header;

use super::{Refusal, SessionState};
use crate::app::SendError;
use crate::outbox::{Needs, Room};
use crate::wire::{FORCE, FromProcess};

impl SessionState {
    /// Asks the gateway to end it.
    pub(crate) fn close(&self, flags: u8, code: u16, text: &str) -> Result<(), SendError> {
        if self.is_remote() {
            return self.close_afar(flags, code, text);
        }
        // Always: an app closes a session at most once and forces it once in a while.
        let closed = self.close_in(Room::Always, flags, code, text);
        closed.map_err(SendError::from)
    }

    /// The same, if there is room.
    pub(crate) fn close_in(
        &self,
        room: Room,
        flags: u8,
        code: u16,
        text: &str,
    ) -> Result<(), Refusal> {
        self.check_reachable().map_err(Refusal::Never)?;
        if self.is_closing.get() && flags & FORCE == 0 {
            return Err(Refusal::Never(SendError::Closing));
        }
        let header = Header {
            kind: FromProcess::Close as u8,
            flags,
            aux: code,
            session: self.id,
            ..Header::default()
        };
        self.core
            .outbox
            .record(self.link(), header, &[text.as_bytes()], room)
            .map_err(|Needs(need)| Refusal::NoRoom(need))?;
        self.is_closing.set(true);
        self.wake_senders();
        Ok(())
    }
}
