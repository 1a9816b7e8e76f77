//! What a relay notes for the texts that it fills in later. Where no text needs it, nothing is noted.

mod kept;

use std::net::SocketAddr;
use std::time::Duration;

use crate::client_hello::{ClientHello, Offer};
use crate::pace::RatePace;
use crate::shared::limits::{LimitStatus, LimitTicket};
use crate::upstreams::PeerAddress;
pub(crate) use kept::KeptNotes;
use moorline_protocol::wire::Peer;

/// The notes of one connection.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// The address that the connection itself comes from, if that is not the client's.
    pub(crate) connection: Option<Peer>,
    /// What a TLS client asks for, where TLS passes through.
    pub(crate) hello: Option<Box<ClientHello>>,
    /// What it offers to choose from, if some text has that.
    pub(crate) offer: Option<Box<Offer>>,
    /// The header of the PROXY protocol, if some text has a part of it.
    pub(crate) header: Option<Box<[u8]>>,
    /// The address that the client has connected to, as a trusted proxy says, if peers are told.
    pub(crate) server: Option<SocketAddr>,
    /// Attempts to connect to a peer, if some text has them. The last one may be the present one.
    pub(crate) attempts: Option<Vec<AttemptNote>>,
    /// What it counts for until they are dropped.
    pub(crate) tickets: Vec<LimitTicket>,
    /// What the limits of its listener say of it.
    pub(crate) limit_status: LimitStatus,
    /// How fast its bytes may pass, if that is limited.
    pub(crate) pace: Option<RatePace>,
}

/// An attempt to connect to a peer, and what came of it. Times are in the loop's milliseconds.
#[derive(Debug)]
pub(crate) struct AttemptNote {
    /// As it is written; the name of the upstream where no peer was left.
    pub(crate) peer: String,
    begun_at: u64,
    connected_at: Option<u64>,
    first_byte_at: Option<u64>,
    ended_at: Option<u64>,
}

impl Notes {
    /// A peer is asked.
    pub(crate) fn ask(&mut self, peer: &PeerAddress, now: u64) {
        let Some(attempts) = &mut self.attempts else {
            return;
        };
        let bare = peer.bare();
        let peer = match peer {
            PeerAddress::Tcp(_) | PeerAddress::Udp(_) => bare,
            PeerAddress::Unix(_) => format!("unix:{bare}"),
        };
        attempts.push(AttemptNote::new(peer, now));
    }

    /// There is no peer left to be asked.
    pub(crate) fn note_nobody(&mut self, upstream: &str, now: u64) {
        if let Some(attempts) = &mut self.attempts {
            let attempt = AttemptNote::new(upstream.to_owned(), now);
            attempts.push(AttemptNote {
                ended_at: Some(now),
                ..attempt
            });
        }
    }

    /// The peer that was asked last is connected.
    pub(crate) fn note_connected(&mut self, now: u64) {
        if let Some(last) = self.last() {
            last.connected_at = Some(now);
        }
    }

    /// Its first byte has come.
    pub(crate) fn note_first_byte(&mut self, now: u64) {
        if let Some(last) = self.last() {
            last.first_byte_at = Some(now);
        }
    }

    fn last(&mut self) -> Option<&mut AttemptNote> {
        self.attempts.as_mut()?.last_mut()
    }

    /// It has failed, or has gone.
    pub(crate) fn note_end(&mut self, now: u64) {
        if let Some(last) = self.last() {
            last.ended_at = Some(now);
        }
    }
}

impl AttemptNote {
    fn new(peer: String, now: u64) -> Self {
        Self {
            peer,
            begun_at: now,
            connected_at: None,
            first_byte_at: None,
            ended_at: None,
        }
    }

    /// How long it took to connect, if it did.
    pub(crate) fn connect_time(&self) -> Option<Duration> {
        self.connected_at.map(|at| self.until(at))
    }

    /// How long it took until the first byte, if one came.
    pub(crate) fn first_byte_time(&self) -> Option<Duration> {
        self.first_byte_at.map(|at| self.until(at))
    }

    /// How long it lasted, by now.
    pub(crate) fn lasted(&self, now: u64) -> Duration {
        self.until(self.ended_at.unwrap_or(now))
    }

    fn until(&self, at: u64) -> Duration {
        Duration::from_millis(at.saturating_sub(self.begun_at))
    }
}
