//! A relayed connection: a client and a peer of an upstream, joined both ways. No process knows of it.
//!
//! Small while idle: it owns no buffer. What one side does not take of the other's bytes is kept, and nothing more is read
//! for that side until it has taken them, so that a slow reader slows its sender and nobody else.

pub(crate) mod attempts;
mod bulk;
pub(crate) mod connecting;
pub(crate) mod destination;
pub(crate) mod flow;
pub(crate) mod greeting;
pub(crate) mod handshake;
pub(crate) mod inflow;
pub(crate) mod pace;
pub(crate) mod peer_greeting;
pub(crate) mod peer_handshake;
mod row;
pub(crate) mod sealed;
pub(crate) mod table;
pub(crate) mod way;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use moorline_net::tls::TlsRecords;
use rustix::io::Errno;

use crate::connection_facts::{ConnectionFacts, Relayed};
use crate::cx::Cx;
use crate::ids::{ListenerId, RelayRef, RelayTag, Side};
use crate::notes::Notes;
use crate::pace::RatePace;
use crate::poller::Readiness;
use crate::relay::attempts::Connecting;
use crate::relay::way::{Way, WayPhase};
use crate::shared::admission::Counted;
use crate::upstreams::{Attempts, PeerAddress, PeerKey, SharedUpstream};
use moorline_protocol::session_id::SessionId;
use moorline_protocol::wire::Peer;

/// A peer that goes within this time, in nanoseconds, has not waited for the client: its process was killed, or it takes no
/// connections.
const AT_ONCE_NS: u64 = 1_000_000_000;

/// The most loops: serials count within one.
const LOOPS: u64 = 64;

/// One relayed connection.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) name: RelayRef,
    pub(crate) listener: ListenerId,
    /// The client's address.
    pub(crate) client: Peer,
    pub(crate) counted: Counted,
    pub(crate) upstream: Arc<SharedUpstream>,
    pub(crate) stage: RelayStage,
    /// The client's, and the upstream's.
    pub(crate) sides: [RelaySide; 2],
    /// What each of them sends.
    pub(crate) ways: [Way; 2],
    pub(crate) meters: RelayMeters,
    /// What its texts will need.
    pub(crate) notes: Option<Box<Notes>>,
    /// It is on the list of those that go on in the next turn.
    pub(crate) is_scheduled: bool,
    pub(crate) phase: RelayPhase,
}

/// Whether a relay goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RelayPhase {
    Open,
    /// It ends as soon as nothing is cut off by that.
    Leaving,
    /// A side was reset: what it has sent is not known to be complete, so nobody is told that it is.
    CutOff,
}

/// How far a relay has got.
#[derive(Debug)]
pub(crate) enum RelayStage {
    /// A peer is being connected to.
    Connecting(Box<Connecting>),
    Joined(JoinedPeer),
    /// There is no peer: the client gets a text, and then the end.
    Answered,
}

/// A relay whose peer is connected.
#[derive(Debug)]
pub(crate) struct JoinedPeer {
    pub(crate) peer: PeerKey,
    pub(crate) address: PeerAddress,
    /// Since when, in nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) since: u64,
    /// Attempts to connect that it took.
    pub(crate) attempts: u32,
    /// This side is gone. What it has sent is still delivered to the other one.
    pub(crate) broken: Option<Side>,
    /// Its socket has the options of keep-alive, if it is to have some.
    pub(crate) is_kept_alive: bool,
    /// The upstream wants to know when its first byte comes, and none has.
    pub(crate) awaits_first_byte: bool,
    /// Until something has passed, another peer may take the place of this one.
    pub(crate) retry: Option<Box<Attempts>>,
}

/// One of the two connections.
#[derive(Debug, Default)]
pub(crate) struct RelaySide {
    pub(crate) socket: Option<OwnedFd>,
    /// Its TLS state, if it is encrypted.
    pub(crate) tls: Option<Box<TlsRecords>>,
    /// The socket may have something to read.
    pub(crate) is_readable: bool,
    /// It has hung up, so a short read does not mean that the socket is empty.
    pub(crate) is_hung_up: bool,
    /// It has had urgent data, at which a read stops, and which a pipe does not pass.
    pub(crate) is_urgent: bool,
}

/// The times of a relay.
#[derive(Debug)]
pub(crate) struct RelayMeters {
    /// In milliseconds since the Unix epoch.
    pub(crate) begun_at: u64,
    /// When bytes last passed, in the loop's milliseconds.
    pub(crate) active_at: u64,
    /// The side that sent last. None: nothing was sent.
    pub(crate) spoke_last: Option<Side>,
}

/// This side is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) side: Side,
    pub(crate) cause: Cause,
}

/// Why a side is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The connection broke.
    Error(Errno),
    /// The peer has ended before anything has passed. Perhaps it only receives.
    EndedAtOnce,
    /// The peer's checks have failed.
    TakenOut,
}

