//! Slots: the places that processes serve, and the next process of each.

use std::time::Duration;

use moorline_protocol::control::{ProcessId, Role};
use tracing::info;

use super::backoff::Backoff;
use super::{Now, Plan, role_name};

/// A place that one process serves at a time.
#[derive(Debug)]
pub(super) struct Slot {
    /// The process that serves it, as the gateway knows or will be told.
    pub(super) serving: Option<ProcessId>,
    pub(super) next: Next,
    backoff: Backoff,
    /// Why it waits, while `next` says that it does.
    reason: String,
}

/// The next process of a slot, apart from a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// No process is needed.
    Nobody,
    /// This process, once it is ready.
    Starting(ProcessId),
    /// One to be started then.
    RetryAt(Now),
}

impl Slot {
    /// Empty slots, this many.
    pub(super) fn row(count: u16) -> Vec<Self> {
        (0..count).map(|_| Self::new(None)).collect()
    }

    pub(super) fn new(serving: Option<ProcessId>) -> Self {
        Self {
            serving,
            next: Next::Nobody,
            backoff: Backoff::default(),
            reason: String::new(),
        }
    }

    pub(super) fn retry_at(&self) -> Option<Now> {
        match self.next {
            Next::RetryAt(at) => Some(at),
            Next::Nobody | Next::Starting(_) => None,
        }
    }
}

impl Plan {
    pub(super) fn slot(&mut self, role: Role) -> Option<&mut Slot> {
        match role {
            Role::Worker(slot) => self.workers.get_mut(usize::from(slot)),
            Role::Task(slot) => self.tasks.get_mut(usize::from(slot)),
            Role::Gateway => None,
        }
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.workers.iter().chain(&self.tasks)
    }

    /// Fills every slot for the first time.
    pub(super) fn spawn_all(&mut self) {
        let workers = (0..self.shape.workers).map(Role::Worker);
        let tasks = (0..self.shape.tasks).map(Role::Task);
        for role in workers.chain(tasks) {
            self.spawn_next(role);
        }
    }

    /// Starts a process of the committed generation for a slot.
    pub(super) fn spawn_next(&mut self, role: Role) {
        let generation = match role {
            Role::Task(_) => self.tasks_generation,
            Role::Worker(_) | Role::Gateway => self.workers_generation,
        };
        let timeout = self.shape.start_timeout;
        let process = self.spawn_process(role, generation, timeout);
        if let Some(slot) = self.slot(role) {
            slot.next = Next::Starting(process);
        }
    }

    pub(super) fn restart(
        &mut self,
        role: Role,
        ready_for: Option<Duration>,
        reason: String,
        now: Now,
    ) {
        let Some(slot) = self.slot(role) else { return };
        let wait = slot.backoff.after_death(ready_for);
        if wait.is_zero() {
            self.spawn_next(role);
        } else {
            slot.next = Next::RetryAt(now + wait);
            slot.reason = reason;
            info!("{} is started again in {wait:?}", role_name(role));
        }
    }

    /// Slots whose next process is started after a wait: how long yet, and why.
    pub(crate) fn waiting(&self, now: Now) -> impl Iterator<Item = (Role, Duration, &str)> {
        let workers = (0..).map(Role::Worker).zip(&self.workers);
        let tasks = (0..).map(Role::Task).zip(&self.tasks);
        let restarts = !self.is_stopping() || self.serves_sessions();
        let slots = workers.chain(tasks).filter(move |_| restarts);
        slots.filter_map(move |(role, slot)| {
            Some((role, slot.retry_at()?.saturating_sub(now), &*slot.reason))
        })
    }

    pub(super) fn tick_slots(&mut self, now: Now) {
        if !self.serves_sessions() {
            return;
        }
        let workers = (0..self.workers.len() as u16).map(Role::Worker);
        let tasks = (0..self.tasks.len() as u16).map(Role::Task);
        for role in workers.chain(tasks) {
            if let Some(slot) = self.slot(role)
                && slot.retry_at().is_some_and(|at| at <= now)
            {
                self.spawn_next(role);
            }
        }
    }
}
