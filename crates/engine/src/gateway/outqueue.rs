//! Output that a session's socket did not take.

use std::collections::VecDeque;
use std::rc::Rc;

use super::files::PassedFile;
use super::groups::Frame;
use crate::control::ProcessId;

/// Output that the socket did not take, in pieces.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    pub(super) queue: VecDeque<Piece>,
    /// How much of the first piece is sent, if it is of bytes.
    pub(super) offset: usize,
    /// What is left of all bytes. Files are not in memory.
    pub(super) bytes: u64,
    /// Those of them that are this session's alone.
    pub(super) own: u64,
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
    /// None yet: its descriptor goes another way than its record.
    pub(super) file: Option<PassedFile>,
    pub(super) offset: u64,
    pub(super) left: u64,
}

/// Small frames are gathered in pieces of this size, so that a thousand of them are not a thousand allocations.
const PIECE: usize = 16 * 1024;

impl Outbound {
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

    /// The file of this number, if it is queued.
    pub(super) fn file(&mut self, process: ProcessId, number: u64) -> Option<&mut FilePiece> {
        self.queue.iter_mut().find_map(|piece| match piece {
            Piece::File(file) if (file.from.1, file.from.2) == (process, number) => {
                Some(&mut **file)
            }
            _ => None,
        })
    }
}
