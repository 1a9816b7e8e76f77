//! What the gateway keeps of a session for the app, as this process knows it.

use moorline_ipc::Header;

use super::{Phase, SessionState};
use crate::Room;
use crate::app::{SendError, SizeLimit};
use crate::wire::{
    FromProcess, INPUT_PART, LARGEST_LOCKER, LONGEST_LABEL, LONGEST_NAME, SessionData,
};

impl SessionState {
    /// Requests something for the session that needs no answer.
    pub(crate) fn request(&self, kind: FromProcess, payload: &[u8]) -> Result<(), SendError> {
        self.request_in(Room::Bounded, kind, payload)
    }

    fn request_in(&self, room: Room, kind: FromProcess, payload: &[u8]) -> Result<(), SendError> {
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
            .record(self.link(), header, &[payload], room)
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

    /// Keeps bytes in the locker, behind this tag.
    pub(crate) fn keep_raw(&self, tag: u8, bytes: &[u8]) -> Result<(), SendError> {
        if self.phase.get() == Phase::Elsewhere {
            return Err(SendError::Elsewhere);
        }
        check_size(SizeLimit::Locker, bytes, LARGEST_LOCKER)?;
        self.keep_locker(match bytes {
            [] => Vec::new(),
            bytes => [&[tag][..], bytes].concat(),
        })
    }

    /// Replaces the locker by one that is not too large.
    pub(crate) fn keep_locker(&self, locker: Vec<u8>) -> Result<(), SendError> {
        if self.phase.get() == Phase::Elsewhere {
            return Err(SendError::Elsewhere);
        }
        self.request(FromProcess::KeepState, &locker)?;
        self.change_data(|data| data.state = locker);
        Ok(())
    }

    /// Has the gateway keep input for the next process, in as many records as it takes.
    pub(crate) fn keep_input(&self, bytes: &[u8]) -> Result<(), SendError> {
        if self.phase.get() == Phase::Elsewhere {
            return Err(SendError::Elsewhere);
        }
        let mut parts = bytes.chunks(INPUT_PART);
        parts.try_for_each(|part| self.request(FromProcess::KeepInput, part))
    }

    /// Has it keep none: it is used, or lost.
    pub(crate) fn end_input(&self, how: FromProcess) -> Result<(), SendError> {
        if self.phase.get() == Phase::Elsewhere {
            return Err(SendError::Elsewhere);
        }
        let is_lost = how == FromProcess::LoseInput;
        let was_lost = self.data(|data| data.is_input_lost);
        if is_lost && was_lost {
            return Ok(());
        }
        // Without it, what is used would be kept. What is lost can wait, and so each one without a bound is behind one with.
        let room = if was_lost {
            Room::Bounded
        } else {
            Room::Always
        };
        self.request_in(room, how, &[])?;
        self.change_data(|data| data.is_input_lost = is_lost);
        Ok(())
    }

    /// The contents of the locker; empty if there are none.
    pub(crate) fn locker(&self) -> Vec<u8> {
        self.data(|data| data.state.clone())
    }

    pub(crate) fn set_label(&self, label: &[u8]) -> Result<(), SendError> {
        check_size(SizeLimit::Label, label, LONGEST_LABEL)?;
        self.request(FromProcess::SetLabel, label)?;
        self.change_data(|data| data.label = label.to_vec());
        Ok(())
    }

    pub(crate) fn bind(&self, key: &[u8]) -> Result<(), SendError> {
        check_size(SizeLimit::Key, key, LONGEST_NAME)?;
        self.request(FromProcess::Bind, key)?;
        self.change_data(|data| data.key = key.to_vec());
        Ok(())
    }

    pub(crate) fn data<T: Default>(&self, read: impl FnOnce(&SessionData) -> T) -> T {
        self.data.borrow().as_deref().map(read).unwrap_or_default()
    }

    /// Notes a request, as the next process that serves the session will be told. Nothing is known of other processes'
    /// sessions.
    pub(crate) fn change_data(&self, change: impl FnOnce(&mut SessionData)) {
        if self.phase.get() != Phase::Here {
            return;
        }
        let mut data = self.data.borrow_mut();
        change(data.get_or_insert_default());
        if data.as_deref() == Some(&SessionData::default()) {
            *data = None;
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
