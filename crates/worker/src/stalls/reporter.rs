//! Writes the reports: gives addresses their names, logs, and tells the supervisor.
//!
//! It runs on a thread of its own, which exists while something stalls: reading the symbols of a large executable takes
//! longer than many stalls, and meanwhile the watcher looks for the next one.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use moorline_ipc::Channel;

use super::symbols::Symbols;
use super::{Hook, WAITING_REPORTS};
use crate::control::{FromRole, StallKind, StallReport};
use crate::control_channel::encode;

/// A stall at a place that was reported this recently is counted, and all are logged in one line when this time is
/// over. It is long enough that stalls for one reason make one report, and short enough that the line belongs to the
/// same incident.
const ONE_STORY: Duration = Duration::from_secs(10);
/// The most places that are remembered. An app does not stall at more in so short a time.
const PLACES: usize = 64;

/// A stall; its stacks are still addresses.
pub(super) struct Found {
    /// None: no hook of the app keeps the thread.
    pub(super) hook: Option<Hook>,
    pub(super) session: Option<u64>,
    pub(super) kind: StallKind,
    pub(super) elapsed: Duration,
    pub(super) stacks: Vec<Vec<usize>>,
    /// The text for an empty stack.
    pub(super) without_stack: String,
}

/// Starts the thread when it is needed, and lets it end when it is not.
pub(super) struct Reporter {
    writer: Arc<Writer>,
    found: Option<SyncSender<Found>>,
}

struct Writer {
    /// As in "worker 3".
    name: String,
    control: Channel,
    executable: Option<File>,
    start_timeout: Duration,
    told: Mutex<Told>,
}

/// The latest reports.
#[derive(Default)]
struct Told {
    places: HashMap<(&'static str, StallKind, String), Story>,
    /// Stalls found while too many reports waited for their names.
    unplaced: u64,
}

/// One place that was reported.
struct Story {
    since: Instant,
    /// Stalls that were found there after the first one.
    more: u64,
}

impl Reporter {
    pub(super) fn new(
        name: String,
        control: Channel,
        executable: Option<File>,
        start_timeout: Duration,
    ) -> Self {
        let writer = Arc::new(Writer {
            name,
            control,
            executable,
            start_timeout,
            told: Mutex::default(),
        });
        let found = None;
        Self { writer, found }
    }

    /// There may be a report soon.
    pub(super) fn prepare(&mut self) {
        if self.found.is_some() {
            return;
        }
        let (sender, receiver) = sync_channel(WAITING_REPORTS);
        let writer = self.writer.clone();
        let started = thread::Builder::new()
            .name("moorline-names".to_owned())
            .spawn(move || writer.run(&receiver));
        match started {
            Ok(_) => self.found = Some(sender),
            Err(error) => tracing::warn!(%error, "no thread can be had to report stalls"),
        }
    }

    /// Queues a report. If too many wait, it is only counted.
    pub(super) fn report(&mut self, found: Found) {
        self.prepare();
        let is_queued = self.found.as_ref().map(|queue| queue.try_send(found));
        if !matches!(is_queued, Some(Ok(()))) {
            self.omit(1);
        }
    }

    /// This many more were found, without details.
    pub(super) fn omit(&self, count: u64) {
        self.writer.told().unplaced += count;
    }

    /// Nothing stalls any more. Queued reports are still written.
    pub(super) fn rest(&mut self) {
        self.found = None;
    }

    /// Logs how many more there were at reported places, once that time is over. True while it is not.
    pub(super) fn sum_up(&self) -> bool {
        self.writer.sum_up()
    }
}

impl Writer {
    fn run(&self, queue: &Receiver<Found>) {
        let symbols = Symbols::load(self.executable.as_ref().map(AsFd::as_fd));
        symbols.load_executable();
        while let Ok(found) = queue.recv() {
            self.write(found, &symbols);
        }
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, found: Found, symbols: &Symbols) {
        let mut stack = symbols.stack(&found.stacks);
        if stack.lines.is_empty() {
            stack.lines.push(found.without_stack);
        }
        let hook = found.hook.map_or("a task of the app's own", Hook::as_str);
        let place = stack.place.as_ref().unwrap_or(&stack.lines[0]).clone();
        if self.told().is_known(hook, found.kind, &place) {
            return;
        }
        let report = StallReport {
            hook: hook.to_owned(),
            session: found.session.map(Into::into),
            kind: found.kind,
            elapsed_ms: u64::try_from(found.elapsed.as_millis()).unwrap_or(u64::MAX),
            place: stack.place,
            stack: stack.lines,
        };
        let lines = report.stack.join(" < ");
        if found.hook == Some(Hook::Start) {
            tracing::warn!(
                worker = self.name,
                hook,
                elapsed_ms = report.elapsed_ms,
                stack = %lines,
                "stall in {place}: the start hook {} and has not ended; `start_timeout` ends this process after {:?}",
                report.kind.verb(), self.start_timeout
            );
        } else {
            tracing::warn!(
                worker = self.name,
                hook,
                session = report.session.map(tracing::field::display),
                elapsed_ms = report.elapsed_ms,
                stack = %lines,
                "stall in {place}: {}",
                report.kind
            );
        }
        let sent =
            encode(&FromRole::Stalled(report)).and_then(|bytes| self.control.send(&bytes, &[]));
        if let Err(error) = sent {
            tracing::warn!(%error, "cannot report a stall to the supervisor");
        }
    }

    fn sum_up(&self) -> bool {
        let mut told = self.told();
        let over = told
            .places
            .extract_if(|_, story| story.since.elapsed() >= ONE_STORY);
        let over: Vec<_> = over.collect();
        for ((hook, _, place), Story { more, .. }) in over {
            if more > 0 {
                tracing::warn!(
                    worker = self.name,
                    hook,
                    "stall in {place}: {more} more in the {ONE_STORY:?} after the first"
                );
            }
        }
        if told.places.is_empty() {
            let unplaced = std::mem::take(&mut told.unplaced);
            if unplaced > 0 {
                tracing::warn!(
                    worker = self.name,
                    "stall: {unplaced} more, too many at once to say where"
                );
            }
        }
        !told.places.is_empty()
    }
}

impl Told {
    /// Whether this was reported lately. Then it is counted; otherwise report it now.
    fn is_known(&mut self, hook: &'static str, kind: StallKind, place: &str) -> bool {
        let key = (hook, kind, place.to_owned());
        if let Some(story) = self.places.get_mut(&key) {
            story.more += 1;
            return true;
        }
        if self.places.len() >= PLACES {
            self.unplaced += 1;
            return true;
        }
        let (since, more) = (Instant::now(), 0);
        self.places.insert(key, Story { since, more });
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_reported_once_and_places_are_bounded() {
        let mut told = Told::default();
        assert!(!told.is_known("message", StallKind::Waiting, "here"));
        assert!(told.is_known("message", StallKind::Waiting, "here"));
        assert!(!told.is_known("message", StallKind::Running, "here"));
        for number in 0..2 * PLACES {
            told.is_known("message", StallKind::Running, &number.to_string());
        }
        assert_eq!(told.places.len(), PLACES);
        assert_eq!(told.unplaced, 2 + PLACES as u64);
    }
}
