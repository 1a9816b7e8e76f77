//! The shared memory between one gateway loop and one process.
//!
//! ```text
//! 0      magic, version, ring size          checked by the process that maps it
//! 128    marks
//! 256    control blocks of the two rings    five cache lines each
//! 4096   data of the ring gateway → process
//!        data of the ring process → gateway
//! ```
//!
//! A region serves one incarnation of either side and is never used again; so both begin at position zero,
//! and what the dead one left is read through the mapping that the living one has.

use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::hello::RING_VERSION;
use crate::ring::{Consumer, Control, KeptConsumer, KeptProducer, Memory, Producer};
use crate::sys::{Mapping, check_sealed, create_sealed};

/// The smallest data area of one ring in bytes; a smaller one would cut common messages into fragments.
pub const MIN_RING: usize = 64 * 1024;

/// The largest data area of one ring in bytes.
pub const MAX_RING: usize = Memory::MAX_CAPACITY;

/// One page.
const HEADER_SIZE: usize = 4096;

/// "mooring" and a version of the layout of this page alone.
const MAGIC: u64 = u64::from_le_bytes(*b"mooring1");

/// The first page.
#[repr(C, align(128))]
struct Page {
    magic: AtomicU64,
    version: AtomicU64,
    ring: AtomicU64,
    marks: MarksLine,
    to_process: Control,
    to_gateway: Control,
}

#[repr(C, align(128))]
struct MarksLine {
    polling: AtomicU64,
    /// Seldom written, so the two share a line.
    held_until: AtomicU64,
}

const _: () = assert!(size_of::<Page>() <= HEADER_SIZE && offset_of!(Page, magic) == 0);

/// Makes a region whose rings have `ring_bytes` of data each, rounded up to a power of two from
/// [`MIN_RING`] to [`MAX_RING`]. Pass the descriptor to both sides. Memory is only used as the rings fill.
///
/// # Errors
/// `InvalidInput` for more than [`MAX_RING`]; else out of descriptors or memory.
pub fn create_region(ring_bytes: usize) -> io::Result<OwnedFd> {
    if ring_bytes > MAX_RING {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a ring has at most {MAX_RING} bytes, not {ring_bytes}"),
        ));
    }
    let ring = ring_bytes.max(MIN_RING).next_power_of_two();
    create_sealed("moorline-region", HEADER_SIZE + 2 * ring, &head(ring))
}

/// Which end of a region a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The gateway loop.
    Gateway,
    /// The worker or task worker.
    Process,
}

/// One side's hold on a region. The parts share the mapping, which ends with the last of them.
#[derive(Debug)]
pub struct Region {
    /// Writes to the other side.
    pub producer: Producer,
    /// Reads what the other side wrote.
    pub consumer: Consumer,
    /// What the two tell each other beside the records.
    pub marks: Marks,
    /// The region itself, for a process that goes on in the place of this one.
    pub descriptor: OwnedFd,
}

impl Region {
    /// Maps a region for one side. Each side maps it once.
    ///
    /// # Errors
    /// `InvalidData` when it is not a region of this version, whole and sealed; else out of memory.
    pub fn map(fd: OwnedFd, side: Side) -> io::Result<Self> {
        let (outgoing, incoming, marks) = memories(&fd, side)?;
        let producer = match side {
            Side::Gateway => Producer::new(outgoing).remembering(),
            Side::Process => Producer::new(outgoing),
        };
        Ok(Self {
            producer,
            consumer: Consumer::new(incoming),
            marks,
            descriptor: fd,
        })
    }

    /// Maps a region for the gateway's side in the place of a gateway that has written and taken this much. That one does
    /// neither any more.
    ///
    /// # Errors
    /// As for [`map`](Self::map); `InvalidData` also when that cannot be.
    pub fn resume(fd: OwnedFd, producer: KeptProducer, consumer: KeptConsumer) -> io::Result<Self> {
        let (outgoing, incoming, marks) = memories(&fd, Side::Gateway)?;
        let producer = Producer::resume(outgoing, producer);
        let consumer = Consumer::resume(incoming, consumer);
        let (Some(producer), Some(consumer)) = (producer, consumer) else {
            return Err(refuse("no ring has such positions".to_owned()));
        };
        Ok(Self {
            producer,
            consumer,
            marks,
            descriptor: fd,
        })
    }
}

