//! The rules by which a peer is chosen.
//!
//! - `smooth`: smooth weighted round-robin, which also decides between peers that are equal by other rules
//! - `least`: the least load, by connections or by time; of all, or of two random ones
//! - `hash`: by a key: `crc`, `ring`, `maglev`

mod crc;
mod hash;
mod least;
mod maglev;
mod ring;
mod smooth;

use fastrand::Rng;
use moorline_config::{Balance, HashMethod, Load};

use self::maglev::Table;
use self::ring::Ring;
use super::attempts::Attempts;
use super::members::Members;
use super::peers::Peers;

/// A rule, with the tables that it needs.
#[derive(Debug)]
pub(crate) enum Rule {
    RoundRobin,
    Least(Load),
    RandomTwo(Load),
    Plain,
    Ketama(Ring),
    Maglev(Table),
}

/// What a choice sees, and where it notes what it did.
pub(crate) struct Sight<'a> {
    pub(crate) peers: &'a mut Peers,
    pub(crate) attempts: &'a mut Attempts,
    pub(crate) now: u64,
    /// Milliseconds.
    pub(crate) slow_start: Option<u64>,
}

impl Rule {
    pub(crate) fn new(members: &Members) -> Self {
        match &members.config.balance {
            Balance::RoundRobin => Self::RoundRobin,
            Balance::LeastConnections => Self::Least(Load::Connections),
            Balance::LeastTime(time) => Self::Least(Load::Time(*time)),
            Balance::RandomTwo(load) => Self::RandomTwo(*load),
            Balance::Hash { method, .. } => match method {
                HashMethod::Plain => Self::Plain,
                HashMethod::Ketama => Self::Ketama(Ring::new(members)),
                HashMethod::Maglev => Self::Maglev(Table::new(&members.peers)),
            },
        }
    }

    /// What load is under this rule, if it is measured.
    pub(crate) fn load(&self) -> Option<Load> {
        match self {
            Self::Least(load) | Self::RandomTwo(load) => Some(*load),
            _ => None,
        }
    }

    /// The place of a peer that can be used. Backups come when no primary can.
    pub(crate) fn choose(&self, sight: &mut Sight<'_>, key: &[u8], rng: &mut Rng) -> Option<usize> {
        if let [only] = sight.peers.primaries[..]
            && sight.peers.backups.is_empty()
        {
            // Failures do not take it out.
            let is_usable = sight.peers.is_usable_at_all(only, &sight.attempts.tried);
            return is_usable.then_some(only);
        }
        if !sight.attempts.is_with_backups {
            let chosen = match self {
                Self::RoundRobin => sight.smooth(|_, _| true),
                Self::Least(load) => sight.least(*load),
                Self::RandomTwo(load) => sight.random_two(*load, rng),
                Self::Plain => sight.plain(key),
                Self::Ketama(ring) => sight.ketama(ring, key),
                Self::Maglev(table) => sight.maglev(table, key),
            };
            if chosen.is_some() {
                return chosen;
            }
            sight.attempts.is_with_backups = !sight.peers.backups.is_empty();
        }
        match self {
            _ if !sight.attempts.is_with_backups => None,
            Self::Least(load) => sight.least(*load),
            _ => sight.smooth(|_, _| true),
        }
    }
}

impl Sight<'_> {
    /// The peers that the connection may get: the primaries, or the backups.
    fn group(&self) -> &[usize] {
        match self.attempts.is_with_backups {
            true => &self.peers.backups,
            false => &self.peers.primaries,
        }
    }

    fn is_usable(&self, place: usize) -> bool {
        self.peers.is_usable(place, &self.attempts.tried, self.now)
    }

    /// The weight of a peer, in parts, see [`WHOLE`](super::peer::WHOLE).
    fn weight(&self, place: usize) -> u64 {
        let peer = self.peers.at(place);
        u64::from(peer.weight()) * peer.warmth(self.now, self.slow_start)
    }

    /// One that only failures keep out: the one whose last failure is the oldest. Whether it is reached decides its health.
    pub(crate) fn last_resort(&mut self) -> Option<usize> {
        let tried = &self.attempts.tried;
        let oldest = |places: &[usize]| {
            let usable = places.iter().copied();
            let usable = usable.filter(|at| self.peers.is_usable_at_all(*at, tried));
            usable.min_by_key(|at| self.peers.at(*at).checked())
        };
        let place = oldest(&self.peers.primaries).or_else(|| oldest(&self.peers.backups))?;
        self.peers.at_mut(place).try_again(self.now);
        Some(place)
    }
}
