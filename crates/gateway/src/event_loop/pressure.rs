//! How near the memory limit is.

use std::time::Instant;

/// How often the log reports that the limit is near, at most, in milliseconds.
const SAY_MS: u64 = 10_000;

/// How near the memory limit is, and what was logged about it.
#[derive(Debug)]
pub(crate) struct Pressure {
    pub(crate) standing: Pressed,
    /// When to look for the largest again. Not by the loop's clock: a flood comes within a turn.
    pub(crate) search_at: Instant,
    said_at: Option<u64>,
    /// When the last refusal was logged.
    refusal_said_at: Option<u64>,
}

/// The state as of the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pressed {
    Calm,
    Near,
    Over,
}

impl Pressure {
    pub(crate) fn new() -> Self {
        Self {
            standing: Pressed::Calm,
            search_at: Instant::now(),
            said_at: None,
            refusal_said_at: None,
        }
    }

    /// Others may make room, and nothing wakes this loop when they do.
    pub(crate) fn is_watchful(&self) -> bool {
        self.standing != Pressed::Calm
    }

    /// Whether a refusal should be logged: not each of them is.
    pub(crate) fn tells_of_refusals(&mut self, now: u64) -> bool {
        let is_due = self.refusal_said_at.is_none_or(|at| now - at > SAY_MS);
        if is_due {
            self.refusal_said_at = Some(now);
        }
        is_due
    }

    /// Whether the log should report that the limit is near: not each time.
    pub(crate) fn is_to_be_said(&mut self, now: u64) -> bool {
        let is_due = self.said_at.is_none_or(|at| now - at > SAY_MS);
        if is_due {
            self.said_at = Some(now);
        }
        is_due
    }
}
