//! One accepted connection, as the gateway keeps it.
//!
//! Small while idle: no read buffer, no queue. What an active session needs beyond this (an unfinished
//! tail, messages that wait, output the socket did not take) is allocated when needed and freed after.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use moorline_net::Decoder;
use moorline_net::tls::server::ServerRecords;

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
    pub(super) peer: Peer,
    /// Milliseconds since the Unix epoch.
    pub(super) connected_at: u64,
    /// Milliseconds of the loop's clock.
    pub(super) received_at: u64,
    pub(super) sent_at: u64,
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
        self.moving || self.waits() || !self.has_window() || self.phase != Phase::Open
    }

    /// Whether the peer has begun a message, or a record of TLS, and owes the rest of it.
    pub(super) fn is_owed_input(&self) -> bool {
        let is_mid_message = (self.starved && !self.tail.is_empty()) || self.decoder.buffered() > 0;
        let is_mid_record = self.tls.as_ref().is_some_and(|tls| tls.unfinished() > 0);
        (is_mid_message || is_mid_record) && self.phase == Phase::Open && !self.ended_input
    }

    /// Bytes of this session that the gateway holds.
    pub(super) fn queued(&self) -> u64 {
        self.outbound.as_ref().map_or(0, |outbound| outbound.bytes)
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

/// Output that the socket did not take.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    pub(super) queue: VecDeque<Vec<u8>>,
    /// How much of the first piece is sent.
    pub(super) offset: usize,
    /// What is left of all pieces and of what is encrypted.
    pub(super) bytes: u64,
    /// What goes ahead of the pieces: encrypted already, and not taken by the socket.
    sealed: Vec<u8>,
    /// How much of it is sent.
    sealed_offset: usize,
    /// Processes other than the session's own that were told it is full.
    pub(super) others_told: Vec<u16>,
}

/// Small frames are gathered in pieces of this size, so that a thousand of them are not a thousand allocations.
const PIECE: usize = 16 * 1024;

impl Outbound {
    /// Room for `bytes` more at the end of the queue.
    pub(super) fn piece(&mut self, bytes: usize) -> &mut Vec<u8> {
        let fits = self
            .queue
            .back()
            .is_some_and(|last| last.len() + bytes <= PIECE.max(last.capacity()));
        if !fits {
            self.queue
                .push_back(Vec::with_capacity(if self.queue.is_empty() {
                    bytes
                } else {
                    bytes.max(PIECE)
                }));
        }
        self.bytes += bytes as u64;
        let last = self.queue.len() - 1;
        &mut self.queue[last]
    }

    /// What is encrypted and not sent.
    pub(super) fn sealed(&self) -> &[u8] {
        &self.sealed[self.sealed_offset..]
    }

    /// Puts encrypted bytes behind those that are there.
    pub(super) fn push_sealed(&mut self, bytes: &[u8]) {
        self.sealed.extend_from_slice(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Takes away encrypted bytes that the socket took.
    pub(super) fn consume_sealed(&mut self, bytes: usize) {
        self.sealed_offset += bytes;
        self.bytes -= bytes as u64;
        if self.sealed_offset == self.sealed.len() {
            self.sealed.clear();
            self.sealed_offset = 0;
        }
    }

    /// Moves the pieces' first bytes to `out`, at most `limit`.
    pub(super) fn take(&mut self, out: &mut Vec<u8>, limit: usize) {
        let mut offset = self.offset;
        for piece in &self.queue {
            let room = limit - out.len();
            let rest = &piece[offset..];
            out.extend_from_slice(&rest[..rest.len().min(room)]);
            offset = 0;
            if out.len() == limit {
                break;
            }
        }
        self.consume(out.len());
    }

    /// Takes away what the socket took.
    pub(super) fn consume(&mut self, mut bytes: usize) {
        self.bytes -= bytes as u64;
        while let Some(first) = self.queue.front() {
            let left = first.len() - self.offset;
            if bytes < left {
                self.offset += bytes;
                return;
            }
            bytes -= left;
            self.offset = 0;
            self.queue.pop_front();
        }
    }
}
