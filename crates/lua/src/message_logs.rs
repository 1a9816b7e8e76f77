//! What services receive, in files: `logon` of the console.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use moorline_actor::{Kind, Message, Payload, ServiceId};
use rustc_hash::FxHashMap;

/// The files that are written, by service.
#[derive(Debug, Default)]
pub(crate) struct MessageLogs {
    /// How many there are, so that a service takes no lock where there are none.
    count: AtomicUsize,
    logs: Mutex<FxHashMap<ServiceId, Arc<MessageLog>>>,
}

#[derive(Debug)]
struct MessageLog(Mutex<LogSpace>);

#[derive(Debug)]
struct LogSpace {
    file: File,
    /// Bytes that may still be written.
    left: usize,
}

/// The most services whose messages are written at a time.
const MOST_LOGS: usize = 64;
/// The most bytes of one file since it was opened: a disk is not filled by a command that was forgotten.
const MOST_BYTES: usize = 1 << 30;
/// What `skynet.now` counts.
const TICK: Duration = Duration::from_millis(10);

impl MessageLogs {
    /// Begins to write what a service receives to a file in a folder. Does nothing if it is written already.
    ///
    /// # Errors
    /// The file cannot be opened, or there are too many.
    pub(crate) fn begin(
        &self,
        folder: &Path,
        service: ServiceId,
        uptime: Duration,
    ) -> Result<PathBuf, String> {
        let path = folder.join(format!("{:08x}.log", service.number()));
        let mut logs = self.logs();
        if logs.contains_key(&service) {
            return Ok(path);
        }
        if logs.len() >= MOST_LOGS {
            return Err(format!(
                "the messages of {MOST_LOGS} services are written already: end one by logoff"
            ));
        }
        let log = MessageLog::open(&path, uptime);
        let log = log.map_err(|error| format!("cannot open {}: {error}", path.display()))?;
        logs.insert(service, Arc::new(log));
        self.count.store(logs.len(), Ordering::Release);
        Ok(path)
    }

    /// Ends it. False if nothing was written.
    pub(crate) fn end(&self, service: ServiceId) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let mut logs = self.logs();
        let log = logs.remove(&service);
        self.count.store(logs.len(), Ordering::Release);
        drop(logs);
        if let Some(log) = &log {
            log.write(&format!("close time: {}\n", seconds()));
        }
        log.is_some()
    }

    /// A service has received a message.
    pub(crate) fn note(
        &self,
        service: ServiceId,
        message: &Message,
        uptime: impl FnOnce() -> Duration,
    ) {
        if self.count.load(Ordering::Relaxed) == 0 || message.kind == Kind::WOKEN {
            return;
        }
        let log = self.logs().get(&service).cloned();
        if let Some(log) = log
            && log.may_take(2 * message.payload.size())
        {
            log.write(&line(message, uptime()));
        }
    }

    fn logs(&self) -> MutexGuard<'_, FxHashMap<ServiceId, Arc<MessageLog>>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sender, the kind, the session, the time and the bytes of a message.
fn line(message: &Message, uptime: Duration) -> String {
    let bytes: &[u8] = match &message.payload {
        Payload::Bytes(bytes) => bytes,
        Payload::Shared(bytes) => bytes,
        Payload::Failure(why) => why.as_bytes(),
        Payload::Empty | Payload::Value(_) | Payload::Service(_) => &[],
    };
    let (kind, session, ticks) = (message.kind.0, message.session, ticks(uptime));
    let mut line = format!("{} {kind} {session} {ticks} ", message.source);
    line.reserve(2 * bytes.len() + 1);
    for byte in bytes {
        // It cannot fail for a text.
        let _ = write!(line, "{byte:02x}");
    }
    line.push('\n');
    line
}

impl MessageLog {
    fn open(path: &Path, uptime: Duration) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let log = Self(Mutex::new(LogSpace {
            file,
            left: MOST_BYTES,
        }));
        log.write(&format!("open time: {} {}\n", seconds(), ticks(uptime)));
        Ok(log)
    }

    /// Whether there is room for a line of this length: else it is full from here on.
    fn may_take(&self, bytes: usize) -> bool {
        let mut space = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes > space.left && space.left > 0 {
            space.end();
        }
        space.left > 0
    }

    /// Adds a line in one piece. A full disk loses it, and stops nobody.
    fn write(&self, line: &str) {
        let mut space = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(left) = space.left.checked_sub(line.len()) {
            space.left = left;
            let _ = space.file.write_all(line.as_bytes());
        } else if space.left > 0 {
            space.end();
        }
    }
}

impl LogSpace {
    fn end(&mut self) {
        self.left = 0;
        let _ = self.file.write_all(b"full: logoff and logon go on\n");
    }
}

fn ticks(uptime: Duration) -> u128 {
    uptime.as_millis() / TICK.as_millis()
}

fn seconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_full_says_so_once() {
        let path = std::env::temp_dir().join(format!("message-log-{}", std::process::id()));
        let log = MessageLog::open(&path, Duration::ZERO).expect("it can be opened");
        log.0.lock().expect("nobody has it").left = 6;
        for line in ["one\n", "two\n", "three\n"] {
            log.write(line);
        }
        let text = std::fs::read_to_string(&path).expect("it is there");
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(lines, ["one", "full: logoff and logon go on"]);
        std::fs::remove_file(&path).expect("it can be removed");
    }
}
