//! Writes the reports: gives addresses their names, logs, and tells the supervisor.
//!
//! On a thread of its own, which is there while something stalls: to read the symbols of a large executable takes longer
//! than many a stall does, and meanwhile the next one is looked for.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use moorline_ipc::Channel;

use super::symbols::Symbols;
use super::{Pulse, WAITING_REPORTS};
use crate::control::{FromRole, StallKind, StallReport};
use crate::control_channel::encode;

/// A stall, its stacks being addresses yet.
pub(super) struct Found {
    pub(super) hook: &'static str,
    pub(super) session: Option<u64>,
    pub(super) kind: StallKind,
    pub(super) elapsed: Duration,
    pub(super) stacks: Vec<Vec<usize>>,
    /// What is said if they are empty.
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
    pulse: Arc<Pulse>,
}

impl Reporter {
    pub(super) fn new(
        name: String,
        control: Channel,
        executable: Option<File>,
        pulse: Arc<Pulse>,
    ) -> Self {
        let writer = Arc::new(Writer {
            name,
            control,
            executable,
            pulse,
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

    /// Queues a report; where too many wait it is counted and no more.
    pub(super) fn report(&mut self, found: Found) {
        self.prepare();
        let is_queued = self.found.as_ref().map(|queue| queue.try_send(found));
        if !matches!(is_queued, Some(Ok(()))) {
            self.writer.pulse.omitted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Nothing stalls any more. What is queued is written yet.
    pub(super) fn rest(&mut self) {
        self.found = None;
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

    fn write(&self, found: Found, symbols: &Symbols) {
        let mut stack: Vec<_> = found
            .stacks
            .iter()
            .flat_map(|addresses| symbols.stack(addresses))
            .collect();
        if stack.is_empty() {
            stack.push(found.without_stack);
        }
        let report = StallReport {
            hook: found.hook.to_owned(),
            session: found.session.map(Into::into),
            kind: found.kind,
            elapsed_ms: u64::try_from(found.elapsed.as_millis()).unwrap_or(u64::MAX),
            stack,
            omitted: self.pulse.omitted.swap(0, Ordering::Relaxed),
        };
        tracing::warn!(
            worker = self.name,
            hook = report.hook,
            session = report.session.map(tracing::field::display),
            elapsed_ms = report.elapsed_ms,
            omitted = report.omitted,
            stack = %report.stack.join(" < "),
            "stall: {}",
            report.kind
        );
        let sent =
            encode(&FromRole::Stalled(report)).and_then(|bytes| self.control.send(&bytes, &[]));
        if let Err(error) = sent {
            tracing::warn!(%error, "the supervisor could not be told of a stall");
        }
    }
}
