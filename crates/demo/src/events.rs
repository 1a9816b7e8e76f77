//! What has happened, for the page.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Instant;

use serde::Serialize;

/// The most that are kept.
const KEPT: usize = 60;

/// The latest events.
#[derive(Debug)]
pub(crate) struct Events {
    begun: Instant,
    kept: Mutex<VecDeque<Happened>>,
}

/// Something that has happened.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Happened {
    /// Seconds since the demo began.
    at: f64,
    text: String,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            kept: Mutex::default(),
        }
    }
}

impl Events {
    pub(crate) fn add(&self, text: impl Into<String>) {
        let (at, text) = (self.now(), text.into());
        // A thread that has panicked with the lock has left whole events.
        let mut kept = self
            .kept
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        kept.push_front(Happened { at, text });
        kept.truncate(KEPT);
    }

    /// Seconds since the demo began.
    pub(crate) fn now(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// The latest one first.
    pub(crate) fn all(&self) -> Vec<Happened> {
        let kept = self
            .kept
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        kept.iter().cloned().collect()
    }
}
