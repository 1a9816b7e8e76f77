//! What an app keeps with a session, as this process knows it.

use moorline_ipc::Header;

use super::{Phase, SessionState};
use crate::Room;
use crate::app::{SendError, SizeLimit};
use crate::wire::{Belongings, FromProcess, LARGEST_STATE, LONGEST_NAME};

impl SessionState {
    /// Asks something for the session that needs no answer.
    pub(crate) fn wish(&self, kind: FromProcess, payload: &[u8]) -> Result<(), SendError> {
        self.check_reachable()?;
        if self.is_closing.get() {
            return Err(SendError::Closing);
        }
        let header = Header {
            kind: kind as u8,
            session: self.id,
            ..Header::default()
        };
        self.core
            .outbox
            .record(self.link(), header, &[payload], Room::Bounded)
            .map_err(|_| SendError::Full)
    }

    /// Whether a file of this length can be sent. Of another process's session the framing is not known; the gateway checks.
    pub(crate) fn check_file(&self, length: u64) -> Result<(), SendError> {
        self.check_reachable()?;
        if self.is_closing.get() {
            return Err(SendError::Closing);
        }
        let listener = self.listener().map(usize::from);
        let listener = listener.and_then(|listener| self.core.config.listeners.get(listener));
        let Some(framing) = listener.map(|listener| &listener.framing) else {
            return Ok(());
        };
        let max = framing.max_message();
        if length > max {
            return Err(SendError::TooLarge {
                limit: SizeLimit::of_framing(framing),
                size: length,
                max,
            });
        }
        Ok(())
    }

    pub(crate) fn keep_state(&self, bytes: &[u8]) -> Result<(), SendError> {
        if self.phase.get() == Phase::Elsewhere {
            return Err(SendError::Elsewhere);
        }
        check_size(SizeLimit::State, bytes, LARGEST_STATE)?;
        self.wish(FromProcess::KeepState, bytes)?;
        self.change_belongings(|belongings| belongings.state = bytes.to_vec());
        Ok(())
    }

    pub(crate) fn kept_state(&self) -> Option<Vec<u8>> {
        let state = self.belongings(|belongings| belongings.state.clone());
        Some(state).filter(|state| !state.is_empty())
    }

    pub(crate) fn bind(&self, key: &[u8]) -> Result<(), SendError> {
        check_size(SizeLimit::Key, key, LONGEST_NAME)?;
        self.wish(FromProcess::Bind, key)?;
        self.change_belongings(|belongings| belongings.key = key.to_vec());
        Ok(())
    }

    pub(crate) fn belongings<T: Default>(&self, read: impl FnOnce(&Belongings) -> T) -> T {
        self.belongings
            .borrow()
            .as_deref()
            .map(read)
            .unwrap_or_default()
    }

    /// Notes what was asked for, as whoever serves the session next will be told. Of other processes' sessions
    /// nothing is known.
    pub(crate) fn change_belongings(&self, change: impl FnOnce(&mut Belongings)) {
        if self.phase.get() != Phase::Here {
            return;
        }
        let mut belongings = self.belongings.borrow_mut();
        change(belongings.get_or_insert_default());
        if belongings.as_deref() == Some(&Belongings::default()) {
            *belongings = None;
        }
    }
}

fn check_size(limit: SizeLimit, bytes: &[u8], max: usize) -> Result<(), SendError> {
    let (size, max) = (bytes.len() as u64, max as u64);
    if size > max {
        return Err(SendError::TooLarge { limit, size, max });
    }
    Ok(())
}
