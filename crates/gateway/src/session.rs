//! One accepted connection, as the gateway keeps it.
//!
//! Small while idle: no read buffer, no queue. What an active session needs beyond this (an unfinished
//! tail, messages that wait, output the socket did not take) is allocated when needed and freed after.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use moorline_net::Decoder;
use moorline_net::tls::server::ServerRecords;

use super::memory::MEMBERSHIP_BYTES;
use super::outqueue::Outbound;
use super::trickle::Trickle;
use crate::wire::{CloseReason, Peer};

/// Messages of one session delivered and not done, at the most.
pub(super) const WINDOW_MESSAGES: u32 = 16;
/// Their bytes, at the most (one message, if larger).
pub(super) const WINDOW_BYTES: usize = 64 * 1024;

/// Where a session's life has got to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its TLS handshake runs; no process knows of it yet.
    Handshake,
    /// Messages pass both ways.
    Open,
    /// No more is read; once nothing is in hand and all output is flushed it ends, for this reason.
    Ending(CloseReason),
    /// The socket is gone; the process that has it is still to be told.
    Ended(CloseReason),
    /// The process was told; the socket is only kept until the peer has read what was sent last.
    Lingering,
}

/// One accepted connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: u64,
    pub(super) socket: Option<OwnedFd>,
    /// What encrypts it, if it is encrypted.
    pub(super) tls: Option<Box<ServerRecords>>,
    /// How fast an unfinished message comes, where that is measured.
    pub(super) trickle: Option<Box<Trickle>>,
    pub(super) listener: u16,
    pub(super) phase: Phase,
    /// The worker slot it belongs to.
    pub(super) slot: u16,
    /// The process that knows of it, by its place in the loop's list.
    pub(super) process: Option<u16>,
    /// The open hook in its process has not ended.
    pub(super) opening: bool,
    /// A process before this one knew of it: the next is told `adopted`.
    pub(super) adopted: bool,
    /// The process that has it gives it up as soon as nothing is in hand; until then it is not read.
    pub(super) moving: bool,
    /// The socket may have something to read.
    pub(super) readable: bool,
    /// The peer has hung up, so a short read does not mean that the socket is empty.
    pub(super) hangup: bool,
    /// The peer has sent its last byte.
    pub(super) ended_input: bool,
    /// Queued for service in this loop's next turn.
    pub(super) scheduled: bool,
    /// On a list of those that wait for room in a ring, or for a process.
    pub(super) parked: bool,
    /// Its process was told that it is full.
    pub(super) told_full: bool,
    /// The outbound queue is over the high watermark, and not yet under the low one since.
    pub(super) full: bool,
    /// The tail cannot be cut any further before more arrives.
    pub(super) starved: bool,
    /// The connection broke and nothing more can be sent; what the peer had sent before is still delivered.
    pub(super) deaf: bool,
    /// The app does not want it to be read.
    pub(super) paused: bool,
    /// The app does not want it to be closed for being idle.
    pub(super) kept: bool,
    /// It is not read until there is memory again.
    pub(super) held_back: bool,
    /// A timer looks whether its peer takes output.
    pub(super) watches_output: bool,
    /// Its idle timer has run out while that did not count; it is started again once it does.
    pub(super) unwatched: bool,
    /// Messages delivered, ever; the sequence of the last one.
    pub(super) sent: u32,
    /// Messages done, ever.
    pub(super) done: u32,
    /// Bytes of the messages delivered and not done.
    pub(super) window_bytes: usize,
    pub(super) decoder: Decoder,
    /// Bytes received and not yet cut.
    pub(super) tail: Vec<u8>,
    pub(super) inbound: Option<Box<Inbound>>,
    pub(super) outbound: Option<Box<Outbound>>,
    pub(super) extras: Option<Box<Extras>>,
    pub(super) peer: Peer,
    /// Milliseconds since the Unix epoch.
    pub(super) connected_at: u64,
    /// Milliseconds of the loop's clock.
    pub(super) received_at: u64,
    pub(super) sent_at: u64,
    /// When its peer half-closed it, or when a message was last done since.
    pub(super) half_closed_at: Option<u64>,
    pub(super) messages: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

impl Session {
    /// Messages delivered and not done.
    pub(super) fn in_hand(&self) -> u32 {
        self.sent.wrapping_sub(self.done)
    }

    /// Whether one more message of unknown size may be cut now.
    pub(super) fn has_window(&self) -> bool {
        self.in_hand() < WINDOW_MESSAGES && self.window_bytes < WINDOW_BYTES
    }

