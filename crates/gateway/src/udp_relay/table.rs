//! The relayed clients of datagrams of one loop.

use std::collections::HashMap;
use std::ops::{Index, IndexMut};
use std::os::fd::OwnedFd;

use slab::Slab;

use crate::ids::{ListenerId, UdpRelayKey, UdpRelayRef};
use crate::udp_relay::socket::{Control, tells_addresses};
use crate::udp_relay::{UdpClient, UdpRelay};
use crate::wheel::Wheel;

/// The relayed clients of datagrams of one loop.
#[derive(Debug, Default)]
pub(crate) struct UdpRelays {
    table: Slab<UdpRelay>,
    /// Those that get their clients' datagrams. Senders choose their addresses: the hash has a secret.
    by_client: HashMap<UdpClient, UdpRelayKey>,
    /// When each is looked at: whether it was idle for too long, or may not change its peer any more.
    pub(crate) looks: Wheel<UdpRelayKey>,
    /// How many each listener has, by its place.
    counts: Vec<u32>,
    /// What they keep until their peers answer, in bytes.
    pub(crate) kept: usize,
    /// For each listener, by its place, whose datagrams tell to which address they were sent.
    controls: Vec<Option<Control>>,
}

impl UdpRelays {
    /// Puts a relay in under this serial, which no other has had, and binds its client's datagrams to it.
    pub(crate) fn insert(
        &mut self,
        serial: u64,
        make: impl FnOnce(UdpRelayRef) -> UdpRelay,
    ) -> UdpRelayKey {
        let entry = self.table.vacant_entry();
        let key = UdpRelayKey(entry.key() as u32);
        let relay = entry.insert(make(UdpRelayRef { key, serial }));
        self.by_client.insert(relay.client, key);
        let listener = relay.client.listener.index();
        if self.counts.len() <= listener {
            self.counts.resize(listener + 1, 0);
        }
        self.counts[listener] += 1;
        key
    }

    /// Takes a relay out.
    pub(crate) fn remove(&mut self, key: UdpRelayKey) -> Option<UdpRelay> {
        self.looks.remove(key);
        self.unbind(key);
        let relay = self.table.try_remove(key.index())?;
        self.counts[relay.client.listener.index()] -= 1;
        Some(relay)
    }

    /// Its client's next datagram begins another relay.
    pub(crate) fn unbind(&mut self, key: UdpRelayKey) {
        if let Some(relay) = self.table.get_mut(key.index())
            && std::mem::replace(&mut relay.is_bound, false)
        {
            self.by_client.remove(&relay.client);
        }
    }

    /// The relay that gets this client's datagrams.
    pub(crate) fn of_client(&self, client: &UdpClient) -> Option<UdpRelayKey> {
        self.by_client.get(client).copied()
    }

    /// The relay of this name, if it still has its place.
    pub(crate) fn named(&self, name: UdpRelayRef) -> Option<&UdpRelay> {
        let relay = self.table.get(name.key.index());
        relay.filter(|relay| relay.name == name)
    }

    /// The same, to be changed.
    pub(crate) fn named_mut(&mut self, name: UdpRelayRef) -> Option<&mut UdpRelay> {
        let relay = self.table.get_mut(name.key.index());
        relay.filter(|relay| relay.name == name)
    }

    /// The relay at this place, to be changed.
    pub(crate) fn at_mut(&mut self, key: UdpRelayKey) -> Option<&mut UdpRelay> {
        self.table.get_mut(key.index())
    }

    /// The relay that an event at this place is for, by the lower half of its serial.
    pub(crate) fn heard(&self, key: UdpRelayKey, serial: u32) -> bool {
        let relay = self.table.get(key.index());
        relay.is_some_and(|relay| relay.name.serial as u32 == serial)
    }

    /// How many this listener has.
    pub(crate) fn count_of(&self, listener: ListenerId) -> u32 {
        self.counts.get(listener.index()).copied().unwrap_or(0)
    }

    /// A listener has this socket from now on.
    pub(crate) fn prepare(&mut self, listener: ListenerId, front: &OwnedFd) {
        let control = tells_addresses(front).then(Control::default);
        self.put_control(listener, control);
    }

    /// What the addresses of a listener's datagrams are received into, if they tell them. To be put back.
    pub(crate) fn take_control(&mut self, listener: ListenerId) -> Option<Control> {
        self.controls.get_mut(listener.index())?.take()
    }

    /// Puts it back.
    pub(crate) fn put_control(&mut self, listener: ListenerId, control: Option<Control>) {
        let at = listener.index();
        if self.controls.len() <= at {
            self.controls.resize_with(at + 1, || None);
        }
        self.controls[at] = control;
    }

    /// The relay at this place, if there is one.
    pub(crate) fn at(&self, key: UdpRelayKey) -> Option<&UdpRelay> {
        self.table.get(key.index())
    }

    /// Every relay's place is below this.
    pub(crate) fn places(&self) -> usize {
        self.table.capacity()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &UdpRelay> {
        self.table.iter().map(|(_, relay)| relay)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut UdpRelay> {
        self.table.iter_mut().map(|(_, relay)| relay)
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// How many get their clients' datagrams.
    pub(crate) fn bound(&self) -> usize {
        self.by_client.len()
    }
}

impl Index<UdpRelayKey> for UdpRelays {
    type Output = UdpRelay;

    fn index(&self, key: UdpRelayKey) -> &UdpRelay {
        &self.table[key.index()]
    }
}

impl IndexMut<UdpRelayKey> for UdpRelays {
    fn index_mut(&mut self, key: UdpRelayKey) -> &mut UdpRelay {
        &mut self.table[key.index()]
    }
}
