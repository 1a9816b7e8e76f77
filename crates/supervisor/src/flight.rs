//! The flight recorder: after a crash, a stall or a failed reload, the last events of all processes go into a file in `run_dir`.
//!
//! A thread of its own writes the files, so that a slow or full disk holds up nothing. What cannot be written is logged.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use moorline_ipc::{FLIGHT_COUNTERS, Scoreboard, create_scoreboard};
use moorline_process::utc::Utc;
use moorline_protocol::flight::{
    EXTENSION, FOLDER, FlightLog, FlightReason, Recording, is_recording, read_recording, recordings,
};
use serde_json::{Value, json};

/// Recordings that are kept. Each has at most a little over 1 MiB.
const KEPT: usize = 20;
/// Recordings that wait for the disk.
const WAITING: usize = 2;
/// How many recordings of a process for one reason come one after the other; then there is one each [`PAUSE`]. So a process
/// that crashes again and again does not push out the others.
const BURST: u32 = 5;
const PAUSE: Duration = Duration::from_secs(600);
/// Events of one recording in an answer.
const TOLD: usize = 500;
/// Events for traces in an answer: 1 MiB of text.
const TRACED: usize = 4000;
/// How long the engine's end waits for the last recording.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// The supervisor's own events, and the thread that writes recordings.
pub(super) struct FlightRecorder {
    pub(super) log: FlightLog,
    budgets: HashMap<(FlightReason, String), Budget>,
    waiting: SyncSender<Recording>,
    thread: JoinHandle<()>,
}

impl FlightRecorder {
    /// Recordings go into the folder `flight` of this folder.
    ///
    /// # Errors
    /// Out of memory, descriptors or threads.
    pub(super) fn new(run_dir: &Path) -> io::Result<Self> {
        let board = Scoreboard::map(create_scoreboard(FLIGHT_COUNTERS)?, FLIGHT_COUNTERS)?;
        let (waiting, recordings) = sync_channel(WAITING);
        let folder = run_dir.join(FOLDER);
        let thread = std::thread::Builder::new()
            .name("flight".to_owned())
            .spawn(move || write_all(&folder, &recordings))?;
        Ok(Self {
            log: FlightLog::new(board),
            budgets: HashMap::new(),
            waiting,
            thread,
        })
    }

    /// Whether there may be one more recording of this process for this reason now.
    pub(super) fn may_record(&mut self, reason: FlightReason, process: &str, now: Instant) -> bool {
        let key = (reason, process.to_owned());
        let budget = self.budgets.entry(key).or_insert(Budget {
            left: BURST,
            since: now,
        });
        budget.take(now)
    }

    /// Writes a recording, soon.
    pub(super) fn write(&self, recording: Recording) {
        if self.waiting.try_send(recording).is_err() {
            tracing::warn!(
                "a recording of the last events is left out: the one before it is not written yet"
            );
        }
    }

