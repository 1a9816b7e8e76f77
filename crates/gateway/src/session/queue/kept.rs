//! A queue on its way to another process: bytes, which no other session shares there.

use std::collections::VecDeque;
use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Outbound, Piece};

pub(super) fn serialize<S: Serializer>(queue: &VecDeque<Piece>, to: S) -> Result<S::Ok, S::Error> {
    let pieces: Vec<_> = queue.iter().filter_map(Piece::bytes).map(Bytes).collect();
    pieces.serialize(to)
}

pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<VecDeque<Piece>, D::Error> {
    from.deserialize_seq(Pieces)
}

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(self.0)
    }
}

#[derive(Deserialize)]
struct OwnBytes(#[serde(with = "crate::kept::bytes")] Vec<u8>);

struct Pieces;

impl<'a> Visitor<'a> for Pieces {
    type Value = VecDeque<Piece>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pieces of output")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut pieces = VecDeque::new();
        while let Some(OwnBytes(bytes)) = from.next_element()? {
            pieces.push_back(Piece::Bytes(bytes));
        }
        Ok(pieces)
    }
}

impl Outbound {
    /// Whether all of it can go to another process: it has no files, and nothing is encrypted.
    pub(crate) fn is_plain(&self) -> bool {
        self.sealed().is_empty() && self.queue.iter().all(|piece| piece.bytes().is_some())
    }

    /// It has come from another process. False: its counts are wrong.
    pub(crate) fn take_up(&mut self) -> bool {
        // What was shared there is this session's own now.
        self.own = self.bytes;
        let first = self.queue.front().and_then(Piece::bytes);
        let length = |piece: &Piece| piece.bytes().map_or(0, <[u8]>::len) as u64;
        let all: u64 = self.queue.iter().map(length).sum();
        first.is_some_and(|first| self.offset < first.len())
            && all.checked_sub(self.offset as u64) == Some(self.bytes)
            && self.sealed.is_empty()
            && self.sealed_offset == 0
            && self.sealed_of_file == 0
    }
}
