//! What people change by a command, without a reload.

use std::fmt;

use super::balance::Rule;
use super::peer::Switch;
use super::upstream::Upstream;

/// No peer has this address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoSuchPeer {
    /// Every address that would have been one, and every entry with a name.
    pub known: Vec<String>,
}

impl fmt::Display for NoSuchPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no such peer; known: {}", self.known.join(", "))
    }
}

impl std::error::Error for NoSuchPeer {}

impl Upstream {
    /// Switches the peers that are named: `10.0.0.1:3306`, `/run/a.sock`, or an entry as it is written, `db:3306`, for all
    /// its peers; with or without `tcp://` or `unix://`. Connections that are open stay open. It holds as long as this
    /// state, also over reloads. Returns how many peers were meant.
    ///
    /// # Errors
    /// There is no such peer.
    pub fn switch(&mut self, named: &str, switch: Switch, now: u64) -> Result<usize, NoSuchPeer> {
        let places = self.named(named)?;
        for place in &places {
            let peer = self.members.peers.at_mut(*place);
            let was_in_service = peer.is_in_service();
            peer.switch = Some(switch);
            if peer.is_in_service() && !was_in_service {
                peer.warms_since = Some(now);
            }
        }
        Ok(places.len())
    }

    /// Gives the named peers another weight, at least 1. It holds as long as this state, or until a reload brings another weight for
    /// the peer. Returns how many peers were meant.
    ///
    /// # Errors
    /// There is no such peer.
    pub fn weigh(&mut self, named: &str, weight: u32) -> Result<usize, NoSuchPeer> {
        let places = self.named(named)?;
        for place in &places {
            let peer = self.members.peers.at_mut(*place);
            peer.own_weight = Some(weight.clamp(1, MOST_WEIGHT));
            peer.turns.effective = peer.weight();
        }
        self.rule = Rule::new(&self.members);
        Ok(places.len())
    }

    fn named(&self, named: &str) -> Result<Vec<usize>, NoSuchPeer> {
        let bare = named.split_once("://").map_or(named, |(_, bare)| bare);
        let peers = &self.members.peers;
        let address = |place: usize| peers.at(place).address.bare();
        let entry = |place: usize| &peers.at(place).settings.entry;
        let its = peers.listed();
        let its = its.filter(|at| address(*at) == bare || **entry(*at) == *bare);
        let places: Vec<_> = its.collect();
        if !places.is_empty() {
            return Ok(places);
        }
        let mut known: Vec<_> = peers
            .listed()
            .flat_map(|at| [address(at), entry(at).to_string()])
            .collect();
        known.sort_unstable();
        known.dedup();
        Err(NoSuchPeer { known })
    }
}

/// As much as a file may say.
const MOST_WEIGHT: u32 = 65_535;
