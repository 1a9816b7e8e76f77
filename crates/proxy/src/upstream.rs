//! Choices and their results.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use moorline_config::{Bind, Load, TimeOf};

use super::address::PeerAddress;
use super::attempts::Attempts;
use super::balance::{self, Rule};
use super::members::Members;
use super::peer::{Failure, Turn, millis};
use super::peers::{PeerKey, Peers};

/// The state of one upstream: its peers, their load and their health.
///
/// A connection that wants a peer calls [`choose`](Self::choose), and then, for each peer that it was given, either
/// [`connected`](Self::connected) and in the end [`closed`](Self::closed), or [`failed`](Self::failed), or
/// [`abandoned`](Self::abandoned). A choice that is never answered by one of the last three stays counted as open.
#[derive(Debug)]
pub struct Upstream {
    pub(crate) members: Members,
    pub(crate) rule: Rule,
    pub(crate) rng: Rng,
    /// That of the configuration: each connection has it, and clones no text.
    pub(crate) bind: Option<Arc<Bind>>,
}

/// A peer for a connection. It counts as open from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What to name it by in the calls that follow.
    pub peer: PeerKey,
    /// Where to connect to.
    pub address: PeerAddress,
    /// Its address as the file has it, without the scheme.
    pub entry: Arc<str>,
    /// How long the attempt may take.
    pub timeout: Duration,
}

/// Why a connection gets no peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPeer {
    /// No name of a peer has an address yet.
    Unresolved,
    /// All peers are down, drained or unhealthy, or were tried.
    NoneLive,
    /// All other peers have as many connections as they may.
    Full,
    /// It had as many attempts as it may.
    TriesSpent,
    /// The time for all its attempts is over.
    TimeSpent,
}

impl fmt::Display for NoPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unresolved => "no peer has an address yet",
            Self::NoneLive => "no peer is live",
            Self::Full => "all peers are full",
            Self::TriesSpent => "no attempt is left",
            Self::TimeSpent => "the time for attempts is over",
        })
    }
}

impl Upstream {
    /// Begins with the peers whose addresses are written; those of [`names`](Self::names) follow when they are resolved.
    /// `seed` decides what is random.
    pub fn new(config: moorline_config::Upstream, seed: u64, now: u64) -> Self {
        let bind = config.bind.clone().map(Arc::new);
        let members = Members::new(config, now);
        let rule = Rule::new(&members);
        Self {
            members,
            rule,
            rng: Rng::with_seed(seed),
            bind,
        }
    }

    /// The configuration that it has now.
    pub fn config(&self) -> &moorline_config::Upstream {
        &self.members.config
    }

    /// The local address of connections to its peers.
    pub fn bind(&self) -> Option<Arc<Bind>> {
        self.bind.clone()
    }

    /// Whether its rule needs [`first_byte`](Self::first_byte).
    pub fn wants_first_byte(&self) -> bool {
        self.rule.load() == Some(Load::Time(TimeOf::FirstByte))
    }

    /// A peer for a connection that has made these attempts. `key`: the filled key of hashing; other rules ignore it.
    ///
    /// If failures keep every peer out, one that was not tried yet is given all the same: it may live again.
    ///
    /// # Errors
    /// No peer can be given.
    pub fn choose(
        &mut self,
        now: u64,
        key: &[u8],
        attempts: &mut Attempts,
    ) -> Result<Choice, NoPeer> {
        let config = &self.members.config;
        let ends = attempts.began.saturating_add(millis(config.next.timeout));
        if now >= ends {
            return Err(NoPeer::TimeSpent);
        }
        let peers = &self.members.peers;
        attempts.tried.keep_up(peers.era, |place| peers.born(place));
        if config
            .next
            .tries
            .is_some_and(|tries| attempts.made >= tries)
        {
            return Err(NoPeer::TriesSpent);
        }
        if attempts.made > 0 && attempts.made >= self.members.tries() {
            return Err(why_none(&self.members.peers, attempts));
        }
        let slow_start = config.slow_start.map(millis);
        let timeout = config
            .connect_timeout
            .min(Duration::from_millis(ends - now));
        let mut sight = balance::Sight {
            peers: &mut self.members.peers,
            attempts,
            now,
            slow_start,
        };
        let chosen = self.rule.choose(&mut sight, key, &mut self.rng);
        let Some(place) = chosen.or_else(|| sight.last_resort()) else {
            return Err(why_none(&self.members.peers, attempts));
        };
        attempts.tried.insert(place);
        attempts.made += 1;
        let peers = &mut self.members.peers;
        let peer = peers.at_mut(place);
        peer.begin(now);
        Ok(Choice {
            address: peer.address.clone(),
            entry: peer.settings.entry.clone(),
            peer: peers.key(place),
            timeout,
        })
    }

