//! The room on the disks that the engine writes to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moorline_config::{AccessLogPath, Config, TemplatePart};
use serde::Serialize;

/// How often it is looked. A disk of a network may take long.
const EVERY: Duration = Duration::from_secs(3);
/// The most places that are looked at.
const MOST: usize = 16;

/// The last look at the disks.
#[derive(Debug, Default)]
pub(super) struct Disks {
    found: Arc<Mutex<Vec<DiskRoom>>>,
    /// Whether the thread of a look has not ended.
    looking: Option<std::thread::JoinHandle<()>>,
    next: Duration,
}

/// The room of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiskRoom {
    /// What the engine writes there.
    pub what: String,
    /// The file or folder, which may not be there yet.
    pub path: PathBuf,
    /// Bytes that can still be written.
    pub free: u64,
    /// Bytes of the whole disk.
    pub size: u64,
}

impl Disks {
    /// Has a thread look, if it is time and the last one has ended: a disk that does not answer keeps nobody else waiting.
    pub(super) fn look(&mut self, config: &Config, now: Duration) {
        let is_looking = self.looking.as_ref().is_some_and(|it| !it.is_finished());
        if now < self.next || is_looking {
            return;
        }
        self.next = now + EVERY;
        let (places, found) = (places(config), self.found.clone());
        let thread = std::thread::Builder::new().name("disks".to_owned());
        let looking = thread.spawn(move || {
            *found.lock().unwrap_or_else(PoisonError::into_inner) = rooms_of(places);
        });
        // Without a thread the last look stays.
        self.looking = looking.ok();
    }

    pub(super) fn status(&self) -> Vec<DiskRoom> {
        let found = self.found.lock();
        found.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The room on the disks that an engine with this configuration writes to. Blocks on them.
pub fn rooms(config: &Config) -> Vec<DiskRoom> {
    rooms_of(places(config))
}

fn rooms_of(places: BTreeMap<PathBuf, String>) -> Vec<DiskRoom> {
    let rooms = places.into_iter();
    rooms.filter_map(|(path, what)| room(what, path)).collect()
}

/// What is written, by its path.
fn places(config: &Config) -> BTreeMap<PathBuf, String> {
    let mut places = BTreeMap::new();
    places.insert(config.engine.run_dir.clone(), "run_dir".to_owned());
    if let Some(log) = &config.engine.log.file {
        places.insert(log.clone(), "log".to_owned());
    }
    for log in &config.access_logs {
        let AccessLogPath::File(path) = &log.path else {
            continue;
        };
        // A path with variables is in the folder before the first of them.
        let Some(TemplatePart::Text(fixed)) = path.parts().first() else {
            continue;
        };
        if places.len() < MOST && fixed.starts_with('/') {
            places.insert(PathBuf::from(fixed), format!("access log {}", log.name));
        }
    }
    places
}

/// The room where this file or folder is, or will be.
fn room(what: String, path: PathBuf) -> Option<DiskRoom> {
    let found = path
        .ancestors()
        .find_map(|it: &Path| rustix::fs::statvfs(it).ok())?;
    Some(DiskRoom {
        what,
        free: found.f_bavail.saturating_mul(found.f_frsize),
        size: found.f_blocks.saturating_mul(found.f_frsize),
        path,
    })
}
