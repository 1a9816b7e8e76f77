//! Remembers another resolver's answers.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::{Shared, WeakShared};
use tokio::time::timeout;

use super::cache::{Cache, CacheOptions, Key, Known};
use super::name::Name;
use super::resolver::{Answer, Families, Lookup, Lookups, ResolveError, Resolver};

/// Fewer look-ups than these are not worth a sweep.
const MIN_SWEPT: usize = 64;

/// Remembers another resolver's answers for their TTL, and serves old ones while it fails or is slow (RFC 8767).
///
/// Look-ups of one name that run at the same time are one. The callers that are left drive it, and it ends with the last of
/// them. One that is slower than [`CacheOptions::patience`] while there is an old answer goes on by itself,
/// on the caller's runtime. Cloning is cheap; clones share what is remembered.
#[derive(Clone)]
pub struct CachingResolver {
    source: Arc<dyn Resolver>,
    shared: Arc<Mutex<CachingState>>,
}

struct CachingState {
    cache: Cache,
    /// Running look-ups. Bounded by their callers, and swept when there are `swept`.
    running: HashMap<Key, WeakShared<Lookup>>,
    swept: usize,
}

impl CachingResolver {
    /// Remembers what `source` answers.
    pub fn new(source: Arc<dyn Resolver>, options: CacheOptions) -> Self {
        Self {
            source,
            shared: Arc::new(Mutex::new(CachingState {
                cache: Cache::new(options),
                running: HashMap::new(),
                swept: 0,
            })),
        }
    }

    /// How many look-ups run, or have been dropped since.
    #[cfg(test)]
    pub(super) fn running(&self) -> usize {
        lock(&self.shared).running.len()
    }

    fn cached(&self, key: Key, lookup: Lookup) -> Lookup {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let (old, lookup, patience) = {
                let mut state = lock(&shared);
                let old = match state.cache.find(&key, Instant::now()) {
                    Known::Holds(outcome) => return outcome,
                    Known::Stale(old) => Some(old),
                    Known::Nothing => None,
                };
                let patience = state.cache.options().patience;
                (old, state.join(&shared, &key, lookup), patience)
            };
            let Some(old) = old else {
                return lookup.await;
            };
            match timeout(patience, lookup.clone()).await {
                Ok(outcome) => or_old(outcome, old),
                Err(_) => {
                    lock(&shared).cache.failed(&key, Instant::now());
                    // Its answer is for later callers; it holds at most one task for each name.
                    tokio::spawn(lookup);
                    Ok(old)
                }
            }
        })
    }
}

impl CachingState {
    /// The look-up that runs, or this one.
    fn join(&mut self, shared: &Arc<Mutex<Self>>, key: &Key, lookup: Lookup) -> Shared<Lookup> {
        if let Some(running) = self.running.get(key).and_then(WeakShared::upgrade) {
            return running;
        }
        let lookup: Lookup = Box::pin({
            let (shared, key) = (Arc::clone(shared), key.clone());
            async move {
                let outcome = lookup.await;
                let mut state = lock(&shared);
                state.cache.keep(&key, &outcome, Instant::now());
                state.running.remove(&key);
                outcome
            }
        });
        let lookup = lookup.shared();
        if self.running.len() >= self.swept {
            // Look-ups that were dropped before their answer.
            self.running.retain(|_, weak| weak.upgrade().is_some());
            self.swept = 2 * self.running.len() + MIN_SWEPT;
        }
        if let Some(weak) = lookup.downgrade() {
            self.running.insert(key.clone(), weak);
        }
        lookup
    }
}

impl Resolver for CachingResolver {
    fn look_up(&self, name: &str, families: Families) -> Lookups {
        let name = match Name::parse(name) {
            Ok(name) => name,
            Err(error) => return Lookups::ready(Err(error)),
        };
        // Nothing is asked before the futures are polled; this tells only in which form answers come.
        match self.source.look_up(name.as_str(), families) {
            Lookups::Together(lookup) => Lookups::Together(self.cached((name, families), lookup)),
            Lookups::Apart { ipv6, ipv4 } => Lookups::Apart {
                ipv6: self.cached((name.clone(), Families::Ipv6), ipv6),
                ipv4: self.cached((name, Families::Ipv4), ipv4),
            },
        }
    }
}

impl fmt::Debug for CachingResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachingResolver")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// Only a source that says nothing about the name is overruled: "no such name" is an answer, and so is an address
/// without a route.
fn or_old(outcome: Result<Answer, ResolveError>, old: Answer) -> Result<Answer, ResolveError> {
    match outcome {
        Ok(answer) => Ok(answer),
        Err(gone @ (ResolveError::NotFound { .. } | ResolveError::NoRoute { .. })) => Err(gone),
        Err(_) => Ok(old),
    }
}

/// Nothing panics while it holds the lock, so what it guards is whole.
fn lock(state: &Mutex<CachingState>) -> MutexGuard<'_, CachingState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