/// The rings from this side and to it, and the marks.
fn memories(fd: &OwnedFd, side: Side) -> io::Result<(Memory, Memory, Marks)> {
    let ring = check(fd)?;
    let mapping = Arc::new(Mapping::new(fd, HEADER_SIZE + 2 * ring)?);
    let start = mapping.start();
    let memory = |control: usize, data: usize| {
        // SAFETY: all of the control block and of the data lies in the mapping, which is as long as it was
        // asked for and kept by the Arc. It begins at a page and both offsets keep the alignment
        // (`Memory::new` checks). All-zero, as a new region is, is a valid control block, and so is anything
        // else. The two rings are apart, and only their Memory reaches them.
        unsafe {
            Memory::new(
                start.add(control).cast(),
                start.add(data),
                ring,
                mapping.clone(),
            )
        }
    };
    let to_process = memory(offset_of!(Page, to_process), HEADER_SIZE);
    let to_gateway = memory(offset_of!(Page, to_gateway), HEADER_SIZE + ring);
    let (outgoing, incoming) = match side {
        Side::Gateway => (to_process, to_gateway),
        Side::Process => (to_gateway, to_process),
    };
    Ok((outgoing, incoming, Marks(mapping)))
}

fn refuse(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// What the page of a region begins with.
fn head(ring: usize) -> [u8; 24] {
    let mut head = [0; 24];
    head[..8].copy_from_slice(&MAGIC.to_ne_bytes());
    head[8..16].copy_from_slice(&u64::from(RING_VERSION).to_ne_bytes());
    head[16..].copy_from_slice(&(ring as u64).to_ne_bytes());
    head
}

/// The size of each ring of what must be a region.
fn check(fd: &OwnedFd) -> io::Result<usize> {
    let size = check_sealed(fd)?;
    // The size is sealed and the page is not, so it is the size that counts.
    let ring = size.saturating_sub(HEADER_SIZE) / 2;
    if size != HEADER_SIZE + 2 * ring
        || !ring.is_power_of_two()
        || !(MIN_RING..=MAX_RING).contains(&ring)
    {
        return Err(refuse(format!("a region cannot have {size} bytes")));
    }
    let mut found = [0; 24];
    let length = rustix::io::pread(fd, &mut found, 0)?;
    if length < found.len() || found != head(ring) {
        return Err(refuse(
            "this is not a region, or one of another version of Moorline".to_owned(),
        ));
    }
    Ok(ring)
}

/// A few words in a region: what the process notes for the case of its death, and what it should know before it takes the record
/// that says it.
#[derive(Debug, Clone)]
pub struct Marks(Arc<Mapping>);

impl Marks {
    /// Notes the session whose handler is being polled; 0 for none.
    #[inline]
    pub fn set_polling(&self, session: u64) {
        self.polling_word().store(session, Ordering::Relaxed);
    }

    /// The session whose handler was being polled; 0 for none. A claim of the process, like all it writes.
    #[inline]
    pub fn polling(&self) -> u64 {
        self.polling_word().load(Ordering::Relaxed)
    }

    /// The gateway: senders that can wait should do so until the process has taken all records up to this position in its
    /// ring. `u64::MAX`: until further notice.
    pub fn hold_senders(&self, until: u64) {
        self.page().marks.held_until.store(until, Ordering::Relaxed);
    }

    /// The process: whether its senders should wait.
    #[inline]
    pub fn holds_senders(&self) -> bool {
        let page = self.page();
        let until = page.marks.held_until.load(Ordering::Relaxed);
        until != 0 && until > page.to_process.tail.0.load(Ordering::Relaxed)
    }

    #[inline]
    fn polling_word(&self) -> &AtomicU64 {
        &self.page().marks.polling
    }

    #[inline]
    fn page(&self) -> &Page {
        let page: NonNull<Page> = self.0.start().cast();
        // SAFETY: the mapping begins with the page, at a page's alignment, and lives as long as self. A
        // page consists of atomics, so any content is valid and others may change it.
        unsafe { page.as_ref() }
    }
}

#[cfg(test)]
mod tests;
