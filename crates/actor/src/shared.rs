//! What loops share.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use crate::actor::Actor;
use crate::id::ServiceId;
use crate::inbox::{Inbox, Letter};
use crate::mailbox::MailboxLimits;
use crate::message::Session;
use crate::names::Names;
use crate::report::Report;
use crate::table::Table;
use crate::vitals::Vitals;

/// One for the process.
pub(crate) struct Shared {
    pub(crate) table: Table,
    pub(crate) names: Names,
    pub(crate) limits: MailboxLimits,
    pub(crate) loops: Box<[LoopSeat]>,
    /// The first of them, which get services that ask for no loop.
    common: usize,
    pub(crate) started: Instant,
    pub(crate) is_stopping: AtomicBool,
    /// Somebody has asked how long services run. Until then no clock is read for it.
    pub(crate) is_measuring: AtomicBool,
    reporter: Reporter,
    /// Services that are no daemons.
    ordinary: Mutex<usize>,
    is_empty: Condvar,
}

/// Gets each report, on the thread where it arises.
pub(crate) type Reporter = Box<dyn Fn(&Report) + Send + Sync>;

/// What other threads see of a loop.
#[derive(Debug)]
pub(crate) struct LoopSeat {
    pub(crate) inbox: Inbox<Launch>,
    pub(crate) vitals: Vitals,
    pub(crate) services: AtomicUsize,
    /// The message from which a service of it has not returned for a while, or 0: new services go elsewhere.
    pub(crate) long_message: AtomicU64,
}

/// A service to make.
pub(crate) struct Launch {
    pub(crate) id: ServiceId,
    pub(crate) is_daemon: bool,
    /// The service that waits for it, and the number of its call.
    pub(crate) caller: Option<(ServiceId, Session)>,
    pub(crate) make: Make,
}

/// Makes the code of a service, on its loop.
pub(crate) type Make = Box<dyn FnOnce(ServiceId) -> Result<Box<dyn Actor>, String> + Send>;

/// Where and how a service is launched.
#[derive(Debug, Clone, Copy, Default)]
pub struct LaunchOptions {
    /// The loop, from 0; reserved loops are behind the others. Default: of those that are not reserved the one with the fewest services,
    /// unless a service of it does not return.
    pub on: Option<usize>,
    /// [`System::wait`](crate::System::wait) does not wait for it. Default: false.
    pub is_daemon: bool,
}

/// Why a service was not launched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaunchError {
    /// There are two million services already.
    NoSlot,
    /// There is no such loop.
    NoLoop(usize),
    /// Its own code did not start, and says why.
    Failed(String),
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSlot => f.write_str("there are too many services"),
            Self::NoLoop(index) => write!(f, "there is no loop {index}"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for LaunchError {}

impl Shared {
    pub(crate) fn new(loops: u8, reserved: u8, limits: MailboxLimits, reporter: Reporter) -> Self {
        let seat = |_| LoopSeat {
            inbox: Inbox::new(),
            vitals: Vitals::default(),
            services: AtomicUsize::new(0),
            long_message: AtomicU64::new(0),
        };
        Self {
            table: Table::new(),
            names: Names::default(),
            limits,
            loops: (0..loops.saturating_add(reserved)).map(seat).collect(),
            common: loops.into(),
            started: Instant::now(),
            is_stopping: AtomicBool::new(false),
            is_measuring: AtomicBool::new(false),
            reporter,
            ordinary: Mutex::new(0),
            is_empty: Condvar::new(),
        }
    }

    /// Gives a service its id, and hands the rest to its loop. It is there for every message sent from now on.
    pub(crate) fn launch(
        &self,
        options: LaunchOptions,
        caller: Option<(ServiceId, Session)>,
        make: Make,
    ) -> Result<ServiceId, LaunchError> {
        let on = self.choose(options.on)?;
        let id = self.table.give(on).ok_or(LaunchError::NoSlot)?;
        let seat = &self.loops[usize::from(on)];
        seat.services.fetch_add(1, Ordering::Relaxed);
        if !options.is_daemon {
            *self.ordinary() += 1;
        }
        // Straight into the inbox: no other letter for this id can be before it.
        seat.inbox.put(Letter::Launch(Launch {
            id,
            is_daemon: options.is_daemon,
            caller,
            make,
        }));
        Ok(id)
    }

    fn choose(&self, wanted: Option<usize>) -> Result<u8, LaunchError> {
        let index = match wanted {
            Some(index) if index < self.loops.len() => index,
            Some(index) => return Err(LaunchError::NoLoop(index)),
            None => {
                let load = |index: &usize| {
                    let seat = &self.loops[*index];
                    let long = seat.long_message.load(Ordering::Relaxed);
                    let handling = seat.vitals.look();
                    let is_held_up = handling.is_some_and(|handling| handling.message == long);
                    (is_held_up, seat.services.load(Ordering::Relaxed))
                };
                (0..self.common).min_by_key(load).unwrap_or(0)
            }
        };
        Ok(u8::try_from(index).unwrap_or(0))
    }

    /// A service is gone from its loop.
    pub(crate) fn leave(&self, on: u8, is_daemon: bool) {
        let seat = &self.loops[usize::from(on)];
        seat.services.fetch_sub(1, Ordering::Relaxed);
        if !is_daemon {
            let mut ordinary = self.ordinary();
            *ordinary -= 1;
            if *ordinary == 0 {
                self.is_empty.notify_all();
            }
        }
    }

    /// Blocks until only daemons are left, or the system stops.
    pub(crate) fn wait(&self) {
        let mut ordinary = self.ordinary();
        while *ordinary > 0 && !self.is_stopping.load(Ordering::Acquire) {
            ordinary = self
                .is_empty
                .wait(ordinary)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Makes the loops end.
    pub(crate) fn stop(&self) {
        let ordinary = self.ordinary();
        self.is_stopping.store(true, Ordering::Release);
        drop(ordinary);
        self.is_empty.notify_all();
        // A letter, since a loop that is about to sleep looks for letters only.
        self.loops
            .iter()
            .for_each(|seat| seat.inbox.put(Letter::Look));
    }

    pub(crate) fn report(&self, report: &Report) {
        (self.reporter)(report);
    }

    fn ordinary(&self) -> std::sync::MutexGuard<'_, usize> {
        self.ordinary.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Launch({})", self.id)
    }
}
