//! The thread that checks for signs of life.

use std::fs::{self, File};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use moorline_ipc::{Channel, Scoreboard, StackSampler};

use super::frames::Frame;
use super::reporter::{Found, Reporter};
use super::waits::{Limits, Waits, period};
use super::{Pulse, WAITING_REPORTS, Waited};
use crate::control::{ProcessCounter, StallKind};

/// How long the stuck thread may take to answer the signal. A thread that the kernel does not let anyone interrupt
/// never answers.
const ANSWER: Duration = Duration::from_millis(200);

/// How often reported stalls are checked for news while there is nothing else to check.
const SUM_UP: Duration = Duration::from_secs(1);

/// The watched thread, and the way of reports.
pub(crate) struct Watched {
    /// As in "worker 3".
    pub(crate) name: String,
    /// How long the thread may be kept; none: for as long as it likes.
    pub(crate) after: Option<Duration>,
    pub(crate) limits: Limits,
    pub(crate) start_timeout: Duration,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) scoreboard: Scoreboard,
    /// A handle of its own to the supervisor's channel.
    pub(crate) control: Channel,
    /// The program of this process, for its symbols.
    pub(crate) executable: Option<File>,
}

/// Starts a thread that watches this one.
///
/// # Errors
/// The thread or the signal is not available.
pub(crate) fn watch(watched: Watched) -> io::Result<Waits> {
    let Watched {
        name,
        after,
        limits,
        start_timeout,
        pulse,
        scoreboard,
        control,
        executable,
    } = watched;
    let sampler = StackSampler::for_this_thread()?;
    let (reports, received) = sync_channel(WAITING_REPORTS);
    let waits = Waits::new(pulse.clone(), limits, reports);
    let watcher = Watcher {
        after,
        start: limits.start,
        reporter: Reporter::new(name, control, executable, start_timeout),
        pulse,
        scoreboard,
        sampler,
        received,
    };
    thread::Builder::new()
        .name("moorline-stall".to_owned())
        .spawn(move || watcher.run())?;
    Ok(waits)
}

struct Watcher {
    after: Option<Duration>,
    start: Option<Duration>,
    pulse: Arc<Pulse>,
    scoreboard: Scoreboard,
    sampler: StackSampler,
    received: Receiver<Waited>,
    reporter: Reporter,
}

/// When the loop last gave a sign of life, and which.
struct Seen {
    sign: (u64, u64),
    at: Instant,
    is_reported: bool,
}

impl Watcher {
    fn run(mut self) {
        let mut seen = self.look();
        let mut has_more_to_say = false;
        loop {
            let begun = Instant::now();
            let after = self.after();
            let period = after.map(period).or(has_more_to_say.then_some(SUM_UP));
            let received = match period {
                Some(period) => self.received.recv_timeout(period),
                None => self.received.recv().map_err(RecvTimeoutError::from),
            };
            has_more_to_say = self.sum_up();
            match received {
                Ok(waited) => {
                    self.report_waiting(waited);
                    has_more_to_say = true;
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {}
                // The loop has ended.
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let (Some(after), Some(period)) = (after, period) else {
                self.reporter.rest();
                continue;
            };
            let now = self.look();
            // The whole process was stopped, by a debugger for example: that time is not counted.
            let was_stopped = begun.elapsed() > after + period;
            let goes_on = now.sign == seen.sign;
            if was_stopped || !goes_on || self.pulse.is_asleep.load(Ordering::Relaxed) {
                // A stall that was reported before such a stop and continues after it is not reported again.
                let is_reported = goes_on && seen.is_reported;
                seen = Seen { is_reported, ..now };
                self.reporter.rest();
            } else if seen.is_reported {
                // Once is enough.
            } else if seen.at.elapsed() < after {
                // A loop that lives and has no records to handle answers with a turn.
                self.pulse.ask();
                if seen.at.elapsed() > after / 2 {
                    // Symbols take a moment, which is better spent now.
                    self.reporter.prepare();
                }
            } else {
                seen.is_reported = true;
                self.report_stuck(seen.at);
            }
        }
    }

    /// How long the thread may be kept now.
    fn after(&self) -> Option<Duration> {
        let is_starting = self.pulse.is_starting.load(Ordering::Relaxed);
        self.after.or(self.start.filter(|_| is_starting))
    }

    /// Reports the stalls that were too small for a report of their own. True while there may be more.
    fn sum_up(&mut self) -> bool {
        let unwritten = self.pulse.unwritten.swap(0, Ordering::Relaxed);
        if unwritten > 0 {
            self.count(unwritten);
            self.reporter.omit(unwritten);
        }
        self.reporter.sum_up()
    }

    fn count(&self, stalls: u64) {
        self.scoreboard.add(ProcessCounter::Stalls as usize, stalls);
    }

    fn look(&self) -> Seen {
        let handled = self.scoreboard.get(ProcessCounter::Handled as usize);
        Seen {
            sign: (self.pulse.beats.load(Ordering::Relaxed), handled),
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
        let (hook, session) = self.pulse.polled();
        let addresses = self.sampler.sample(ANSWER);
        let elapsed = since.elapsed();
        let reported = session.unwrap_or(0);
        self.pulse.reported.store(reported, Ordering::Relaxed);
        self.count(1);
        self.reporter.report(Found {
            hook,
            session,
            kind,
            elapsed,
            stacks: addresses.into_iter().collect(),
            without_stack: "the thread does not answer: it is in the kernel's hands".to_owned(),
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
        self.count(1);
        self.reporter.report(Found {
            hook: Some(waited.hook),
            session: waited.session,
            kind: StallKind::Waiting,
            elapsed: waited.since,
            stacks: waited.stacks,
            without_stack: format!(
                "{} (what it awaits will not wake it)",
                Frame::nameless(waited.future.to_owned())
            ),
        });
    }
}
