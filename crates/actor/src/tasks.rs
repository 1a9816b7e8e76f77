//! The futures of a service.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use slab::Slab;

use crate::id::ServiceId;
use crate::message::Session;
use crate::shared::Shared;
use crate::wakers::waker;

/// A future that a service runs.
pub(crate) type Task = Pin<Box<dyn Future<Output = ()>>>;

/// A request's future, in a box that the next one may have.
type RequestBox<F> = Pin<Box<Option<F>>>;

/// Those that are not finished. Futures of requests are of one type, `F`.
pub(crate) struct Tasks<F> {
    service: ServiceId,
    shared: Arc<Shared>,
    tasks: Slab<Running<F>>,
    /// The box of a request that is finished.
    spare: Option<RequestBox<F>>,
    /// One for each place, kept when the task there ends: a new task costs no waker, and one that is woken too often only looks.
    wakers: Vec<Waker>,
}

enum Running<F> {
    Request(RequestBox<F>),
    Spawned(Task),
}

/// A box of more bytes is not kept: there may be a million services.
const LARGEST_SPARE: usize = 1 << 10;

impl<F: Future<Output = ()> + 'static> Tasks<F> {
    pub(crate) fn new(service: ServiceId, shared: Arc<Shared>) -> Self {
        Self {
            service,
            shared,
            tasks: Slab::new(),
            spare: None,
            wakers: Vec::new(),
        }
    }

    /// Takes a task in, and tells its place.
    pub(crate) fn add(&mut self, task: Task) -> usize {
        let place = self.next_place();
        self.tasks.insert(Running::Spawned(task));
        place
    }

    /// The place of the task that comes next. It has a waker from now on.
    #[inline]
    pub(crate) fn next_place(&mut self) -> usize {
        let place = self.tasks.vacant_key();
        if place == self.wakers.len() {
            self.add_waker(place);
        }
        place
    }

    #[cold]
    fn add_waker(&mut self, place: usize) {
        let session = Session::try_from(place).unwrap_or(Session::MAX);
        self.wakers
            .push(waker(self.service, session, self.shared.clone()));
    }

    /// Polls the future of a request for the first time, and takes it in at the next place unless it is finished: most are.
    #[inline]
    pub(crate) fn start_request(&mut self, future: F) {
        let mut request = match self.spare.take() {
            Some(mut spare) => {
                spare.set(Some(future));
                spare
            }
            None => Box::pin(Some(future)),
        };
        let place = self.next_place();
        let mut context = Context::from_waker(&self.wakers[place]);
        let polled = match request.as_mut().as_pin_mut() {
            Some(future) => future.poll(&mut context),
            None => Poll::Ready(()),
        };
        match polled {
            Poll::Ready(()) => self.keep_spare(request),
            Poll::Pending => {
                self.tasks.insert(Running::Request(request));
            }
        }
    }

    #[inline]
    fn keep_spare(&mut self, mut request: RequestBox<F>) {
        if size_of::<F>() <= LARGEST_SPARE {
            request.set(None);
            self.spare = Some(request);
        }
    }

    /// Lets the task at a place go on, if there is one.
    #[inline]
    pub(crate) fn poll(&mut self, place: usize) {
        let mut context = match self.wakers.get(place) {
            Some(waker) => Context::from_waker(waker),
            None => return,
        };
        let polled = match self.tasks.get_mut(place) {
            Some(Running::Spawned(task)) => task.as_mut().poll(&mut context),
            Some(Running::Request(request)) => match request.as_mut().as_pin_mut() {
                Some(future) => future.poll(&mut context),
                None => Poll::Ready(()),
            },
            None => return,
        };
        if polled.is_ready()
            && let Running::Request(request) = self.tasks.remove(place)
        {
            self.keep_spare(request);
        }
    }

    /// Drops the task at a place.
    pub(crate) fn remove(&mut self, place: usize) {
        self.tasks.try_remove(place);
    }
}

impl<F> fmt::Debug for Tasks<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tasks({} of {})", self.tasks.len(), self.service)
    }
}
