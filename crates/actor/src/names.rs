//! Names of services.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;

use crate::id::ServiceId;

/// The names of the process.
#[derive(Debug, Default)]
pub(crate) struct Names {
    entries: Mutex<Entries>,
    /// Rises with each change.
    version: AtomicU64,
}

#[derive(Debug, Default)]
struct Entries {
    services: FxHashMap<Box<str>, ServiceId>,
    /// The names of those that have some: a service that ends looks for its own only.
    names: FxHashMap<ServiceId, Vec<Box<str>>>,
}

/// The most names of one service. A script that makes names without end gets no further.
const MOST: usize = 1 << 16;

impl Names {
    /// Gives a name, unless another service has it, or this one has 65,536. Tells whether it did.
    pub(crate) fn give(&self, name: &str, to: ServiceId) -> bool {
        let mut entries = self.entries();
        let Entries { services, names } = &mut *entries;
        if let Some(owner) = services.get(name) {
            return *owner == to;
        }
        let own = names.entry(to).or_default();
        if own.len() == MOST {
            return false;
        }
        own.push(name.into());
        services.insert(name.into(), to);
        self.version.fetch_add(1, Ordering::Release);
        true
    }

    /// Removes all names of a service.
    pub(crate) fn forget(&self, service: ServiceId) {
        let mut entries = self.entries();
        let Some(own) = entries.names.remove(&service) else {
            return;
        };
        for name in own {
            entries.services.remove(&name);
        }
        self.version.fetch_add(1, Ordering::Release);
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The names that a loop has looked up: it takes no lock for those while nothing changes.
#[derive(Debug, Default)]
pub(crate) struct NameCache(RefCell<(u64, FxHashMap<Box<str>, ServiceId>)>);

impl NameCache {
    pub(crate) fn find(&self, names: &Names, name: &str) -> Option<ServiceId> {
        let mut cache = self.0.borrow_mut();
        let (seen, found) = &mut *cache;
        // Read before the entries: a change between the two is seen at the next look-up.
        let version = names.version.load(Ordering::Acquire);
        if *seen != version {
            found.clear();
            *seen = version;
        }
        if let Some(service) = found.get(name) {
            return Some(*service);
        }
        let service = names.entries().services.get(name).copied()?;
        found.insert(name.into(), service);
        Some(service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_services_until_that_ends() {
        let (names, cache) = (Names::default(), NameCache::default());
        let [one, two] = [1, 2].map(ServiceId::from_number);
        assert!(names.give("a", one) && names.give("a", one) && !names.give("a", two));
        assert_eq!(cache.find(&names, "a"), Some(one));
        assert_eq!(cache.find(&names, "b"), None);
        names.forget(one);
        assert_eq!(cache.find(&names, "a"), None);
        assert!(names.give("a", two));
        assert_eq!(cache.find(&names, "a"), Some(two));
    }

    #[test]
    fn a_service_has_a_bounded_number_of_names_and_others_are_not_harmed() {
        let names = Names::default();
        let [one, two] = [1, 2].map(ServiceId::from_number);
        let given = (0..MOST + 10).filter(|number| names.give(&format!("n{number}"), one));
        assert_eq!(given.count(), MOST);
        assert!(names.give("other", two));
        names.forget(one);
        assert_eq!(names.entries().services.len(), 1);
    }
}
