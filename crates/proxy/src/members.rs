//! From entries and their addresses to peers.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use moorline_config::{MOST_PEERS, UpstreamPeer};
use moorline_net::HostPort;

use super::address::PeerAddress;
use super::peer::{Peer, Settings};
use super::peers::Peers;

/// The peers of an upstream, and where they come from.
#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) config: moorline_config::Upstream,
    pub(crate) peers: Peers,
    /// What its entries' names mean.
    pub(crate) names: HashMap<HostPort, Known>,
}

/// What is known of a name.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// In ascending order, so that each engine has the same order of peers. Kept while the name cannot be resolved.
    pub(crate) found: Vec<Found>,
    /// Why the last look-up failed.
    pub(crate) problem: Option<String>,
    /// Peers that it will mean begin slowly: others have been there before.
    pub(crate) warms_up: bool,
}

/// An address that a name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Where it is.
    pub address: SocketAddr,
    /// What a service says of it: its weight, and whether others have a lower priority.
    pub service: Option<(u16, bool)>,
}

/// Addresses that became no peers, because there are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unplaced(pub usize);

impl Members {
    pub(crate) fn new(config: moorline_config::Upstream, now: u64) -> Self {
        let mut members = Self {
            config,
            peers: Peers::default(),
            names: HashMap::new(),
        };
        members.know_names(false);
        members.enlist(now, false);
        members
    }

    /// Attempts that one connection may make.
    pub(crate) fn tries(&self) -> u32 {
        let peers = &self.peers;
        let in_service = || peers.listed().filter(|at| peers.at(*at).is_in_service());
        match self.config.next.tries {
            // To try the same one again helps nobody.
            _ if peers.primaries.len() == 1 && peers.backups.is_empty() => 1,
            Some(tries) => tries,
            None => u32::try_from(in_service().count()).unwrap_or(u32::MAX),
        }
    }

    /// Names that could not be resolved the last time, each with the reason.
    pub(crate) fn problems(&self) -> Vec<(String, String)> {
        let problem =
            |(name, known): (&HostPort, &Known)| Some((bare(name), known.problem.clone()?));
        let mut problems: Vec<_> = self.names.iter().filter_map(problem).collect();
        problems.sort_unstable();
        problems
    }

    /// The weight of an entry's peers, as a command has set it; `None` without peers.
    pub(crate) fn weight_of(&self, entry: &str) -> Option<u32> {
        let peers = self.peers.primaries.iter().map(|at| self.peers.at(*at));
        let mut its = peers.filter(|peer| &*peer.settings.entry == entry);
        its.next().map(Peer::weight)
    }

    /// Keeps what is known of the names that entries have, and forgets others.
    pub(crate) fn know_names(&mut self, warms_up: bool) {
        let mut known = std::mem::take(&mut self.names);
        let names = self.config.peers.iter().filter_map(name);
        let unknown = || Known {
            warms_up,
            ..Known::default()
        };
        self.names = names
            .map(|name| {
                let known = known.remove(name).unwrap_or_else(unknown);
                (name.clone(), known)
            })
            .collect();
    }

    /// Lists the peers that the entries mean now. One that was known by its address goes on with its state. `warms_up`:
    /// whether one whose address is written begins slowly if it is new. True if the list has changed.
    pub(crate) fn enlist(&mut self, now: u64, warms_up: bool) -> (bool, Unplaced) {
        let (wanted, unplaced) = self.wanted(warms_up);
        if self.is_listing(&wanted) {
            return (false, unplaced);
        }
        let peers = &mut self.peers;
        let listed: Vec<_> = peers.listed().collect();
        let mut known = peers.by_address();
        for place in &listed {
            peers.at_mut(*place).is_listed = false;
        }
        (peers.primaries, peers.backups) = (Vec::new(), Vec::new());
        for Wanted {
            settings,
            address,
            warms_up,
        } in wanted
        {
            let is_backup = settings.is_backup;
            let place = match known.get_mut(&address).and_then(VecDeque::pop_front) {
                Some(place) => {
                    peers.at_mut(place).set(settings);
                    place
                }
                None => {
                    let mut peer = Peer::new(address, settings);
                    peer.warms_since = warms_up.then_some(now);
                    peers.insert(peer)
                }
            };
            peers.at_mut(place).is_listed = true;
            match is_backup {
                true => peers.backups.push(place),
                false => peers.primaries.push(place),
            }
        }
        for place in listed {
            peers.forget_unused(place);
        }
        peers.mark_twins();
        (true, unplaced)
    }

    /// Each entry with each of its addresses, in order, as many as there may be; and the number of the others.
    fn wanted(&self, warms_up: bool) -> (Vec<Wanted>, Unplaced) {
        let mut wanted = Vec::new();
        let mut unplaced = 0;
        for entry in &self.config.peers {
            let settings = Settings::new(entry);
            let (addresses, warms_up) = match name(entry) {
                None => {
                    let address = PeerAddress::written(&entry.address);
                    let alone = address.map(|address| (address, settings));
                    (alone.into_iter().collect(), warms_up)
                }
                Some(name) => self.found(entry, name, &settings),
            };
            for (address, settings) in addresses {
                if wanted.len() == MOST_PEERS {
                    unplaced += 1;
                    continue;
                }
                wanted.push(Wanted {
                    settings,
                    address,
                    warms_up,
                });
            }
        }
        (wanted, Unplaced(unplaced))
    }

    /// What a name means now, with the settings of each, and whether new ones begin slowly.
    fn found(
        &self,
        entry: &UpstreamPeer,
        name: &HostPort,
        settings: &Settings,
    ) -> (Vec<(PeerAddress, Settings)>, bool) {
        let Some(known) = self.names.get(name) else {
            return (Vec::new(), false);
        };
        let peer = |found: &Found| {
            let mut settings = settings.clone();
            if let Some((weight, is_backup)) = found.service {
                settings.weight = u32::from(weight).max(1);
                settings.is_backup |= is_backup;
            }
            (PeerAddress::of(&entry.address, found.address), settings)
        };
        (known.found.iter().map(peer).collect(), known.warms_up)
    }

    fn is_listing(&self, wanted: &[Wanted]) -> bool {
        let are = |listed: &[usize], is_backup: bool| {
            let wanted = wanted
                .iter()
                .filter(|it| it.settings.is_backup == is_backup);
            let is = |(at, it): (&usize, &Wanted)| {
                let peer = self.peers.at(*at);
                peer.address == it.address && peer.settings == it.settings
            };
            wanted.clone().count() == listed.len() && listed.iter().zip(wanted).all(is)
        };
        are(&self.peers.primaries, false) && are(&self.peers.backups, true)
    }
}

/// A peer that an entry means.
struct Wanted {
    settings: Settings,
    address: PeerAddress,
    warms_up: bool,
}

/// A name as people write it: a service has no port.
fn bare(name: &HostPort) -> String {
    match name.port {
        0 => name.host.clone(),
        _ => name.to_string(),
    }
}

/// The name of an entry, if it must be resolved.
fn name(entry: &UpstreamPeer) -> Option<&HostPort> {
    match PeerAddress::written(&entry.address) {
        Some(_) => None,
        None => entry.address.host_port(),
    }
}
