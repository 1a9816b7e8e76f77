//! Services with types and async handlers.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Polling, Poll};
use std::time::Duration;

use crate::actor::Actor;
use crate::awaited::Awaiting;
use crate::exchange::{Asked, Exchange};
use crate::id::ServiceId;
use crate::message::{Kind, Message, Payload, SendError, Session};
use crate::port::Port;
use crate::report::Report;
use crate::runner::panic_text;
use crate::shared::{LaunchError, LaunchOptions};
use crate::tasks::{Task, Tasks};

/// A service of Rust. See the crate's page for an example.
pub trait Service: Sized + 'static {
    /// What it is asked for.
    type Request: Send + 'static;
    /// What it answers.
    type Reply: Send + 'static;

    /// Handles a request. It is polled at once, up to its first wait; then other requests are handled meanwhile. It may wait as long as it
    /// likes: the caller gets the reply when this future ends. The reply to a request that was only sent is dropped.
    ///
    /// A panic fails this request, and is reported. When the service ends, its futures are dropped.
    fn handle(
        self: Rc<Self>,
        context: Context,
        request: Self::Request,
    ) -> impl Future<Output = Self::Reply>;
}

/// Where a [`Service`] is, and what it takes. Copies are the same address; the service may be gone.
pub struct Address<S> {
    id: ServiceId,
    service: PhantomData<fn(S)>,
}

impl<S> Address<S> {
    pub(crate) fn new(id: ServiceId) -> Self {
        Self {
            id,
            service: PhantomData,
        }
    }

    /// The service's id.
    pub fn id(self) -> ServiceId {
        self.id
    }
}

impl<S> Clone for Address<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Address<S> {}

impl<S> fmt::Debug for Address<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.id)
    }
}

/// Why a call has no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// There is no such service, or its mailbox is at the hard limit.
    Unsent(SendError),
    /// The service has ended before it replied, or its handler has panicked.
    Failed(ServiceId),
    /// The deadline has passed. The service may handle the request nevertheless.
    Late(ServiceId),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsent(error) => error.fmt(f),
            Self::Failed(id) => write!(f, "{id} ended or failed before it replied"),
            Self::Late(id) => write!(f, "{id} did not reply before the deadline"),
        }
    }
}

impl std::error::Error for CallError {}

/// What the handlers of a service are given. Clones belong to the same service.
#[derive(Clone)]
pub struct Context(Rc<State>);

struct State {
    port: Port,
    /// The place of the task that is being polled.
    polled: Cell<usize>,
    awaited: RefCell<Awaiting>,
    spawned: RefCell<Vec<Task>>,
}

impl Context {
    /// The service's way to the core: ids, names, other services' ends.
    pub fn port(&self) -> &Port {
        &self.0.port
    }

    /// Sends a request, and awaits no reply.
    ///
    /// # Errors
    /// There is no such service, or its mailbox is at the hard limit.
    pub fn send<S: Service>(&self, to: Address<S>, request: S::Request) -> Result<(), SendError> {
        let payload = Payload::Value(Box::new(request));
        self.0.port.send(to.id, Kind::TYPED, 0, payload)
    }

    /// Sends a request now, and awaits the reply. Dropping the future drops the reply; the request is handled nevertheless.
    ///
    /// # Errors
    /// The request was not sent, or the service ended or failed.
    #[inline]
    pub fn call<S: Service>(&self, to: Address<S>, request: S::Request) -> Call<S::Reply> {
        let port = &self.0.port;
        let session = port.next_session();
        let payload = Payload::Value(Exchange::<_, S::Reply>::ask(request));
        let sent = port.send(to.id, Kind::TYPED, session, payload);
        if sent.is_ok() {
            self.expect(session);
        }
        Call {
            context: self.clone(),
            callee: to.id,
            session,
            deadline: None,
            is_awaited: sent.is_ok(),
            unsent: sent.err(),
            reply: Exchange::<S::Request, S::Reply>::reply,
        }
    }

    /// [`call`](Self::call) with a deadline.
    ///
    /// # Errors
    /// As `call`; [`CallError::Late`] after this time.
    pub fn call_within<S: Service>(
        &self,
        time: Duration,
        to: Address<S>,
        request: S::Request,
    ) -> Call<S::Reply> {
        let mut call = self.call(to, request);
        call.deadline = Some(self.set_timer(time));
        call
    }

