//! The rings that records come from: when they are read, and when this process sleeps until one has a record.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::rc::Rc;
use std::task::{Context as Task, Poll};

use moorline_ipc::{Chime, Consumer, SleepFence};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::core::{Core, Rings};

/// One ring for each loop of the gateway, and the chime that wakes this process for them.
pub(super) struct Inlets {
    core: Rc<Core>,
    chime: AsyncFd<Registered>,
    rings: Vec<Consumer>,
    is_asleep: bool,
}

/// `AsyncFd` asks for the older trait. The chime owns its descriptor and keeps it open as long as it lives.
struct Registered(Chime);

impl AsRawFd for Registered {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// A ring held a record that no gateway writes. Nothing after it can be trusted.
#[derive(Debug)]
pub(super) struct Garbage(pub(super) String);

impl Inlets {
    pub(super) fn new(core: Rc<Core>, chime: Chime, rings: Vec<Consumer>) -> io::Result<Self> {
        // Its successor is unsafe, because a type might give up its descriptor early; this one keeps it.
        #[expect(deprecated)]
        let chime = AsyncFd::with_interest(Registered(chime), Interest::READABLE)?;
        Ok(Self {
            core,
            chime,
            rings,
            is_asleep: false,
        })
    }

    /// The number of rings.
    pub(super) fn len(&self) -> usize {
        self.rings.len()
    }

    /// The ring from this loop of the gateway.
    #[inline]
    pub(super) fn ring(&mut self, link: usize) -> &mut Consumer {
        &mut self.rings[link]
    }

    /// A turn begins. True if it is the first with another gateway's rings: records of the old one are void.
    pub(super) fn begin_turn(&mut self, cx: &mut Task<'_>) -> bool {
        self.core.waits.beat();
        self.core.outbox.turn_begins(cx.waker());
        if self.is_asleep {
            self.is_asleep = false;
            self.rings.iter_mut().for_each(Consumer::awake);
        }
        let is_replaced = self.follow_gateway();
        // The gateway sends nothing to a process before it serves. The supervisor says so too, over another channel.
        if !self.core.commitment.is_committed() && !self.rings.iter_mut().all(Consumer::is_empty) {
            self.core.commit();
        }
        is_replaced
    }

    /// Ends the turn: publishes what was sent in it. `has_more` says that it has left records in the rings.
    pub(super) fn end_turn(&mut self, has_more: bool, cx: &mut Task<'_>) -> Result<(), Garbage> {
        let others_wait = match self.core.outbox.flush() {
            Ok(others_wait) => others_wait,
            Err(corrupt) => return Err(Garbage(corrupt.to_string())),
        };
        self.core.quota.note(self.core.counters.requests());
        // A called sender may not use the room: then the next ones get it.
        let has_more = has_more || others_wait || !self.falls_asleep(cx);
        self.core.counters.turn_ends(!has_more);
        if has_more {
            cx.waker().wake_by_ref();
        }
        Ok(())
    }

    /// A turn before the app has started. It takes no record.
    pub(super) fn idle_turn(&mut self, cx: &mut Task<'_>) -> Result<(), Garbage> {
        self.begin_turn(cx);
        let others_wait = self.core.outbox.flush();
        if others_wait.map_err(|corrupt| Garbage(corrupt.to_string()))? {
            cx.waker().wake_by_ref();
        }
        // New records wait for the first turn after the start.
        if !self.falls_asleep(cx) {
            self.core.outbox.sleeps();
        }
        Ok(())
    }

    /// False if there is a record to take after all.
    fn falls_asleep(&mut self, cx: &mut Task<'_>) -> bool {
        // The chime is an edge. Old wake-ups are cleared before the rings are checked again, so that a record that
        // comes after the check wakes the process. The descriptor is never read.
        while let Poll::Ready(guard) = self.chime.poll_read_ready(cx) {
            match guard {
                Ok(mut guard) => guard.clear_ready(),
                // Only while the runtime shuts down.
                Err(_) => return true,
            }
        }
        self.rings.iter_mut().for_each(Consumer::announce_sleep);
        let fence = SleepFence::new();
        let mut rings = self.rings.iter_mut();
        let is_quiet = rings.all(|ring| ring.stays_asleep(&fence));
        self.is_asleep = true;
        if is_quiet {
            self.core.outbox.sleeps();
        }
        is_quiet
    }

    /// Switches to the rings of another gateway, if the old one has died.
    fn follow_gateway(&mut self) -> bool {
        let Some(Rings { links, inlets }) = self.core.replacement.take() else {
            return false;
        };
        self.rings = inlets;
        self.core.connect(links);
        self.core.credits.gateway_lost();
        self.core.questions.gateway_lost();
        self.core.broadcasts.gateway_lost();
        true
    }
}
