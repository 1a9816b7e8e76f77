//! The relays of one loop.

use std::collections::VecDeque;
use std::ops::{Index, IndexMut};
use std::os::fd::OwnedFd;

use slab::Slab;

use crate::cx::Cx;
use crate::entry::Newcomer;
use crate::ids::{ListenerId, RelayKey, RelayRef, RelayTag};
use crate::relay::{Relay, number};
use crate::upstreams::{PeerKey, Targets};
use crate::wheel::Wheel;
use moorline_protocol::wire::Peer;

/// The relays of one loop.
#[derive(Debug, Default)]
pub(crate) struct Relays {
    table: Slab<Relay>,
    last_serial: u64,
    /// Those that go on in the next turn.
    pub(crate) work: VecDeque<RelayRef>,
    /// Those that leave this peer, a share in each turn: at most all relays.
    pub(crate) leaving: VecDeque<(RelayRef, PeerKey)>,
    /// When each is looked at: whether it was idle for too long, or its end takes too long.
    pub(crate) looks: Wheel<RelayKey>,
    /// What new connections are relayed to.
    pub(crate) targets: Targets,
}

impl Relays {
    /// A connection that may become a relay, with a number of its own.
    pub(crate) fn newcomer<'a>(
        &mut self,
        (listener, client): (ListenerId, &'a Peer),
        socket: &'a OwnedFd,
        cx: &Cx,
    ) -> Newcomer<'a> {
        let stream = &cx.listener(listener).stream;
        let is_asked = stream.access_log.is_some() || !stream.limits.is_empty();
        self.last_serial += u64::from(is_asked);
        Newcomer {
            tls: None,
            listener,
            client,
            socket: Some(socket),
            notes: None,
            local: None,
            number: number(self.last_serial, cx),
            begun_at: None,
        }
    }

    /// Whether some go on in the next turn.
    pub(crate) fn has_work(&self) -> bool {
        !self.work.is_empty() || !self.leaving.is_empty()
    }

    /// Puts a relay in under a serial that no other has had.
    pub(crate) fn insert(&mut self, make: impl FnOnce(RelayRef) -> Relay) -> RelayKey {
        let serial = self.next_serial();
        let entry = self.table.vacant_entry();
        let key = RelayKey(entry.key() as u32);
        entry.insert(make(RelayRef { key, serial }));
        key
    }

    /// A serial that no other relay of the loop has had, not of datagrams either.
    pub(crate) fn next_serial(&mut self) -> u64 {
        self.last_serial += 1;
        self.last_serial
    }

    /// Takes a relay out.
    pub(crate) fn remove(&mut self, key: RelayKey) -> Option<Relay> {
        self.looks.remove(key);
        self.table.try_remove(key.index())
    }

    /// The relay at this place, if there is one.
    pub(crate) fn at(&self, key: RelayKey) -> Option<&Relay> {
        self.table.get(key.index())
    }

    /// The same, to be changed.
    pub(crate) fn at_mut(&mut self, key: RelayKey) -> Option<&mut Relay> {
        self.table.get_mut(key.index())
    }

    /// The relay of this name, if it still has its place.
    pub(crate) fn named(&self, name: RelayRef) -> Option<&Relay> {
        self.at(name.key)
            .filter(|relay| relay.name.serial == name.serial)
    }

    /// The same, to be changed.
    pub(crate) fn named_mut(&mut self, name: RelayRef) -> Option<&mut Relay> {
        self.at_mut(name.key)
            .filter(|relay| relay.name.serial == name.serial)
    }

    /// The relay that an event is for, unless it has another socket by now.
    pub(crate) fn heard_mut(&mut self, tag: RelayTag) -> Option<&mut Relay> {
        self.at_mut(tag.key)
            .filter(|relay| relay.tag(tag.side) == tag)
    }

    /// Has it go on in the next turn.
    pub(crate) fn schedule(&mut self, key: RelayKey) {
        let relay = &mut self.table[key.index()];
        if !relay.is_scheduled {
            relay.is_scheduled = true;
            self.work.push_back(relay.name);
        }
    }

    /// Every relay's place is below this.
    pub(crate) fn places(&self) -> usize {
        self.table.capacity()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Relay> {
        self.table.iter().map(|(_, relay)| relay)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Relay> {
        self.table.iter_mut().map(|(_, relay)| relay)
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }
}

impl Index<RelayKey> for Relays {
    type Output = Relay;

    fn index(&self, key: RelayKey) -> &Relay {
        &self.table[key.index()]
    }
}

impl IndexMut<RelayKey> for Relays {
    fn index_mut(&mut self, key: RelayKey) -> &mut Relay {
        &mut self.table[key.index()]
    }
}
