//! The thread that writes access logs, and the queue to it. Nobody waits for it: what does not fit is lost, counted and told.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use moorline_config::AccessLog;

use crate::access_log::files::LogFiles;

/// Bytes that may wait for the thread: seconds of a very busy gateway.
const MOST_WAITING: usize = 16 << 20;
/// What a waiting line takes beside its bytes, about.
const LINE_COSTS: usize = 64;
/// How long the thread waits after a batch for the next lines, so that it is not woken for each one.
const LINGER: Duration = Duration::from_millis(5);
/// How often lost lines are told.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How long the last lines may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A line on its way.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) log: Arc<AccessLog>,
    /// Its file, if not all lines of the log have the same.
    pub(super) path: Option<PathBuf>,
    pub(super) bytes: Vec<u8>,
}

/// The way to the thread, which runs once it was started.
#[derive(Debug, Default)]
pub(super) struct Writer {
    shared: Arc<SharedQueue>,
}

#[derive(Debug, Default)]
struct SharedQueue {
    queue: Mutex<Queue>,
    /// Lines that were lost so far. Read by a loop in each of its turns.
    lost: AtomicU64,
    has_work: Condvar,
    has_finished: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Line>,
    waiting: usize,
    stage: Stage,
    /// The thread sleeps until it is woken.
    is_asleep: bool,
    reopen: Option<Reopen>,
    /// Lines that found no room since that was last told.
    unreported: u64,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Unstarted,
    Runs,
    /// It writes what is left, and ends.
    Finishes,
    Over,
}

/// Files are to be opened again.
#[derive(Debug)]
enum Reopen {
    Present,
    /// Those of these logs, which are the present ones from now on.
    Changed(Vec<Arc<AccessLog>>),
}

impl Writer {
    /// Starts the thread, if it does not run.
    pub(super) fn start(&self) {
        let mut queue = self.shared.locked();
        if queue.stage != Stage::Unstarted {
            return;
        }
        let shared = self.shared.clone();
        let thread = thread::Builder::new().name("access log".to_owned());
        match thread.spawn(move || shared.write_all()) {
            Ok(_) => queue.stage = Stage::Runs,
            Err(error) => {
                tracing::error!(%error, "access logs are not written: there is no thread")
            }
        }
    }

    /// Has a line written.
    pub(super) fn put(&self, line: Line) {
        let mut queue = self.shared.locked();
        let size = line.size();
        if queue.stage != Stage::Runs || queue.waiting + size > MOST_WAITING {
            queue.unreported += 1;
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.waiting += size;
        queue.lines.push_back(line);
        if std::mem::take(&mut queue.is_asleep) {
            self.shared.has_work.notify_one();
        }
    }

    /// These logs are the present ones. All files are opened again.
    pub(super) fn reopen(&self, present: Vec<Arc<AccessLog>>) {
        self.order(Reopen::Changed(present));
    }

    /// The files of the present logs are opened again.
    pub(super) fn reopen_present(&self) {
        self.order(Reopen::Present);
    }

    fn order(&self, order: Reopen) {
        let mut queue = self.shared.locked();
        if queue.stage == Stage::Unstarted {
            return;
        }
        match (&queue.reopen, &order) {
            // That opens them, too.
            (Some(Reopen::Changed(_)), Reopen::Present) => {}
            _ => queue.reopen = Some(order),
        }
        queue.is_asleep = false;
        self.shared.has_work.notify_one();
    }

    /// The lines that were lost so far.
    pub(super) fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Writes what is left, if that takes no longer than a second. Nothing is written afterwards.
    pub(super) fn finish(&self) {
        let mut queue = self.shared.locked();
        if queue.stage != Stage::Runs {
            return;
        }
        queue.stage = Stage::Finishes;
        self.shared.has_work.notify_one();
        let is_busy = |queue: &mut Queue| queue.stage == Stage::Finishes;
        let ended = self
            .shared
            .has_finished
            .wait_timeout_while(queue, LAST_WORDS, is_busy);
        drop(ended);
    }
}

impl Line {
    fn size(&self) -> usize {
        let path = self.path.as_ref().map_or(0, |path| path.as_os_str().len());
        self.bytes.len() + path + LINE_COSTS
    }
}

impl SharedQueue {
    fn locked(&self) -> MutexGuard<'_, Queue> {
        // Code under the lock cannot panic, so a poisoned one is still consistent.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread.
    fn write_all(&self) {
        let mut files = LogFiles::default();
        let mut present = Vec::new();
        let mut told_at = None;
        loop {
            // The last loss of a burst is told, too, when its second is over.
            let told_next = told_at.filter(|_| self.locked().unreported > 0);
            let told_next = told_next.map(|at: Instant| at + TELL_EVERY);
            let until = [files.next_flush(), told_next];
            let (lines, reopen, is_over) = self.wait(until.into_iter().flatten().min());
            for line in lines {
                files.put(&line.log, line.path, &line.bytes);
            }
            files.flush_due(Instant::now());
            if let Some(reopen) = reopen {
                if let Reopen::Changed(logs) = reopen {
                    present = logs;
                }
                files.reopen(&present);
            }
            if is_over {
                files.flush_all();
            }
            self.note_lost(std::mem::take(&mut files.lost), is_over, &mut told_at);
            if is_over {
                self.locked().stage = Stage::Over;
                self.has_finished.notify_all();
                return;
            }
            self.linger();
        }
    }

