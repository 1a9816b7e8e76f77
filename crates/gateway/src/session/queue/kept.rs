//! A queue on its way to another process. What it shares with others is not in it: it travels once for all of them.

use std::collections::VecDeque;
use std::rc::Rc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Outbound, Piece};
use crate::session::frame::Frame;

#[derive(Serialize)]
enum KeptPiece<'a> {
    Own(#[serde(with = "crate::kept::bytes")] &'a [u8]),
    Shared,
}

#[derive(Deserialize)]
pub(crate) enum TakenPiece {
    Own(#[serde(with = "crate::kept::bytes")] Vec<u8>),
    Shared,
}

pub(super) fn serialize<S: Serializer>(queue: &VecDeque<Piece>, to: S) -> Result<S::Ok, S::Error> {
    let pieces: Vec<_> = queue.iter().filter_map(keep).collect();
    pieces.serialize(to)
}

fn keep(piece: &Piece) -> Option<KeptPiece<'_>> {
    match piece {
        Piece::Bytes(bytes) => Some(KeptPiece::Own(bytes)),
        Piece::Shared(_) => Some(KeptPiece::Shared),
        Piece::File(_) => None,
    }
}

pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<VecDeque<Piece>, D::Error> {
    let pieces = Vec::<TakenPiece>::deserialize(from)?;
    // One for all that are filled in later.
    let nothing = Frame::new(Vec::new(), &Rc::default());
    let pieces = pieces.into_iter().map(|piece| match piece {
        TakenPiece::Own(bytes) => Piece::Bytes(bytes),
        TakenPiece::Shared => Piece::Shared(nothing.clone()),
    });
    Ok(pieces.collect())
}

impl Outbound {
    /// Whether all of it can go to another process: it has no files, and nothing is encrypted.
    pub(crate) fn is_plain(&self) -> bool {
        self.sealed().is_empty() && self.queue.iter().all(|piece| piece.bytes().is_some())
    }

    /// What it shares with other queues.
    pub(crate) fn frames(&self) -> impl Iterator<Item = &Rc<Frame>> {
        self.queue.iter().filter_map(|piece| match piece {
            Piece::Shared(frame) => Some(frame),
            Piece::Bytes(_) | Piece::File(_) => None,
        })
    }

    /// It has come from another process, and shares these. False: it shares others, or its counts are wrong.
    pub(crate) fn take_up(&mut self, frames: impl IntoIterator<Item = Option<Rc<Frame>>>) -> bool {
        let mut frames = frames.into_iter();
        for piece in &mut self.queue {
            if let Piece::Shared(place) = piece {
                match frames.next().flatten() {
                    Some(frame) => *place = frame,
                    None => return false,
                }
            }
        }
        let length = |piece: &Piece| piece.bytes().map_or(0, <[u8]>::len) as u64;
        let own = |piece: &&Piece| matches!(piece, Piece::Bytes(_));
        let all: u64 = self.queue.iter().map(length).sum();
        let alone: u64 = self.queue.iter().filter(own).map(length).sum();
        let Some(first) = self.queue.front() else {
            return false;
        };
        let offset = self.offset as u64;
        let sent_alone = if own(&first) { offset } else { 0 };
        frames.next().is_none()
            && offset < length(first)
            && all.checked_sub(offset) == Some(self.bytes)
            && alone.checked_sub(sent_alone) == Some(self.own)
            && self.sealed.is_empty()
            && self.sealed_offset == 0
            && self.sealed_of_file == 0
    }
}
