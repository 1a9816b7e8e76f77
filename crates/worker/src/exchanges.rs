//! Plain HTTP requests in progress: whether a client still waits for each, and how much of its answer is on its way.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use rustc_hash::FxHashMap;

use crate::wire::exchange::{ANSWER_WINDOW, PIECE_OVERHEAD};

/// The requests that are not answered to the end, by their numbers. The gateway bounds them.
#[derive(Default)]
pub(super) struct Exchanges(RefCell<FxHashMap<u64, Rc<Exchange>>>);

/// One of them.
#[derive(Default)]
pub(super) struct Exchange {
    is_gone: Cell<bool>,
    /// Bytes of its answer that the client has not taken, as the window counts them.
    under_way: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

impl Exchanges {
    pub(super) fn begin(&self, number: u64) -> Rc<Exchange> {
        let exchange = Rc::new(Exchange::default());
        self.0.borrow_mut().insert(number, exchange.clone());
        exchange
    }

    /// It is answered. Another gateway may have given its number again.
    pub(super) fn end(&self, number: u64, exchange: &Rc<Exchange>) {
        let mut all = self.0.borrow_mut();
        if all.get(&number).is_some_and(|it| Rc::ptr_eq(it, exchange)) {
            all.remove(&number);
        }
    }

    /// Nobody waits for the answer to this request any more. It may have been answered meanwhile.
    pub(super) fn gone(&self, number: u64) {
        let exchange = self.0.borrow().get(&number).cloned();
        if let Some(exchange) = exchange {
            exchange.is_gone.set(true);
            exchange.wake();
        }
    }

    /// The client has taken some of the answer to this request.
    pub(super) fn taken(&self, number: u64, bytes: u64) {
        let exchange = self.0.borrow().get(&number).cloned();
        if let Some(exchange) = exchange {
            let under_way = exchange.under_way.get();
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            exchange.under_way.set(under_way.saturating_sub(bytes));
            exchange.wake();
        }
    }

    /// The gateway has died, and all its clients' connections with it.
    pub(super) fn gateway_lost(&self) {
        for (_, exchange) in self.0.take() {
            exchange.is_gone.set(true);
            exchange.wake();
        }
    }
}

impl Exchange {
    /// Whether the client has left; wakes the task when it does.
    pub(super) fn poll_gone(&self, cx: &Context<'_>) -> bool {
        self.wait(cx);
        self.is_gone.get()
    }

    /// Waits until the window has room for a piece of this many bytes. Ready also when the client has left.
    pub(super) fn poll_room(&self, bytes: usize, cx: &Context<'_>) -> Poll<()> {
        if self.is_gone.get() || self.under_way.get() + bytes + PIECE_OVERHEAD <= ANSWER_WINDOW {
            return Poll::Ready(());
        }
        self.wait(cx);
        Poll::Pending
    }

    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.get()
    }

    /// A piece of this many bytes goes to the client.
    pub(super) fn send(&self, bytes: usize) {
        let under_way = self.under_way.get();
        self.under_way.set(under_way + bytes + PIECE_OVERHEAD);
    }

    fn wait(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_request_of_a_dead_gateway_leaves_one_of_the_next_with_its_number() {
        let exchanges = Exchanges::default();
        let old = exchanges.begin(1);
        exchanges.gateway_lost();
        assert!(old.is_gone());
        let new = exchanges.begin(1);
        exchanges.end(1, &old);
        exchanges.gone(1);
        assert!(new.is_gone(), "it is not known any more");
        exchanges.end(1, &new);
        assert!(exchanges.0.borrow().is_empty());
    }
}
