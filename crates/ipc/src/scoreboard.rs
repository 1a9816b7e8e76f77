//! Counters that one process writes and the supervisor reads.

use std::io;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::{Mapping, check_sealed, create_sealed};

/// Makes the memory of a scoreboard of `counters` counters, all zero.
///
/// # Errors
/// `InvalidInput` for no counters; else out of descriptors or memory.
pub fn create_scoreboard(counters: usize) -> io::Result<OwnedFd> {
    create_sealed("moorline-scoreboard", size(counters)?, &[])
}

/// Counters in shared memory. Each has one writer; reading and writing cost a plain load and store.
///
/// An index past the end reads as 0, and writing there does nothing. The counters outlive the process that
/// writes them, for as long as somebody holds the scoreboard.
#[derive(Debug, Clone)]
pub struct Scoreboard {
    mapping: Arc<Mapping>,
    /// The first counter of this view.
    first: usize,
    /// How many counters there are from there on.
    counters: usize,
}

impl Scoreboard {
    /// Maps a scoreboard of `counters` counters.
    ///
    /// # Errors
    /// `InvalidData` when it is smaller than that, or not sealed; `InvalidInput` for no counters; else out
    /// of memory.
    pub fn map(fd: OwnedFd, counters: usize) -> io::Result<Self> {
        let (found, wanted) = (check_sealed(&fd)?, size(counters)?);
        if found < wanted {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a scoreboard of {counters} counters has {wanted} bytes, this one {found}"),
            ));
        }
        Ok(Self {
            mapping: Arc::new(Mapping::new(fd, wanted)?),
            first: 0,
            counters,
        })
    }

    /// The counter's value.
    #[inline]
    pub fn get(&self, index: usize) -> u64 {
        self.counter(index)
            .map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Sets the counter.
    #[inline]
    pub fn set(&self, index: usize, value: u64) {
        if let Some(counter) = self.counter(index) {
            counter.store(value, Ordering::Relaxed);
        }
    }

    /// Sets the counter. A reader that [sees](Self::published) the value sees all that was set before.
    #[inline]
    pub(crate) fn publish(&self, index: usize, value: u64) {
        if let Some(counter) = self.counter(index) {
            counter.store(value, Ordering::Release);
        }
    }

    /// The value that was [published](Self::publish) last.
    #[inline]
    pub(crate) fn published(&self, index: usize) -> u64 {
        self.counter(index)
            .map_or(0, |counter| counter.load(Ordering::Acquire))
    }

    /// Adds to the counter, as its only writer.
    #[inline]
    pub fn add(&self, index: usize, amount: u64) {
        self.set(index, self.get(index).wrapping_add(amount));
    }

    /// Subtracts from the counter, as its only writer; not below 0.
    #[inline]
    pub fn sub(&self, index: usize, amount: u64) {
        self.set(index, self.get(index).saturating_sub(amount));
    }

    /// The same counters from `offset` on, as if they began there.
    pub fn row(&self, offset: usize) -> Self {
        let offset = offset.min(self.counters);
        Self {
            mapping: self.mapping.clone(),
            first: self.first + offset,
            counters: self.counters - offset,
        }
    }

    #[inline]
    fn counter(&self, index: usize) -> Option<&AtomicU64> {
        if index >= self.counters {
            return None;
        }
        let counters: NonNull<AtomicU64> = self.mapping.start().cast();
        // SAFETY: first + index is under the number of counters that `map` mapped, which begin at a page. An
        // atomic may hold any value and be changed by other processes; the mapping lives as long as self.
        Some(unsafe { counters.add(self.first + index).as_ref() })
    }
}

/// The bytes of `counters` counters.
fn size(counters: usize) -> io::Result<usize> {
    counters
        .checked_mul(size_of::<AtomicU64>())
        .filter(|size| (1..=isize::MAX as usize).contains(size))
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a scoreboard cannot have {counters} counters"),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_one_mapping_are_read_by_the_other() {
        let fd = create_scoreboard(6).unwrap();
        let reader = Scoreboard::map(fd.try_clone().unwrap(), 6).unwrap();
        let writer = Scoreboard::map(fd, 6).unwrap();
        let row = writer.row(2).row(2);
        row.set(0, 5);
        row.add(0, 2);
        row.add(1, 1);
        row.sub(1, 3);
        writer.add(0, 9);
        assert_eq!(
            (0..7).map(|index| reader.get(index)).collect::<Vec<_>>(),
            [9, 0, 0, 0, 7, 0, 0]
        );
    }

    #[test]
    fn counters_past_the_end_are_ignored() {
        let board = Scoreboard::map(create_scoreboard(3).unwrap(), 3).unwrap();
        let row = board.row(1);
        row.set(2, 1);
        row.add(usize::MAX, 1);
        board.row(9).set(0, 1);
        assert_eq!(
            [
                row.get(2),
                row.get(usize::MAX),
                board.row(9).get(0),
                board.get(0)
            ],
            [0; 4]
        );
    }

    #[test]
    fn a_scoreboard_that_is_too_small_or_not_sealed_is_refused() {
        let small = Scoreboard::map(create_scoreboard(3).unwrap(), 4).unwrap_err();
        assert_eq!(small.kind(), io::ErrorKind::InvalidData);

        assert_eq!(
            Scoreboard::map(loose(), 1).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        assert_eq!(
            create_scoreboard(0).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        assert_eq!(
            create_scoreboard(usize::MAX).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }

    /// A file in memory that can still be cut.
    fn loose() -> OwnedFd {
        let fd = rustix::fs::memfd_create("loose", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&fd, 4096).unwrap();
        fd
    }
}