impl Fault {
    pub(crate) fn broken(side: Side, error: Errno) -> Self {
        let cause = Cause::Error(error);
        Self { side, cause }
    }
}

/// Why a relay has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RelayEnd {
    /// Both sides have ended, and everything was delivered.
    Finished,
    /// The client broke the connection.
    Client,
    /// The peer broke the connection.
    Upstream,
    /// Nothing passed for `idle_timeout`.
    Idle,
    /// No peer could be connected to.
    Unreachable,
    /// The engine stops, or drains its connections.
    Stopped,
    /// Its destination is neither an upstream nor an address.
    Misdirected,
    /// `memory_limit` is reached.
    Memory,
    /// The certificate that its peer must be shown cannot be used.
    Unready,
}

impl RelayEnd {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            RelayEnd::Finished => "finished",
            RelayEnd::Client => "client",
            RelayEnd::Upstream => "upstream",
            RelayEnd::Idle => "idle",
            RelayEnd::Unreachable => "unreachable",
            RelayEnd::Stopped => "stopped",
            RelayEnd::Misdirected => "misdirected",
            RelayEnd::Memory => "memory",
            RelayEnd::Unready => "unready",
        }
    }

    /// The same as nginx's status.
    pub(crate) fn status(self) -> u16 {
        match self {
            RelayEnd::Finished
            | RelayEnd::Client
            | RelayEnd::Upstream
            | RelayEnd::Idle
            | RelayEnd::Stopped => 200,
            RelayEnd::Misdirected | RelayEnd::Memory | RelayEnd::Unready => 500,
            RelayEnd::Unreachable => 502,
        }
    }
}

impl Relay {
    /// What the events of a side carry.
    pub(crate) fn tag(&self, side: Side) -> RelayTag {
        RelayTag::new(self.name, side, self.attempts())
    }

    pub(crate) fn side(&self, side: Side) -> &RelaySide {
        &self.sides[side as usize]
    }

    pub(crate) fn side_mut(&mut self, side: Side) -> &mut RelaySide {
        &mut self.sides[side as usize]
    }

    /// The way of what this side sends.
    pub(crate) fn way(&self, from: Side) -> &Way {
        &self.ways[from as usize]
    }

    pub(crate) fn way_mut(&mut self, from: Side) -> &mut Way {
        &mut self.ways[from as usize]
    }

    /// What it fills into texts; `end` once it has ended.
    pub(crate) fn facts<'a>(&'a self, end: Option<RelayEnd>, cx: &'a Cx) -> ConnectionFacts<'a> {
        ConnectionFacts {
            cx,
            listener: self.listener,
            client: &self.client,
            notes: self.notes.as_deref(),
            socket: self.side(Side::Client).socket.as_ref(),
            local: None,
            tls: self.side(Side::Client).tls.as_deref(),
            number: number(self.name.serial, cx),
            begun_at: self.meters.begun_at,
            relayed: Some(Relayed {
                upstream: &self.upstream.name,
                ahead: self.way(Side::Client).bytes,
                back: self.way(Side::Upstream).bytes,
            }),
            status: end.map(RelayEnd::status),
            reason: end.map_or("", RelayEnd::as_str),
        }
    }

    /// What this side sends: where it comes from, its way, and where it goes.
    pub(crate) fn parts(&mut self, from: Side) -> (&mut RelaySide, &mut Way, &mut RelaySide) {
        let [client, upstream] = &mut self.sides;
        let way = &mut self.ways[from as usize];
        match from {
            Side::Client => (client, way, upstream),
            Side::Upstream => (upstream, way, client),
        }
    }

    /// Whether nothing is left to be done.
    pub(crate) fn is_over(&self) -> bool {
        self.ways.iter().all(Way::is_over)
    }

    /// Whether closing it now cuts nothing off, as far as bytes tell: everything was delivered, and the client waits for no
    /// answer.
    pub(crate) fn is_quiet(&self) -> bool {
        if let RelayStage::Connecting(_) = self.stage {
            return false;
        }
        let is_answered = self.meters.spoke_last != Some(Side::Client);
        let waits = [Side::Client, Side::Upstream].map(|side| self.paced_until(side).is_some());
        is_answered && self.ways.iter().all(|way| !way.has_kept()) && waits == [false; 2]
    }

    /// Until when what this side has sent waits for its rate.
    pub(crate) fn paced_until(&self, from: Side) -> Option<u64> {
        let pace = self.notes.as_ref()?.pace.as_ref()?;
        pace.waits_until(from)
    }

    /// Its rates, if it has some.
    pub(crate) fn pace_mut(&mut self) -> Option<&mut RatePace> {
        self.notes.as_mut()?.pace.as_mut()
    }

