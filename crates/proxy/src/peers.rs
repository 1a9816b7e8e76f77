//! All peers of an upstream, by key.

use std::collections::{HashMap, VecDeque};

use super::address::PeerAddress;
use super::attempts::Tried;
use super::peer::Peer;

/// A peer of one upstream. It stays valid while a connection or a check of it is open, also after a reload has removed the
/// peer; after that it means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerKey {
    place: u32,
    generation: u32,
}

/// All peers of an upstream: those that are listed, and those that are gone and have connections still.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    places: Vec<Place>,
    vacant: Vec<usize>,
    /// In the order of their entries.
    pub(crate) primaries: Vec<usize>,
    pub(crate) backups: Vec<usize>,
    /// It rises when a place gets another peer.
    pub(crate) era: u64,
}

#[derive(Debug, Default)]
struct Place {
    generation: u32,
    /// The era in which it got its peer.
    born: u64,
    peer: Option<Peer>,
}

impl Peers {
    pub(crate) fn key(&self, place: usize) -> PeerKey {
        PeerKey {
            // There are at most as many as listed peers and open connections.
            place: u32::try_from(place).unwrap_or(u32::MAX),
            generation: self.places[place].generation,
        }
    }

    pub(crate) fn born(&self, place: usize) -> u64 {
        self.places.get(place).map_or(0, |place| place.born)
    }

    /// The place of a peer that is still known.
    pub(crate) fn place(&self, key: PeerKey) -> Option<usize> {
        let place = key.place as usize;
        let found = self.places.get(place)?;
        (found.generation == key.generation && found.peer.is_some()).then_some(place)
    }

    /// The peer of a place that has one.
    pub(crate) fn at(&self, place: usize) -> &Peer {
        self.places[place].peer.as_ref().expect(OCCUPIED)
    }

    pub(crate) fn at_mut(&mut self, place: usize) -> &mut Peer {
        self.places[place].peer.as_mut().expect(OCCUPIED)
    }

    pub(crate) fn get_mut(&mut self, key: PeerKey) -> Option<&mut Peer> {
        let place = self.place(key)?;
        self.places[place].peer.as_mut()
    }

    /// Those that an entry means, in order.
    pub(crate) fn listed(&self) -> impl Iterator<Item = usize> {
        self.primaries.iter().chain(&self.backups).copied()
    }

    /// All, also those that are gone.
    pub(crate) fn all(&self) -> impl Iterator<Item = (usize, &Peer)> {
        let places = self.places.iter().enumerate();
        places.filter_map(|(place, it)| Some((place, it.peer.as_ref()?)))
    }

    pub(crate) fn insert(&mut self, peer: Peer) -> usize {
        let place = match self.vacant.pop() {
            Some(place) => {
                self.era += 1;
                place
            }
            None => {
                self.places.push(Place::default());
                self.places.len() - 1
            }
        };
        self.places[place].peer = Some(peer);
        self.places[place].born = self.era;
        place
    }

    /// Forgets a peer that no entry means once nothing of it is open.
    pub(crate) fn forget_unused(&mut self, place: usize) {
        let is_used = |peer: &Peer| peer.is_listed || peer.open > 0 || peer.active.is_running;
        let found = &mut self.places[place];
        if found.peer.as_ref().is_none_or(is_used) {
            return;
        }
        found.peer = None;
        found.generation = found.generation.wrapping_add(1);
        self.vacant.push(place);
    }

    /// The places of each address, listed ones first, in order.
    pub(crate) fn by_address(&self) -> HashMap<PeerAddress, VecDeque<usize>> {
        let mut places: HashMap<_, VecDeque<_>> = HashMap::new();
        let gone = self.all().filter(|(_, peer)| !peer.is_listed);
        let gone = gone.map(|(place, _)| place);
        for place in self.listed().chain(gone) {
            let of = places.entry(self.at(place).address.clone()).or_default();
            of.push_back(place);
        }
        places
    }

    /// Notes which share their address with others.
    pub(crate) fn mark_twins(&mut self) {
        for places in self.by_address().values() {
            for place in places {
                self.at_mut(*place).has_twin = places.len() > 1;
            }
        }
    }

    /// The only one of its upstream: failures do not take it out.
    pub(crate) fn is_only(&self, place: usize) -> bool {
        self.backups.is_empty() && self.primaries == [place]
    }

    /// Connections to its address: entries with one address share the count.
    fn open_there(&self, place: usize) -> u32 {
        let peer = self.at(place);
        if !peer.has_twin {
            return peer.open;
        }
        let twins = self.all().filter(|(_, it)| it.address == peer.address);
        twins.map(|(_, it)| it.open).fold(0, u32::saturating_add)
    }

    pub(crate) fn is_full(&self, place: usize) -> bool {
        let max = self.at(place).settings.max_connections;
        max.is_some_and(|max| self.open_there(place) >= max)
    }

    /// Whether a connection that has tried these may get it.
    pub(crate) fn is_usable(&self, place: usize, tried: &Tried, now: u64) -> bool {
        self.is_usable_at_all(place, tried) && !self.at(place).is_out(now)
    }

    /// The same, even if failures keep it out.
    pub(crate) fn is_usable_at_all(&self, place: usize, tried: &Tried) -> bool {
        let peer = self.at(place);
        !tried.has(place)
            && peer.is_in_service()
            && !peer.active.is_unhealthy
            && !self.is_full(place)
    }
}

const OCCUPIED: &str = "lists have only places with a peer";
