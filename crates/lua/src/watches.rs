//! Looks at services that do not return.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use moorline_actor::ServiceId;
use rustc_hash::FxHashSet;

use crate::sys::{Demand, ThreadWatch, watch_thread};

/// How often the finalizers of one that does not end are broken: there may be thousands, and each is broken by itself.
const CUT: Duration = Duration::from_micros(100);

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

    /// A service does not return: its stack is told, if it runs Lua. Tells whether it is at its end.
    pub(crate) fn is_stuck(&self, service: ServiceId) -> bool {
        // One that runs no Lua, or that ends, would stay in the list for ever.
        let (is_running, is_closing) = (self.ask(service, Demand::Stack), self.is_closing(service));
        if is_running && !is_closing {
            lock(&self.endless).insert(service);
        }
        is_closing
    }

    fn is_closing(&self, service: ServiceId) -> bool {
        let threads = lock(&self.threads);
        threads
            .iter()
            .any(|thread| thread.is_closing(service.number()))
    }

    /// Has the finalizers of a service that does not end fail, one after the other, until it has ended. Blocks until then. Says so before,
    /// if it has not ended yet.
    pub(crate) fn cut_off(&self, service: ServiceId, say: impl FnOnce()) {
        if self.is_closing(service) {
            say();
        }
        while self.is_closing(service) && self.ask(service, Demand::Break) {
            thread::sleep(CUT);
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
