//! The memory of one ring: all the pointer arithmetic there is, on plain memory.
//!
//! A ring is a [`Control`] block and a data area of a power of two bytes. Positions count bytes since the
//! ring began and never wrap (64 bits at 10 GB/s last 58 years); the place of a position is
//! `position & (capacity - 1)`.
//!
//! The other process may write to all of it at any time. So headers are read and written as whole words
//! through relaxed atomics, payloads are copied by address, and no reference to data is ever made. Every
//! access here checks its own bounds: a mistake in the ring above is a panic, never a stray write.

use std::any::Any;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64 as Word, Ordering};

use crate::sync::{AtomicU32, AtomicU64};
use crate::sys::{Piece, receive_around};

/// The unit of records, headers and positions in bytes.
pub(super) const WORD: u64 = 8;

/// A value that has its cache line to itself. 128 bytes, because processors fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(crate) struct Line<T>(pub(crate) T);

/// What the two sides of a ring tell each other beside the records, each on its own cache line since each is
/// written at another pace.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Control {
    /// The position up to which records are published; the producer writes it.
    pub(super) head: Line<AtomicU64>,
    /// The position up to which records count if the producer dies, if that is more; the producer writes it.
    pub(super) settled: Line<AtomicU64>,
    /// The position up to which records are taken; the consumer writes it.
    pub(crate) tail: Line<AtomicU64>,
    /// Not zero: the consumer sleeps, ring its doorbell.
    pub(super) sleeping: Line<AtomicU32>,
    /// Not zero: the producer waits for room, ring its doorbell.
    pub(super) waiting: Line<AtomicU32>,
}

/// The memory of one ring, kept alive by what it holds.
#[derive(Clone)]
pub(crate) struct Memory {
    control: NonNull<Control>,
    data: NonNull<u8>,
    mask: u64,
    /// Loom checks through these that no word is read while it may be written; real memory cannot tell.
    #[cfg(loom)]
    words: Arc<Words>,
    /// What the pointers point into.
    _owner: Arc<dyn Any + Send + Sync>,
}

impl Memory {
    /// The smallest data area in bytes: half of it still holds a header and 96 bytes.
    pub(crate) const MIN_CAPACITY: usize = 256;

    /// The largest in bytes: far beyond what is of use, and the length of any record fits into 32 bits.
    pub(crate) const MAX_CAPACITY: usize = 1 << 30;

    /// The memory at these two addresses.
    ///
    /// # Panics
    /// If the capacity is not a power of two from [`Memory::MIN_CAPACITY`] to [`Memory::MAX_CAPACITY`] bytes,
    /// or an address is not aligned.
    ///
    /// # Safety
    /// A `Control` lies at `control` and `capacity` bytes of writable, initialised memory at `data`, both
    /// valid for as long as `owner` lives. All other code of this process uses the data through a
    /// `Memory`, too.
    pub(crate) unsafe fn new(
        control: NonNull<Control>,
        data: NonNull<u8>,
        capacity: usize,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        assert!(
            capacity.is_power_of_two()
                && (Self::MIN_CAPACITY..=Self::MAX_CAPACITY).contains(&capacity)
        );
        assert!(control.is_aligned() && data.cast::<u64>().is_aligned());
        Self {
            control,
            data,
            mask: capacity as u64 - 1,
            #[cfg(loom)]
            words: Arc::new(Words::new(capacity)),
            _owner: owner,
        }
    }

    /// The size of the data area in bytes.
    #[inline]
    pub(super) fn capacity(&self) -> u64 {
        self.mask + 1
    }

    /// How many bytes there are from a position to the end of the data area.
    #[inline]
    pub(super) fn rest(&self, position: u64) -> u64 {
        self.capacity() - (position & self.mask)
    }

    #[inline]
    pub(super) fn control(&self) -> &Control {
        // SAFETY: `new` was promised a Control that lives as long as the owner, which lives as long as
        // self. It consists of atomics, so the other process may change it under the reference.
        unsafe { self.control.as_ref() }
    }

