//! Values that the probe keeps in lockers. Each build has its own version, and the next build reads the older one too.

use moorline::{LockerError, Result, Versioned};
use serde::{Deserialize, Serialize};

use super::order::Order;

/// What the commands are called.
pub(super) const COMMANDS: &[&str] = &["keep-value", "value"];

/// The build that keeps the old version.
const FIRST: &str = "first";

/// What the first build keeps.
#[derive(Serialize, Deserialize)]
struct OldNote {
    text: String,
}

impl Versioned for OldNote {
    const VERSION: u32 = 1;
}

/// What later builds keep.
#[derive(Serialize, Deserialize)]
struct Note {
    text: String,
    length: usize,
}

impl Versioned for Note {
    const VERSION: u32 = 2;
}

impl From<OldNote> for Note {
    fn from(old: OldNote) -> Self {
        Self {
            length: old.text.len(),
            text: old.text,
        }
    }
}

/// Carries out one command, as its build does.
pub(super) fn obey(order: &mut Order<'_>) -> Result<String> {
    let Order { session, rest, .. } = *order;
    let old = OldNote {
        text: rest.to_owned(),
    };
    match (order.command, order.probe.build) {
        ("keep-value", FIRST) => session.keep(&old)?,
        ("keep-value", _) => session.keep(&Note::from(old))?,
        (_, FIRST) => {
            return Ok(match session.load::<OldNote>() {
                Ok(Some(note)) => note.text,
                Ok(None) => "none".to_owned(),
                Err(error) => error.to_string(),
            });
        }
        _ => {
            return Ok(match session.load::<Note>() {
                Ok(Some(note)) => format!("{} ({})", note.text, note.length),
                Ok(None) => "none".to_owned(),
                Err(LockerError::Version { stored: 1, .. }) => match session.load::<OldNote>()? {
                    Some(old) => format!("{}, of version 1", old.text),
                    None => "none".to_owned(),
                },
                Err(error) => error.to_string(),
            });
        }
    }
    Ok("ok".to_owned())
}
