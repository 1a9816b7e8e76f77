//! What an app keeps with a session, in the gateway, where it outlives the process that serves the session.

use crate::app::{SendError, Session};
use crate::wire::FromProcess;

impl Session {
    /// Keeps these bytes in the session's locker, instead of what was there; nothing empties it. The process that serves
    /// the session next, after a reload or a crash, finds them with [`state`](Self::state).
    ///
    /// They travel with what is sent: should this process die, the locker holds what was kept before the last
    /// thing that the gateway saw. Only the process that serves the session keeps something; from within its
    /// hooks that is certain, from elsewhere the session may just be moving, and then nothing changes.
    ///
    /// # Errors
    /// [`SendError::TooLarge`] over 8 KiB; [`SendError::Elsewhere`] in a process that does not serve the session;
    /// else as [`push`](Self::push).
    pub fn keep_state(&self, bytes: impl AsRef<[u8]>) -> Result<(), SendError> {
        self.shared().keep_state(bytes.as_ref())
    }

    /// What is in the locker; nothing if it is empty, or the session is with another process. It can still be read in
    /// the [`close`](crate::app::App::close) hook.
    pub fn state(&self) -> Option<Vec<u8>> {
        self.shared().kept_state()
    }

    /// Stops reading from the session: its peer's TCP window closes, and idleness does not count. Messages that the
    /// engine has already cut still come, at most a window of them. A process that takes the session over
    /// finds it paused ([`is_paused`](Self::is_paused)).
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn pause(&self) -> Result<(), SendError> {
        self.shared().wish(FromProcess::Pause, &[])?;
        self.shared()
            .change_belongings(|belongings| belongings.paused = true);
        Ok(())
    }

    /// Reads from the session again.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn resume(&self) -> Result<(), SendError> {
        self.shared().wish(FromProcess::Resume, &[])?;
        self.shared()
            .change_belongings(|belongings| belongings.paused = false);
        Ok(())
    }

    /// It is not read. Known of sessions that this process serves, as it was asked for here or before.
    pub fn is_paused(&self) -> bool {
        self.shared().belongings(|belongings| belongings.paused)
    }

    /// Protects the session from being closed for idleness.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn keep(&self) -> Result<(), SendError> {
        self.shared().wish(FromProcess::Keep, &[])?;
        self.shared()
            .change_belongings(|belongings| belongings.kept = true);
        Ok(())
    }

    /// Takes that protection away. Idleness counts from now.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn unkeep(&self) -> Result<(), SendError> {
        self.shared().wish(FromProcess::Unkeep, &[])?;
        self.shared()
            .change_belongings(|belongings| belongings.kept = false);
        Ok(())
    }

    /// It is protected from being closed for idleness. Known as [`is_paused`](Self::is_paused) is.
    pub fn is_kept(&self) -> bool {
        self.shared().belongings(|belongings| belongings.kept)
    }

    /// Binds the session to a key, a user's name for instance; an empty one undoes it. On a listener with `dispatch =
    /// "key"` the session goes to the worker that all sessions of this key are with, once nothing of it is in hand.
    ///
    /// # Errors
    /// [`SendError::TooLarge`] over 255 bytes; else as [`push`](Self::push).
    pub fn bind(&self, key: impl AsRef<[u8]>) -> Result<(), SendError> {
        self.shared().bind(key.as_ref())
    }

    /// The key it is bound to; empty if it is to none. Known as [`is_paused`](Self::is_paused) is.
    pub fn key(&self) -> Vec<u8> {
        self.shared()
            .belongings(|belongings| belongings.key.clone())
    }
}
