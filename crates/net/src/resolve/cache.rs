//! Answers, and how long they hold.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::name::Name;
use super::resolver::{Answer, Families, ResolveError};
use crate::clock::later;
use crate::setters::setters;
use crate::unit::as_duration;

/// The TTL of an answer that is out of date (RFC 8767 §4).
const STALE_TTL: Duration = Duration::from_secs(30);

/// How long answers are kept. As TOML or JSON the same names, unknown ones refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CacheOptions {
    /// The most names, counted by family where their source answers so. The one least recently used goes. 4096.
    pub entries: usize,
    /// How long an answer holds whose source does not say. 30 s.
    #[serde(with = "as_duration")]
    pub ttl: Duration,
    /// The longest that one holds, whatever its source says. 24 h.
    #[serde(with = "as_duration")]
    pub max_ttl: Duration,
    /// How long it holds that there is no address, where the source does not say. 5 s.
    #[serde(with = "as_duration")]
    pub negative_ttl: Duration,
    /// The longest that holds, whatever the source says. 15 m (RFC 2308 §5 has 1 h to 3 h).
    #[serde(with = "as_duration")]
    pub max_negative_ttl: Duration,
    /// How long an answer that is out of date is served if its source fails (RFC 8767 §5). 24 h; `0s` for never.
    #[serde(with = "as_duration")]
    pub max_stale: Duration,
    /// How long a source may take before an old answer is served while it continues (RFC 8767 §5). 1800 ms.
    #[serde(with = "as_duration")]
    pub patience: Duration,
    /// How long a source that has failed is left alone while there is an old answer (RFC 8767 §5). 30 s.
    #[serde(with = "as_duration")]
    pub recheck: Duration,
}

setters! {
    CacheOptions {
        entries: usize,
        ttl: Duration,
        max_ttl: Duration,
        negative_ttl: Duration,
        max_negative_ttl: Duration,
        max_stale: Duration,
        patience: Duration,
        recheck: Duration,
    }
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            entries: 4096,
            ttl: Duration::from_secs(30),
            max_ttl: Duration::from_secs(24 * 3600),
            negative_ttl: Duration::from_secs(5),
            max_negative_ttl: Duration::from_secs(15 * 60),
            max_stale: Duration::from_secs(24 * 3600),
            patience: Duration::from_millis(1800),
            recheck: Duration::from_secs(30),
        }
    }
}

/// The entry of one key.
pub(super) type Key = (Name, Families);

/// Answers, bounded in number.
#[derive(Debug)]
pub(super) struct Cache {
    options: CacheOptions,
    entries: HashMap<Key, Entry>,
    /// Begins with the least recently used entry.
    order: BTreeMap<u64, Key>,
    /// The next place in `order`.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    kept: Result<Answer, ResolveError>,
    /// The answer holds until then.
    until: Instant,
    /// The source has failed and is not asked before then.
    recheck: Option<Instant>,
    place: u64,
}

/// The cache's knowledge of a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing: ask.
    Nothing,
    /// This holds.
    Holds(Result<Answer, ResolveError>),
    /// This is out of date; to be served if its source fails or is slow.
    Stale(Answer),
}

impl Cache {
    pub(super) fn new(options: CacheOptions) -> Self {
        Self {
            options,
            entries: HashMap::new(),
            order: BTreeMap::new(),
            clock: 0,
        }
    }

    pub(super) fn options(&self) -> &CacheOptions {
        &self.options
    }

    /// The cache's knowledge of a name.
    pub(super) fn find(&mut self, key: &Key, now: Instant) -> Known {
        let Some(entry) = self.entries.get_mut(key) else {
            return Known::Nothing;
        };
        if now < entry.until {
            self.order.remove(&entry.place);
            self.clock += 1;
            entry.place = self.clock;
            self.order.insert(self.clock, key.clone());
            return Known::Holds(with_ttl(&entry.kept, entry.until - now));
        }
        match &entry.kept {
            Ok(answer) if now - entry.until < self.options.max_stale => {
                let stale = Answer {
                    addresses: answer.addresses.clone(),
                    ttl: Some(STALE_TTL),
                    stale: true,
                };
                match entry.recheck.is_some_and(|recheck| now < recheck) {
                    true => Known::Holds(Ok(stale)),
                    false => Known::Stale(stale),
                }
            }
            _ => {
                self.forget(key);
                Known::Nothing
            }
        }
    }

    /// The source has answered. What says nothing of the name is not kept, and replaces nothing.
    pub(super) fn keep(&mut self, key: &Key, outcome: &Result<Answer, ResolveError>, now: Instant) {
        let options = &self.options;
        let holds = match outcome {
            // A source that serves old answers itself has failed to get a newer one, too.
            Ok(answer) if answer.stale => return,
            Ok(answer) => answer.ttl.unwrap_or(options.ttl).min(options.max_ttl),
            Err(ResolveError::NotFound { ttl, .. }) => ttl
                .unwrap_or(options.negative_ttl)
                .min(options.max_negative_ttl),
            // It is cheap to find out again, and holds until a route comes.
            Err(ResolveError::NoRoute { .. }) => return self.forget(key),
            Err(_) => return self.failed(key, now),
        };
        self.forget(key);
        if self.options.entries == 0 {
            return;
        }
        while self.entries.len() >= self.options.entries {
            let Some((_, oldest)) = self.order.pop_first() else {
                break;
            };
            self.entries.remove(&oldest);
        }
        self.clock += 1;
        self.order.insert(self.clock, key.clone());
        let entry = Entry {
            kept: outcome.clone(),
            until: later(now, holds),
            recheck: None,
            place: self.clock,
        };
        self.entries.insert(key.clone(), entry);
    }

    /// The source fails, or is slower than its patience: it is left alone for a while if there is an old answer.
    pub(super) fn failed(&mut self, key: &Key, now: Instant) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.recheck = Some(later(now, self.options.recheck));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.entries.len(), self.order.len());
        self.entries.len()
    }

    fn forget(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.place);
        }
    }
}

/// The kept answer, as a caller gets it now.
fn with_ttl(kept: &Result<Answer, ResolveError>, left: Duration) -> Result<Answer, ResolveError> {
    match kept {
        Ok(answer) => Ok(Answer {
            ttl: Some(left),
            ..answer.clone()
        }),
        Err(ResolveError::NotFound { name, .. }) => Err(ResolveError::NotFound {
            name: name.clone(),
            ttl: Some(left),
        }),
        Err(error) => Err(error.clone()),
    }
}
