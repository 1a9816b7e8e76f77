//! The thread that looks for signs of life.

use std::fs::{self, File};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use moorline_ipc::{Channel, Scoreboard, StackSampler};

use super::reporter::{Found, Reporter};
use super::waits::{Waits, period};
use super::{Pulse, WAITING_REPORTS, Waited};
use crate::control::{ProcessCounter, StallKind};

/// How long the stuck thread may take to answer the signal. One that the kernel lets nobody interrupt never does.
const ANSWER: Duration = Duration::from_millis(200);

/// What is watched, and where reports go.
pub(in crate::worker) struct Watched {
    /// As in "worker 3".
    pub(in crate::worker) name: String,
    pub(in crate::worker) after: Duration,
    pub(in crate::worker) pulse: Arc<Pulse>,
    pub(in crate::worker) scoreboard: Scoreboard,
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
    let Watched {
        name,
        after,
        pulse,
        scoreboard,
        control,
        executable,
    } = watched;
    let sampler = StackSampler::for_this_thread()?;
    let (reports, received) = sync_channel(WAITING_REPORTS);
    let waits = Waits::new(pulse.clone(), Some((after, reports)));
    let watcher = Watcher {
        after,
        reporter: Reporter::new(name, control, executable, pulse.clone()),
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
    after: Duration,
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
        let period = period(self.after);
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
            let was_stopped = begun.elapsed() > self.after + period;
            let goes_on = now.sign == seen.sign;
            if was_stopped || !goes_on || self.pulse.is_asleep.load(Ordering::Relaxed) {
                // What was reported before such a stop and goes on after it is not reported again.
                let is_reported = goes_on && seen.is_reported;
                seen = Seen { is_reported, ..now };
                self.reporter.rest();
            } else if seen.is_reported {
                // Once is enough.
            } else if seen.at.elapsed() < self.after {
                // A loop that lives and has nothing to do with the rings answers with a turn.
                self.pulse.ask();
                if seen.at.elapsed() > self.after / 2 {
                    // Symbols take a moment, which is better spent now.
                    self.reporter.prepare();
                }
            } else {
                seen.is_reported = true;
                self.report_stuck(seen.at);
            }
        }
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
        self.reporter.report(Found {
            hook: hook.map_or("a task of the app's own", |hook| hook.as_str()),
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
        self.reporter.report(Found {
            hook: waited.hook.as_str(),
            session: waited.session,
            kind: StallKind::Waiting,
            elapsed: waited.since,
            stacks: waited.stacks,
            without_stack: format!("{} (what it awaits will not wake it)", waited.future),
        });
    }
}
