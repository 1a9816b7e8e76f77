//! A recording: the file that the supervisor writes after a crash, a stall or a failed reload.
//!
//! ```text
//! "MOORFLT\n"        magic
//! u32                version of the layout
//! u32                bytes of the head
//! head               JSON: what happened, and whose records follow
//! records            32 bytes each, the records of the head's threads in order
//! ```
//! Numbers are little-endian. Records are as they were in the rings, so each is checked when it is read.

use std::fmt;
use std::io::{self, Read};

use moorline_ipc::{FLIGHT_RECORDS, FlightTail, RawRecord};
use serde::{Deserialize, Serialize};

use super::event::FlightEvent;
use super::text::printable;

const MAGIC: [u8; 8] = *b"MOORFLT\n";
/// Rises when the layout changes, or a kind of event gets another meaning.
const VERSION: u32 = 1;
/// More than the names of all listeners and threads that an engine can have.
const MOST_HEAD: usize = 1024 * 1024;
/// Records of all threads in one recording: 1 MiB.
pub const MOST_RECORDS: usize = 32 * 1024;
const RECORD_BYTES: usize = size_of::<RawRecord>();
/// What files end with.
pub const EXTENSION: &str = "flight";
/// The folder in `run_dir` where recordings are.
pub const FOLDER: &str = "flight";

/// Why a recording was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlightReason {
    /// A process has ended without being told to.
    Crash,
    /// A handler is stuck, or a process does not answer.
    Stuck,
    /// A reload has failed.
    Reload,
}

impl FlightReason {
    /// As in the names of files.
    pub fn as_str(self) -> &'static str {
        match self {
            FlightReason::Crash => "crash",
            FlightReason::Stuck => "stuck",
            FlightReason::Reload => "reload",
        }
    }
}

/// What a recording says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingHead {
    /// The version of Moorline that has written it.
    pub moorline: String,
    /// The engine's name.
    pub engine: String,
    /// Why it was made.
    pub reason: FlightReason,
    /// The process that it is about, as in "worker 0".
    pub process: String,
    /// What happened, as in "worker 0 (pid 12) was killed by SIGKILL".
    pub what: String,
    /// When it was made, in UTC.
    pub when: String,
    /// The same in milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// The same in nanoseconds of the clock of the events.
    pub at_ns: u64,
    /// The names of the listeners, by their places.
    pub listeners: Vec<String>,
    /// Whose records follow.
    pub threads: Vec<RecordedThread>,
}

/// A thread in a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedThread {
    /// The process, as in "worker 0".
    pub process: String,
    /// Its number in the system.
    pub pid: u32,
    /// Which of its threads, if several note events.
    pub thread: Option<String>,
    /// The number of the first record.
    pub first: u64,
    /// How many records it has.
    pub records: usize,
}

impl RecordedThread {
    /// Its name in a list, as in "gateway loop 1".
    pub fn name(&self) -> String {
        let process = printable(&self.process);
        match &self.thread {
            Some(thread) => format!("{process} {}", printable(thread)),
            None => process,
        }
    }
}

/// A whole recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// What it says about itself.
    pub head: RecordingHead,
    /// The records of each thread of the head.
    pub records: Vec<Vec<RawRecord>>,
}

/// A record of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlightEntry {
    /// The place of its thread in the head.
    pub thread: usize,
    /// When, on the clock of the events. For what cannot be read, the time of the event before it.
    pub at_ns: u64,
    /// The event. `None`: it cannot be read.
    pub event: Option<FlightEvent>,
}

impl Recording {
    /// A recording without threads.
    pub fn new(head: RecordingHead) -> Self {
        Self {
            head,
            records: Vec::new(),
        }
    }

