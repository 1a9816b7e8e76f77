//! What a service may do.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::actor::Actor;
use crate::id::ServiceId;
use crate::inbox::Letter;
use crate::local::Local;
use crate::message::{Kind, Message, Payload, SendError, Session};
use crate::removal::watch;
use crate::report::Report;
use crate::shared::{LaunchError, LaunchOptions, Make, Shared};
use crate::wakers::waker;

/// A service's way to the others: it sends, sets timers, launches and ends services in the name of its owner.
///
/// Clones are the same port. A port that outlives its service still sends; answers to it are lost. Nothing here blocks.
#[derive(Clone)]
pub struct Port(Rc<PortState>);

struct PortState {
    local: Rc<Local>,
    id: ServiceId,
    cell: u32,
    last_session: Cell<Session>,
}

/// The largest number of a call: it fits a signed number of 32 bits.
const LAST_SESSION: Session = i32::MAX as Session;

impl Port {
    /// The port of a service of this thread's loop that is being made.
    pub(crate) fn of(id: ServiceId) -> Option<Self> {
        let local = Local::current()?;
        let cell = local.shared.table.place(id)?.cell?;
        Some(Self(Rc::new(PortState {
            local,
            id,
            cell,
            last_session: Cell::new(0),
        })))
    }

    /// The service that owns it.
    pub fn id(&self) -> ServiceId {
        self.0.id
    }

    /// A new number for a call.
    #[inline]
    pub fn next_session(&self) -> Session {
        let session = self.0.last_session.get() % LAST_SESSION + 1;
        self.0.last_session.set(session);
        session
    }

    /// Sends a message. If `kind` is an answer, the request is no longer owed.
    ///
    /// # Errors
    /// The receiver is gone, or its mailbox at the hard limit. A call that fails later, because the receiver is on another loop or ends,
    /// gets a message of kind [`Kind::ERROR`] with its session.
    #[inline(always)]
    pub fn send(
        &self,
        to: ServiceId,
        kind: Kind,
        session: Session,
        payload: Payload,
    ) -> Result<(), SendError> {
        if session != 0 && kind.is_answer() {
            self.no_longer_owed(to, session);
        }
        let source = self.0.id;
        self.0.local.send(
            to,
            Message {
                source,
                session,
                kind,
                payload,
            },
        )
    }

