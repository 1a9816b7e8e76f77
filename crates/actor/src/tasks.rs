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

/// Those that are not finished.
pub(crate) struct Tasks {
    service: ServiceId,
    shared: Arc<Shared>,
    tasks: Slab<Option<Task>>,
    /// One for each place, kept when the task there ends: a new task costs no waker, and one that is woken too often only looks.
    wakers: Vec<Waker>,
}

impl Tasks {
    pub(crate) fn new(service: ServiceId, shared: Arc<Shared>) -> Self {
        Self {
            service,
            shared,
            tasks: Slab::new(),
            wakers: Vec::new(),
        }
    }

    /// Takes a task in, and tells its place.
    pub(crate) fn add(&mut self, task: Task) -> usize {
        let place = self.tasks.insert(Some(task));
        if place == self.wakers.len() {
            let session = Session::try_from(place).unwrap_or(Session::MAX);
            self.wakers
                .push(waker(self.service, session, self.shared.clone()));
        }
        place
    }

    /// Lets the task at a place go on, if there is one.
    pub(crate) fn poll(&mut self, place: usize) {
        let Some(task) = self.tasks.get_mut(place).and_then(Option::as_mut) else {
            return;
        };
        let mut context = Context::from_waker(&self.wakers[place]);
        if let Poll::Ready(()) = task.as_mut().poll(&mut context) {
            self.tasks.remove(place);
        }
    }

    /// Drops the task at a place.
    pub(crate) fn remove(&mut self, place: usize) {
        self.tasks.try_remove(place);
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tasks({} of {})", self.tasks.len(), self.service)
    }
}
