//! The flight recorder: the last events of each thread, in memory that outlives its process.
//!
//! A thread notes an event with [`FlightLog::note`]. After a crash the supervisor writes the rings of all processes into a
//! [`Recording`]. [`FlightText`] says in words what an event was.

mod event;
mod folder;
mod recording;
mod text;

pub use event::{FlightEvent, FlightKind, FlightLog, ended_with, now_ns, role_detail};
pub use folder::{ListedRecording, is_recording, read_recording, recordings};
pub use recording::{
    EXTENSION, FOLDER, FlightEntry, FlightReason, MOST_RECORDS, RecordedThread, Recording,
    RecordingError, RecordingHead,
};
pub use text::{FlightText, HOOKS, printable};
