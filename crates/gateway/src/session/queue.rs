//! Output that a session's socket did not take.

use serde::{Deserialize, Serialize};
pub(crate) mod kept;

use std::collections::VecDeque;
use std::rc::Rc;

use crate::file::FilePiece;
use crate::ids::ProcessKey;
use crate::session::frame::Frame;
use crate::transfer::Asker;

/// Output that the socket did not take, in pieces. Where there is TLS they are plaintext.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outbound {
    #[serde(with = "kept")]
    pub(crate) queue: VecDeque<Piece>,
    /// How much of the first piece is sent, if it consists of bytes.
    pub(crate) offset: usize,
    /// The remaining bytes. Only a little of a file is ever in memory, and that does not count: an app cannot avoid it.
    pub(crate) bytes: u64,
    /// Bytes in memory for this session alone.
    pub(crate) own: u64,
    /// Bytes that go before the pieces: encrypted already, and not taken by the socket.
    sealed: Vec<u8>,
    /// How much of it is sent.
    sealed_offset: usize,
    /// How much of the rest belongs to a file; it comes first.
    sealed_of_file: usize,
    /// The socket may take more: the turn's share was used up.
    pub(crate) again: bool,
    /// Other processes than the session's that were told it is full.
    pub(crate) others_told: Vec<ProcessKey>,
}

/// One part of the queue.
#[derive(Debug)]
pub(crate) enum Piece {
    Bytes(Vec<u8>),
    /// Of a broadcast: all members' queues share it.
    Shared(Rc<Frame>),
    File(Box<FilePiece>),
}

impl Piece {
    /// Its bytes, unless it is a file.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Piece::Bytes(bytes) => Some(bytes),
            Piece::Shared(frame) => Some(frame),
            Piece::File(_) => None,
        }
    }
}

/// Small frames are gathered in pieces of this size, so that a thousand frames are not a thousand allocations.
const PIECE: usize = 16 * 1024;

impl Outbound {
    /// Nothing is left to be sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.sealed().is_empty()
    }

    /// Bytes in memory, this session's alone or shared.
    pub(crate) fn held(&self) -> u64 {
        self.bytes + self.sealed_of_file as u64
    }

    /// Bytes that are encrypted and not sent.
    pub(crate) fn sealed(&self) -> &[u8] {
        &self.sealed[self.sealed_offset..]
    }

    /// Puts encrypted bytes behind those that are there.
    pub(crate) fn push_sealed(&mut self, bytes: &[u8]) {
        self.sealed.drain(..self.sealed_offset);
        self.sealed_offset = 0;
        self.sealed.extend_from_slice(bytes);
        self.bytes += bytes.len() as u64;
        self.own += bytes.len() as u64;
    }

    /// The same with those of a file, where none are there.
    pub(crate) fn push_sealed_file(&mut self, bytes: &[u8]) {
        self.push_sealed(bytes);
        self.bytes -= bytes.len() as u64;
        self.sealed_of_file += bytes.len();
    }

    /// Takes away encrypted bytes that the socket took.
    pub(crate) fn consume_sealed(&mut self, bytes: usize) {
        let of_file = bytes.min(self.sealed_of_file);
        self.sealed_of_file -= of_file;
        self.bytes -= (bytes - of_file) as u64;
        self.own -= bytes as u64;
        self.sealed_offset += bytes;
        if self.sealed_offset == self.sealed.len() {
            self.sealed.clear();
            self.sealed_offset = 0;
        }
    }

    /// Moves the bytes at the front to `out`, at most `limit` and not beyond a file.
    pub(crate) fn take(&mut self, out: &mut Vec<u8>, limit: usize) {
        let before = out.len();
        let mut offset = self.offset;
        for piece in &self.queue {
            let Some(bytes) = piece.bytes() else { break };
            let (rest, room) = (&bytes[offset..], limit - (out.len() - before));
            out.extend_from_slice(&rest[..rest.len().min(room)]);
            offset = 0;
            if rest.len() >= room {
                break;
            }
        }
        self.consume(out.len() - before);
    }

    /// Room for `bytes` more at the end of the queue.
    pub(crate) fn piece(&mut self, bytes: usize) -> &mut Vec<u8> {
        let is_first = self.queue.is_empty();
        let fits = |last: &Vec<u8>| last.len() + bytes <= PIECE.max(last.capacity());
        if !matches!(self.queue.back(), Some(Piece::Bytes(last)) if fits(last)) {
            let room = if is_first { bytes } else { bytes.max(PIECE) };
            self.queue.push_back(Piece::Bytes(Vec::with_capacity(room)));
        }
        self.bytes += bytes as u64;
        self.own += bytes as u64;
        match self.queue.back_mut() {
            Some(Piece::Bytes(last)) => last,
            _ => unreachable!("the last piece is of bytes: seen or made above"),
        }
    }

    /// Puts the rest of a shared frame, of which the socket took the beginning, at the end of the queue.
    pub(crate) fn share(&mut self, frame: Rc<Frame>, sent: usize) {
        if self.queue.is_empty() {
            self.offset = sent;
        }
        self.bytes += (frame.len() - sent) as u64;
        self.queue.push_back(Piece::Shared(frame));
    }

    /// Takes away the bytes at the front that the socket took. Returns how many of them were this session's alone.
    pub(crate) fn consume(&mut self, mut bytes: usize) -> usize {
        self.bytes -= bytes as u64;
        let before = self.own;
        while let Some(first) = self.queue.front() {
            let (Some(slice), is_own) = (first.bytes(), matches!(first, Piece::Bytes(_))) else {
                break;
            };
            let left = slice.len() - self.offset;
            let taken = bytes.min(left);
            self.own -= if is_own { taken as u64 } else { 0 };
            if bytes < left {
                self.offset += bytes;
                break;
            }
            bytes -= left;
            self.offset = 0;
            self.queue.pop_front();
        }
        (before - self.own) as usize
    }

    /// The sender of each queued file.
    pub(crate) fn file_owners(&self) -> impl Iterator<Item = Asker> {
        self.queue.iter().filter_map(|piece| match piece {
            Piece::File(file) => Some(file.from),
            Piece::Bytes(_) | Piece::Shared(_) => None,
        })
    }
}