    /// The side that is gone.
    pub(crate) fn broken(&self) -> Option<Side> {
        match &self.stage {
            RelayStage::Joined(joined) => joined.broken,
            RelayStage::Connecting(_) => None,
            RelayStage::Answered => Some(Side::Upstream),
        }
    }

    /// Whether one side is gone.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken().is_some()
    }

    /// A side that is gone is let go of, once all that it had sent was read.
    pub(crate) fn let_go_of_broken(&mut self) {
        if let Some(gone) = self.broken()
            && self.way(gone).phase != WayPhase::Open
        {
            self.side_mut(gone).socket = None;
        }
    }

    /// Why it has ended, if nothing is left to be done.
    pub(crate) fn reason(&self) -> RelayEnd {
        let broken = match &self.stage {
            RelayStage::Connecting(_) => return RelayEnd::Unreachable,
            RelayStage::Joined(joined) => joined.broken,
            RelayStage::Answered if !self.way(Side::Upstream).is_over() => Some(Side::Client),
            RelayStage::Answered => None,
        };
        match broken {
            None => RelayEnd::Finished,
            Some(Side::Client) => RelayEnd::Client,
            Some(Side::Upstream) => RelayEnd::Upstream,
        }
    }

    /// Bytes that it holds.
    pub(crate) fn held(&self) -> usize {
        let unfinished = |side: &RelaySide| side.tls.as_ref().map_or(0, |tls| tls.unfinished());
        let kept: usize = self.ways.iter().map(Way::held).sum();
        kept + self.sides.iter().map(unfinished).sum::<usize>()
    }

    /// Whether another peer may take the place of its present one, which has gone at once. One that goes later has seen a
    /// silent client for long enough.
    pub(crate) fn may_retry(&self, now: u64) -> bool {
        let RelayStage::Joined(joined) = &self.stage else {
            return false;
        };
        now < joined.since + AT_ONCE_NS && self.is_untouched()
    }

    /// Whether another peer may take the place of its present one: nothing has passed, and the client is still there.
    pub(crate) fn is_untouched(&self) -> bool {
        let RelayStage::Joined(joined) = &self.stage else {
            return false;
        };
        joined.retry.is_some()
            && self.ways.iter().all(|way| way.bytes == 0)
            && self.ways[Side::Client as usize].phase == WayPhase::Open
            && self.phase != RelayPhase::Leaving
    }

    /// Once something has passed, the peer stays, and the time until its first byte is noted.
    pub(crate) fn note_first_bytes(&mut self, cx: &Cx) {
        let RelayStage::Joined(joined) = &mut self.stage else {
            return;
        };
        if joined.retry.is_some() && self.ways.iter().any(|way| way.bytes > 0) {
            joined.retry = None;
        }
        if joined.awaits_first_byte && self.ways[Side::Upstream as usize].bytes > 0 {
            joined.awaits_first_byte = false;
            let took = cx.clock.since(joined.since);
            let shared = cx.clock.shared_ms();
            if let Some(notes) = &mut self.notes {
                notes.note_first_byte(cx.clock.ms);
            }
            self.upstream.first_byte(joined.peer, shared, took);
        }
    }

    /// The number of attempts to connect so far.
    pub(crate) fn attempts(&self) -> u32 {
        match &self.stage {
            RelayStage::Connecting(connecting) => connecting.made(),
            RelayStage::Joined(joined) => joined.attempts,
            RelayStage::Answered => 0,
        }
    }
}

/// Serials of sessions begin with the time and are above this; those of relays begin at 1.
pub(crate) const HIGHEST_NUMBER: u64 = 1 << 44;

/// The loop that has the session with this id, or the relay with this number.
pub(crate) fn loop_of(id: u64) -> usize {
    match id < HIGHEST_NUMBER {
        true => (id % LOOPS) as usize,
        false => SessionId::from(id).event_loop(),
    }
}

/// A number that no relay of another loop has.
pub(crate) fn number(serial: u64, cx: &Cx) -> u64 {
    serial * LOOPS + u64::from(cx.index)
}

impl RelaySide {
    /// A side with this socket, which may have something to read.
    pub(crate) fn new(socket: OwnedFd, tls: Option<Box<TlsRecords>>) -> Self {
        Self {
            socket: Some(socket),
            tls,
            is_readable: true,
            is_hung_up: false,
            is_urgent: false,
        }
    }

    /// Whether there may be more to read, when a read has returned less than it could.
    pub(crate) fn may_have_more(&self) -> bool {
        self.is_hung_up || self.is_urgent
    }

    /// Something has happened to its socket.
    pub(crate) fn note(&mut self, readiness: Readiness) {
        self.is_hung_up |= readiness.is_hung_up();
        self.is_readable |= readiness.is_readable();
        self.is_urgent |= readiness.is_urgent();
    }
}
