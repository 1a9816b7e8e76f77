//! Names of services.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;

use crate::id::ServiceId;

type Entries = FxHashMap<Box<str>, ServiceId>;

/// The names of the process. A change copies all of them: names are looked up all the time, and given seldom.
#[derive(Debug, Default)]
pub(crate) struct Names {
    entries: Mutex<Arc<Entries>>,
    version: AtomicU64,
}

impl Names {
    /// Gives a name, unless another service has it. Tells whether it did.
    pub(crate) fn give(&self, name: &str, to: ServiceId) -> bool {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.get(name).is_some_and(|owner| *owner != to) {
            return false;
        }
        Arc::make_mut(&mut entries).insert(name.into(), to);
        self.version.fetch_add(1, Ordering::Release);
        true
    }

    /// Removes all names of a service.
    pub(crate) fn forget(&self, service: ServiceId) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.values().any(|owner| *owner == service) {
            Arc::make_mut(&mut entries).retain(|_, owner| *owner != service);
            self.version.fetch_add(1, Ordering::Release);
        }
    }
}

/// A loop's copy of them: a look-up takes no lock while nothing changes.
#[derive(Debug, Default)]
pub(crate) struct NameCache(RefCell<(u64, Arc<Entries>)>);

impl NameCache {
    pub(crate) fn find(&self, names: &Names, name: &str) -> Option<ServiceId> {
        let mut cache = self.0.borrow_mut();
        // Read before the entries: a change between the two is seen at the next look-up.
        let version = names.version.load(Ordering::Acquire);
        if cache.0 != version {
            let entries = names.entries.lock().unwrap_or_else(PoisonError::into_inner);
            *cache = (version, entries.clone());
        }
        cache.1.get(name).copied()
    }
}
