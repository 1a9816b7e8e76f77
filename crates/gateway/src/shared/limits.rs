//! Limits of connections by a key, shared by all loops and by the listeners that have them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use moorline_config::{Config, ConnectionLimit, Template};
use serde::{Deserialize, Serialize};

/// Bytes of a key that count. Texts that begin with the same ones are counted together.
const LONGEST_KEY: usize = 255;

/// The limits of the gateway, and which of them each listener has. Their counts stay over reloads, by name and key.
#[derive(Debug, Default)]
pub(crate) struct ConnectionLimits {
    known: Mutex<KnownLimits>,
}

#[derive(Debug, Default)]
struct KnownLimits {
    counts: Vec<Arc<KeyCounts>>,
    /// Of each listener, by its place.
    bounds: Vec<Arc<[Bound]>>,
}

/// A limit of a listener.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) counts: Arc<KeyCounts>,
    most: u32,
    pub(crate) is_dry_run: bool,
}

/// The connections of one limit, counted by key.
#[derive(Debug)]
pub(crate) struct KeyCounts {
    pub(crate) name: String,
    pub(crate) key: Template,
    max_keys: AtomicU32,
    /// Only keys with a connection are in it. Clients may choose keys, so its hashes are not for them to know.
    counts: Mutex<HashMap<Arc<[u8]>, u32>>,
}

/// A connection counts for this key until this is dropped.
#[derive(Debug)]
pub(crate) struct LimitTicket {
    counts: Arc<KeyCounts>,
    key: Arc<[u8]>,
}

/// A ticket on its way to another process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeptTicket {
    /// The limit's.
    name: String,
    #[serde(with = "crate::kept::bytes")]
    key: Vec<u8>,
}

/// What the limits of a listener say of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LimitStatus {
    /// There is none for it.
    #[default]
    Uncounted,
    Passed,
    /// It would have been refused, but for `dry_run`.
    OverInDryRun,
}

/// Why a connection is over a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OverLimit {
    /// Its key has as many as it may have.
    Connections,
    /// There are as many keys as there may be.
    Keys,
}

impl OverLimit {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            OverLimit::Connections => "there are `most` connections with its key",
            OverLimit::Keys => "there are `max_keys` other keys",
        }
    }
}

impl ConnectionLimits {
    /// Takes those of this configuration.
    pub(crate) fn change(&self, config: &Config) {
        let mut known = self.locked();
        let present = std::mem::take(&mut known.counts);
        known.counts = config
            .limits
            .iter()
            .map(|wanted| {
                let is_same = |it: &&Arc<KeyCounts>| it.name == wanted.name && it.key == wanted.key;
                let counts = match present.iter().find(is_same) {
                    Some(counts) => counts.clone(),
                    None => Arc::new(KeyCounts::new(wanted)),
                };
                counts.max_keys.store(wanted.max_keys, Ordering::Relaxed);
                counts
            })
            .collect();
        let bounds = config.listeners.iter().map(|listener| {
            let bound = |used: &moorline_config::LimitUse| {
                let counts = known.counts.iter().find(|it| it.name == used.limit)?;
                Some(Bound {
                    counts: counts.clone(),
                    most: used.most,
                    is_dry_run: used.is_dry_run,
                })
            };
            listener.stream.limits.iter().filter_map(bound).collect()
        });
        known.bounds = bounds.collect();
    }

    /// The limits of the listener at this place.
    pub(crate) fn of(&self, place: usize) -> Arc<[Bound]> {
        self.locked().bounds.get(place).cloned().unwrap_or_default()
    }

    /// Those of these tickets that present limits have given: what a reload has removed, or given another key, counts for
    /// nobody any more.
    pub(crate) fn keep(&self, tickets: &[LimitTicket]) -> Vec<KeptTicket> {
        let known = self.locked();
        let is_known =
            |it: &&LimitTicket| known.counts.iter().any(|of| Arc::ptr_eq(of, &it.counts));
        let kept = tickets.iter().filter(is_known).map(|it| KeptTicket {
            name: it.counts.name.clone(),
            key: it.key.to_vec(),
        });
        kept.collect()
    }

