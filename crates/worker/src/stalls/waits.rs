//! Handlers that did not end at once, and which of them have waited for too long.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use moorline_ipc::poll_traced;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::{Hook, Pulse, Reports, Waited};

/// How many ended handlers the queue may hold beside the running ones, until it is tidied.
const SPARE: usize = 256;

/// How long a handler may await something before it is reported.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    /// `wait_after`; none: for as long as it likes.
    pub(crate) handlers: Option<Duration>,
    /// For the start hook: before the process is given up, early enough to give the reason.
    pub(crate) start: Option<Duration>,
}

impl Limits {
    fn of(self, hook: Hook) -> Option<Duration> {
        match hook {
            Hook::Start => self.start,
            _ => self.handlers,
        }
    }
}

/// The waiting handlers with such a limit, in the order in which they began to wait. The start hook is alone in the
/// queue: it has ended before any other begins.
pub(crate) struct Waits {
    pulse: Arc<Pulse>,
    limits: Limits,
    reports: Reports,
    queue: RefCell<VecDeque<Rc<Wait>>>,
    /// The number of those in the queue that have not ended.
    live: Cell<usize>,
    is_filled: Notify,
}

/// One handler that waits.
pub(crate) struct Wait {
    hook: Hook,
    session: Option<u64>,
    after: Duration,
    since: Instant,
    state: Cell<State>,
    waker: RefCell<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waits,
    /// Its next poll must note where it waits.
    IsOverdue,
    Ended,
}

impl Waits {
    pub(super) fn new(pulse: Arc<Pulse>, limits: Limits, reports: Reports) -> Self {
        Self {
            pulse,
            limits,
            reports,
            queue: RefCell::default(),
            live: Cell::new(0),
            is_filled: Notify::new(),
        }
    }

    /// For a worker without a watcher.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn unwatched() -> Self {
        let (reports, _) = std::sync::mpsc::sync_channel(0);
        Self::new(Arc::default(), Limits::default(), reports)
    }

    /// A sign of life of the loop.
    pub(crate) fn beat(&self) {
        self.pulse.beat();
    }

    /// The start hook has ended.
    pub(crate) fn has_started(&self) {
        self.pulse.set_starting(false);
    }

    /// Lets the watcher ask the ring task for a turn, which is a sign of life.
    pub(crate) fn follow_ring_task(&self, waker: &Waker) {
        self.pulse.asks(waker);
    }

    /// Notes which hook `poll` polls, if it is not a session's message.
    pub(crate) fn during<T>(&self, hook: Hook, poll: impl FnOnce() -> T) -> T {
        self.pulse.during(hook, poll)
    }

    /// The hook that is being polled, if it is not a session's message.
    pub(crate) fn polled(&self) -> Option<Hook> {
        self.pulse.polled_beside_messages()
    }

    /// The rings have changed, and with them the place where the polled session is noted.
    pub(crate) fn follow(&self, marks: impl FnOnce() -> Vec<moorline_ipc::Marks>) {
        self.pulse.follow(marks());
    }

    /// A handler has begun that did not end at once. None if it may wait for as long as it likes.
    pub(crate) fn begin(&self, hook: Hook, session: Option<u64>) -> Option<Rc<Wait>> {
        let wait = Rc::new(Wait {
            hook,
            session,
            after: self.limits.of(hook)?,
            since: Instant::now(),
            state: Cell::new(State::Waits),
            waker: RefCell::new(Waker::noop().clone()),
        });
        let mut queue = self.queue.borrow_mut();
        if queue.len() > 2 * self.live.get() + SPARE {
            queue.retain(|wait| wait.state.get() != State::Ended);
        }
        if queue.is_empty() {
            self.is_filled.notify_one();
        }
        queue.push_back(wait.clone());
        self.live.set(self.live.get() + 1);
        Some(wait)
    }

    /// The same, for a hook that may be dropped before its end.
    pub(crate) fn watch(&self, hook: Hook) -> Watch<'_> {
        let wait = self.begin(hook, None);
        Watch {
            waits: self,
            hook,
            wait,
        }
    }

    /// Polls a handler; if it has waited for too long, so that the place where it waits is noted.
    pub(crate) fn poll<F, T>(
        &self,
        hook: Hook,
        wait: Option<&Rc<Wait>>,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let pulse = &self.pulse;
        pulse.beat();
        let Some(wait) = wait else {
            return pulse.during(hook, || poll(cx));
        };
        let polled = pulse.during(hook, || {
            if wait.state.get() == State::Waits {
                return poll(cx);
            }
            let (polled, stacks) = poll_traced(cx.waker(), poll);
            if polled.is_pending() {
                wait.report(pulse, &self.reports, stacks, std::any::type_name::<F>());
            }
            polled
        });
        match polled {
            // Reported once: it waits unwatched from now on.
            Poll::Pending if wait.state.get() == State::IsOverdue => self.end(wait),
            Poll::Pending => wait.waker.borrow_mut().clone_from(cx.waker()),
            Poll::Ready(_) => self.end(wait),
        }
        polled
    }

    fn end(&self, wait: &Wait) {
        if wait.state.replace(State::Ended) != State::Ended {
            self.live.set(self.live.get() - 1);
        }
    }

    /// Finds those that wait for too long. Never ends.
    pub(crate) async fn look_after(&self) {
        let mut was_held_up = false;
        loop {
            let first = self.queue.borrow().front().map(|wait| wait.after);
            let Some(after) = first else {
                self.is_filled.notified().await;
                continue;
            };
            let period = period(after);
            let due = Instant::now() + period;
            sleep_until(due).await;
            // The loop itself was held up: a waiting handler may already have its result, and gets a turn first.
            was_held_up = !was_held_up && due.elapsed() > period;
            if !was_held_up {
                self.ask_overdue();
            }
        }
    }

    fn ask_overdue(&self) {
        let mut queue = self.queue.borrow_mut();
        while let Some(first) = queue.front() {
            match first.state.get() {
                State::Ended => {}
                _ if first.since.elapsed() < first.after => return,
                _ => {
                    first.state.set(State::IsOverdue);
                    first.waker.borrow().wake_by_ref();
                }
            }
            queue.pop_front();
        }
    }
}

