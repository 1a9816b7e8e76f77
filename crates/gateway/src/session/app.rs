//! What a session has of its app.

use crate::memory::MEMBERSHIP_BYTES;
use moorline_protocol::wire::MOST_INPUT;
use serde::{Deserialize, Serialize};

/// The app's settings for the session.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct App {
    /// The session is not read.
    pub(crate) is_paused: bool,
    /// The session is not closed for being idle.
    pub(crate) is_kept: bool,
    /// The state that few sessions have.
    pub(crate) state: Option<Box<AppState>>,
}

/// The state that few sessions have.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct AppState {
    pub(crate) locker: Vec<u8>,
    /// The key that it is bound to, or empty.
    pub(crate) key: Vec<u8>,
    /// Its label; empty if it has none.
    pub(crate) label: Vec<u8>,
    /// What is kept of the request that it began with; empty if nothing is.
    pub(crate) request: Vec<u8>,
    /// The text of the peer's WebSocket close; empty if there is none.
    pub(crate) close_text: String,
    /// The groups it is in, by their numbers, and its place in each.
    pub(crate) groups: Vec<(u64, u32)>,
    /// What its process has of its messages and has not used: the first message of the next one.
    pub(crate) input: Vec<u8>,
    /// That is more than can be kept.
    pub(crate) is_input_lost: bool,
}

impl AppState {
    pub(crate) fn is_empty(&self) -> bool {
        self.held() == 0 && !self.is_input_lost
    }

    /// Bytes of the app's that it holds.
    pub(crate) fn bytes(&self) -> usize {
        let texts = self.label.len() + self.close_text.len();
        self.locker.len() + self.key.len() + texts + self.request.len()
    }

    /// Those, its memberships, and its input.
    pub(crate) fn held(&self) -> usize {
        self.bytes() + self.groups.len() * MEMBERSHIP_BYTES + self.input.len()
    }

    /// Keeps more input, up to a bound.
    pub(crate) fn keep_input(&mut self, bytes: &[u8]) {
        if self.is_input_lost || self.input.len() + bytes.len() > MOST_INPUT {
            return self.lose_input();
        }
        self.input.extend_from_slice(bytes);
    }

    pub(crate) fn drop_input(&mut self) {
        self.input = Vec::new();
        self.is_input_lost = false;
    }

    pub(crate) fn lose_input(&mut self) {
        self.input = Vec::new();
        self.is_input_lost = true;
    }
}

impl App {
    /// The key that the session is bound to.
    pub(crate) fn key(&self) -> &[u8] {
        self.state.as_ref().map_or(&[], |state| &state.key)
    }

    /// Its label; empty if it has none.
    pub(crate) fn label(&self) -> &[u8] {
        self.state.as_ref().map_or(&[], |state| &state.label)
    }

    /// What is kept of the request that it began with; empty if nothing is.
    pub(crate) fn request(&self) -> &[u8] {
        self.state.as_ref().map_or(&[], |state| &state.request)
    }

    /// The text of the peer's WebSocket close; empty if there is none.
    pub(crate) fn close_text(&self) -> &str {
        self.state.as_ref().map_or("", |state| &state.close_text)
    }

    /// The groups that the session is in.
    pub(crate) fn groups(&self) -> &[(u64, u32)] {
        self.state.as_ref().map_or(&[], |state| &state.groups)
    }

    /// Changes what few sessions have. What is empty afterwards goes. Returns the bytes held before and after.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut AppState)) -> (usize, usize) {
        let before = self.state.as_ref().map_or(0, |state| state.held());
        let state = self.state.get_or_insert_default();
        change(state);
        let after = state.held();
        if state.is_empty() {
            self.state = None;
        }
        (before, after)
    }
}