    /// Waits. Dropping the future ends the wait.
    pub async fn sleep(&self, time: Duration) {
        let session = self.set_timer(time);
        let _expected = Expected(self, session);
        poll_fn(|_| match self.take(session) {
            Some(_) => Poll::Ready(()),
            None => Poll::Pending,
        })
        .await;
    }

    /// Runs a future beside the handlers, until it or the service ends. It starts when the code that runs now waits or returns.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.0.spawned.borrow_mut().push(Box::pin(future));
    }

    /// Launches a service, and waits until it is made. Dropping the future launches it nevertheless.
    ///
    /// # Errors
    /// There is no free slot or no such loop, or `make` failed.
    pub async fn launch<S, F>(
        &self,
        options: LaunchOptions,
        make: F,
    ) -> Result<Address<S>, LaunchError>
    where
        S: Service,
        F: FnOnce(&Context) -> Result<S, String> + Send + 'static,
    {
        let port = &self.0.port;
        let session = port.next_session();
        let id = port.launch(options, session, host(make))?;
        self.expect(session);
        let _expected = Expected(self, session);
        let payload = poll_fn(|_| self.take(session).map_or(Poll::Pending, Poll::Ready)).await;
        match payload {
            Payload::Service(_) => Ok(Address::new(id)),
            Payload::Failure(why) => Err(LaunchError::Failed(why.into())),
            _ => Err(LaunchError::Failed(format!(
                "{id} ended before it was ready"
            ))),
        }
    }

    /// Ends the service when its code returns. Calls that it has not answered fail.
    pub fn exit(&self) {
        self.0.port.exit();
    }

    /// Stops the system. See [`Port::shut_down`].
    pub fn shut_down(&self) {
        self.0.port.shut_down();
    }

    fn set_timer(&self, time: Duration) -> Session {
        let session = self.0.port.next_session();
        self.0.port.after(time, session);
        self.expect(session);
        session
    }

    #[inline]
    fn expect(&self, session: Session) {
        let place = self.0.polled.get();
        self.0.awaited.borrow_mut().expect(session, place);
    }

    /// What was awaited, if it is here; else the task that is polled now waits for it.
    #[inline]
    fn take(&self, session: Session) -> Option<Payload> {
        let place = self.0.polled.get();
        self.0.awaited.borrow_mut().take(session, place)
    }

    /// Keeps an answer for its task, and tells the task's place.
    #[inline]
    fn arrived(&self, message: Message) -> Option<usize> {
        self.0.awaited.borrow_mut().arrived(message)
    }

    #[inline]
    fn forget(&self, session: Session) {
        let forgotten = self.0.awaited.borrow_mut().forget(session);
        drop(forgotten);
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({})", self.0.port.id())
    }
}

/// Forgets what was awaited when the wait is dropped.
struct Expected<'a>(&'a Context, Session);

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        self.0.forget(self.1);
    }
}

/// A call that was sent. See [`Context::call`].
#[must_use = "the reply is dropped without it"]
pub struct Call<R> {
    context: Context,
    callee: ServiceId,
    session: Session,
    deadline: Option<Session>,
    /// There is an entry for its session.
    is_awaited: bool,
    unsent: Option<SendError>,
    /// The reply in what comes back.
    reply: fn(Box<dyn Any + Send>) -> Option<R>,
}

impl<R: 'static> Future for Call<R> {
    type Output = Result<R, CallError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, _: &mut Polling<'_>) -> Poll<Self::Output> {
        if let Some(error) = self.unsent {
            return Poll::Ready(Err(CallError::Unsent(error)));
        }
        if let Some(payload) = self.context.take(self.session) {
            self.is_awaited = false;
            let reply = match payload {
                Payload::Value(value) => (self.reply)(value),
                _ => None,
            };
            return Poll::Ready(reply.ok_or(CallError::Failed(self.callee)));
        }
        let is_late = self
            .deadline
            .is_some_and(|timer| self.context.take(timer).is_some());
        if is_late {
            return Poll::Ready(Err(CallError::Late(self.callee)));
        }
        Poll::Pending
    }
}

impl<R> Drop for Call<R> {
    fn drop(&mut self) {
        if self.is_awaited {
            self.context.forget(self.session);
        }
        if let Some(timer) = self.deadline {
            self.context.forget(timer);
        }
    }
}

impl<R> fmt::Debug for Call<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({} to {})", self.session, self.callee)
    }
}

