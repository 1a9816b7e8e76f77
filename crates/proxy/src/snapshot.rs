//! What people see of an upstream.

use std::fmt;
use std::time::Duration;

use moorline_config::{Balance, HashMethod};
use serde::{Deserialize, Serialize};

use super::peer::{Failure, Peer, Switch, WHOLE, millis};
use super::upstream::Upstream;

/// An upstream at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamSeen {
    /// Its name.
    pub name: String,
    /// Its rule: `round-robin`, `least-connections`, `random-two`, `least-time`, `hash plain`, `hash ketama`, `hash maglev`.
    pub balance: String,
    /// In the order of the file; those that are gone and have open connections follow.
    pub peers: Vec<PeerSeen>,
    /// Names that could not be resolved the last time, each with the reason.
    pub unresolved: Vec<(String, String)>,
}

/// A peer at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerSeen {
    /// `10.0.0.1:3306`, or the path of a Unix socket.
    pub address: String,
    /// Its entry as it is written, if that has a name.
    pub entry: Option<String>,
    /// Whether it gets connections.
    pub state: State,
    /// It is used only while no other peer can be.
    pub is_backup: bool,
    /// Its weight; also one that a command has set.
    pub weight: u32,
    /// The hundredths of it that count now: fewer than 100 during a slow start.
    pub warmth: u8,
    /// Open connections, also those that are on their way.
    pub open: u32,
    /// How many it may have.
    pub max_connections: Option<u32>,
    /// Connections that it was chosen for.
    pub connections: u64,
    /// How many of them failed.
    pub failures: u64,
    /// How the last attempt or check that failed did, and how long ago.
    pub last_failure: Option<(String, Duration)>,
    /// The average time to connect.
    pub connect_time: Option<Duration>,
}

/// Whether a peer gets connections, and why not. The first that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// A reload or a look-up has removed it; its connections stay.
    Gone,
    /// The file or a command says so.
    Down,
    /// A command says so.
    Draining,
    /// Its checks fail.
    Unhealthy,
    /// Attempts have failed.
    Out,
    /// It has as many as it may.
    Full,
    /// It does.
    Up,
}

/// As in JSON.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "gone",
            Self::Down => "down",
            Self::Draining => "draining",
            Self::Unhealthy => "unhealthy",
            Self::Out => "out",
            Self::Full => "full",
            Self::Up => "up",
        })
    }
}

impl Upstream {
    /// What people see of it now.
    pub fn snapshot(&self, now: u64) -> UpstreamSeen {
        let peers = &self.members.peers;
        let gone = peers.all().filter(|(_, peer)| !peer.is_listed);
        let places = peers.listed().chain(gone.map(|(place, _)| place));
        UpstreamSeen {
            name: self.config().name.clone(),
            balance: rule(&self.config().balance).to_owned(),
            peers: places.map(|place| self.seen(place, now)).collect(),
            unresolved: self.members.problems(),
        }
    }

    fn seen(&self, place: usize, now: u64) -> PeerSeen {
        let peer = self.members.peers.at(place);
        let slow_start = self.config().slow_start.map(millis);
        let address = peer.address.bare();
        let entry = Some(peer.settings.entry.to_string());
        let ago = |(at, failure): (u64, Failure)| {
            let ago = Duration::from_millis(now.saturating_sub(at));
            (failure.to_string(), ago)
        };
        PeerSeen {
            entry: entry.filter(|entry| *entry != address),
            address,
            state: self.state(place, peer, now),
            is_backup: peer.settings.is_backup,
            weight: peer.weight(),
            warmth: u8::try_from(peer.warmth(now, slow_start) * 100 / WHOLE).unwrap_or(100),
            open: peer.open,
            max_connections: peer.settings.max_connections,
            connections: peer.counters.connections,
            failures: peer.counters.failures,
            last_failure: peer.counters.last_failure.map(ago),
            connect_time: peer.times.connect.measured(),
        }
    }

    fn state(&self, place: usize, peer: &Peer, now: u64) -> State {
        let peers = &self.members.peers;
        match peer {
            _ if !peer.is_listed => State::Gone,
            _ if peer.switch == Some(Switch::Drain) => State::Draining,
            _ if !peer.is_in_service() => State::Down,
            _ if peer.active.is_unhealthy => State::Unhealthy,
            _ if !peers.is_only(place) && peer.is_out(now) => State::Out,
            _ if peers.is_full(place) => State::Full,
            _ => State::Up,
        }
    }
}

fn rule(balance: &Balance) -> &'static str {
    match balance {
        Balance::RoundRobin => "round-robin",
        Balance::LeastConnections => "least-connections",
        Balance::RandomTwo(_) => "random-two",
        Balance::LeastTime(_) => "least-time",
        Balance::Hash { method, .. } => match method {
            HashMethod::Plain => "hash plain",
            HashMethod::Ketama => "hash ketama",
            HashMethod::Maglev => "hash maglev",
        },
    }
}
