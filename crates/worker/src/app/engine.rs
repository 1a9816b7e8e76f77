//! What an app can ask of the engine that runs it.

use std::error::Error;
use std::fmt;

use crate::app::Context;
use crate::control::AppRequest;

impl Context {
    /// Reloads the engine, as `moorline reload` does: new processes from the executable and the configuration at their paths.
    /// Returns what that command prints when the new ones serve. This process then gives up its sessions, and ends when its
    /// handlers have.
    ///
    /// Dropping the future does not cancel the reload. At most 8 requests of a process are on their way; further ones wait.
    ///
    /// # Errors
    /// [`ControlError::Refused`] with the reason if the reload fails, which changes nothing; at once if it could not begin at
    /// once: while another reload is under way, while this process is being replaced or another one has not ended yet, and for a
    /// second after the end of a reload that an app has asked for. Each that begins within five minutes after the one before
    /// doubles this second, up to a minute, so that an app that reloads whenever it serves does so once a minute in the end.
    /// [`ControlError::NotServing`] before this process serves.
    pub async fn reload(&self) -> Result<String, ControlError> {
        self.ask_engine(AppRequest::Reload).await
    }

    /// Stops the engine in order, as `moorline stop` does. Returns when the stop has begun. A handler that goes on waiting has
    /// `max_wait`. Dropping the future does not cancel it.
    ///
    /// # Errors
    /// As for [`reload`](Self::reload).
    pub async fn stop(&self) -> Result<(), ControlError> {
        self.ask_engine(AppRequest::Stop).await.map(drop)
    }

    /// The state of the engine: the JSON that `moorline status --json` prints, as it was at most 100 ms or so before. Cancel-safe.
    ///
    /// # Errors
    /// As for [`reload`](Self::reload).
    pub async fn status(&self) -> Result<String, ControlError> {
        let core = self.core();
        if !core.commitment.is_committed() {
            return Err(ControlError::NotServing);
        }
        core.requests.status().await
    }

    /// Asks for a replacement of this process alone, from the executable that serves now, as `max_requests` does: it serves
    /// until the new one is ready, and ends when its handlers have. A second call does nothing. If processes of a slot ask within
    /// half a second after they are ready, the second replacement is started after 100 ms, and each further one after twice that,
    /// up to 5 s.
    ///
    /// # Errors
    /// [`ControlError::NotServing`] before this process serves.
    pub fn recycle(&self) -> Result<(), ControlError> {
        let core = self.core();
        if !core.commitment.is_committed() {
            return Err(ControlError::NotServing);
        }
        core.quota.spend();
        Ok(())
    }

    async fn ask_engine(&self, request: AppRequest) -> Result<String, ControlError> {
        let core = self.core();
        if !core.commitment.is_committed() {
            return Err(ControlError::NotServing);
        }
        core.requests.ask(request).await
    }
}

/// Why the engine does not do what an app asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlError {
    /// This process does not serve yet: ask in [`serving`](crate::app::App::serving).
    NotServing,
    /// It was refused or has failed, for this reason.
    Refused(String),
    /// The supervisor is gone, and this process is about to end.
    SupervisorLost,
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotServing => f.write_str(super::error::NOT_SERVING),
            Self::Refused(reason) => f.write_str(reason),
            Self::SupervisorLost => f.write_str("the supervisor is gone"),
        }
    }
}

impl Error for ControlError {}
