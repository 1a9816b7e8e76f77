//! What is queued for sockets: sent when they take it, weighed against the watermarks.

use std::io::IoSlice;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use moorline_ipc::Header;
use rustix::io::Errno;
use rustix::net::SendFlags;

use super::event_loop::Loop;
use super::files::Copied;
use super::memory::Class;
use super::outqueue::{Outbound, Piece};
use super::table::Key;
use crate::session_id::SessionId;
use crate::wire::{CloseReason, ToProcess};

/// Pieces handed to the kernel in one call.
const PIECES: usize = 16;
/// Calls that copy from a file, for one session in one turn: with what each copies at the most, a millisecond or so.
const FILE_CALLS_PER_TURN: usize = 4;

impl Loop {
    /// Compares the queue with its marks, after it has grown.
    pub(super) fn weigh(&mut self, key: Key) {
        if self.is_over_limit() {
            self.relieve();
        }
        let (tight, share) = (self.is_tight(), self.budget.share());
        let session = &mut self.table[key];
        let listener = &self.config.listeners[usize::from(session.listener)];
        let queued = session.queued();
        if queued > listener.hard_limit {
            tracing::warn!(
                session = %SessionId::from(session.id), listener = %listener.name, peer = %session.peer, queued,
                reason = %CloseReason::Slow, "session closed: it reads too slowly, hard_limit is passed"
            );
            self.finish(key, CloseReason::Slow);
            return;
        }
        if !session.full && (queued > listener.high_watermark || (tight && queued > share)) {
            session.full = true;
            if session.process.is_some() {
                self.tell_watermark(key);
            }
        }
        self.watch_output(key);
    }

    /// Compares the queue with marks that have changed. A queue over the new hard limit is left alone until it grows: a
    /// reload closes no session.
    pub(super) fn weigh_anew(&mut self, key: Key) {
        let session = &mut self.table[key];
        let listener = &self.config.listeners[usize::from(session.listener)];
        let queued = session.queued();
        if !session.full && queued > listener.high_watermark {
            session.full = true;
            self.tell_watermark(key);
        } else if session.full && queued <= listener.low_watermark {
            session.full = false;
            self.tell_watermark(key);
            self.tell_strangers(key, ToProcess::Drained);
        }
    }

    /// Tells the session's process when the queue has passed a watermark. False: there is no room for it.
    pub(super) fn tell_watermark(&mut self, key: Key) -> bool {
        let session = &mut self.table[key];
        let Some(at) = session
            .process
            .filter(|_| session.full != session.told_full)
        else {
            return true;
        };
        let kind = if session.full {
            ToProcess::Full
        } else {
            ToProcess::Drained
        };
        let header = Header {
            kind: kind as u8,
            session: session.id,
            ..Header::default()
        };
        if self.processes[usize::from(at)]
            .producer
            .push(&header, &[])
            .is_err()
        {
            self.park(key, at);
            return false;
        }
        session.told_full = session.full;
        // At once: while the turn goes on, the sender does, too.
        self.processes[usize::from(at)].publish();
        true
    }

    /// A process that does not have the session sent to it while it is full: it is told once, and when it has drained.
    pub(super) fn warn_stranger(&mut self, key: Key, at: u16) {
        let session = &mut self.table[key];
        let Some(outbound) = session
            .outbound
            .as_mut()
            .filter(|outbound| session.full && !outbound.others_told.contains(&at))
        else {
            return;
        };
        let header = Header {
            kind: ToProcess::Full as u8,
            session: session.id,
            ..Header::default()
        };
        if self.processes[usize::from(at)]
            .producer
            .push(&header, &[])
            .is_ok()
        {
            outbound.others_told.push(at);
            self.processes[usize::from(at)].publish();
        }
    }