    /// Writes what waits.
    pub(super) fn finish(self) {
        drop(self.waiting);
        let begun = Instant::now();
        while !self.thread.is_finished() && begun.elapsed() < LAST_WRITE {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// How many recordings may still be made.
#[derive(Debug)]
struct Budget {
    left: u32,
    /// When it last got one more.
    since: Instant,
}

impl Budget {
    fn take(&mut self, now: Instant) -> bool {
        while self.left < BURST && now.duration_since(self.since) >= PAUSE {
            self.left += 1;
            self.since += PAUSE;
        }
        if self.left == BURST {
            self.since = now;
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

/// The recordings, the latest last.
pub(super) fn listed(run_dir: &Path) -> Result<Value, String> {
    let found = recordings(&run_dir.join(FOLDER))
        .map_err(|error| format!("the recordings cannot be read: {error}"))?;
    let last = found.len().saturating_sub(KEPT);
    let told = found[last..].iter().map(|(file, head)| match head {
        Ok(head) => {
            let mut told = head.json();
            told["file"] = file.as_str().into();
            told
        }
        Err(error) => json!({ "file": file, "error": error.to_string() }),
    });
    Ok(told.collect())
}

/// The last events in a recording.
pub(super) fn shown(run_dir: &Path, file: &str) -> Result<Value, String> {
    if !is_recording(file) {
        return Err("this is not the name of a recording".to_owned());
    }
    let recording = read_recording(&run_dir.join(FOLDER).join(file))
        .map_err(|error| format!("{file} {error}"))?;
    let entries = recording.timeline();
    let left_out = entries.len().saturating_sub(TOLD);
    let mut told = recording.head.json();
    let events = entries[left_out..].iter();
    told["events"] = events.map(|entry| entry.json(&recording.head)).collect();
    told["left_out"] = left_out.into();
    Ok(told)
}

/// The last events of processes, reloads, dials and handlers that were chosen, to make traces of.
pub(super) fn last_events(recording: &Recording) -> Value {
    let mut entries = recording.timeline();
    entries.retain(|entry| {
        let event = entry.event.as_ref();
        event.is_some_and(|event| {
            let kind = event.kind;
            kind.is_of_processes() || kind.is_of_dials() || kind.is_of_handlers()
        })
    });
    let first = entries.len().saturating_sub(TRACED);
    let events = entries[first..].iter().map(|entry| {
        let mut told = entry.json(&recording.head);
        told["at_ns"] = entry.at_ns.into();
        told
    });
    let events: Value = events.collect();
    json!({ "at_ns": recording.head.at_ns, "events": events })
}

fn write_all(folder: &Path, recordings: &Receiver<Recording>) {
    while let Ok(recording) = recordings.recv() {
        match write(folder, &recording) {
            Ok(path) => tracing::info!(
                file = %path.display(),
                "the last events before it are recorded; `moorline flight` shows them"
            ),
            Err(error) => tracing::warn!(
                folder = %folder.display(),
                %error,
                "the last events before it cannot be recorded"
            ),
        }
    }
}

/// Writes a file, which is there as a whole or not at all, and removes the oldest ones.
fn write(folder: &Path, recording: &Recording) -> io::Result<PathBuf> {
    let made = DirBuilder::new().mode(0o700).create(folder);
    if let Err(error) = made
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(error);
    }
    // Room first: the disk may be full of them.
    prune(folder, KEPT - 1)?;
    let bytes = recording.encode()?;
    let path = free_path(folder, recording);
    let unfinished = path.with_extension("unfinished");
    let written = write_whole(&unfinished, &bytes).and_then(|()| fs::rename(&unfinished, &path));
    if let Err(error) = written {
        // It may not be there.
        let _ = fs::remove_file(&unfinished);
        return Err(error);
    }
    Ok(path)
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_data()
}

/// A path that says when, which process and why. The names of later ones are greater.
fn free_path(folder: &Path, recording: &Recording) -> PathBuf {
    let head = &recording.head;
    let second = Utc::at(head.unix_ms / 1000).compact();
    let letters = head.process.chars();
    let process: String = letters
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '-'
            }
        })
        .collect();
    let reason = head.reason.as_str();
    let named = |ms: u64| folder.join(format!("{second}.{ms:03}-{process}-{reason}.{EXTENSION}"));
    let mut ms = head.unix_ms % 1000;
    while named(ms).exists() {
        ms += 1;
    }
    named(ms)
}

/// Removes all but the newest recordings, and what an engine that died did not finish.
fn prune(folder: &Path, kept: usize) -> io::Result<()> {
    let mut finished = Vec::new();
    for found in fs::read_dir(folder)? {
        let path = found?.path();
        match path.extension().and_then(|it| it.to_str()) {
            Some(EXTENSION) => finished.push(path),
            Some("unfinished") => fs::remove_file(path)?,
            // It is not ours.
            _ => {}
        }
    }
    finished.sort_unstable();
    let old = finished.len().saturating_sub(kept);
    finished[..old].iter().try_for_each(fs::remove_file)
}

#[cfg(test)]
mod tests;