    /// Whether a message of this size may be delivered now.
    pub(super) fn window_takes(&self, bytes: usize) -> bool {
        let in_hand = self.in_hand();
        in_hand == 0
            || (in_hand < WINDOW_MESSAGES
                && self.window_bytes.saturating_add(bytes) <= WINDOW_BYTES)
    }

    /// Whether a message of it is in hand or waits.
    pub(super) fn is_worked_for(&self) -> bool {
        self.in_hand() > 0 || self.waits()
    }

    /// Whether messages wait here for their process.
    pub(super) fn waits(&self) -> bool {
        self.inbound
            .as_ref()
            .is_some_and(|inbound| inbound.next().is_some())
    }

    /// Whether a message has begun to travel in fragments and has not been sent whole.
    pub(super) fn is_mid_message(&self) -> bool {
        self.inbound
            .as_ref()
            .is_some_and(|inbound| inbound.offset > 0)
    }

    /// Whether a message, if there were one, would have to wait.
    pub(super) fn holds_input(&self) -> bool {
        self.moving
            || self.paused
            || self.waits()
            || !self.has_window()
            || self.phase != Phase::Open
    }

    /// Whether the engine itself does not read it.
    pub(super) fn is_held(&self) -> bool {
        self.holds_input() || self.held_back
    }

    /// Whether the peer has begun a message, or a record of TLS, and owes the rest of it.
    pub(super) fn is_owed_input(&self) -> bool {
        let is_mid_message = (self.starved && !self.tail.is_empty()) || self.decoder.buffered() > 0;
        let is_mid_record = self.tls.as_ref().is_some_and(|tls| tls.unfinished() > 0);
        (is_mid_message || is_mid_record) && self.phase == Phase::Open && !self.ended_input
    }

    /// Bytes that the gateway holds for it.
    pub(super) fn held(&self) -> u64 {
        let extras = self.extras.as_ref().map_or(0, |extras| extras.held());
        self.under_way() + extras as u64
    }

    /// Those of them that are on their way from its peer or to it.
    pub(super) fn under_way(&self) -> u64 {
        let outbound = self.outbound.as_ref().map_or(0, |outbound| outbound.held());
        self.received() as u64 + outbound
    }

    /// Bytes received from its peer and not done with.
    pub(super) fn received(&self) -> usize {
        let inbound = self.inbound.as_ref().map_or(0, |inbound| {
            inbound.queue.iter().map(|kept| kept.bytes.len()).sum()
        });
        let unfinished = self.tls.as_ref().map_or(0, |tls| tls.unfinished());
        self.tail.len() + self.decoder.buffered() + unfinished + inbound
    }

    /// Bytes of records of TLS that are not whole.
    pub(super) fn unopened(&self) -> usize {
        self.tls.as_ref().map_or(0, |tls| tls.unfinished())
    }

    /// Bytes queued for its peer.
    pub(super) fn queued(&self) -> u64 {
        self.outbound.as_ref().map_or(0, |outbound| outbound.bytes)
    }
}

/// What few sessions have.
#[derive(Debug, Default)]
pub(super) struct Extras {
    /// The locker.
    pub(super) state: Vec<u8>,
    /// The key it is bound to; empty if it is to none.
    pub(super) key: Vec<u8>,
    /// The groups it is in, by their numbers, and its place in each.
    pub(super) groups: Vec<(u64, u32)>,
}

impl Extras {
    pub(super) fn is_empty(&self) -> bool {
        self.state.is_empty() && self.key.is_empty() && self.groups.is_empty()
    }

    /// Bytes of the app's that it holds.
    pub(super) fn bytes(&self) -> usize {
        self.state.len() + self.key.len()
    }

    /// Those, and its memberships.
    pub(super) fn held(&self) -> usize {
        self.bytes() + self.groups.len() * MEMBERSHIP_BYTES
    }
}

/// Messages that were cut and are kept: those that wait for their process, and under `redeliver` (or when they
/// travel in fragments) also those that it has not done yet.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    /// First the delivered ones, oldest first, then those that wait.
    pub(super) queue: VecDeque<Kept>,
    /// How many at the front were delivered.
    pub(super) delivered: usize,
    /// How much of the first that waits has been sent in fragments.
    pub(super) offset: usize,
}

impl Inbound {
    /// The first message that waits.
    pub(super) fn next(&self) -> Option<&Kept> {
        self.queue.get(self.delivered)
    }
}

/// One message that is kept.
#[derive(Debug)]
pub(super) struct Kept {
    /// Its place among the session's messages, once delivered.
    pub(super) sequence: u32,
    /// When it was received, nanoseconds of `CLOCK_MONOTONIC`.
    pub(super) time: u64,
    pub(super) text: bool,
    /// How many processes died with it in hand.
    pub(super) deaths: u32,
    pub(super) bytes: Vec<u8>,
}
