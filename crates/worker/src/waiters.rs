//! A queue of waiting tasks, in the order in which they came.

use std::cell::Cell;
use std::collections::VecDeque;
use std::task::Waker;

thread_local! {
    /// No two queues give the same: a waiter may still hold the ticket of a queue that is gone.
    static LAST_TICKET: Cell<u64> = const { Cell::new(0) };
}

/// A queue of wakers. A waiter holds a ticket, through which it can change its waker or leave.
#[derive(Default)]
pub(crate) struct Waiters {
    queue: VecDeque<Waiter>,
}

struct Waiter {
    ticket: u64,
    need: usize,
    waker: Waker,
}

impl Waiters {
    /// Takes a place at the end, or keeps the place of `ticket` if it was not called yet.
    pub(crate) fn wait(&mut self, ticket: &mut Option<u64>, need: usize, waker: &Waker) {
        if let Some(place) = ticket.and_then(|ticket| self.place(ticket)) {
            self.queue[place].waker.clone_from(waker);
            return;
        }
        let next = LAST_TICKET.get() + 1;
        LAST_TICKET.set(next);
        self.queue.push_back(Waiter {
            ticket: next,
            need,
            waker: waker.clone(),
        });
        *ticket = Some(next);
    }

    /// Leaves. Does nothing if it has been called.
    pub(crate) fn forget(&mut self, ticket: u64) {
        if let Some(place) = self.place(ticket) {
            self.queue.remove(place);
        }
    }

    /// Whether it was not called yet.
    pub(crate) fn has(&self, ticket: u64) -> bool {
        self.place(ticket).is_some()
    }

    /// The need of the first one.
    pub(crate) fn first_need(&self) -> Option<usize> {
        self.queue.front().map(|waiter| waiter.need)
    }

    /// Calls the first one, which leaves the queue.
    pub(crate) fn wake_first(&mut self) {
        if let Some(waiter) = self.queue.pop_front() {
            waiter.waker.wake();
        }
    }

    /// Calls all, in their order. A task that finds nothing left returns to the end of the queue.
    pub(crate) fn wake_all(&mut self) {
        for waiter in self.queue.drain(..) {
            waiter.waker.wake();
        }
    }

    fn place(&self, ticket: u64) -> Option<usize> {
        self.queue
            .binary_search_by_key(&ticket, |waiter| waiter.ticket)
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_ticket_of_a_queue_that_is_gone_takes_nobodys_place() {
        let counts: [Arc<Count>; 2] = Default::default();
        let [first, second] = counts.clone().map(Waker::from);
        let (mut old, mut other) = (None, None);
        Waiters::default().wait(&mut old, 0, &first);
        let mut waiters = Waiters::default();
        waiters.wait(&mut other, 0, &second);
        waiters.wait(&mut old, 0, &first);
        waiters.wake_all();
        let woken = counts.map(|count| count.0.load(Ordering::Relaxed));
        assert_eq!(woken, [1, 1]);
    }
}