    /// Sends what is queued, as far as the socket takes it and the turn's share of files goes.
    pub(super) fn flush(&mut self, key: Key) {
        let mut file_calls = FILE_CALLS_PER_TURN;
        loop {
            let session = &mut self.table[key];
            let (Some(outbound), Some(socket)) = (&mut session.outbound, &session.socket) else {
                return;
            };
            outbound.again = false;
            let flushed = if outbound.sealed().is_empty() {
                if let Some(Piece::File(piece)) = outbound.queue.front() {
                    if piece.left == 0 {
                        let from = piece.from;
                        outbound.queue.pop_front();
                        self.file_done(from, 0);
                        continue;
                    }
                    if file_calls == 0 {
                        outbound.again = true;
                        self.schedule(key);
                        break;
                    }
                    file_calls -= 1;
                }
                match outbound.queue.front_mut() {
                    None => break,
                    Some(_) if session.tls.is_some() => {
                        if !self.seal_queued(key) {
                            return;
                        }
                        continue;
                    }
                    Some(Piece::Bytes(_) | Piece::Shared(_)) => write_pieces(socket, outbound),
                    Some(Piece::File(piece)) => match piece.copy_to(socket) {
                        Ok(sent) => Ok((sent, 0)),
                        Err(Copied::Socket(error)) => Err(error),
                        Err(Copied::File(problem)) => {
                            self.give_up_file(key, &problem);
                            return;
                        }
                    },
                }
            } else {
                write_sealed(socket, outbound)
            };
            let (sent, freed) = match flushed {
                Ok(flushed) => flushed,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => break,
                Err(error) => {
                    self.break_off(key, error);
                    return;
                }
            };
            session.bytes_out += sent as u64;
            session.sent_at = self.clock.ms;
            self.memory.change(Class::Queued, freed, 0);
        }
        // Else those over their share would hear that they may go on whenever a little has gone.
        let most = if self.is_tight() {
            self.budget.share()
        } else {
            u64::MAX
        };
        let session = &mut self.table[key];
        let listener = &self.config.listeners[usize::from(session.listener)];
        let low = listener.low_watermark.min(most);
        let queued = session.queued();
        let is_empty = session
            .outbound
            .as_ref()
            .is_none_or(|outbound| outbound.is_empty());
        if is_empty || (session.full && queued <= low) {
            session.full = session.full && queued > low;
            self.schedule(key);
            self.tell_strangers(key, ToProcess::Drained);
        }
        if is_empty {
            self.table[key].outbound = None;
        }
    }

    /// Throws away what is queued. Who sent files is told.
    pub(super) fn drop_outbound(&mut self, key: Key) {
        let Some(outbound) = self.table[key].outbound.take() else {
            return;
        };
        self.memory.change(Class::Queued, outbound.own as usize, 0);
        for piece in outbound.queue {
            if let Piece::File(piece) = piece {
                self.file_done(piece.from, 0);
            }
        }
    }

    /// Tells the processes that wait to send to a session that is not theirs: it has drained, or is no more.
    pub(super) fn tell_strangers(&mut self, key: Key, kind: ToProcess) {
        let session = &mut self.table[key];
        let header = Header {
            kind: kind as u8,
            session: session.id,
            ..Header::default()
        };
        let told = session
            .outbound
            .as_mut()
            .map(|outbound| std::mem::take(&mut outbound.others_told));
        for at in told.into_iter().flatten() {
            // They wait for this and nothing else would wake them, so it waits for room like a post.
            if self.processes.contains(usize::from(at)) {
                self.parcel_to(at, header, Bytes::new());
            }
        }
    }
}

/// Hands the bytes at the front to the socket in one call. Returns how many it took, and how many of those were the
/// session's alone.
fn write_pieces(socket: &OwnedFd, outbound: &mut Outbound) -> Result<(usize, usize), Errno> {
    let mut pieces = [IoSlice::new(&[]); PIECES];
    let mut count = 0;
    let mut offset = outbound.offset;
    for (slice, piece) in pieces.iter_mut().zip(&outbound.queue) {
        let Some(bytes) = piece.bytes() else { break };
        *slice = IoSlice::new(&bytes[offset..]);
        offset = 0;
        count += 1;
    }
    let sent = rustix::io::writev(socket, &pieces[..count])?;
    Ok((sent, outbound.consume(sent)))
}

/// Hands what is encrypted to the socket. It was counted as sent when it was encrypted.
fn write_sealed(socket: &OwnedFd, outbound: &mut Outbound) -> Result<(usize, usize), Errno> {
    let sent = rustix::net::send(socket, outbound.sealed(), SendFlags::NOSIGNAL)?;
    outbound.consume_sealed(sent);
    Ok((0, sent))
}
