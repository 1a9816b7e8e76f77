//! Where log lines go: to standard error or a file, by a thread of their own, so that a full disk or a slow terminal
//! never blocks a loop. Lines that the thread cannot write in time, or at all, are dropped and counted.
//!
//! Their destination, format and level can change at any time.

pub mod origin;

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::format::{self, FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

use moorline_config::{Log, LogFormat};

/// Lines that may wait for the thread: about a megabyte, a second of a very talkative process.
const WAITING_LINES: usize = 8192;

/// The rights of a new log file, without those that the user's mask takes away.
const MODE: u32 = 0o666;

/// The file for the lines; standard error if there is none.
static FILE: Mutex<Option<Arc<File>>> = Mutex::new(None);
/// The last line may have been written in part.
static IS_TORN: AtomicBool = AtomicBool::new(false);
/// The format of lines, as a number.
static FORMAT: AtomicU8 = AtomicU8::new(LogFormat::Pretty as u8);
/// Lines that the thread could not write in time.
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();
/// Lines that could not be written, on a full disk say.
static UNWRITTEN: AtomicU64 = AtomicU64::new(0);
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Makes the thread write the waiting lines, and end.
static GUARD: Mutex<Option<WorkerGuard>> = Mutex::new(None);

/// Writes the waiting lines when it is dropped.
#[must_use]
pub struct Flush(());

impl Drop for Flush {
    fn drop(&mut self) {
        flush();
    }
}

/// Writes the waiting lines, if that takes no longer than a second. Nothing is logged afterwards.
pub fn flush() {
    drop(GUARD.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// Sets logging up for this process, which runs the named role. Fails if it was set up before.
pub fn init(log: &Log, role: &str, file: Option<OwnedFd>) -> io::Result<Flush> {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(WAITING_LINES)
        .thread_name("moorline-log")
        .finish(Output);
    let dropped = writer.error_counter();
    let (filter, handle) = reload::Layer::new(filter(&log.level)?);
    // Both layers always exist, so that each knows the spans that were opened while the other one wrote.
    let pretty = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .event_format(InUse {
            lines: format::Format::default()
                .with_ansi(false)
                .with_target(false),
            format: LogFormat::Pretty,
        })
        .with_writer(Lines(writer.clone()));
    let json = tracing_subscriber::fmt::layer()
        .json()
        .event_format(InUse {
            lines: format::Format::default()
                .json()
                .flatten_event(true)
                .with_target(false),
            format: LogFormat::Json,
        })
        .with_writer(Lines(writer));
    tracing_subscriber::registry()
        .with(filter)
        .with(pretty)
        .with(json)
        .try_init()
        .map_err(io::Error::other)?;
    // Both are set once, together with the subscriber, which did not exist before.
    let _ = DROPPED.set(dropped);
    let _ = FILTER.set(handle);
    *GUARD.lock().unwrap_or_else(PoisonError::into_inner) = Some(guard);
    let flush = Flush(());
    configure(log, file)?;
    tracing::debug!(role, pid = std::process::id(), "logging");
    Ok(flush)
}

/// Logs by these settings from now on, to the file if there is one.
pub fn configure(log: &Log, file: Option<OwnedFd>) -> io::Result<()> {
    let filter = filter(&log.level)?;
    let file = file.map(|file| Arc::new(File::from(file)));
    *FILE.lock().unwrap_or_else(PoisonError::into_inner) = file;
    FORMAT.store(log.format as u8, Ordering::Relaxed);
    match FILTER.get() {
        Some(handle) => handle.reload(filter).map_err(io::Error::other),
        None => Ok(()),
    }
}

/// Lines go to this descriptor from now on.
pub fn reopen(file: OwnedFd) {
    let file = Arc::new(File::from(file));
    *FILE.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
}

/// The supervisor, which reads this process's lines, is gone: nothing more is written, and a log call is no error.
pub fn fall_silent() {
    // A `chroot` may have none; then writing fails.
    if let Ok(nothing) = File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&nothing);
        let _ = rustix::stdio::dup2_stderr(&nothing);
        reopen(nothing.into());
    }
}

/// How many lines were dropped since the process started.
pub fn dropped() -> u64 {
    let dropped = DROPPED.get().map_or(0, ErrorCounter::dropped_lines);
    dropped as u64 + UNWRITTEN.load(Ordering::Relaxed)
}

/// Opens a log file for appending; whole lines of several processes do not mix in it.
pub fn open(log: &Log) -> io::Result<Option<OwnedFd>> {
    let Some(path) = &log.file else {
        return Ok(None);
    };
    let file = open_for_appending(path, MODE).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot open the log file {}: {error}", path.display()),
        )
    })?;
    Ok(Some(file.into()))
}

