//! The folder with the recordings of an engine, and recordings for programs.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::Path;

use serde_json::{Value, json};

use super::recording::{
    EXTENSION, FlightEntry, Recording, RecordingError, RecordingHead, read_head,
};
use super::text::FlightText;

/// More files than an engine keeps: others are not listed.
const MOST_LISTED: usize = 1000;

/// A file in the folder, and what it says about itself.
pub type ListedRecording = (String, Result<RecordingHead, RecordingError>);

/// The recordings in a folder, the latest last. None, if the folder is not there.
///
/// # Errors
/// The folder cannot be read.
pub fn recordings(folder: &Path) -> io::Result<Vec<ListedRecording>> {
    let found = match fs::read_dir(folder) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in found.take(MOST_LISTED) {
        if let Ok(name) = entry?.file_name().into_string()
            && is_recording(&name)
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    let listed = names.into_iter().map(|name| {
        let head = open(&folder.join(&name)).and_then(read_head);
        (name, head)
    });
    Ok(listed.collect())
}

/// Reads a recording.
///
/// # Errors
/// It cannot be read, or is none.
pub fn read_recording(path: &Path) -> Result<Recording, RecordingError> {
    open(path).and_then(Recording::decode)
}

/// Whether a file of this name may be a recording in the folder.
pub fn is_recording(name: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-.".contains(letter);
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    ending == Some(EXTENSION) && !name.starts_with('.') && name.chars().all(plain)
}

fn open(path: &Path) -> Result<BufReader<File>, RecordingError> {
    let file = File::open(path).map_err(RecordingError::Unreadable)?;
    Ok(BufReader::new(file))
}

impl RecordingHead {
    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "when": self.when,
            "unix_ms": self.unix_ms,
            "reason": self.reason.as_str(),
            "process": self.process,
            "what": self.what,
            "engine": self.engine,
            "moorline": self.moorline,
        })
    }
}

impl FlightEntry {
    /// Seconds from the moment when the recording was made: not above 0.
    pub fn seconds(&self, head: &RecordingHead) -> f64 {
        0.0 - head.at_ns.saturating_sub(self.at_ns) as f64 / 1e9
    }

    /// For programs. What cannot be read has no event.
    pub fn json(&self, head: &RecordingHead) -> Value {
        let thread = head.threads.get(self.thread);
        let mut line = json!({
            "seconds": self.seconds(head),
            "process": thread.map(|it| &it.process),
            "pid": thread.map(|it| it.pid),
            "thread": thread.and_then(|it| it.thread.as_ref()),
            "event": null,
        });
        if let Some(event) = &self.event {
            let listeners = &head.listeners;
            line["event"] = event.kind.as_str().into();
            line["text"] = FlightText { event, listeners }.to_string().into();
            line["session"] = format!("{:016x}", event.session).into();
            line["detail"] = event.detail.into();
            line["number"] = event.number.into();
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_lead_out_of_the_folder() {
        assert!(is_recording("20261130T042011Z.118-worker-0-crash.flight"));
        for name in [
            "../a.flight",
            "/a.flight",
            ".a.flight",
            "flight",
            "a.txt",
            "a\0.flight",
            "",
        ] {
            assert!(!is_recording(name), "{name:?}");
        }
    }
}
