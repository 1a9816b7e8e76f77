//! A queue of waiting tasks, in the order in which they came.

use std::collections::VecDeque;
use std::task::Waker;

/// A queue of wakers. A waiter holds a ticket, through which it can change its waker or leave.
#[derive(Default)]
pub(crate) struct Waiters {
    next: u64,
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
        self.queue.push_back(Waiter {
            ticket: self.next,
            need,
            waker: waker.clone(),
        });
        *ticket = Some(self.next);
        self.next += 1;
    }

    /// Leaves. Does nothing if it has been called.
    pub(crate) fn forget(&mut self, ticket: u64) {
        if let Some(place) = self.place(ticket) {
            self.queue.remove(place);
        }
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
