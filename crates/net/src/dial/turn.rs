//! Turns: thousands of dials that begin at once leave their loop time for its other work.
//!
//! A dial's costly moments (opening a socket, making keys, closing what has not connected) are system calls
//! and arithmetic that nobody can take part of. What comes singly passes; of a burst a few go on each time
//! that the runtime has looked at everything else.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// So many costly moments on one thread within a window are no burst. A socket takes some 20 µs: half the window.
const AT_ONCE: u32 = 24;
/// The time in which they are counted.
const WINDOW: Duration = Duration::from_millis(1);
/// So many of a burst go on at a time: another task waits for them 200 µs, or a millisecond where they make keys.
const IN_ONE_GO: usize = 8;

/// Waits for a turn; returns at once unless there is a burst.
///
/// Cancel-safe, and nobody waits for who is not polled: a turn that nobody takes is over.
pub(super) async fn turn(now: Instant) {
    if HERE.with(|here| here.passes(now)) {
        return;
    }
    let mut has_queued = false;
    poll_fn(|context| {
        if has_queued {
            // Whoever woke it: to go on too early harms nobody.
            return Poll::Ready(());
        }
        has_queued = true;
        HERE.with(|here| here.queue(context.waker()));
        Poll::Pending
    })
    .await;
}

thread_local! {
    static HERE: Here = Here::default();
}

/// The burst of one thread.
#[derive(Default)]
struct Here {
    window: Cell<Option<Instant>>,
    in_window: Cell<u32>,
    waiting: RefCell<Arc<Waiting>>,
}

impl Here {
    /// Counts one more. False: there are too many.
    fn passes(&self, now: Instant) -> bool {
        let is_over = self
            .window
            .get()
            .is_none_or(|began| now.saturating_duration_since(began) >= WINDOW);
        if is_over {
            self.window.set(Some(now));
            self.in_window.set(0);
        }
        let count = self.in_window.get();
        self.in_window.set(count.saturating_add(1));
        // Who comes during a burst waits behind it.
        count < AT_ONCE && !self.waiting.borrow().is_served()
    }

    fn queue(&self, waker: &Waker) {
        let waiting = Arc::clone(&self.waiting.borrow());
        if waiting.push(waker.clone()) {
            let serving = Serving(waiting);
            tokio::spawn(async move {
                while serving.0.wake(IN_ONE_GO) {
                    tokio::task::yield_now().await;
                }
            });
        }
    }
}

/// Those who wait. As many at most as there are dials.
#[derive(Default)]
struct Waiting(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    wakers: VecDeque<Waker>,
    is_served: bool,
}

impl Waiting {
    /// True: a task is to be made that serves it.
    fn push(&self, waker: Waker) -> bool {
        let mut queue = self.lock();
        queue.wakers.push_back(waker);
        !std::mem::replace(&mut queue.is_served, true)
    }

    /// Wakes the first few. False: nobody is left.
    fn wake(&self, count: usize) -> bool {
        for _ in 0..count {
            // Not under the lock: a waker may run anything.
            let Some(waker) = self.lock().wakers.pop_front() else {
                return false;
            };
            waker.wake();
        }
        true
    }

    fn is_served(&self) -> bool {
        self.lock().is_served
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        // A panic leaves a queue of wakers as good as it was.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that serves a queue. It may end early, with its runtime: then all go on.
struct Serving(Arc<Waiting>);

impl Drop for Serving {
    fn drop(&mut self) {
        let left = {
            let mut queue = self.0.lock();
            queue.is_served = false;
            std::mem::take(&mut queue.wakers)
        };
        left.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use tokio::task::JoinSet;

    /// Spawns `count` that each want a turn and then count themselves.
    fn burst(count: usize, went: &Arc<AtomicUsize>) -> JoinSet<()> {
        let mut all = JoinSet::new();
        let now = Instant::now();
        for _ in 0..count {
            let went = Arc::clone(went);
            all.spawn(async move {
                turn(now).await;
                went.fetch_add(1, Relaxed);
            });
        }
        all
    }

    #[tokio::test]
    async fn of_a_burst_only_a_few_go_on_before_other_work() {
        let went = Arc::new(AtomicUsize::new(0));
        let all = burst(1000, &went);
        let mut most = 0;
        let mut before = 0;
        while before < 1000 {
            tokio::task::yield_now().await;
            let now = went.load(Relaxed);
            most = most.max(now - before);
            before = now;
        }
        all.join_all().await;
        assert!(most <= AT_ONCE as usize + IN_ONE_GO, "{most} at once");
    }

    #[tokio::test]
    async fn who_goes_away_while_waiting_holds_nobody_up() {
        let went = Arc::new(AtomicUsize::new(0));
        let mut gone = burst(500, &went);
        let all = burst(500, &went);
        tokio::task::yield_now().await;
        gone.abort_all();
        while gone.join_next().await.is_some() {}
        all.join_all().await;
    }

    #[test]
    fn a_runtime_that_ends_leaves_the_thread_usable() {
        let runtime = || {
            tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap()
        };
        let went = Arc::new(AtomicUsize::new(0));
        let first = runtime();
        let all = first.block_on(async { burst(1000, &went) });
        first.block_on(tokio::task::yield_now());
        drop(all);
        drop(first);
        went.store(0, Relaxed);
        runtime().block_on(async { burst(1000, &went).join_all().await });
        assert_eq!(went.load(Relaxed), 1000);
    }
}
