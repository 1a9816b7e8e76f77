//! A listening socket on its owner's loop.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::time::{Sleep, sleep};

use super::event::{SocketEvent, SocketMode};
use super::registration::WatchedDescriptor;
use super::shared_socket::{SendPhase, SharedSocket, local_of};

/// A socket that accepts others once it is started.
pub(crate) struct ListeningSocket {
    pub(crate) shared: Arc<SharedSocket>,
    pub(crate) waker: Waker,
    pub(crate) mode: SocketMode,
    pub(crate) io: Option<WatchedDescriptor>,
    pub(crate) is_started: bool,
    pub(crate) is_paused: bool,
    /// Where it listens, if the owner is to be told.
    bound: Option<SocketAddr>,
    /// It waits after an error.
    pause: Option<Pin<Box<Sleep>>>,
    is_failing: bool,
}

/// What a listening socket has for its owner.
#[derive(Debug)]
pub(crate) enum ListenStep {
    Accepted(OwnedFd, Option<SocketAddr>),
    /// A connection of the embedding program: its number, and its peer.
    AcceptedForeign(u32, String),
    /// What else has happened.
    Event(SocketEvent),
    /// It is closed.
    Closed,
    /// Another service has it.
    Released,
}

/// How long a process without free descriptors waits before it accepts again.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

impl ListeningSocket {
    pub(crate) fn new(shared: Arc<SharedSocket>, waker: Waker, mode: SocketMode) -> Self {
        Self {
            shared,
            waker,
            mode,
            io: None,
            is_started: false,
            is_paused: false,
            bound: None,
            pause: None,
            is_failing: false,
        }
    }

    /// Has the owner told where it listens.
    pub(crate) fn tell_bound(&mut self) {
        self.bound = self.shared.descriptor().and_then(local_of);
        self.waker.wake_by_ref();
    }

    /// The same for one that has no descriptor.
    pub(crate) fn tell_bound_to(&mut self, address: SocketAddr) {
        self.bound = Some(address);
        self.waker.wake_by_ref();
    }

    /// The next thing for the owner, if any.
    pub(crate) fn poll(&mut self) -> Option<ListenStep> {
        if self.shared.is_asked() {
            let asked = self.shared.asked();
            if matches!(asked.phase, SendPhase::Closing | SendPhase::Closed) {
                self.io = None;
                self.shared.end();
                return Some(ListenStep::Closed);
            }
            if asked.is_taken {
                self.io = None;
                self.shared.silence(Vec::new(), false);
                return Some(ListenStep::Released);
            }
        }
        if let Some(bound) = self.bound.take() {
            let event = SocketEvent::Connected(bound.port().into(), bound.ip().to_string());
            return Some(ListenStep::Event(event));
        }
        if let Some(io) = &self.shared.foreign {
            if self.is_paused || !self.is_started {
                return None;
            }
            let (number, peer) = io.next_accepted()?;
            return Some(ListenStep::AcceptedForeign(number, peer));
        }
        let waker = self.waker.clone();
        let mut context = Context::from_waker(&waker);
        if let Some(pause) = &mut self.pause {
            if pause.as_mut().poll(&mut context).is_pending() {
                return None;
            }
            self.pause = None;
        }
        self.accept(&mut context)
    }

    fn accept(&mut self, context: &mut Context<'_>) -> Option<ListenStep> {
        if self.is_paused {
            return None;
        }
        loop {
            let io = self.io.as_ref()?;
            let Poll::Ready(ready) = io.poll_read_ready(context) else {
                return None;
            };
            let Ok(mut guard) = ready else {
                return None;
            };
            match acceptfrom_with(io.get_ref(), SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok((descriptor, from)) => {
                    self.is_failing = false;
                    let from = from.and_then(|from| from.try_into().ok());
                    return Some(ListenStep::Accepted(descriptor, from));
                }
                Err(Errno::AGAIN) => guard.clear_ready(),
                Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS) => {
                    drop(guard);
                    return self.fail();
                }
                // The connection that was to be accepted has failed (accept(2)).
                Err(_) => {}
            }
        }
    }

    /// Waits until others may have closed something. Says so once, until it works again.
    fn fail(&mut self) -> Option<ListenStep> {
        self.pause = Some(Box::pin(sleep(PAUSE_AFTER_ERROR)));
        self.waker.wake_by_ref();
        let was_failing = std::mem::replace(&mut self.is_failing, true);
        let why = "too many open files, or no memory: raise the limit of open files".to_owned();
        (!was_failing).then_some(ListenStep::Event(SocketEvent::Failed(why)))
    }
}