    /// Waits for work, or until this time.
    fn wait(&self, until: Option<Instant>) -> (VecDeque<Line>, Option<Reopen>, bool) {
        let mut queue = self.locked();
        while queue.lines.is_empty() && queue.reopen.is_none() && queue.stage == Stage::Runs {
            let left = until.map(|at| at.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                break;
            }
            queue.is_asleep = true;
            queue = match left {
                Some(left) => {
                    let woken = self.has_work.wait_timeout(queue, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let woken = self.has_work.wait(queue);
                    woken.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
        queue.is_asleep = false;
        queue.waiting = 0;
        let lines = std::mem::take(&mut queue.lines);
        (lines, queue.reopen.take(), queue.stage == Stage::Finishes)
    }

    /// Waits a moment for more lines, unless there is something else to do.
    fn linger(&self) {
        let is_calm = |queue: &mut Queue| queue.reopen.is_none() && queue.stage == Stage::Runs;
        let waited = self
            .has_work
            .wait_timeout_while(self.locked(), LINGER, is_calm);
        drop(waited);
    }

    /// Counts these lines as lost, and tells once a second, and at the end, of those that found no room.
    fn note_lost(&self, unwritten: u64, is_over: bool, told_at: &mut Option<Instant>) {
        self.lost.fetch_add(unwritten, Ordering::Relaxed);
        let mut queue = self.locked();
        let is_quiet = is_over || told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY);
        if queue.unreported > 0 && is_quiet {
            let lost = std::mem::take(&mut queue.unreported);
            drop(queue);
            *told_at = Some(Instant::now());
            tracing::warn!(
                lost,
                "lines of access logs were lost: they cannot be written as fast as they come"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(path: &str) -> Arc<AccessLog> {
        let text = format!(
            "[[listen]]\naddress = \"tcp://127.0.0.1:0\"\n[access_log.one]\npath = \"{path}\"\nformat = \"x\"\n"
        );
        let loaded = moorline_config::load_text(&text, std::path::Path::new("/a.toml"));
        let mut config = loaded.unwrap_or_else(|error| panic!("{error}")).config;
        Arc::new(config.access_logs.remove(0))
    }

    fn line(log: &Arc<AccessLog>, bytes: &[u8]) -> Line {
        Line {
            log: log.clone(),
            path: None,
            bytes: bytes.to_vec(),
        }
    }

    #[test]
    fn every_line_is_written_by_the_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.log");
        let log = log(path.to_str().expect("text"));
        let writer = Writer::default();
        writer.start();
        writer.reopen(vec![log.clone()]);
        for at in 0..10_000 {
            writer.put(line(&log, format!("{at}\n").as_bytes()));
        }
        writer.finish();
        let text = std::fs::read_to_string(&path).expect("it is there");
        let expected: String = (0..10_000).map(|at| format!("{at}\n")).collect();
        assert!(text == expected);
        assert_eq!(writer.lost(), 0);
        writer.put(line(&log, b"late\n"));
        assert_eq!(writer.lost(), 1);
    }

    #[test]
    fn what_does_not_fit_is_lost_and_counted_and_nobody_waits() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        // It is open, and nobody reads.
        let open = std::fs::File::options().read(true).write(true).open(&pipe);
        let _open = open.expect("it can be");
        let log = log(pipe.to_str().expect("text"));
        let writer = Writer::default();
        writer.start();
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..64 {
            writer.put(line(&log, &piece));
        }
        assert!(writer.lost() >= 64 - 17 - 17);
    }
}