/// Makes the host of a typed service.
pub(crate) fn host<S, F>(make: F) -> impl FnOnce(Port) -> Result<Box<dyn Actor>, String> + Send
where
    S: Service,
    F: FnOnce(&Context) -> Result<S, String> + Send + 'static,
{
    move |port| {
        let tasks = Tasks::new(port.id(), port.shared().clone());
        let context = Context(Rc::new(State {
            port,
            polled: Cell::new(0),
            awaited: RefCell::default(),
            spawned: RefCell::default(),
        }));
        let service = Rc::new(make(&context)?);
        context.port().ready();
        let mut host = Host {
            service,
            context,
            tasks,
            handle: handle::<S>,
        };
        host.start_spawned();
        Ok(Box::new(host))
    }
}

type AskedOf<S> = Asked<<S as Service>::Request, <S as Service>::Reply>;

/// The code behind a typed service's mailbox. All requests have futures of one type, `F`, which `handle` makes.
struct Host<S, H, F> {
    service: Rc<S>,
    context: Context,
    tasks: Tasks<F>,
    handle: H,
}

/// Handles a request, and sends the reply.
async fn handle<S: Service>(
    service: Rc<S>,
    context: Context,
    (source, session): (ServiceId, Session),
    asked: AskedOf<S>,
) {
    let failing = Failing(&context, source, session);
    // It is there: nobody takes it before.
    let Some((request, reply_box)) = asked.take() else {
        return;
    };
    let reply = service.handle(context.clone(), request).await;
    mem::forget(failing);
    if session != 0 {
        let reply = Payload::Value(reply_box.fill(reply));
        // The caller may be gone.
        let _ = context.0.port.send(source, Kind::RESPONSE, session, reply);
    }
}

impl<S, H, F> Actor for Host<S, H, F>
where
    S: Service,
    H: Fn(Rc<S>, Context, (ServiceId, Session), AskedOf<S>) -> F,
    F: Future<Output = ()> + 'static,
{
    fn receive(&mut self, message: Message) {
        match message.kind {
            Kind::TYPED => self.request(message),
            Kind::RESPONSE | Kind::ERROR => {
                if let Some(place) = self.context.arrived(message) {
                    self.poll(place);
                }
            }
            Kind::WOKEN => self.poll(message.session as usize),
            _ => {}
        }
        self.start_spawned();
    }
}

impl<S, H, F> Host<S, H, F>
where
    S: Service,
    H: Fn(Rc<S>, Context, (ServiceId, Session), AskedOf<S>) -> F,
    F: Future<Output = ()> + 'static,
{
    #[inline]
    fn request(&mut self, message: Message) {
        let caller = (message.source, message.session);
        let asked = match message.payload {
            Payload::Value(value) => Asked::of(value),
            _ => None,
        };
        let Some(asked) = asked else {
            return drop(Failing(&self.context, caller.0, caller.1));
        };
        let (service, context) = (self.service.clone(), self.context.clone());
        let future = (self.handle)(service, context, caller, asked);
        let place = self.tasks.next_place();
        self.context.0.polled.set(place);
        let polled = catch_unwind(AssertUnwindSafe(|| self.tasks.start_request(future)));
        if let Err(panic) = polled {
            self.panicked(place, panic.as_ref());
        }
    }

    #[inline]
    fn start_spawned(&mut self) {
        loop {
            let Some(task) = self.context.0.spawned.borrow_mut().pop() else {
                return;
            };
            let place = self.tasks.add(task);
            self.poll(place);
        }
    }

    #[inline]
    fn poll(&mut self, place: usize) {
        self.context.0.polled.set(place);
        let polled = catch_unwind(AssertUnwindSafe(|| self.tasks.poll(place)));
        if let Err(panic) = polled {
            self.panicked(place, panic.as_ref());
        }
    }

    #[cold]
    fn panicked(&mut self, place: usize, panic: &(dyn Any + Send)) {
        self.tasks.remove(place);
        self.context.port().report(&Report::Panicked {
            service: self.context.port().id(),
            text: panic_text(panic),
        });
    }
}

/// Fails a request whose handler is dropped before it has replied.
struct Failing<'a>(&'a Context, ServiceId, Session);

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        let Self(context, to, session) = *self;
        if session != 0 {
            // The caller may be gone.
            let port = &context.0.port;
            let _ = port.send(to, Kind::ERROR, session, Payload::Empty);
        }
    }
}
