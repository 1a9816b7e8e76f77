//! Something done again and again on an event loop.

use std::ops::ControlFlow;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::clock::later;
use crate::event_loop::{EventLoop, Task, contained};

/// The shortest period: a timer's resolution.
const SHORTEST: Duration = Duration::from_millis(1);

/// Calls something again and again on an event loop, until it says [`ControlFlow::Break`] or the timer is dropped. A panic is
/// logged, and the next call comes in its turn.
///
/// Dropping it on its loop is the end: nothing is called afterwards. Elsewhere, a call that runs at the moment is
/// not waited for.
///
/// ```no_run
/// # use std::{ops::ControlFlow, time::Duration};
/// # use moorline_net::{EventLoop, LoopOptions, Timer};
/// # let event_loop = EventLoop::start(LoopOptions::default()).unwrap();
/// let timer = Timer::every(&event_loop, Duration::from_secs(1), || {
///     println!("tick");
///     ControlFlow::Continue(())
/// });
/// ```
#[derive(Debug)]
#[must_use = "dropping it stops it"]
pub struct Timer(Task<()>);

impl Timer {
    /// Calls `tick` on `event_loop` after each `period`, first after one of them. A late call does not make the next
    /// ones come sooner. Periods under 1 ms count as 1 ms.
    pub fn every(
        event_loop: &EventLoop,
        period: Duration,
        mut tick: impl FnMut() -> ControlFlow<()> + Send + 'static,
    ) -> Self {
        let period = period.max(SHORTEST);
        let first = Instant::from_std(later(Instant::now().into_std(), period));
        let name = event_loop.name().to_owned();
        Self(event_loop.spawn(move || async move {
            let mut ticks = interval_at(first, period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                if let Ok(ControlFlow::Break(())) = contained(&name, &mut tick) {
                    return;
                }
            }
        }))
    }

    /// [`every`](Self::every) for something that has an owner, which it holds weakly: it ends once the owner is gone.
    pub fn of<O: Send + Sync + 'static>(
        owner: &Arc<O>,
        event_loop: &EventLoop,
        period: Duration,
        mut tick: impl FnMut(&O) -> ControlFlow<()> + Send + 'static,
    ) -> Self {
        let owner: Weak<O> = Arc::downgrade(owner);
        Self::every(event_loop, period, move || match owner.upgrade() {
            Some(owner) => tick(&owner),
            None => ControlFlow::Break(()),
        })
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
