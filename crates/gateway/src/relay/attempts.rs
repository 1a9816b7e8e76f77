//! The attempts of one relay to connect.

use std::sync::Arc;

use crate::clock::Clock;
use crate::relay::peer_greeting::Greeting;
use crate::relay::peer_handshake::PeerHandshake;
use crate::upstreams::{Attempts, Choice, Opening, PeerAddress, PeerKey};

/// The attempts to connect of one relay.
#[derive(Debug)]
pub(crate) struct Connecting {
    pub(crate) tried: Box<Attempts>,
    pub(crate) present: Option<Attempt>,
}

/// The attempt that is under way.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) peer: PeerKey,
    pub(crate) address: PeerAddress,
    pub(crate) opening: Opening,
    /// Its address as it is written.
    pub(crate) entry: Arc<str>,
    /// What goes to the peer before the client's bytes, once it is connected.
    pub(crate) greeting: Option<Greeting>,
    /// The TLS handshake behind that, once it has begun.
    pub(crate) handshake: Option<Box<PeerHandshake>>,
    /// It has not begun, because the certificate for the peer is being read. A timer asks for it again.
    pub(crate) awaits_certificate: bool,
    /// In nanoseconds of `CLOCK_MONOTONIC`: peers of one network answer within a millisecond.
    pub(crate) begun_at: u64,
    /// In the loop's milliseconds.
    pub(crate) deadline: u64,
}

impl Connecting {
    /// No attempt so far, at this time of the clock that all loops share.
    pub(crate) fn new(now: u64) -> Self {
        Self {
            tried: Box::new(Attempts::new(now)),
            present: None,
        }
    }

    /// Attempts so far.
    pub(crate) fn made(&self) -> u32 {
        self.tried.made()
    }

    /// Begins with a peer.
    pub(crate) fn begin(&mut self, (choice, opening): (Choice, Opening), clock: &Clock) {
        self.present = Some(Attempt {
            peer: choice.peer,
            address: choice.address,
            opening,
            entry: choice.entry,
            greeting: None,
            handshake: None,
            awaits_certificate: false,
            begun_at: clock.precise_ns(),
            deadline: clock.ms + choice.timeout.as_millis() as u64,
        });
    }
}