    /// Counts for these again, whatever the limits say by now. `None`: there is no such limit, or it gives no such ticket.
    pub(crate) fn take_up(&self, tickets: Vec<KeptTicket>) -> Option<Vec<LimitTicket>> {
        let known = self.locked();
        let tickets = tickets.into_iter().map(|KeptTicket { name, key }| {
            let counts = known.counts.iter().find(|it| it.name == name)?;
            let is_key = (1..=LONGEST_KEY).contains(&key.len());
            is_key.then(|| LimitTicket::again(counts, key.into()))
        });
        tickets.collect()
    }

    fn locked(&self) -> MutexGuard<'_, KnownLimits> {
        locked(&self.known)
    }
}

impl Bound {
    /// Counts one more connection with this key, or says why it is over the limit. `None`: an empty key is not counted, and a
    /// connection that one of these tickets counts is not counted again.
    pub(crate) fn take(
        &self,
        key: &[u8],
        held: &[LimitTicket],
    ) -> Result<Option<LimitTicket>, OverLimit> {
        if key.is_empty() {
            return Ok(None);
        }
        let key = &key[..key.len().min(LONGEST_KEY)];
        let mut counts = locked(&self.counts.counts);
        let mut held = held.iter();
        if held.any(|it| Arc::ptr_eq(&it.counts, &self.counts) && &*it.key == key) {
            return match counts.get(key) {
                Some(count) if *count > self.most => Err(OverLimit::Connections),
                _ => Ok(None),
            };
        }
        let key = match counts.get_key_value(key) {
            Some((_, count)) if *count >= self.most => return Err(OverLimit::Connections),
            Some((key, _)) => key.clone(),
            None if counts.len() >= self.counts.max_keys.load(Ordering::Relaxed) as usize => {
                return Err(OverLimit::Keys);
            }
            None => key.into(),
        };
        *counts.entry(key.clone()).or_default() += 1;
        drop(counts);
        let counts = self.counts.clone();
        Ok(Some(LimitTicket { counts, key }))
    }
}

impl KeyCounts {
    fn new(limit: &ConnectionLimit) -> Self {
        Self {
            name: limit.name.clone(),
            key: limit.key.clone(),
            max_keys: AtomicU32::new(limit.max_keys),
            counts: Mutex::default(),
        }
    }
}

impl LimitTicket {
    fn again(counts: &Arc<KeyCounts>, key: Arc<[u8]>) -> Self {
        *locked(&counts.counts).entry(key.clone()).or_default() += 1;
        Self {
            counts: counts.clone(),
            key,
        }
    }
}

impl Drop for LimitTicket {
    fn drop(&mut self) {
        let mut counts = locked(&self.counts.counts);
        if let Entry::Occupied(mut entry) = counts.entry(self.key.clone()) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// Code under the lock cannot panic, so a poisoned one is still consistent.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(limit: &str, listeners: &[&str]) -> Config {
        let listeners = listeners.iter().map(|limits| {
            format!("[[listen]]\nname = \"l{}\"\naddress = \"tcp://127.0.0.1:0\"\nlimits = [{limits}]\n", limits.len())
        });
        let text = format!("{}[limit.one]\n{limit}\n", listeners.collect::<String>());
        let loaded = moorline_config::load_text(&text, std::path::Path::new("/a.toml"));
        loaded.unwrap_or_else(|error| panic!("{error}")).config
    }

    const KEY: &str = "key = \"${client.address}\"";

    fn keys(bound: &Bound) -> usize {
        locked(&bound.counts.counts).len()
    }