    /// Sends a message in the name of another service, whose call it may be: then this service no longer owes the answer.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn forward(
        &self,
        to: ServiceId,
        source: ServiceId,
        kind: Kind,
        session: Session,
        payload: Payload,
    ) -> Result<(), SendError> {
        if session != 0 {
            let caller = if kind.is_answer() { to } else { source };
            self.no_longer_owed(caller, session);
        }
        self.0.local.send(
            to,
            Message {
                source,
                session,
                kind,
                payload,
            },
        )
    }

    #[inline]
    fn no_longer_owed(&self, caller: ServiceId, session: Session) {
        let state = &*self.0;
        state.local.with_cell(state.id, state.cell, |cell| {
            cell.owed.remove(caller, session);
        });
    }

    /// Sets a timer: a message of kind [`Kind::RESPONSE`] with this session and without a source.
    pub fn after(&self, delay: Duration, session: Session) {
        let local = &self.0.local;
        let mut timers = local.timers.borrow_mut();
        timers.sweep(|service| local.shared.table.place(service).is_some());
        timers.set(Instant::now() + delay, self.0.id, session);
    }

    /// A waker that sends this service a message of kind [`Kind::WOKEN`] with this session: from any thread, and in order with other
    /// messages. After the end of the service it does nothing.
    pub fn waker(&self, session: Session) -> Waker {
        waker(self.0.id, session, self.0.local.shared.clone())
    }

    /// Launches a service. Its id is valid at once. If `session` is not 0, a message of kind [`Kind::RESPONSE`] with
    /// [`Payload::Service`] tells when it is [ready](Self::ready), or one of kind [`Kind::ERROR`] that it ended before.
    ///
    /// # Errors
    /// There is no free slot, or no such loop.
    pub fn launch<F>(
        &self,
        options: LaunchOptions,
        session: Session,
        make: F,
    ) -> Result<ServiceId, LaunchError>
    where
        F: FnOnce(Port) -> Result<Box<dyn Actor>, String> + Send + 'static,
    {
        let caller = (session != 0).then_some((self.0.id, session));
        self.0.local.shared.launch(options, caller, on_port(make))
    }

    /// Tells the service's launcher that it is ready. Only the first call of this and of [`decline`](Self::decline) does something.
    pub fn ready(&self) {
        self.answer_launcher(Payload::Service(self.0.id));
    }

    /// Tells the service's launcher that there is no service to speak to, and that nothing is wrong: the answer is empty.
    pub fn decline(&self) {
        self.answer_launcher(Payload::Empty);
    }

    fn answer_launcher(&self, payload: Payload) {
        let state = &*self.0;
        let launcher = state
            .local
            .with_cell(state.id, state.cell, |cell| cell.launcher.take());
        if let Some((launcher, session)) = launcher.flatten() {
            // The launcher may be gone.
            let _ = self.send(launcher, Kind::RESPONSE, session, payload);
        }
    }

    /// Ends the service when its code returns. Callers are told as for every end.
    pub fn exit(&self) {
        self.0.local.end(self.0.id);
    }

    /// Ends the service, and tells its launcher why it did not become ready.
    pub fn exit_with(&self, why: &str) {
        let state = &*self.0;
        state.local.with_cell(state.id, state.cell, |cell| {
            cell.failure.get_or_insert_with(|| why.into());
        });
        self.exit();
    }

    /// Ends another service, before it handles its next message. False if there is none.
    pub fn kill(&self, id: ServiceId) -> bool {
        let local = &self.0.local;
        match local.shared.table.place(id) {
            None => false,
            Some(place) if place.on == local.index && place.cell.is_some() => {
                local.end(id);
                true
            }
            Some(place) => {
                local.post(place.on, Letter::Kill(id));
                true
            }
        }
    }

    /// Has a message of kind [`Kind::EXITED`] sent to this service when another one ends; at once if it is gone.
    pub fn watch(&self, service: ServiceId) {
        let local = &self.0.local;
        let watcher = self.0.id;
        match local.shared.table.place(service) {
            Some(place) if place.on != local.index => {
                local.post(place.on, Letter::Watch { service, watcher });
            }
            _ => watch(local, service, watcher),
        }
    }

    /// The service with a name.
    pub fn find(&self, name: &str) -> Option<ServiceId> {
        self.0.local.names.find(&self.0.local.shared.names, name)
    }

    /// Gives a service a name. False if another one has it, or the service has 65,536. A name ends with its service.
    pub fn give_name(&self, name: &str, to: ServiceId) -> bool {
        self.is_alive(to) && self.0.local.shared.names.give(name, to)
    }

    /// Whether there is such a service.
    pub fn is_alive(&self, id: ServiceId) -> bool {
        self.0.local.shared.table.place(id).is_some()
    }

    /// All services of the process.
    pub fn services(&self) -> Vec<ServiceId> {
        self.0.local.shared.table.all()
    }

    /// The messages that wait in the service's mailbox.
    pub fn waiting(&self) -> usize {
        let state = &*self.0;
        let waiting = state
            .local
            .with_cell(state.id, state.cell, |cell| cell.mailbox.len());
        waiting.unwrap_or(0)
    }

    /// The messages that the service has taken so far.
    pub fn handled(&self) -> u64 {
        let state = &*self.0;
        let handled = state
            .local
            .with_cell(state.id, state.cell, |cell| cell.handled);
        handled.unwrap_or(0)
    }

    /// How long the service has run on its loop. Counted for all services from the first call of this or of [`turn`](Self::turn) on.
    pub fn busy(&self) -> Duration {
        let state = &*self.0;
        let busy = state
            .local
            .with_cell(state.id, state.cell, |cell| cell.busy);
        busy.unwrap_or_default() + self.turn()
    }

    /// How long the service has run without a pause: 64 messages at most. The first call begins to count.
    pub fn turn(&self) -> Duration {
        let local = &self.0.local;
        local.shared.is_measuring.store(true, Ordering::Relaxed);
        if local.running.get() != self.0.id {
            return Duration::ZERO;
        }
        let since = local.since.get().unwrap_or_else(Instant::now);
        local.since.set(Some(since));
        since.elapsed()
    }

    /// The time since the system started.
    pub fn uptime(&self) -> Duration {
        self.0.local.shared.started.elapsed()
    }

    /// Reports something about a service, as the system itself does.
    pub fn report(&self, report: &Report) {
        self.0.local.shared.report(report);
    }

    /// Stops the system: every loop ends after its turn, and drops its services.
    pub fn shut_down(&self) {
        self.0.local.shared.stop();
    }

    /// Whether the system has been stopped: its services are dropped, or are about to be.
    pub fn is_shut_down(&self) -> bool {
        self.0.local.shared.is_stopping.load(Ordering::Acquire)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.local.shared
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Port({})", self.0.id)
    }
}

/// Gives the maker of a service its port.
pub(crate) fn on_port<F>(make: F) -> Make
where
    F: FnOnce(Port) -> Result<Box<dyn Actor>, String> + Send + 'static,
{
    Box::new(|id| {
        let port = Port::of(id).ok_or("a service is made outside of its loop")?;
        make(port)
    })
}
