//! Looks at an engine, as often as somebody asks.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use moorline_engine::command::{self, CommandError, Request, Response};
use moorline_engine::control::SessionRow;

use super::super::look;
use super::demo::Demo;
use super::sample::{MOST_SESSIONS, Sample};

/// How often is looked.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// Whose state is shown.
#[derive(Debug)]
pub(super) enum Watched {
    /// The engine with this run folder.
    Engine(PathBuf),
    /// One that does not exist.
    Demo,
}

/// Whether sessions are asked for, too: there may be many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    Shallow,
    Sessions,
}

/// Looks each second, or at once when a depth comes, and gives each result, until nobody takes them. An error says why
/// there is none.
pub(super) fn look_on(
    source: Watched,
    depths: &Receiver<Depth>,
    mut give: impl FnMut(Result<Sample, String>) -> bool,
) {
    let mut eye = Eye::new(source);
    let mut depth = Depth::Shallow;
    while give(eye.look(depth)) {
        match depths.recv_timeout(EVERY) {
            Ok(other) => depth = other,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// What looks.
pub(super) enum Eye {
    Engine(PathBuf),
    Demo(Box<Demo>),
}

impl Eye {
    pub(super) fn new(source: Watched) -> Self {
        match source {
            Watched::Engine(run_dir) => Self::Engine(run_dir),
            Watched::Demo => Self::Demo(Box::default()),
        }
    }

    pub(super) fn look(&mut self, depth: Depth) -> Result<Sample, String> {
        match self {
            Self::Demo(demo) => Ok(demo.look()),
            Self::Engine(run_dir) => look_at(run_dir, depth).map_err(|error| error.to_string()),
        }
    }
}

fn look_at(run_dir: &Path, depth: Depth) -> Result<Sample, CommandError> {
    let (status, upstreams) = look::state(run_dir)?;
    let sessions = match depth {
        Depth::Shallow => Vec::new(),
        // Without a gateway there are none.
        Depth::Sessions => sessions(run_dir).unwrap_or_default(),
    };
    Ok(Sample::new(status, upstreams, sessions))
}

fn sessions(run_dir: &Path) -> Result<Vec<SessionRow>, CommandError> {
    let mut sessions = Vec::new();
    command::ask_while(run_dir, Request::Sessions, |answer| {
        if let Response::Sessions(rows) = answer {
            let room = MOST_SESSIONS - sessions.len();
            sessions.extend(rows.into_iter().take(room));
        }
        sessions.len() < MOST_SESSIONS
    })?;
    Ok(sessions)
}
