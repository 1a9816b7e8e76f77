//! The sessions of one loop, found by place or by id.

use std::ops::{Index, IndexMut};

use rustc_hash::FxHashMap;
use slab::Slab;

use super::session::Session;

/// The place of a session in its loop's table. Reused; the id is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key(pub(super) u32);

/// The sessions of one loop.
#[derive(Debug)]
pub(super) struct Table {
    sessions: Slab<Session>,
    keys: FxHashMap<u64, Key>,
    /// The loop's number, in the place it has in an id.
    prefix: u64,
    last_serial: u64,
}

/// The serial in an id.
const SERIAL: u64 = (1 << 56) - 1;

impl Table {
    /// A table for loop `index` whose serials begin above `last_serial`.
    pub(super) fn new(index: u8, last_serial: u64) -> Self {
        Self {
            sessions: Slab::new(),
            keys: FxHashMap::default(),
            prefix: u64::from(index) << 56,
            last_serial,
        }
    }

    /// Puts a session in under an id that no other has had.
    pub(super) fn insert(&mut self, make: impl FnOnce(u64) -> Session) -> Key {
        self.last_serial += 1;
        let id = self.prefix | (self.last_serial & SERIAL);
        let key = Key(self.sessions.insert(make(id)) as u32);
        self.keys.insert(id, key);
        key
    }

    /// Takes a session out.
    pub(super) fn remove(&mut self, key: Key) -> Option<Session> {
        let session = self.sessions.try_remove(key.0 as usize)?;
        self.keys.remove(&session.id);
        Some(session)
    }

    /// The session with this id, if it lives.
    pub(super) fn find(&self, id: u64) -> Option<Key> {
        self.keys.get(&id).copied()
    }

    /// The session at this place, if there is one.
    pub(super) fn at(&self, key: Key) -> Option<&Session> {
        self.sessions.get(key.0 as usize)
    }

    /// Every session's place is below this.
    pub(super) fn places(&self) -> usize {
        self.sessions.capacity().min(u32::MAX as usize)
    }

    /// The sessions, in the order of their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Session)> {
        self.sessions
            .iter()
            .map(|(at, session)| (Key(at as u32), session))
    }

    /// At most `rows` of those that are wanted, from this place on, looking at no more than `places`; and the place to go
    /// on from, unless these were the last. A session keeps its place as long as it lives.
    pub(super) fn page(
        &self,
        from: u32,
        places: usize,
        rows: usize,
        is_wanted: impl Fn(&Session) -> bool,
    ) -> (Vec<&Session>, Option<u32>) {
        let mut found = Vec::new();
        let mut at = from as usize;
        let end = at.saturating_add(places).min(self.sessions.capacity());
        while at < end && found.len() < rows {
            found.extend(self.sessions.get(at).filter(|session| is_wanted(session)));
            at += 1;
        }
        let next = (at < self.sessions.capacity()).then_some(at as u32);
        (found, next)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// The highest serial used.
    pub(super) fn last_serial(&self) -> u64 {
        self.last_serial
    }
}

impl Index<Key> for Table {
    type Output = Session;

    fn index(&self, key: Key) -> &Session {
        &self.sessions[key.0 as usize]
    }
}

impl IndexMut<Key> for Table {
    fn index_mut(&mut self, key: Key) -> &mut Session {
        &mut self.sessions[key.0 as usize]
    }
}
