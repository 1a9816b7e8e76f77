//! What each line of a worker says about its origin: worker, session, generation. So the app's own lines can be told
//! apart without the app's help.

use std::fmt::{self, Write};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{self, ThreadId};

use moorline_ipc::Marks;
use tracing::Event;
use tracing_subscriber::fmt::format::Writer;

use moorline_config::LogFormat;
use moorline_protocol::session_id::SessionId;

static ORIGIN: OnceLock<Origin> = OnceLock::new();

/// The worker or task worker of this process.
struct Origin {
    worker: String,
    generation: u32,
    /// The thread where hooks run. Lines of other threads belong to no session.
    thread: ThreadId,
    /// The sessions that are being polled, noted for each loop of the gateway.
    marks: Mutex<Vec<Marks>>,
}

/// From now on each line names this worker. Call it on the thread that runs the hooks.
pub fn set(worker: String, generation: u32) {
    // A process has one role for all its life.
    let _ = ORIGIN.set(Origin {
        worker,
        generation,
        thread: thread::current().id(),
        marks: Mutex::default(),
    });
}

/// The notes about the polled session, of a new gateway.
pub fn follow(marks: impl FnOnce() -> Vec<Marks>) {
    if let Some(origin) = ORIGIN.get() {
        *origin.marks.lock().unwrap_or_else(PoisonError::into_inner) = marks();
    }
}

/// Whether lines of this process get an origin.
pub(super) fn is_known() -> bool {
    ORIGIN.get().is_some()
}

/// Writes a formatted line, with the origin behind its own fields.
pub(super) fn write(
    line: &str,
    format: LogFormat,
    event: &Event<'_>,
    writer: &mut Writer<'_>,
) -> fmt::Result {
    let Some(origin) = ORIGIN.get() else {
        return writer.write_str(line);
    };
    let line = line.trim_end();
    // Fields that the line has itself are not repeated.
    let has = |name| event.metadata().fields().field(name).is_some();
    let mut fields = String::new();
    let mut add = |name: &str, value: &dyn fmt::Display| match format {
        LogFormat::Pretty => write!(fields, " {name}={value}"),
        LogFormat::Json => write!(fields, ",\"{name}\":{value}"),
    };
    if !has("worker") {
        add("worker", &format_args!("{:?}", origin.worker))?;
    }
    if !has("generation") {
        add("generation", &origin.generation)?;
    }
    if !has("session")
        && let Some(session) = origin.polled()
    {
        match format {
            LogFormat::Pretty => add("session", &session)?,
            LogFormat::Json => add("session", &format_args!("\"{session}\""))?,
        }
    }
    match (format, line.strip_suffix('}')) {
        (LogFormat::Json, Some(open)) => writeln!(writer, "{open}{fields}}}"),
        _ => writeln!(writer, "{line}{fields}"),
    }
}

impl Origin {
    /// The session whose hook the logging thread polls.
    fn polled(&self) -> Option<SessionId> {
        if thread::current().id() != self.thread {
            return None;
        }
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let polled = marks.iter().map(Marks::polling).find(|&id| id != 0);
        polled.map(SessionId::from)
    }
}