    /// The connection is made, after this time. It stays open until [`closed`](Self::closed).
    pub fn connected(&mut self, peer: PeerKey, now: u64, took: Duration) -> Option<Turn> {
        let peer = self.members.peers.get_mut(peer)?;
        peer.times.connect.add(took, now);
        peer.reached(now).then_some(Turn::Back)
    }

    /// Datagrams were sent to the peer. It has not answered, and nobody has said that it cannot be reached: it may live. Before
    /// [`closed`](Self::closed).
    pub fn undisturbed(&mut self, peer: PeerKey, now: u64) -> Option<Turn> {
        let peer = self.members.peers.get_mut(peer)?;
        peer.reached(now).then_some(Turn::Back)
    }

    /// The connection's first byte from the peer has come, this time after it was made. Only needed if
    /// [`wants_first_byte`](Self::wants_first_byte).
    pub fn first_byte(&mut self, peer: PeerKey, now: u64, took: Duration) {
        if let Some(peer) = self.members.peers.get_mut(peer) {
            peer.times.first_byte.add(took, now);
        }
    }

    /// The attempt has failed after this time, or a connection that was made before anything was sent. It is no longer open.
    pub fn failed(
        &mut self,
        peer: PeerKey,
        now: u64,
        why: Failure,
        took: Duration,
    ) -> Option<Turn> {
        let peers = &mut self.members.peers;
        let place = peers.place(peer)?;
        let is_only = peers.is_only(place);
        let peer = peers.at_mut(place);
        peer.note(now, why);
        // A peer that refuses at once is not a fast one.
        if why == Failure::TimedOut {
            peer.times.connect.add(took, now);
        }
        let is_taken_out = !is_only && peer.missed(now);
        self.leave(place);
        is_taken_out.then_some(Turn::TakenOut)
    }

    /// The connection was made, and has ended, this time after that.
    pub fn closed(&mut self, peer: PeerKey, now: u64, lasted: Duration) {
        if let Some(place) = self.members.peers.place(peer) {
            let peer = self.members.peers.at_mut(place);
            peer.times.last_byte.add(lasted, now);
            self.leave(place);
        }
    }

    /// The client has gone before the connection was made, which says nothing of the peer.
    pub fn abandoned(&mut self, peer: PeerKey) {
        if let Some(place) = self.members.peers.place(peer) {
            self.leave(place);
        }
    }

    fn leave(&mut self, place: usize) {
        let peers = &mut self.members.peers;
        let open = &mut peers.at_mut(place).open;
        debug_assert!(*open > 0, "a connection was counted out twice");
        *open = open.saturating_sub(1);
        peers.forget_unused(place);
    }
}

/// Why a connection gets none of the peers that it has not tried.
fn why_none(peers: &Peers, attempts: &Attempts) -> NoPeer {
    let is_full = |at: usize| {
        let peer = peers.at(at);
        let is_live = peer.is_in_service() && !peer.active.is_unhealthy;
        is_live && !attempts.tried.has(at)
    };
    if peers.listed().next().is_none() {
        NoPeer::Unresolved
    } else if peers.listed().any(is_full) {
        NoPeer::Full
    } else {
        NoPeer::NoneLive
    }
}