    /// Adds the records of a thread. `thread` needs no count of them.
    pub fn push(&mut self, thread: RecordedThread, tail: FlightTail) {
        self.head.threads.push(RecordedThread {
            first: tail.first,
            records: tail.records.len(),
            ..thread
        });
        self.records.push(tail.records);
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// The head has names that are too long.
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        let head = serde_json::to_vec(&self.head)?;
        if head.len() > MOST_HEAD {
            return Err(io::Error::other("the names in it are too long"));
        }
        let mut bytes = Vec::from(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((head.len() as u32).to_le_bytes());
        bytes.extend(head);
        let words = self.records.iter().flatten().flatten();
        bytes.extend(words.flat_map(|word| word.to_le_bytes()));
        Ok(bytes)
    }

    /// Reads a file. It needs no more memory than a file of the engine's own.
    ///
    /// # Errors
    /// It is no recording, one of another version, or broken.
    pub fn decode(mut file: impl Read) -> Result<Self, RecordingError> {
        let head = read_head(&mut file)?;
        let mut records = Vec::new();
        for thread in &head.threads {
            let mut bytes = vec![0; thread.records * RECORD_BYTES];
            file.read_exact(&mut bytes).map_err(cut_off)?;
            let words = |record: &[u8]| -> RawRecord {
                let mut words = record.chunks_exact(size_of::<u64>());
                std::array::from_fn(|_| {
                    let word = words.next().and_then(|word| word.try_into().ok());
                    u64::from_le_bytes(word.unwrap_or_default())
                })
            };
            records.push(bytes.chunks_exact(RECORD_BYTES).map(words).collect());
        }
        match file.read(&mut [0]) {
            Ok(0) => Ok(Self { head, records }),
            Ok(_) => Err(RecordingError::Broken("something follows its end")),
            Err(error) => Err(RecordingError::Unreadable(error)),
        }
    }

    /// All records in the order of their times.
    pub fn timeline(&self) -> Vec<FlightEntry> {
        let mut entries = Vec::new();
        for (thread, records) in self.records.iter().enumerate() {
            let first = self.head.threads.get(thread).map_or(0, |it| it.first);
            let numbered = records.iter().zip(0_u64..);
            let events = numbered.map(|(record, offset)| {
                let event = FlightEvent::read(record, first.wrapping_add(offset))?;
                // Nothing happens after the recording was made.
                (event.at_ns <= self.head.at_ns).then_some(event)
            });
            let events: Vec<_> = events.collect();
            let known = events.iter().flatten().next();
            let mut at_ns = known.map_or(self.head.at_ns, |event| event.at_ns);
            for event in events {
                at_ns = event.map_or(at_ns, |event| event.at_ns);
                entries.push(FlightEntry {
                    thread,
                    at_ns,
                    event,
                });
            }
        }
        // Those of the same time stay in the order of their threads.
        entries.sort_by_key(|entry| entry.at_ns);
        entries
    }
}

/// What a file says about itself. Reads as far as the first record.
///
/// # Errors
/// It is no recording, one of another version, or its head is broken.
pub(super) fn read_head(mut file: impl Read) -> Result<RecordingHead, RecordingError> {
    let mut start = [0; 16];
    file.read_exact(&mut start).map_err(|error| {
        let is_short = error.kind() == io::ErrorKind::UnexpectedEof;
        match is_short {
            true => RecordingError::Other,
            false => RecordingError::Unreadable(error),
        }
    })?;
    let number = |at: usize| {
        let bytes = start[at..].first_chunk().copied();
        u32::from_le_bytes(bytes.unwrap_or_default())
    };
    if start[..8] != MAGIC {
        return Err(RecordingError::Other);
    }
    let (version, length) = (number(8), number(12) as usize);
    if version != VERSION {
        return Err(RecordingError::Version(version));
    }
    if length > MOST_HEAD {
        return Err(RecordingError::Broken("its head is too long"));
    }
    let mut head = vec![0; length];
    file.read_exact(&mut head).map_err(cut_off)?;
    let head: RecordingHead = serde_json::from_slice(&head)
        .map_err(|_| RecordingError::Broken("its head cannot be read"))?;
    let counts = head.threads.iter().map(|thread| thread.records);
    let is_bounded = head.threads.iter().all(|it| it.records < FLIGHT_RECORDS);
    if !is_bounded || counts.sum::<usize>() > MOST_RECORDS {
        return Err(RecordingError::Broken("it claims too many records"));
    }
    Ok(head)
}

fn cut_off(error: io::Error) -> RecordingError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => RecordingError::Broken("its end is missing"),
        _ => RecordingError::Unreadable(error),
    }
}

/// Why a recording cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum RecordingError {
    /// The file cannot be read.
    Unreadable(io::Error),
    /// It is something else.
    Other,
    /// Another Moorline has written it.
    Version(u32),
    /// It is damaged, in this way.
    Broken(&'static str),
}

impl fmt::Display for RecordingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "cannot be read: {error}"),
            Self::Other => f.write_str("is no recording of a flight recorder"),
            Self::Version(version) => write!(
                f,
                "is a recording of version {version}, and this Moorline reads version {VERSION}: \
                 use the Moorline that has written it"
            ),
            Self::Broken(why) => write!(f, "is damaged: {why}"),
        }
    }
}

impl std::error::Error for RecordingError {}

#[cfg(test)]
mod tests;
