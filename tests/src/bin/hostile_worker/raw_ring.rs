//! A region as bytes: its first page, its rings, and records that are written past every rule.

use std::io;
use std::os::fd::OwnedFd;

use moorline_ipc::Header;
use rustix::fs::fstat;
use rustix::io::{pread, pwrite};

/// Where things lie in a region: `ipc::region` and `ipc::ring` say the same of their types.
const PAGE: u64 = 4096;
const TO_PROCESS: u64 = 256;
const TO_GATEWAY: u64 = 256 + 5 * 128;
const HEAD: u64 = 0;
const TAIL: u64 = 256;
const SLEEPING: u64 = 384;
const WAITING: u64 = 512;
const RECORD_HEADER: u64 = 32;
const PADDING: u64 = u32::MAX as u64;

/// A descriptor of a region. It is written, not mapped: a process that has it mapped sees no difference.
pub(crate) struct RawRegion<'a> {
    region: &'a OwnedFd,
    /// The size of one ring.
    pub(crate) ring: u64,
}

impl<'a> RawRegion<'a> {
    pub(crate) fn new(region: &'a OwnedFd) -> io::Result<Self> {
        let size = fstat(region)?.st_size as u64;
        Ok(Self {
            region,
            ring: (size - PAGE) / 2,
        })
    }

    /// The size of all of it.
    pub(crate) fn size(&self) -> u64 {
        PAGE + 2 * self.ring
    }

    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        let _ = pwrite(self.region, bytes, at);
    }

    pub(crate) fn put(&self, at: u64, word: u64) {
        self.write(at, &word.to_ne_bytes());
    }

    fn look(&self, at: u64) -> u64 {
        let mut word = [0; 8];
        let _ = pread(self.region, &mut word, at);
        u64::from_ne_bytes(word)
    }

    /// Up to where this process says that it has taken.
    pub(crate) fn set_taken(&self, position: u64) {
        self.put(TO_PROCESS + TAIL, position);
    }

    pub(crate) fn taken(&self) -> u64 {
        self.look(TO_PROCESS + TAIL)
    }

    /// Up to where this process says that it has written.
    pub(crate) fn set_written(&self, position: u64) {
        self.put(TO_GATEWAY + HEAD, position);
    }

    pub(crate) fn written(&self) -> u64 {
        self.look(TO_GATEWAY + HEAD)
    }

    /// Whether the loop sleeps, and whether it waits for room, as this process says it.
    pub(crate) fn set_flags(&self, sleeping: u64, waiting: u64) {
        self.put(TO_GATEWAY + SLEEPING, sleeping);
        self.put(TO_PROCESS + WAITING, waiting);
    }

    /// This process says that it sleeps: the next record rings its doorbell.
    pub(crate) fn say_asleep(&self) {
        self.put(TO_PROCESS + SLEEPING, 1);
    }

    /// Where the records from the gateway lie.
    pub(crate) fn incoming(&self) -> (u64, u64) {
        (PAGE, self.ring)
    }

    /// Up to where the gateway says that it has written.
    pub(crate) fn published(&self) -> u64 {
        self.look(TO_PROCESS + HEAD)
    }

    /// Shows a record whose header says that it has `size` bytes, whatever there is room for.
    pub(crate) fn push_lie(&self, header: &Header, size: u64) {
        let at = self.written();
        let first = size | u64::from(header.kind) << 32 | u64::from(header.flags) << 40;
        let data = PAGE + self.ring + at % self.ring;
        self.put(data, first);
        self.put(data + 8, header.session);
        self.set_written(at + RECORD_HEADER + 64);
    }

    /// Writes a record behind what is written, if the gateway has left room for it, and shows it.
    pub(crate) fn push(&self, header: &Header, payload: &[u8]) -> bool {
        let size = RECORD_HEADER + (payload.len() as u64).next_multiple_of(8);
        let (mut at, tail) = (self.written(), self.look(TO_GATEWAY + TAIL));
        let rest = self.ring - at % self.ring;
        let end = at + size + if size > rest { rest } else { 0 };
        if end.saturating_sub(tail) > self.ring {
            return false;
        }
        let data = |position: u64| PAGE + self.ring + position % self.ring;
        if size > rest {
            self.put(data(at), PADDING);
            at += rest;
        }
        let first = payload.len() as u64
            | u64::from(header.kind) << 32
            | u64::from(header.flags) << 40
            | u64::from(header.aux) << 48;
        let words = [first, header.session, header.sequence, header.time];
        let mut record: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        record.extend_from_slice(payload);
        self.write(data(at), &record);
        self.set_written(end);
        true
    }
}
