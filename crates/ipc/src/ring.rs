//! Rings: records from one producer to one consumer through shared memory.
//!
//! A record begins at a multiple of eight bytes with four words (little-endian on all that we run on):
//! length of the payload, kind, flags and aux in the first, then session, sequence and time; the payload
//! follows. Where a record would reach over the end of the data area, a single word marks the rest as
//! padding, and the record begins at the front. A record, header included, is at most half of the ring, so
//! that with its padding it always fits into an empty one. In a large ring all records together are not much more, so that
//! room for a long message is no longer queue. A producer that finds its ring empty marks the rest as padding
//! as well, once it has used so much that the memory of both sides would leave the processor's cache.
//!
//! Each side keeps its own position in private and stores it for the other, which keeps a copy and looks
//! again only when the copy says that there is nothing to do: as long as both are busy, they seldom touch
//! each other's cache lines. A position that the other side stores must rise and must fit.
//!
//! **Wake-ups.** The producer stores its position, fences, and looks whether the consumer sleeps; the
//! consumer says that it sleeps, fences, and looks at the position again. Both fences are sequentially
//! consistent, so at least one of the two sees what the other wrote. A producer that waits for room does the
//! same with the parts exchanged. A producer may store its position more often than it looks: a consumer that is awake
//! sees the records then, and one that sleeps is woken after the next look.

mod consumer;
#[cfg(all(any(test, fuzzing), not(loom)))]
pub(crate) mod invariants;
mod kept;
#[cfg(all(test, loom))]
mod loom_tests;
mod memory;
mod producer;
mod reserved;
#[cfg(all(test, not(loom)))]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use consumer::{Consumer, Record, SleepFence};
pub use kept::{KeptConsumer, KeptProducer};
#[cfg(not(loom))]
pub(crate) use memory::Control;
pub(crate) use memory::Memory;
use memory::WORD;
pub use producer::{LastRecord, NoRoom, Producer};
pub use reserved::Reserved;

/// What stands before the payload of a record. The ring carries it and reads nothing into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Header {
    /// What the record is.
    pub kind: u8,
    /// Bits that the kind gives a meaning.
    pub flags: u8,
    /// A small number that the kind gives a meaning.
    pub aux: u16,
    /// What the record belongs to.
    pub session: u64,
    /// Its place in an order that the kind defines.
    pub sequence: u64,
    /// A time, in the unit that the kind defines.
    pub time: u64,
}

/// The four words before a payload, in bytes.
const HEADER: u64 = 4 * WORD;

/// The length that marks the rest of the data area as padding; no payload is that long.
const PADDING: u32 = u32::MAX;

/// What a record with so long a payload takes in the ring.
#[inline]
const fn record_size(length: u64) -> u64 {
    HEADER + length.next_multiple_of(WORD)
}

/// The longest record, header included.
#[inline]
fn longest(memory: &Memory) -> u64 {
    memory.capacity() / 2
}

#[inline]
fn store_header(memory: &Memory, position: u64, length: u32, header: &Header) {
    let first = u64::from(length)
        | u64::from(header.kind) << 32
        | u64::from(header.flags) << 40
        | u64::from(header.aux) << 48;
    memory.store(position, first);
    memory.store(position + WORD, header.session);
    memory.store(position + 2 * WORD, header.sequence);
    memory.store(position + 3 * WORD, header.time);
}

/// A record whose place was checked: all of it lies in the ring and before the end that was asked for.
#[derive(Debug, Clone, Copy)]
struct Found {
    header: Header,
    payload: u64,
    length: usize,
    end: u64,
}

/// The record at a position, behind the padding if there is some. `end`, which is past `position`, is how far
/// records are valid. Each word is loaded once, then checked.
#[inline]
fn find(memory: &Memory, position: u64, end: u64) -> Result<Found, Corrupt> {
    let mut at = position;
    let mut first = memory.load(at);
    if first as u32 == PADDING {
        at = after_padding(memory, position, end)?;
        first = memory.load(at);
    }
    let length = first as u32;
    let size = record_size(u64::from(length));
    if size > longest(memory) || size > end - at || size > memory.rest(at) {
        return Err(Corrupt(Fault::Length {
            position: at,
            length,
        }));
    }
    Ok(Found {
        header: Header {
            kind: (first >> 32) as u8,
            flags: (first >> 40) as u8,
            aux: (first >> 48) as u16,
            session: memory.load(at + WORD),
            sequence: memory.load(at + 2 * WORD),
            time: memory.load(at + 3 * WORD),
        },
        payload: at + HEADER,
        length: length as usize,
        end: at + size,
    })
}

/// A record was published with the padding before it.
#[cold]
#[inline(never)]
fn after_padding(memory: &Memory, position: u64, end: u64) -> Result<u64, Corrupt> {
    let rest = memory.rest(position);
    if rest >= end - position {
        return Err(Corrupt(Fault::Padding { position, rest }));
    }
    Ok(position + rest)
}

/// The other side of the ring wrote what no side of ours would: it is broken or means harm.
///
/// Nothing more can be said about what follows in the ring; end the other side, or this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corrupt(Fault);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The producer's position, which must lie between these and be aligned.
    Head {
        found: u64,
        least: u64,
        most: u64,
    },
    /// The consumer's, likewise.
    Tail {
        found: u64,
        least: u64,
        most: u64,
    },
    Length {
        position: u64,
        length: u32,
    },
    Padding {
        position: u64,
        rest: u64,
    },
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the other side of the ring is corrupt: ")?;
        match self.0 {
            Fault::Head { found, least, most } => {
                write!(
                    f,
                    "it has published up to {found}, which is not a record's end from {least} to {most}"
                )
            }
            Fault::Tail { found, least, most } => {
                write!(
                    f,
                    "it has taken up to {found}, which is not a record's end from {least} to {most}"
                )
            }
            Fault::Length { position, length } => {
                write!(
                    f,
                    "the record at {position} says it has {length} bytes, which do not fit there"
                )
            }
            Fault::Padding { position, rest } => {
                write!(
                    f,
                    "{rest} bytes of padding at {position}, where there should be none"
                )
            }
        }
    }
}

impl std::error::Error for Corrupt {}