    #[test]
    fn a_ticket_counts_until_it_is_dropped_and_leaves_nothing() {
        let limits = ConnectionLimits::default();
        limits.change(&config(KEY, &["{ limit = \"one\", most = 2 }"]));
        let [bound] = &*limits.of(0) else {
            panic!("there is one")
        };
        let first = bound.take(b"a", &[]).expect("there is room");
        let second = bound.take(b"a", &[]).expect("there is room");
        assert_eq!(bound.take(b"a", &[]).err(), Some(OverLimit::Connections));
        assert!(bound.take(b"b", &[]).is_ok());
        assert!(matches!(bound.take(b"", &[]), Ok(None)));
        drop(first);
        let third = bound.take(b"a", &[]).expect("there is room again");
        drop((second, third));
        assert_eq!(keys(bound), 0);
    }

    #[test]
    fn listeners_share_the_counts_of_a_limit_and_have_bounds_of_their_own() {
        let limits = ConnectionLimits::default();
        let used = [
            "{ limit = \"one\", most = 1 }",
            "{ limit = \"one\", most = 20 }",
            "",
        ];
        limits.change(&config(KEY, &used));
        let _ticket = limits.of(1)[0].take(b"a", &[]).expect("there is room");
        assert_eq!(
            limits.of(0)[0].take(b"a", &[]).err(),
            Some(OverLimit::Connections)
        );
        assert!(limits.of(1)[0].take(b"a", &[]).is_ok());
        assert!(limits.of(2).is_empty() && limits.of(3).is_empty());
    }

    #[test]
    fn another_key_is_refused_while_the_table_is_full() {
        let limits = ConnectionLimits::default();
        let full = format!("{KEY}\nmax_keys = 1");
        limits.change(&config(&full, &["{ limit = \"one\", most = 9 }"]));
        let bounds = limits.of(0);
        let one = bounds[0].take(b"a", &[]).expect("there is room");
        assert_eq!(bounds[0].take(b"b", &[]).err(), Some(OverLimit::Keys));
        assert!(bounds[0].take(b"a", &[]).is_ok());
        drop(one);
        assert!(bounds[0].take(b"b", &[]).is_ok());
    }

    #[test]
    fn counts_survive_a_reload_with_the_same_name_and_key() {
        let limits = ConnectionLimits::default();
        let used = ["{ limit = \"one\", most = 1 }"];
        limits.change(&config(KEY, &used));
        let ticket = limits.of(0)[0].take(b"a", &[]).expect("there is room");
        limits.change(&config(&format!("{KEY}\nmax_keys = 7"), &used));
        assert!(limits.of(0)[0].take(b"a", &[]).is_err());
        limits.change(&config("key = \"${client.port}\"", &used));
        assert!(limits.of(0)[0].take(b"a", &[]).is_ok());
        drop(ticket);
    }

    #[test]
    fn the_end_of_a_long_key_does_not_count() {
        let limits = ConnectionLimits::default();
        limits.change(&config(KEY, &["{ limit = \"one\", most = 1 }"]));
        let bounds = limits.of(0);
        let _one = bounds[0].take(&[b'x'; 300], &[]).expect("there is room");
        assert!(bounds[0].take(&[b'x'; 400], &[]).is_err());
        assert!(bounds[0].take(&[b'x'; 254], &[]).is_ok());
    }

    #[test]
    fn a_connection_that_is_counted_is_compared_with_another_bound_and_not_counted_again() {
        let limits = ConnectionLimits::default();
        let used = [
            "{ limit = \"one\", most = 20 }",
            "{ limit = \"one\", most = 1 }",
        ];
        limits.change(&config(KEY, &used));
        let (listener, server) = (limits.of(0), limits.of(1));
        let take = || listener[0].take(b"a", &[]).expect("there is room");
        let held: Vec<_> = take().into_iter().collect();
        assert!(matches!(server[0].take(b"a", &held), Ok(None)));
        let another = take();
        let over = server[0].take(b"a", &held);
        assert_eq!(over.err(), Some(OverLimit::Connections));
        assert!(matches!(server[0].take(b"b", &held), Ok(Some(_))));
        drop((held, another));
        assert_eq!(keys(&server[0]), 0);
    }
}
