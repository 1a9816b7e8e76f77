//! Turns: thousands of dials that begin at once leave their loop time for its other work.
//!
//! A dial's costly moments (opening a socket, making keys, closing an unconnected socket) are system calls and
//! arithmetic that cannot be divided. Single ones pass at once; a few of a burst continue each time that the runtime
//! has looked at everything else.

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, Id};

/// This many costly moments on one thread within a window are no burst. A socket takes some 20 µs: half the window.
const AT_ONCE: u32 = 24;
/// The time in which they are counted.
const WINDOW: Duration = Duration::from_millis(1);
/// This many of a burst continue at a time: another task waits for them 200 µs, or a millisecond if they make keys.
const IN_ONE_GO: usize = 8;

/// Waits for a turn; returns at once unless there is a burst.
///
/// Cancel-safe: a future that is not polled keeps nobody waiting, because an unused turn is skipped. Needs a tokio
/// runtime.
pub(super) async fn turn(now: Instant) {
    if HERE.with(|here| here.passes(now)) {
        return;
    }
    let mut place: Option<TurnPlace> = None;
    // A future that is polled before its turn, for whatever reason, keeps waiting.
    poll_fn(|context| match &place {
        Some(place) => place.poll(context.waker()),
        None => {
            place = Some(HERE.with(|here| here.queue(context.waker())));
            Poll::Pending
        }
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
    /// The queue of the latest runtime here. One runtime does not serve waits on another, which may not be driven any
    /// more.
    waiting: RefCell<Option<(Id, Arc<WaitingCallers>)>>,
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
        // A newcomer during a burst waits behind it.
        count < AT_ONCE && !self.is_served()
    }

    /// Whether somebody waits already.
    fn is_served(&self) -> bool {
        let waiting = self.waiting.borrow();
        let is_of_here = |runtime: Id| runtime == Handle::current().id();
        waiting
            .as_ref()
            .is_some_and(|(runtime, waiting)| waiting.lock().is_served && is_of_here(*runtime))
    }

    fn queue(&self, waker: &Waker) -> TurnPlace {
        let runtime = Handle::current();
        let waiting = {
            let mut waiting = self.waiting.borrow_mut();
            match &*waiting {
                Some((known, waiting)) if *known == runtime.id() => Arc::clone(waiting),
                _ => {
                    let (_, new) = waiting.insert((runtime.id(), Arc::default()));
                    Arc::clone(new)
                }
            }
        };
        let (place, is_first) = WaitingCallers::enter(waiting, waker.clone());
        if is_first {
            let serving = Serving(Arc::clone(&place.waiting));
            runtime.spawn(async move {
                while serving.0.wake(IN_ONE_GO) {
                    tokio::task::yield_now().await;
                }
            });
        }
        place
    }
}

/// The waiting futures. No more than there were dials at one time.
#[derive(Default)]
struct WaitingCallers(Mutex<TurnQueue>);

#[derive(Default)]
struct TurnQueue {
    /// In the order of their tickets, without gaps.
    /// A task that has left has no waker.
    places: VecDeque<Option<Waker>>,
    /// The ticket of the first of them: all before have had their turn.
    next: u64,
    /// A task serves it.
    is_served: bool,
}

impl WaitingCallers {
    /// A place at the end. True: the caller must spawn a task that serves the queue.
    fn enter(waiting: Arc<Self>, waker: Waker) -> (TurnPlace, bool) {
        let mut queue = waiting.lock();
        let ticket = queue.next + queue.places.len() as u64;
        queue.places.push_back(Some(waker));
        let is_first = !std::mem::replace(&mut queue.is_served, true);
        drop(queue);
        (TurnPlace { waiting, ticket }, is_first)
    }

    /// Gives the first few their turn. False: none is left.
    fn wake(&self, count: usize) -> bool {
        let mut given = 0;
        while given < count {
            // Not under the lock: a waker may run anything.
            let Some(place) = self.lock().pop() else {
                return false;
            };
            if let Some(waker) = place {
                waker.wake();
                given += 1;
            }
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, TurnQueue> {
        // A panic leaves a queue of wakers as good as it was.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TurnQueue {
    fn pop(&mut self) -> Option<Option<Waker>> {
        let place = self.places.pop_front()?;
        self.next += 1;
        Some(place)
    }

    /// None: it has had its turn.
    fn at(&mut self, ticket: u64) -> Option<&mut Option<Waker>> {
        let index = usize::try_from(ticket.checked_sub(self.next)?).ok()?;
        self.places.get_mut(index)
    }
}

/// A place in the queue. Dropping it leaves the queue.
struct TurnPlace {
    waiting: Arc<WaitingCallers>,
    ticket: u64,
}

impl TurnPlace {
    fn poll(&self, waker: &Waker) -> Poll<()> {
        let mut queue = self.waiting.lock();
        let Some(known) = queue.at(self.ticket) else {
            return Poll::Ready(());
        };
        // Another task than before may poll it now.
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            let old = known.replace(waker.clone());
            drop(queue);
            drop(old);
        }
        Poll::Pending
    }
}

impl Drop for TurnPlace {
    fn drop(&mut self) {
        let mut queue = self.waiting.lock();
        let Some(known) = queue.at(self.ticket) else {
            return;
        };
        let old = known.take();
        // These tickets are unused now, so they can be given again.
        while let Some(None) = queue.places.back() {
            queue.places.pop_back();
        }
        drop(queue);
        // Not under the lock: the last of a task's wakers drops the task.
        drop(old);
    }
}

/// The task that serves a queue. It may end early, with its runtime: then all waits end.
struct Serving(Arc<WaitingCallers>);

impl Drop for Serving {
    fn drop(&mut self) {
        let left = {
            let mut queue = self.0.lock();
            queue.is_served = false;
            queue.next += queue.places.len() as u64;
            std::mem::take(&mut queue.places)
        };
        left.into_iter().flatten().for_each(Waker::wake);
    }
}
