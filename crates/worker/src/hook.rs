//! Polling the app's futures so that none of their panics gets further.

use std::any::Any;
use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::app::{self, AskError, ClientLeft, Message, SendError};

/// How a hook ended: its result, or why it has none.
pub(super) type Ended<T = ()> = Result<T, Failure>;

/// Why a hook has no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// It panicked; the place is logged already.
    Panicked(String),
    /// It returned an error.
    Erred(String),
    /// It returned that a session has ended, which is not a fault.
    Closed(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Panicked(text) | Self::Erred(text) | Self::Closed(text)) = self;
        f.write_str(text)
    }
}

/// A place for a hook's future, empty between two of them.
pub(super) type Slot<F> = Pin<Box<Option<F>>>;

/// The causes of an error that are logged.
const MOST_CAUSES: usize = 32;

/// Slots that wait to be used again. As many as there may be messages of one turn that did not end at once.
const KEPT_SLOTS: usize = 64;

/// One of the app's hot hooks: how it is called for an `X`, and the memory of its futures, which is used again
/// for the next message.
pub(super) trait HotHook<A, X>: 'static {
    type Future: Future<Output = app::Result> + 'static;

    fn call(&self, app: Rc<A>, of: X, message: Message) -> Self::Future;

    fn slots(&self) -> &Slots<Self::Future>;
}

/// The function type of a hook, so that its future can be made where it is kept.
pub(super) struct Hot<C, F> {
    call: C,
    slots: Slots<F>,
}

impl<C, F> Hot<C, F> {
    pub(super) fn new<A, X>(call: C) -> Self
    where
        C: Fn(Rc<A>, X, Message) -> F,
    {
        Self {
            call,
            slots: Slots(RefCell::new(Vec::new())),
        }
    }
}

impl<A, X, C, F> HotHook<A, X> for Hot<C, F>
where
    C: Fn(Rc<A>, X, Message) -> F + 'static,
    F: Future<Output = app::Result> + 'static,
{
    type Future = F;

    #[inline]
    fn call(&self, app: Rc<A>, of: X, message: Message) -> F {
        (self.call)(app, of, message)
    }

    #[inline]
    fn slots(&self) -> &Slots<F> {
        &self.slots
    }
}

/// The slots of one kind of hook.
pub(super) struct Slots<F>(RefCell<Vec<Slot<F>>>);

impl<F> Slots<F> {
    /// An empty slot.
    #[inline]
    pub(super) fn take(&self) -> Slot<F> {
        self.0.borrow_mut().pop().unwrap_or_else(|| Box::pin(None))
    }

    /// Takes an emptied slot back.
    #[inline]
    pub(super) fn give_back(&self, slot: Slot<F>) {
        let mut kept = self.0.borrow_mut();
        if kept.len() < KEPT_SLOTS {
            kept.push(slot);
        }
    }
}

/// Makes a future in an empty slot and polls it for the first time, as [`poll_slot`] does. Making it may panic, too. A
/// future that does not end at once must be polled again, with a real waker.
#[inline]
pub(super) fn begin_slot<F, T>(
    mut slot: Pin<&mut Option<F>>,
    make: impl FnOnce() -> F,
) -> Poll<Ended<T>>
where
    F: Future<Output = app::Result<T>>,
{
    let polled = catch_unwind(AssertUnwindSafe(|| {
        slot.set(Some(make()));
        poll_and_empty(slot.as_mut(), &mut Context::from_waker(Waker::noop()))
    }));
    ended(slot, polled)
}

/// Polls the future in a slot and empties the slot when it has ended. A panic, in the future or in what it
/// drops, is an end like any other.
pub(super) fn poll_slot<F, T>(mut slot: Pin<&mut Option<F>>, cx: &mut Context<'_>) -> Poll<Ended<T>>
where
    F: Future<Output = app::Result<T>>,
{
    let polled = catch_unwind(AssertUnwindSafe(|| poll_and_empty(slot.as_mut(), cx)));
    ended(slot, polled)
}

#[inline]
fn poll_and_empty<F: Future>(
    mut slot: Pin<&mut Option<F>>,
    cx: &mut Context<'_>,
) -> Poll<F::Output> {
    let polled = match slot.as_mut().as_pin_mut() {
        Some(future) => future.poll(cx),
        None => Poll::Pending,
    };
    if polled.is_ready() {
        slot.set(None);
    }
    polled
}

/// The result of a poll. If the future has ended, the slot is empty.
#[inline]
fn ended<F, T>(
    mut slot: Pin<&mut Option<F>>,
    polled: Result<Poll<app::Result<T>>, Box<dyn Any + Send>>,
) -> Poll<Ended<T>> {
    match polled {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(Ok(value))) => Poll::Ready(Ok(value)),
        Ok(Poll::Ready(Err(error))) => Poll::Ready(Err(failure(&*error))),
        Err(panic) => {
            // Dropping the rest of it may panic again.
            let _ = catch_unwind(AssertUnwindSafe(|| slot.set(None)));
            Poll::Ready(Err(Failure::Panicked(panic_text(&*panic))))
        }
    }
}

/// The message of a panic.
#[cold]
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("no text"))
}

/// An error with its causes. If an error's message contains its cause, the cause is not repeated.
#[cold]
fn failure(error: &(dyn Error + 'static)) -> Failure {
    let mut text = error.to_string();
    let mut is_closed = tells_of_an_end(error, &text);
    let mut source = error.source();
    // A chain of causes may be endless.
    for _ in 0..MOST_CAUSES {
        let Some(cause) = source else { break };
        let reason = cause.to_string();
        is_closed |= tells_of_an_end(cause, &reason);
        if !text.ends_with(&reason) {
            text = format!("{text}: {reason}");
        }
        source = cause.source();
    }
    match is_closed {
        true => Failure::Closed(text),
        false => Failure::Erred(text),
    }
}

/// Whether an error says that a session has ended, or cannot be reached: one of this process, or one that another process had. The inner error
/// of an `io::Error` is not among its sources. What `anyhow` and `eyre` turn an error into is a type of their own, which
/// shows the same text.
fn tells_of_an_end(error: &(dyn Error + 'static), text: &str) -> bool {
    let inner = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    if let Some(inner) = inner {
        return tells_of_an_end(inner, text);
    }
    matches!(
        error.downcast_ref(),
        Some(
            SendError::Closed | SendError::NoSuchSession | SendError::Gone | SendError::Unreachable
        )
    ) || error.downcast_ref() == Some(&AskError::NoSuchSession)
        || error.is::<ClientLeft>()
        || text == SendError::CLOSED
        || text == SendError::NO_SUCH_SESSION
        || text == SendError::GONE
        || text == SendError::UNREACHABLE
}
