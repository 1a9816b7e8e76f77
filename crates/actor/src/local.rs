//! What a loop owns.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use slab::Slab;

use crate::cell::{Phase, ServiceCell};
use crate::id::ServiceId;
use crate::inbox::Letter;
use crate::mailbox::Change;
use crate::message::{Kind, Message, Payload, SendError, Session};
use crate::names::NameCache;
use crate::report::Report;
use crate::shared::{Launch, Shared};
use crate::timers::Timers;

thread_local! {
    static CURRENT: RefCell<Weak<Local>> = const { RefCell::new(Weak::new()) };
}

/// One for each loop, on its thread. Borrows of its parts last for a line: a service that runs reaches them all.
pub(crate) struct Local {
    pub(crate) index: u8,
    pub(crate) shared: Arc<Shared>,
    pub(crate) cells: RefCell<Slab<ServiceCell>>,
    /// Cells with something to do, each once.
    pub(crate) ready: RefCell<VecDeque<u32>>,
    /// Services that wait for another one with too much to do.
    pub(crate) paused: RefCell<Vec<Pause>>,
    /// One for each loop, also for this one: letters for services that are being launched.
    outboxes: RefCell<Box<[Vec<Letter<Launch>>]>>,
    has_mail: Cell<bool>,
    pub(crate) timers: RefCell<Timers>,
    pub(crate) names: NameCache,
    /// The service that runs.
    pub(crate) running: Cell<ServiceId>,
    /// Since when it runs, if that is measured.
    pub(crate) since: Cell<Option<Instant>>,
    /// The full mailbox that the running service has sent to.
    pub(crate) full: Cell<Option<ServiceId>>,
    /// Whether the loop is in a turn. Outside, a message has to wake it.
    pub(crate) is_in_turn: Cell<bool>,
}

/// A paused service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pause {
    pub(crate) cell: u32,
    pub(crate) service: ServiceId,
    /// The one with too much to do.
    pub(crate) for_service: ServiceId,
    /// When it runs in any case. None if that one is of this loop, and does not wait for it.
    pub(crate) until: Option<Instant>,
}

impl Local {
    /// Makes this thread's loop.
    pub(crate) fn new(index: u8, shared: Arc<Shared>) -> Rc<Self> {
        let outboxes = shared.loops.iter().map(|_| Vec::new()).collect();
        let this = Rc::new(Self {
            index,
            shared,
            cells: RefCell::default(),
            ready: RefCell::default(),
            paused: RefCell::default(),
            outboxes: RefCell::new(outboxes),
            has_mail: Cell::new(false),
            timers: RefCell::default(),
            names: NameCache::default(),
            running: Cell::new(ServiceId::NONE),
            since: Cell::new(None),
            full: Cell::new(None),
            is_in_turn: Cell::new(false),
        });
        CURRENT.set(Rc::downgrade(&this));
        this
    }

    /// This thread's loop.
    pub(crate) fn current() -> Option<Rc<Self>> {
        CURRENT.with_borrow(Weak::upgrade)
    }

    /// Sends a message from a service of this loop. Always inline, as [`Mailbox::push`](crate::mailbox::Mailbox::push) says.
    #[inline(always)]
    pub(crate) fn send(&self, to: ServiceId, message: Message) -> Result<(), SendError> {
        let Some(place) = self.shared.table.place(to) else {
            return Err(SendError::Gone(to));
        };
        if place.is_full && to != self.running.get() {
            self.full.set(Some(to));
        }
        match place.cell {
            Some(cell) if place.on == self.index => self.push(cell, message),
            _ => {
                self.post(place.on, Letter::Message(to, message));
                Ok(())
            }
        }
    }

    /// Puts a letter into the outbox for a loop.
    pub(crate) fn post(&self, on: u8, letter: Letter<Launch>) {
        self.outboxes.borrow_mut()[usize::from(on)].push(letter);
        self.has_mail.set(true);
        self.wake();
    }

    /// Hands all outboxes over, with one wake-up for each.
    pub(crate) fn flush(&self) {
        if self.has_mail.replace(false) {
            let mut outboxes = self.outboxes.borrow_mut();
            for (letters, seat) in outboxes.iter_mut().zip(&self.shared.loops) {
                if !letters.is_empty() {
                    seat.inbox.put_all(letters);
                }
            }
        }
    }

    /// Puts a message into a mailbox of this loop.
    #[inline(always)]
    pub(crate) fn push(&self, index: u32, message: Message) -> Result<(), SendError> {
        let source = message.source;
        let mut cells = self.cells.borrow_mut();
        let cell = &mut cells[index as usize];
        let pushed = cell.mailbox.push(message, &self.shared.limits);
        self.queue_idle(index, cell);
        let service = cell.id;
        drop(cells);
        self.wake();
        match pushed {
            Ok(Change::None) => Ok(()),
            pushed => self.pushed(service, source, pushed),
        }
    }

    #[inline]
    fn queue_idle(&self, index: u32, cell: &mut ServiceCell) {
        if cell.phase == Phase::Idle {
            cell.phase = Phase::Queued;
            self.ready.borrow_mut().push_back(index);
        }
    }

    /// Says what a message has changed.
    #[cold]
    fn pushed(
        &self,
        service: ServiceId,
        source: ServiceId,
        pushed: Result<Change, u64>,
    ) -> Result<(), SendError> {
        match pushed {
            Ok(Change::None) => Ok(()),
            Ok(Change::Filled) => {
                self.shared.table.set_full(service, true);
                Ok(())
            }
            Ok(Change::Longer(length)) => {
                self.shared.report(&Report::Overload { service, length });
                Ok(())
            }
            Err(lost) => {
                if lost.is_power_of_two() {
                    self.shared.report(&Report::Lost {
                        service,
                        source,
                        lost,
                    });
                }
                Err(SendError::Full(service))
            }
        }
    }

    /// Tells a caller that its call has failed. The caller may be gone, too.
    pub(crate) fn fail(
        &self,
        callee: ServiceId,
        (caller, session): (ServiceId, Session),
        payload: Payload,
    ) {
        let _ = self.send(
            caller,
            Message {
                source: callee,
                session,
                kind: Kind::ERROR,
                payload,
            },
        );
    }

    /// Lets a cell be run, if nothing else does.
    pub(crate) fn queue(&self, index: u32, cell: &mut ServiceCell) {
        if matches!(cell.phase, Phase::Idle | Phase::Paused) {
            cell.phase = Phase::Queued;
            self.ready.borrow_mut().push_back(index);
        }
    }

    /// Ends a service of this loop: at once if it runs, else when it would run next.
    pub(crate) fn end(&self, id: ServiceId) {
        let place = self.shared.table.place(id);
        let Some(index) = place.and_then(|place| place.cell) else {
            return;
        };
        let mut cells = self.cells.borrow_mut();
        let cell = &mut cells[index as usize];
        if cell.phase != Phase::Running {
            self.queue(index, cell);
        }
        cell.phase = Phase::Ending;
        drop(cells);
        self.wake();
    }

    /// Changes a service of this loop.
    #[inline]
    pub(crate) fn with_cell<R>(
        &self,
        id: ServiceId,
        index: u32,
        change: impl FnOnce(&mut ServiceCell) -> R,
    ) -> Option<R> {
        let mut cells = self.cells.borrow_mut();
        let cell = cells.get_mut(index as usize)?;
        (cell.id == id).then(|| change(cell))
    }

    #[inline]
    fn wake(&self) {
        if !self.is_in_turn.get() {
            self.shared.loops[usize::from(self.index)].inbox.wake();
        }
    }
}