    #[inline]
    pub(super) fn load(&self, position: u64) -> u64 {
        self.word(position, Access::Read).load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn store(&self, position: u64, value: u64) {
        self.word(position, Access::Write)
            .store(value, Ordering::Relaxed);
    }

    /// Copies bytes into the ring.
    #[inline]
    pub(super) fn write(&self, position: u64, bytes: &[u8]) {
        let to = self.address(position, bytes.len(), Access::Write);
        // SAFETY: `address` checked that all of the destination lies in the data area. The bytes cannot
        // overlap it, since no slice of it exists.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }

    /// Copies bytes out of the ring, to fill `out`.
    #[inline]
    pub(super) fn read(&self, position: u64, out: &mut [u8]) {
        let from = self.address(position, out.len(), Access::Read);
        // SAFETY: `address` checked that all of the source lies in the data area, and `out` is not part
        // of it, since no slice of it exists.
        unsafe { from.copy_to_nonoverlapping(out.as_mut_ptr(), out.len()) }
    }

    /// Copies `length` bytes out of the ring, behind what `out` holds.
    #[inline]
    pub(super) fn append(&self, position: u64, length: usize, out: &mut Vec<u8>) {
        let from = self.address(position, length, Access::Read);
        out.reserve(length);
        // SAFETY: `address` checked the source; `reserve` made `length` bytes of room behind the vector's
        // end, which lie in the vector's own allocation and count as initialised once they are written.
        unsafe {
            from.copy_to_nonoverlapping(out.as_mut_ptr().add(out.len()), length);
            out.set_len(out.len() + length);
        }
    }

    /// `length` bytes in the form that the kernel takes.
    #[inline]
    pub(super) fn piece(&self, position: u64, length: usize) -> Piece<'_> {
        let start = self.address(position, length, Access::Read);
        // SAFETY: `address` checked that the bytes lie in the data area, which lives as long as self.
        unsafe { Piece::shared(start, length) }
    }

    /// Receives from a socket into `before`, then into the ring, then into `after`.
    #[inline]
    pub(super) fn receive(
        &self,
        socket: BorrowedFd<'_>,
        before: &mut [u8],
        (position, length): (u64, usize),
        after: &mut [u8],
    ) -> io::Result<usize> {
        let start = self.address(position, length, Access::Write);
        // SAFETY: `address` checked that the bytes lie in the data area, which lives as long as self and is never used but by
        // copies.
        unsafe { receive_around(socket, before, (start, length), after) }
    }

    #[inline]
    fn word(&self, position: u64, access: Access) -> &Word {
        debug_assert!(position.is_multiple_of(WORD));
        // Rounding down keeps the word aligned, and then it lies in the data area whatever the position.
        let word = self.address(position & !(WORD - 1), WORD as usize, access);
        // SAFETY: `address` checked the bounds. The data area begins aligned (`new`) and the offset is a
        // multiple of eight. Headers are read and written as such words only.
        unsafe { Word::from_ptr(word.cast()) }
    }

    /// The address of `length` bytes that do not wrap.
    #[inline]
    fn address(&self, position: u64, length: usize, access: Access) -> *mut u8 {
        assert!(
            length as u64 <= self.rest(position),
            "a record would leave its ring"
        );
        let offset = (position & self.mask) as usize;
        self.trace(offset, length, access);
        // SAFETY: offset ≤ mask < capacity, and `capacity` bytes lie at `data`.
        unsafe { self.data.as_ptr().add(offset) }
    }

    #[cfg(not(loom))]
    #[inline]
    fn trace(&self, _offset: usize, _length: usize, _access: Access) {}

    #[cfg(loom)]
    fn trace(&self, offset: usize, length: usize, access: Access) {
        let word = WORD as usize;
        for cell in &self.words.0[offset / word..(offset + length).div_ceil(word)] {
            match access {
                Access::Read => cell.with(|_| ()),
                Access::Write => cell.with_mut(|_| ()),
            }
        }
    }
}

/// What an access does, for loom's sake.
#[derive(Clone, Copy)]
enum Access {
    Read,
    Write,
}

/// A cell for each word of the data, by which loom sees who uses it.
#[cfg(loom)]
struct Words(Vec<loom::cell::UnsafeCell<()>>);

#[cfg(loom)]
impl Words {
    fn new(capacity: usize) -> Self {
        Self(
            (0..capacity / WORD as usize)
                .map(|_| loom::cell::UnsafeCell::new(()))
                .collect(),
        )
    }
}

// SAFETY: the cells hold nothing, and loom itself fails a run in which two threads use one at a time.
#[cfg(loom)]
unsafe impl Send for Words {}
// SAFETY: as above.
#[cfg(loom)]
unsafe impl Sync for Words {}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

// SAFETY: the pointers lead to memory that any process may use at any time: all access is by atomics or by
// copies, and the owner they depend on is Send and Sync. The code that makes a producer and a
// consumer promises that a ring has one of each; breaking that garbles records, which is checked for, not memory.
unsafe impl Send for Memory {}

#[cfg(any(test, fuzzing))]
mod plain {
    use super::*;

    /// A ring's memory on the heap.
    struct Plain {
        control: Control,
        data: std::cell::UnsafeCell<Vec<u64>>,
    }

    // SAFETY: the control block is made of atomics; the data is only used through a Memory (see there).
    unsafe impl Send for Plain {}
    // SAFETY: as above.
    unsafe impl Sync for Plain {}

    impl Memory {
        /// The memory of a ring in this process alone, for tests.
        pub(crate) fn plain(capacity: usize) -> Self {
            let owner = Arc::new(Plain {
                control: Control::default(),
                data: std::cell::UnsafeCell::new(vec![0; capacity / WORD as usize]),
            });
            let control = NonNull::from(&owner.control);
            // SAFETY: nobody else has the owner yet.
            let data = NonNull::from(unsafe { &mut *owner.data.get() }.as_mut_slice()).cast();
            // SAFETY: both lie in the owner, which keeps them in place: an Arc, and a vector that nobody grows.
            unsafe { Self::new(control, data, capacity, owner) }
        }

        /// Writes like the other side, which may write anything anywhere.
        #[cfg(not(loom))]
        pub(crate) fn scribble(&self, offset: usize, bytes: &[u8]) {
            let offset = offset as u64 & self.mask;
            let length = bytes.len().min(self.rest(offset) as usize);
            self.write(offset, &bytes[..length]);
        }
    }
}
