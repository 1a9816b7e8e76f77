//! A client of datagrams and the peer of an upstream that has its datagrams, joined both ways. No process knows of it.
//!
//! Each has a socket of its own, connected to the peer. What comes from there goes to the client from the address to which it
//! has sent. Datagrams are never split, joined, reordered or held back; what the kernel has no room for is lost, and counted.

pub(crate) mod kept;
mod row;
pub(crate) mod socket;
pub(crate) mod table;

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use moorline_config::DatagramRules;
use rustix::io::Errno;

use crate::burst::Burst;
use crate::connection_facts::{ConnectionFacts, Relayed};
use crate::cx::Cx;
use crate::ids::{ListenerId, Side, UdpRelayRef};
use crate::notes::Notes;
use crate::relay::number;
use crate::shared::admission::Counted;
use crate::udp_relay::kept::Unanswered;
use crate::upstreams::{PeerKey, SharedUpstream};
use moorline_protocol::wire::Peer;

/// One relayed client of datagrams.
#[derive(Debug)]
pub(crate) struct UdpRelay {
    pub(crate) name: UdpRelayRef,
    pub(crate) client: UdpClient,
    /// The same as texts and the log show it.
    pub(crate) shown: Peer,
    /// What its texts will need.
    pub(crate) notes: Option<Box<Notes>>,
    pub(crate) counted: Counted,
    /// The socket that the client sends to, and gets its answers from.
    pub(crate) front: Arc<OwnedFd>,
    pub(crate) upstream: Arc<SharedUpstream>,
    /// None: the names of the upstream are being looked up.
    pub(crate) peer: Option<UdpPeer>,
    /// The last one that was tried.
    pub(crate) last_peer: Option<SocketAddr>,
    /// Until the first answer another peer may take the place of this one.
    pub(crate) unanswered: Option<Box<Unanswered>>,
    pub(crate) attempts: u32,
    pub(crate) meters: UdpMeters,
    /// How many answers are taken at once.
    pub(crate) burst: Burst,
    /// Its client's datagrams come to it.
    pub(crate) is_bound: bool,
    /// It ends as soon as its client has been answered.
    pub(crate) is_leaving: bool,
}

/// A client of datagrams, as its datagrams name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct UdpClient {
    pub(crate) listener: ListenerId,
    pub(crate) address: SocketAddr,
    /// The address to which it sends, where the listener has several.
    pub(crate) local: Option<IpAddr>,
}

/// The peer that a client's datagrams go to.
#[derive(Debug)]
pub(crate) struct UdpPeer {
    pub(crate) key: PeerKey,
    pub(crate) address: SocketAddr,
    /// Connected to it.
    pub(crate) socket: OwnedFd,
    /// When it was chosen, in the loop's milliseconds.
    pub(crate) since: u64,
    /// What goes before the first datagram, in front of it.
    pub(crate) header: Option<Vec<u8>>,
}

/// The counts and times of a relay.
#[derive(Debug)]
pub(crate) struct UdpMeters {
    /// In milliseconds since the Unix epoch.
    pub(crate) begun_at: u64,
    /// When a datagram last passed, in the loop's milliseconds.
    pub(crate) active_at: u64,
    /// The side that sent last.
    pub(crate) spoke_last: Side,
    /// Datagrams of the client.
    pub(crate) requests: u64,
    /// Datagrams of the peer.
    pub(crate) responses: u64,
    /// The bytes of either side's.
    pub(crate) bytes: [u64; 2],
}

/// Why a relay of datagrams has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UdpEnd {
    /// As many datagrams have passed as `requests` and `responses` say.
    Finished,
    /// Nothing passed for `idle_timeout`.
    Idle,
    /// The same, and answers are missing.
    Unanswered,
    /// The peer cannot be reached any more.
    Upstream,
    /// No peer could be reached.
    Unreachable,
    /// The engine stops, or drains its sessions.
    Stopped,
}

impl UdpEnd {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            UdpEnd::Finished => "finished",
            UdpEnd::Idle => "idle",
            UdpEnd::Unanswered => "unanswered",
            UdpEnd::Upstream => "upstream",
            UdpEnd::Unreachable => "unreachable",
            UdpEnd::Stopped => "stopped",
        }
    }

    /// The same as nginx's status.
    fn status(self) -> u16 {
        match self {
            UdpEnd::Finished | UdpEnd::Idle | UdpEnd::Upstream | UdpEnd::Stopped => 200,
            UdpEnd::Unanswered | UdpEnd::Unreachable => 502,
        }
    }
}

impl UdpRelay {
    /// Whether it is over by the numbers of its datagrams.
    pub(crate) fn is_over(&self, rules: DatagramRules) -> bool {
        let UdpMeters {
            requests,
            responses,
            ..
        } = self.meters;
        match self.is_bound {
            true => rules.is_over(requests, responses),
            false => rules.is_answered(requests, responses),
        }
    }

    /// Whether ending it now keeps its client from nothing that may still come.
    pub(crate) fn is_quiet(&self) -> bool {
        self.meters.spoke_last == Side::Upstream
    }

    /// What it fills into texts; `end` once it has ended.
    pub(crate) fn facts<'a>(&'a self, end: Option<UdpEnd>, cx: &'a Cx) -> ConnectionFacts<'a> {
        let [ahead, back] = self.meters.bytes;
        ConnectionFacts {
            cx,
            listener: self.client.listener,
            client: &self.shown,
            notes: self.notes.as_deref(),
            socket: Some(&self.front),
            local: self.client.local,
            tls: None,
            number: number(self.name.serial, cx),
            begun_at: self.meters.begun_at,
            relayed: Some(Relayed {
                upstream: &self.upstream.name,
                ahead,
                back,
            }),
            status: end.map(UdpEnd::status),
            reason: end.map_or("", UdpEnd::as_str),
        }
    }

    /// The present attempt has failed.
    pub(crate) fn note_end(&mut self, cx: &Cx) {
        if let Some(notes) = &mut self.notes {
            notes.note_end(cx.clock.ms);
        }
    }

    /// The bytes that it holds.
    pub(crate) fn held(&self) -> usize {
        self.unanswered.as_ref().map_or(0, |it| it.held())
    }
}

/// Whether an error of a socket that is connected to a peer says that the peer cannot be reached: most are ICMP messages about an
/// earlier datagram. Others are about one datagram, or about this machine.
pub(crate) fn is_unreachable(error: Errno) -> bool {
    matches!(
        error,
        Errno::CONNREFUSED
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::CONNRESET
    )
}
