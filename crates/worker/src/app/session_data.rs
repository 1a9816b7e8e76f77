//! What an app asks the gateway to keep of a session, beside its locker: paused, exempt from idleness,
//! unused input, key and label.

use crate::app::{KeptRequest, SendError, Session};
use crate::wire::FromProcess;

impl Session {
    /// Stops reading from the session: its peer's TCP window closes, and idleness does not count. Messages that have
    /// already been received still arrive, at most a window of them. The next process that serves the session
    /// finds it paused ([`is_paused`](Self::is_paused)).
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn pause(&self) -> Result<(), SendError> {
        self.shared().request(FromProcess::Pause, &[])?;
        self.shared().change_data(|data| data.paused = true);
        Ok(())
    }

    /// Reads from the session again.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn resume(&self) -> Result<(), SendError> {
        self.shared().request(FromProcess::Resume, &[])?;
        self.shared().change_data(|data| data.paused = false);
        Ok(())
    }

    /// Has the gateway keep bytes that the app has received from the session and not used. The next process that serves the
    /// session, after a reload or a crash, gets them as its first message. They come behind those that are kept so already, until
    /// [`drop_input`](Self::drop_input). For an app that collects bytes of a raw stream before it acts: a message whose hook has ended
    /// is not delivered again.
    ///
    /// They travel in order with messages, as a [locker](Self::keep_bytes) does. Up to 1 MiB of a session is kept: with more all
    /// of it is lost, and the next process is told ([`has_lost_input`](Self::has_lost_input)).
    ///
    /// # Errors
    /// As [`push`](Self::push); then some of it may be kept: call [`lose_input`](Self::lose_input).
    pub fn keep_input(&self, bytes: &[u8]) -> Result<(), SendError> {
        self.shared().keep_input(bytes)
    }

    /// Has the gateway keep nothing of what was received any more: the app has used it.
    ///
    /// # Errors
    /// As [`push`](Self::push), but there is always room for it, unless the input is lost.
    pub fn drop_input(&self) -> Result<(), SendError> {
        self.shared().end_input(FromProcess::DropInput)
    }

    /// Has the gateway note that the app has received more than is kept, until [`drop_input`](Self::drop_input).
    ///
    /// # Errors
    /// As [`push`](Self::push), but there is always room for it.
    pub fn lose_input(&self) -> Result<(), SendError> {
        self.shared().end_input(FromProcess::LoseInput)
    }

    /// The process that served the session before had received more of it than the gateway keeps, and has not used it: what
    /// comes now does not follow what was used last. Known as [`is_paused`](Self::is_paused) is.
    pub fn has_lost_input(&self) -> bool {
        self.shared().data(|data| data.is_input_lost)
    }

    /// The session is paused. Known only of sessions that this process serves.
    pub fn is_paused(&self) -> bool {
        self.shared().data(|data| data.paused)
    }

    /// Exempts the session from the listener's `idle_timeout`, or ends that exemption: then idleness counts from now.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn set_idle_exempt(&self, exempt: bool) -> Result<(), SendError> {
        let request = match exempt {
            true => FromProcess::Keep,
            false => FromProcess::Unkeep,
        };
        self.shared().request(request, &[])?;
        self.shared().change_data(|data| data.kept = exempt);
        Ok(())
    }

    /// The session is exempt from the listener's `idle_timeout`. Known as [`is_paused`](Self::is_paused) is.
    pub fn is_idle_exempt(&self) -> bool {
        self.shared().data(|data| data.kept)
    }

    /// Binds the session to a key, such as a user's name. An empty key unbinds it. On a listener with `dispatch = "key"` all
    /// sessions of one key have the same worker; this one moves there when no message of it is in progress.
    ///
    /// # Errors
    /// [`SendError::TooLarge`] over 255 bytes; else as [`push`](Self::push).
    pub fn bind(&self, key: impl AsRef<[u8]>) -> Result<(), SendError> {
        self.shared().bind(key.as_ref())
    }

    /// The key that it is bound to, or empty. As [`is_paused`](Self::is_paused), it is known where the session is served.
    pub fn key(&self) -> Vec<u8> {
        self.shared().data(|data| data.key.clone())
    }

    /// Gives the session a label: up to 64 bytes, such as a name or a state, that all workers see in
    /// [`Context::sessions`](crate::app::Context::sessions), [`Group::members`](crate::app::Group::members) and
    /// [`info`](Self::info), and the operator in `sessions`. An empty one removes it. It survives reloads and crashes of workers.
    ///
    /// # Errors
    /// [`SendError::TooLarge`] over 64 bytes; else as [`push`](Self::push).
    pub fn set_label(&self, label: impl AsRef<[u8]>) -> Result<(), SendError> {
        self.shared().set_label(label.as_ref())
    }

    /// What is kept of the request that a session of WebSocket or server-sent events began with: its target, and the fields that
    /// [`Accept::remember`](crate::app::Accept::remember) has chosen. Without a choice of its own it
    /// finds the target and `Last-Event-ID`. It stays through reloads and crashes of workers. `None` where no request was, and in a process that does
    /// not serve the session.
    pub fn request(&self) -> Option<KeptRequest> {
        let kept = self.shared().data(|data| data.request.clone());
        let listener = usize::from(self.shared().listener()?);
        let listener = self.shared().core().config.listeners.get(listener)?;
        if !kept.is_empty() {
            return Some(KeptRequest::new(&kept, &listener.routes));
        }
        let path = listener.routes.only_session_path()?;
        Some(KeptRequest::new(path.as_bytes(), &listener.routes))
    }

    /// The session's label; empty if it has none. Known as [`is_paused`](Self::is_paused) is.
    pub fn label(&self) -> Vec<u8> {
        self.shared().data(|data| data.label.clone())
    }
}
