//! Looks at services that do not return.

use std::sync::{Mutex, MutexGuard, PoisonError};

use moorline_actor::ServiceId;
use rustc_hash::FxHashSet;

use crate::sys::{Demand, ThreadWatch, watch_thread};

/// The threads that run services, and the services that were reported.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    threads: Mutex<Vec<&'static ThreadWatch>>,
    endless: Mutex<FxHashSet<ServiceId>>,
}

impl Watches {
    /// This thread runs services. What is seen is told to a function.
    pub(crate) fn add_thread(&self, tell: fn(u32, &[u8])) {
        if let Some(watch) = watch_thread(tell) {
            lock(&self.threads).push(watch);
        }
    }

    /// Has something done with a service that runs. False if none does.
    pub(crate) fn ask(&self, service: ServiceId, demand: Demand) -> bool {
        let threads = lock(&self.threads);
        threads
            .iter()
            .any(|thread| thread.ask(service.number(), demand))
    }

    /// A service does not return: its stack is told, if it runs Lua.
    pub(crate) fn is_stuck(&self, service: ServiceId) {
        // One that runs no Lua would stay in the list for ever.
        if self.ask(service, Demand::Stack) {
            lock(&self.endless).insert(service);
        }
    }

    /// Whether it was reported since the last time that somebody asked.
    pub(crate) fn take_endless(&self, service: ServiceId) -> bool {
        lock(&self.endless).remove(&service)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