/// Keeps one handler among those that wait. Dropping it takes the handler out.
pub(crate) struct Watch<'a> {
    waits: &'a Waits,
    hook: Hook,
    wait: Option<Rc<Wait>>,
}

impl Watch<'_> {
    /// As [`Waits::poll`].
    pub(crate) fn poll<F, T>(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let Self { waits, hook, wait } = self;
        waits.poll::<F, T>(*hook, wait.as_ref(), cx, poll)
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if let Some(wait) = &self.wait {
            self.waits.end(wait);
        }
    }
}

impl Wait {
    fn report(
        &self,
        pulse: &Pulse,
        reports: &Reports,
        stacks: Vec<Vec<usize>>,
        future: &'static str,
    ) {
        // The watcher has reported it while it kept the thread.
        if let Some(session) = self.session
            && pulse
                .reported
                .compare_exchange(session, 0, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            return;
        }
        let waited = Waited {
            hook: self.hook,
            session: self.session,
            since: self.since.elapsed(),
            stacks,
            future,
        };
        if reports.try_send(waited).is_err() {
            pulse.unwritten.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// How often the queue is checked: a report comes at most a quarter late, and within a second.
pub(super) fn period(after: Duration) -> Duration {
    (after / 4).clamp(Duration::from_millis(5), Duration::from_millis(250))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_that_is_dropped_waits_no_more() {
        let (reports, _received) = std::sync::mpsc::sync_channel(1);
        let limits = Limits {
            handlers: Some(Duration::from_secs(1)),
            start: None,
        };
        let waits = Waits::new(Arc::default(), limits, reports);
        let watch = waits.watch(Hook::Timer);
        assert_eq!(waits.live.get(), 1);
        drop(watch);
        assert_eq!(waits.live.get(), 0);
    }
}
