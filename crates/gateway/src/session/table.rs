//! The sessions of one loop, found by place or by id.

use std::ops::{Index, IndexMut};

use rustc_hash::{FxHashMap, FxHashSet};
use slab::Slab;

use crate::ids::{SessionKey, SessionRef};
use crate::session::Session;
use moorline_protocol::session_id::SessionId;

/// The sessions of one loop.
#[derive(Debug)]
pub(crate) struct Table {
    sessions: Slab<Session>,
    keys: FxHashMap<u64, SessionKey>,
    /// The numbers of the node and of the loop, which are in each id.
    node: u16,
    index: u8,
    last_serial: u64,
}

impl Table {
    /// A table for loop `index` of a node, whose serials begin above `last_serial`.
    pub(crate) fn new(node: u16, index: u8, last_serial: u64) -> Self {
        Self {
            sessions: Slab::new(),
            keys: FxHashMap::default(),
            node,
            index,
            last_serial,
        }
    }

    /// The table of another process: the same sessions in the same places, of which there are no more than these. `None`: these
    /// cannot be the sessions of one loop.
    pub(crate) fn resume(
        (node, index, last_serial): (u16, u8, u64),
        sessions: Vec<Session>,
        places: u64,
    ) -> Option<Self> {
        let mut this = Self::new(node, index, last_serial);
        let mut taken = FxHashSet::default();
        for session in &sessions {
            let serial = session.id & SessionId::SERIAL;
            let is_sound = session.id == SessionId::new(node, index, serial).as_u64()
                && serial <= last_serial
                && u64::from(session.key.0) < places
                && taken.insert(session.key)
                && this.keys.insert(session.id, session.key).is_none();
            if !is_sound {
                return None;
            }
        }
        let sessions = sessions.into_iter();
        this.sessions = sessions
            .map(|session| (session.key.index(), session))
            .collect();
        Some(this)
    }

    /// Puts a session in under an id that no other has had.
    pub(crate) fn insert(&mut self, make: impl FnOnce(SessionRef) -> Session) -> &mut Session {
        self.last_serial += 1;
        let id = self.last_id();
        let entry = self.sessions.vacant_entry();
        let key = SessionKey(entry.key() as u32);
        self.keys.insert(id, key);
        entry.insert(make(SessionRef { key, id }))
    }

    /// Takes a session out.
    pub(crate) fn remove(&mut self, key: SessionKey) -> Option<Session> {
        let session = self.sessions.try_remove(key.index())?;
        self.keys.remove(&session.id);
        Some(session)
    }

    /// The session with this id, if it lives.
    pub(crate) fn find(&self, id: u64) -> Option<SessionKey> {
        self.keys.get(&id).copied()
    }

    /// The session with this id, if it lives.
    pub(crate) fn find_mut(&mut self, id: u64) -> Option<&mut Session> {
        let key = self.keys.get(&id)?;
        self.sessions.get_mut(key.index())
    }

    /// The session at this place, if there is one.
    pub(crate) fn at(&self, key: SessionKey) -> Option<&Session> {
        self.sessions.get(key.index())
    }

    /// The same, to be changed.
    pub(crate) fn at_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        self.sessions.get_mut(key.index())
    }

    /// The session of this name, if it still has its place.
    pub(crate) fn named(&self, name: SessionRef) -> Option<&Session> {
        self.at(name.key).filter(|session| session.id == name.id)
    }

    /// The same, to be changed.
    pub(crate) fn named_mut(&mut self, name: SessionRef) -> Option<&mut Session> {
        self.at_mut(name.key)
            .filter(|session| session.id == name.id)
    }

    /// Every session's place is below this.
    pub(crate) fn places(&self) -> usize {
        self.sessions.capacity().min(u32::MAX as usize)
    }

    /// The sessions, in the order of their places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.sessions.iter().map(|(_, session)| session)
    }

    /// The same, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.sessions.iter_mut().map(|(_, session)| session)
    }

    /// At most `rows` of the wanted sessions, from this place on, looking at no more than `places`; and the place to
    /// continue from, unless these were the last. A session keeps its place as long as it lives.
    pub(crate) fn page(
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
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// The id of the newest session, also if that is gone.
    pub(crate) fn last_id(&self) -> u64 {
        SessionId::new(self.node, self.index, self.last_serial).as_u64()
    }

    /// The number of the node, which is in each id; 0 without a cluster.
    pub(crate) fn node(&self) -> u16 {
        self.node
    }

    /// The highest serial used.
    pub(crate) fn last_serial(&self) -> u64 {
        self.last_serial
    }
}

impl Index<SessionKey> for Table {
    type Output = Session;

    fn index(&self, key: SessionKey) -> &Session {
        &self.sessions[key.index()]
    }
}

impl IndexMut<SessionKey> for Table {
    fn index_mut(&mut self, key: SessionKey) -> &mut Session {
        &mut self.sessions[key.index()]
    }
}
