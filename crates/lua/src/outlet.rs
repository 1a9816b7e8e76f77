//! Standard output, written by a thread of its own: a reader that stops holds no service up.

use std::io::{self, Write};
use std::mem;
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::sys::at_exit;

/// The most bytes that wait for the reader. Lines above that are lost, and counted.
const MOST: usize = 16 << 20;
/// How long the end of the process waits for the reader.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Lines that wait for the thread that writes them.
#[derive(Debug, Default)]
pub(crate) struct Outlet {
    state: Mutex<Waiting>,
    /// There is something to write.
    is_needed: Condvar,
    /// All is written.
    is_idle: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    lost: u64,
    is_writing: bool,
}

/// That of the process, started with the first line.
static STANDARD: LazyLock<Outlet> = LazyLock::new(|| {
    at_exit(flush_at_exit);
    let started = thread::Builder::new()
        .name("output".into())
        .spawn(|| STANDARD.write_all(&mut io::stdout()));
    // Without a thread lines wait and are lost: there is nowhere to say so.
    drop(started);
    Outlet::default()
});

/// Writes whole lines soon. Never blocks.
pub(crate) fn write(lines: &[u8]) {
    STANDARD.put(lines);
}

/// Waits until all lines that services have printed and logged are written to standard output, for a second at most. Blocks.
pub fn flush() {
    STANDARD.wait(LAST_LINES);
}

extern "C" fn flush_at_exit() {
    flush();
}

impl Outlet {
    fn put(&self, lines: &[u8]) {
        let mut waiting = self.waiting();
        if !waiting.lines.is_empty() && waiting.lines.len() + lines.len() > MOST {
            waiting.lost += 1;
            return;
        }
        waiting.lines.extend_from_slice(lines);
        if !waiting.is_writing {
            self.is_needed.notify_one();
        }
    }

    /// Writes for ever.
    fn write_all(&self, output: &mut impl Write) {
        let mut lines = Vec::new();
        let mut waiting = self.waiting();
        loop {
            if waiting.lines.is_empty() {
                self.is_idle.notify_all();
                waiting = self
                    .is_needed
                    .wait(waiting)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            mem::swap(&mut waiting.lines, &mut lines);
            let lost = mem::take(&mut waiting.lost);
            waiting.is_writing = true;
            drop(waiting);
            // Nobody reads any more, and there is nowhere to say so.
            let _ = output.write_all(&lines);
            if lost > 0 {
                let _ = writeln!(
                    output,
                    "{lost} lines were lost: standard output was not read"
                );
            }
            let _ = output.flush();
            lines.clear();
            lines.shrink_to(64 << 10);
            waiting = self.waiting();
            waiting.is_writing = false;
        }
    }

    fn wait(&self, time: Duration) {
        let deadline = Instant::now() + time;
        let mut waiting = self.waiting();
        while waiting.is_writing || !waiting.lines.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            waiting = self
                .is_idle
                .wait_timeout(waiting, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_above_the_bound_are_lost_whole_and_counted() {
        let outlet = Outlet::default();
        let line = vec![b'x'; 1 << 20];
        for _ in 0..20 {
            outlet.put(&line);
        }
        let waiting = outlet.waiting();
        assert_eq!((waiting.lines.len(), waiting.lost), (MOST, 4));
    }
}
