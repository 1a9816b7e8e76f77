//! Turns: many dials at once shall not keep a loop from its other work.
//!
//! A dial that begins, or ends at its deadline, costs some microseconds of system calls; a TLS handshake ten times
//! that. Ten thousand of them together would be one long stall for everything else on their thread. So only so
//! much is done in one turn of the loop; what comes later in it goes to the back of the loop's queue.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::task::yield_now;

/// How much is done in a turn, in sockets opened or closed: well under a millisecond.
const WORK_OF_A_TURN: u32 = 32;

/// What is to be done.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub(super) enum Work {
    /// Opening or closing a socket.
    Socket = 1,
    /// Making the keys of a handshake.
    Handshake = 10,
}

thread_local! {
    /// What was done on this thread in the turn that runs, and the number of that turn.
    static TURN: Cell<(u64, u32)> = const { Cell::new((0, 0)) };
}

/// Waits until this work may be done. At once, unless much was done in this turn of the loop.
///
/// Nobody waits for another dial, only for the loop: one that is not polled holds up no other.
pub(super) async fn take(work: Work) {
    let mut turn = Turn::default();
    poll_fn(|context| turn.poll(work, context)).await;
}

/// The same for what is polled by hand.
#[derive(Default)]
pub(super) struct Turn {
    /// The turn that was full, and what ends with it.
    next: Option<(u64, Pin<Box<dyn Future<Output = ()> + Send>>)>,
}

impl Turn {
    pub(super) fn poll(&mut self, work: Work, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some((full, next)) = &mut self.next {
                ready!(next.as_mut().poll(context));
                // The first one that is back begins the new turn.
                if TURN.get().0 == *full {
                    TURN.set((full.wrapping_add(1), 0));
                }
                self.next = None;
            }
            let (turn, done) = TURN.get();
            if done < WORK_OF_A_TURN {
                TURN.set((turn, done + work as u32));
                return Poll::Ready(());
            }
            self.next = Some((turn, Box::pin(yield_now())));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    #[tokio::test]
    async fn other_tasks_have_their_turn_between() {
        let done = Rc::new(RefCell::new(0_u32));
        let seen = Rc::clone(&done);
        LocalSet::new()
            .run_until(async move {
                for _ in 0..1000 {
                    let done = Rc::clone(&done);
                    spawn_local(async move {
                        take(Work::Socket).await;
                        *done.borrow_mut() += 1;
                    });
                }
                let mut before = 0;
                while before < 1000 {
                    yield_now().await;
                    let now = *seen.borrow();
                    assert!(now - before <= 2 * WORK_OF_A_TURN, "{now} after {before}");
                    before = now;
                }
            })
            .await;
    }
}
