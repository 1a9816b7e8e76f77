//! Output that a session's socket did not take.

use std::collections::VecDeque;
use std::rc::Rc;

use super::files::PassedFile;
use super::groups::Frame;
use crate::control::ProcessId;

/// Output that the socket did not take, in pieces. Where there is TLS they are plaintext.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    pub(super) queue: VecDeque<Piece>,
    /// How much of the first piece is sent, if it is of bytes.
    pub(super) offset: usize,
    /// What is left of all bytes. Of files only little is ever in memory, and that does not count: an app cannot help it.
    pub(super) bytes: u64,
    /// What is in memory for this session alone.
    pub(super) own: u64,
    /// What goes ahead of the pieces: encrypted already, and not taken by the socket.
    sealed: Vec<u8>,
    /// How much of it is sent.
    sealed_offset: usize,
    /// How much of what is left of it is a file's; it comes first.
    sealed_of_file: usize,
    /// The socket may take more: the turn's share was used up.
    pub(super) again: bool,
    /// Processes other than the session's own that were told it is full.
    pub(super) others_told: Vec<u16>,
}

/// One part of what is queued.
#[derive(Debug)]
pub(super) enum Piece {
    Bytes(Vec<u8>),
    /// Of a broadcast: all members' queues share it.
    Shared(Rc<Frame>),
    File(Box<FilePiece>),
}

impl Piece {
    /// Its bytes, unless it is a file.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Piece::Bytes(bytes) => Some(bytes),
            Piece::Shared(frame) => Some(frame),
            Piece::File(_) => None,
        }
    }
}

/// A file on its way.
#[derive(Debug)]
pub(super) struct FilePiece {
    /// Who sends it: its place, its name, and its number for the file.
    pub(super) from: (u16, ProcessId, u64),
    pub(super) file: PassedFile,
    pub(super) offset: u64,
    pub(super) left: u64,
}

/// Small frames are gathered in pieces of this size, so that a thousand of them are not a thousand allocations.
const PIECE: usize = 16 * 1024;

impl Outbound {
    /// Nothing is left to be sent.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.sealed().is_empty()
    }

    /// What is in memory, this session's alone or shared.
    pub(super) fn held(&self) -> u64 {
        self.bytes + self.sealed_of_file as u64
    }

    /// What is encrypted and not sent.
    pub(super) fn sealed(&self) -> &[u8] {
        &self.sealed[self.sealed_offset..]
    }

    /// Puts encrypted bytes behind those that are there.
    pub(super) fn push_sealed(&mut self, bytes: &[u8]) {
        self.sealed.drain(..self.sealed_offset);
        self.sealed_offset = 0;
        self.sealed.extend_from_slice(bytes);
        self.bytes += bytes.len() as u64;
        self.own += bytes.len() as u64;
    }

    /// The same with those of a file, where none are there.
    pub(super) fn push_sealed_file(&mut self, bytes: &[u8]) {
        self.push_sealed(bytes);
        self.bytes -= bytes.len() as u64;
        self.sealed_of_file += bytes.len();
    }

    /// Takes away encrypted bytes that the socket took.
    pub(super) fn consume_sealed(&mut self, bytes: usize) {
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
    pub(super) fn take(&mut self, out: &mut Vec<u8>, limit: usize) {
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
    pub(super) fn piece(&mut self, bytes: usize) -> &mut Vec<u8> {
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

    /// Puts what is left of a shared frame, of which the socket took the beginning, at the end of the queue.
    pub(super) fn share(&mut self, frame: Rc<Frame>, sent: usize) {
        if self.queue.is_empty() {
            self.offset = sent;
        }
        self.bytes += (frame.len() - sent) as u64;
        self.queue.push_back(Piece::Shared(frame));
    }

    /// Takes away the bytes at the front that the socket took. Returns how many of them were this session's alone.
    pub(super) fn consume(&mut self, mut bytes: usize) -> usize {
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

    /// Who sends each of the files that are queued.
    pub(super) fn file_owners(&self) -> impl Iterator<Item = (u16, ProcessId, u64)> {
        self.queue.iter().filter_map(|piece| match piece {
            Piece::File(file) => Some(file.from),
            Piece::Bytes(_) | Piece::Shared(_) => None,
        })
    }
}