/// Opens an open log file a second time. The new descriptor shares neither flags nor a position in the file with
/// others.
pub fn open_again(file: &OwnedFd) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(open_for_appending(Path::new(&path), MODE)?.into())
}

/// Opens a file for lines, which has these rights if it is new. Does not block: a pipe without a reader cannot be opened.
///
/// # Errors
/// It cannot be opened or made.
pub fn open_for_appending(path: &Path, mode: u32) -> io::Result<File> {
    let opened = File::options()
        .create(true)
        .append(true)
        .mode(mode)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path);
    let file = match opened {
        Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
            let reason = "it is a pipe, and nobody reads it";
            return Err(io::Error::new(error.kind(), reason));
        }
        opened => opened?,
    };
    // The writing thread waits for lines.
    let flags = fcntl_getfl(&file)?;
    fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
    Ok(file)
}

/// What the client of NATS says of each attempt to connect, unless it is wanted: the engine tells it once.
const QUIET: &str = "async_nats=off";

fn filter(level: &str) -> io::Result<EnvFilter> {
    let level = match level.contains("async_nats") {
        true => level.to_owned(),
        false => format!("{level},{QUIET}"),
    };
    EnvFilter::try_new(level).map_err(|error| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("`[engine.log] level`: {error}"),
        )
    })
}

/// Lines of one format, while it is the present one.
struct InUse<L> {
    lines: L,
    format: LogFormat,
}

impl<S, N, L> FormatEvent<S, N> for InUse<L>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    L: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if FORMAT.load(Ordering::Relaxed) != self.format as u8 {
            return Ok(());
        }
        if !origin::is_known() {
            return self.lines.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.lines
            .format_event(context, Writer::new(&mut line), event)?;
        origin::write(&line, self.format, event, &mut writer)
    }
}

/// The way to the thread, for lines that are not empty.
struct Lines(NonBlocking);

impl MakeWriter<'_> for Lines {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line(self.0.clone())
    }
}

struct Line(NonBlocking);

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match line.is_empty() {
            true => Ok(0),
            false => self.0.write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The destination of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// The log.
    Log,
    /// Standard error, even if the log is elsewhere.
    Errors,
    /// Standard output.
    Output,
}

/// Writes a whole line, with its end. A failure is counted.
pub fn write_line(destination: Destination, line: &[u8]) {
    // Not while a line is written: a disk may be slow, and another file may be opened meanwhile.
    let file = FILE.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let written = match file.filter(|_| destination == Destination::Log) {
        Some(file) => {
            let text: &[u8] = match IS_TORN.swap(false, Ordering::Relaxed) {
                true => &[b"\n".as_slice(), line].concat(),
                false => line,
            };
            let written = (&*file).write_all(text);
            if written.is_err() {
                IS_TORN.store(true, Ordering::Relaxed);
            }
            written
        }
        None if destination == Destination::Output => io::stdout().write_all(line),
        None => io::stderr().write_all(line),
    };
    if written.is_err() {
        UNWRITTEN.fetch_add(1, Ordering::Relaxed);
    }
}

/// The present log.
struct Output;

impl Write for Output {
    /// Takes a whole line and reports no error: the calling thread could not use one.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        write_line(Destination::Log, line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
