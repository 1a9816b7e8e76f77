//! The thread that looks for signs of life, and writes the reports.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use moorline_ipc::{Channel, Doorbell, Scoreboard, StackSampler};

use super::symbols::Symbols;
use super::waits::{Waits, period};
use super::{Pulse, WAITING_REPORTS, Waited};
use crate::control::{FromRole, ProcessCounter, StallKind, StallReport};
use crate::control_channel::encode;

/// How long the stuck thread may take to answer the signal. One that the kernel lets nobody interrupt never does.
const ANSWER: Duration = Duration::from_millis(200);

/// What is watched, and where reports go.
pub(in crate::worker) struct Watched {
    /// As in "worker 3".
    pub(in crate::worker) name: String,
    pub(in crate::worker) after: Duration,
    pub(in crate::worker) pulse: Arc<Pulse>,
    pub(in crate::worker) scoreboard: Scoreboard,
    pub(in crate::worker) doorbell: Doorbell,
    /// A handle of its own to the supervisor's channel.
    pub(in crate::worker) control: Channel,
    /// What this process runs, for its symbols.
    pub(in crate::worker) executable: Option<File>,
}

/// Has this thread watched by another one.
///
/// # Errors
/// The thread or the signal cannot be had.
pub(in crate::worker) fn watch(watched: Watched) -> io::Result<Waits> {
    let sampler = StackSampler::for_this_thread()?;
    let (reports, received) = sync_channel(WAITING_REPORTS);
    let waits = Waits::new(Some((watched.after, watched.pulse.clone(), reports)));
    let watcher = Watcher {
        watched,
        sampler,
        received,
        symbols: None,
    };
    thread::Builder::new()
        .name("moorline-stall".to_owned())
        .spawn(move || watcher.run())?;
    Ok(waits)
}

struct Watcher {
    watched: Watched,
    sampler: StackSampler,
    received: Receiver<Waited>,
    /// While there are reports.
    symbols: Option<Symbols>,
}

/// When the loop last gave a sign of life, and which.
struct Seen {
    sign: (u64, u64),
    at: Instant,
    is_reported: bool,
}

impl Watcher {
    fn run(mut self) {
        let period = period(self.watched.after);
        let mut seen = self.look();
        loop {
            let begun = Instant::now();
            match self.received.recv_timeout(period) {
                Ok(waited) => {
                    self.report_waiting(waited);
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {}
                // The loop has ended.
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = self.look();
            // The whole process was stopped, by a debugger say: that time is nobody's fault.
            let was_stopped = begun.elapsed() > self.watched.after + period;
            if was_stopped
                || now.sign != seen.sign
                || self.watched.pulse.is_asleep.load(Ordering::Relaxed)
            {
                seen = now;
                self.symbols = None;
            } else if seen.is_reported {
                // Once is enough.
            } else if seen.at.elapsed() < self.watched.after {
                // A loop that lives and has nothing to do with the rings answers with a turn.
                self.watched.doorbell.ring();
                if seen.at.elapsed() > self.watched.after / 2 {
                    // They take a moment, which is better spent now.
                    self.symbols().load_executable();
                }
            } else {
                seen.is_reported = true;
                self.report_stuck(seen.at);
            }
        }
    }

    fn look(&self) -> Seen {
        let handled = self
            .watched
            .scoreboard
            .get(ProcessCounter::Handled as usize);
        Seen {
            sign: (self.watched.pulse.beats.load(Ordering::Relaxed), handled),
            at: Instant::now(),
            is_reported: false,
        }
    }

    /// The loop's thread is kept by something.
    fn report_stuck(&mut self, since: Instant) {
        let kind = match self.state() {
            Some('R') => StallKind::Running,
            _ => StallKind::Blocked,
        };
        let (hook, session) = self.watched.pulse.polled();
        let addresses = self.sampler.sample(ANSWER);
        let elapsed = since.elapsed();
        let reported = session.unwrap_or(0);
        self.watched
            .pulse
            .reported
            .store(reported, Ordering::Relaxed);
        let stack = match addresses {
            Some(addresses) => self.symbols().stack(&addresses),
            None => vec!["the thread does not answer: it is in the kernel's hands".to_owned()],
        };
        self.tell(StallReport {
            hook: hook
                .map_or("a task of the app's own", |hook| hook.as_str())
                .to_owned(),
            session,
            kind,
            elapsed_ms: milliseconds(elapsed),
            stack,
            omitted: 0,
        });
    }

    /// R: runs or could, S and D: waits for the kernel.
    fn state(&self) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/self/task/{}/stat", self.sampler.thread()));
        let stat = stat.ok()?;
        // The name before it is in brackets and may hold anything.
        stat[stat.rfind(')')? + 1..].trim_start().chars().next()
    }

    /// A handler awaits something.
    fn report_waiting(&mut self, waited: Waited) {
        let mut stack = Vec::new();
        for addresses in &waited.stacks {
            stack.extend(self.symbols().stack(addresses));
        }
        if stack.is_empty() {
            stack.push(format!(
                "{} (what it awaits will not wake it)",
                waited.future
            ));
        }
        self.tell(StallReport {
            hook: waited.hook.as_str().to_owned(),
            session: waited.session,
            kind: StallKind::Waiting,
            elapsed_ms: milliseconds(waited.since),
            stack,
            omitted: 0,
        });
    }

    fn symbols(&mut self) -> &Symbols {
        let executable = &self.watched.executable;
        self.symbols
            .get_or_insert_with(|| Symbols::load(executable.as_ref().map(AsFd::as_fd)))
    }

    fn tell(&self, mut report: StallReport) {
        report.omitted = self.watched.pulse.omitted.swap(0, Ordering::Relaxed);
        tracing::warn!(
            worker = self.watched.name,
            hook = report.hook,
            session = report.session,
            elapsed_ms = report.elapsed_ms,
            omitted = report.omitted,
            stack = %report.stack.join(" < "),
            "stall: {}",
            report.kind
        );
        let sent = encode(&FromRole::Stalled(report))
            .and_then(|bytes| self.watched.control.send(&bytes, &[]));
        if let Err(error) = sent {
            tracing::warn!(%error, "the supervisor could not be told of a stall");
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
