//! The last records of one thread, in shared memory that outlives its process.

use crate::scoreboard::Scoreboard;
use crate::sync::{Ordering, fence};

#[cfg(all(test, loom))]
mod loom_tests;

/// Records that a ring has room for. The oldest one may be half overwritten, so one less is read.
pub const FLIGHT_RECORDS: usize = 4096;

/// Words of a record: a check and what the record is, and three words of the writer's own.
const WORDS: usize = 4;

/// The place of the first record: a cache line behind the position.
const FIRST: usize = 8;

/// The counters of a scoreboard that a ring takes. Pages without a record take no memory.
pub const FLIGHT_COUNTERS: usize = FIRST + FLIGHT_RECORDS * WORDS;

/// A ring of the last records of one thread, on a scoreboard.
///
/// A record costs plain stores and one release store. Nobody waits for a reader: the oldest record is overwritten. Where the
/// scoreboard is too short, nothing is kept.
#[derive(Debug, Clone)]
pub struct FlightRing(Scoreboard);

/// A record as it lies in a ring: a claim of the process that wrote it.
pub type RawRecord = [u64; WORDS];

/// What a ring held when it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlightTail {
    /// The number of the first record.
    pub first: u64,
    /// The records, the oldest first. See [`is_whole`].
    pub records: Vec<RawRecord>,
}

impl FlightRing {
    /// The ring at the beginning of a scoreboard. It has one writer.
    pub fn new(board: Scoreboard) -> Self {
        Self(board)
    }

    /// Writes a record.
    #[inline]
    pub fn write(&self, what: u32, words: [u64; 3]) {
        write::<FLIGHT_RECORDS>(&self.0, what, words);
    }

    /// The last records, at most this many, also while they are written.
    pub fn last(&self, most: usize) -> FlightTail {
        last::<FLIGHT_RECORDS>(&self.0, most)
    }
}

/// The words of a ring: those of a scoreboard, or those that loom explores.
trait FlightWords {
    fn get(&self, index: usize) -> u64;
    fn set(&self, index: usize, word: u64);
    /// What was set before is seen by who sees this.
    fn publish(&self, index: usize, word: u64);
    fn published(&self, index: usize) -> u64;
}

impl FlightWords for Scoreboard {
    #[inline]
    fn get(&self, index: usize) -> u64 {
        Scoreboard::get(self, index)
    }

    #[inline]
    fn set(&self, index: usize, word: u64) {
        Scoreboard::set(self, index, word);
    }

    #[inline]
    fn publish(&self, index: usize, word: u64) {
        Scoreboard::publish(self, index, word);
    }

    #[inline]
    fn published(&self, index: usize) -> u64 {
        Scoreboard::published(self, index)
    }
}

#[inline]
fn write<const RECORDS: usize>(ring: &impl FlightWords, what: u32, words: [u64; 3]) {
    let number = ring.get(0);
    let at = place::<RECORDS>(number);
    // A reader that sees a word of this record sees that the one in its place is gone.
    fence(Ordering::Release);
    ring.set(at, check(number) | u64::from(what));
    for (offset, word) in words.into_iter().enumerate() {
        ring.set(at + 1 + offset, word);
    }
    ring.publish(0, number.wrapping_add(1));
}

fn last<const RECORDS: usize>(ring: &impl FlightWords, most: usize) -> FlightTail {
    let end = ring.published(0);
    let most = most.min(RECORDS - 1) as u64;
    let mut first = end.saturating_sub(most);
    let mut records: Vec<RawRecord> = (first..end)
        .map(|number| {
            let at = place::<RECORDS>(number);
            std::array::from_fn(|offset| ring.get(at + offset))
        })
        .collect();
    fence(Ordering::Acquire);
    // Those whose places were written meanwhile, and the one that may be written now.
    let written = ring.get(0).saturating_sub(RECORDS as u64 - 1);
    let lost = written.saturating_sub(first).min(records.len() as u64);
    records.drain(..lost as usize);
    first += lost;
    FlightTail { first, records }
}

/// Whether a record is the one of this number, and so all of its words are.
///
/// A writer that follows no rule can still write anything.
pub fn is_whole(record: &RawRecord, number: u64) -> bool {
    record[0] & !u64::from(u32::MAX) == check(number)
}

#[inline]
fn place<const RECORDS: usize>(number: u64) -> usize {
    FIRST + (number % RECORDS as u64) as usize * WORDS
}

/// The upper half of a record's first word.
fn check(number: u64) -> u64 {
    // The words of a place that was never written are no record.
    number.wrapping_add(1) << u32::BITS
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::scoreboard::create_scoreboard;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    fn board() -> Scoreboard {
        let fd = create_scoreboard(FLIGHT_COUNTERS).unwrap();
        Scoreboard::map(fd, FLIGHT_COUNTERS).unwrap()
    }

    fn write(ring: &FlightRing, number: u64) {
        ring.write(number as u32, [number, number * 3, !number]);
    }

    fn record(number: u64) -> RawRecord {
        let what = u64::from(number as u32);
        [check(number) | what, number, number * 3, !number]
    }

    #[test]
    fn the_last_records_come_back_in_order() {
        let ring = FlightRing::new(board());
        assert_eq!(ring.last(9), FlightTail::default());
        for number in 0..5 {
            write(&ring, number);
        }
        let records: Vec<_> = (2..5).map(record).collect();
        assert_eq!(ring.last(3), FlightTail { first: 2, records });
        let records: Vec<_> = (0..5).map(record).collect();
        assert_eq!(ring.last(usize::MAX), FlightTail { first: 0, records });
    }

    #[test]
    fn a_full_ring_forgets_the_oldest() {
        let ring = FlightRing::new(board());
        let count = 3 * FLIGHT_RECORDS as u64 + 7;
        (0..count).for_each(|number| write(&ring, number));
        let first = count - (FLIGHT_RECORDS as u64 - 1);
        let records: Vec<_> = (first..count).map(record).collect();
        assert_eq!(ring.last(usize::MAX), FlightTail { first, records });
    }

    #[test]
    fn a_ring_on_a_short_scoreboard_keeps_nothing() {
        let fd = create_scoreboard(1).unwrap();
        let ring = FlightRing::new(Scoreboard::map(fd, 1).unwrap().row(1));
        write(&ring, 0);
        assert_eq!(ring.last(9), FlightTail::default());
    }

    #[test]
    fn garbage_is_read_without_harm_and_is_not_whole() {
        for seed in 0..64 {
            let mut random = fastrand::Rng::with_seed(seed);
            let board = board();
            for index in 0..FLIGHT_COUNTERS {
                board.set(index, random.u64(..));
            }
            let end = match seed % 4 {
                0 => u64::MAX,
                1 => random.u64(..FLIGHT_RECORDS as u64),
                _ => random.u64(..),
            };
            board.set(0, end);
            let most = random.usize(..2 * FLIGHT_RECORDS);
            let tail = FlightRing::new(board).last(most);
            assert!(tail.records.len() <= most.min(FLIGHT_RECORDS - 1), "{seed}");
            let whole = tail.records.iter().zip(tail.first..);
            // One of four billion is by chance.
            assert_eq!(whole.filter(|(it, at)| is_whole(it, *at)).count(), 0);
        }
    }

    #[test]
    fn what_is_read_while_it_is_written_is_whole() {
        let board = board();
        let (ring, reader) = (FlightRing::new(board.clone()), FlightRing::new(board));
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let writer = std::thread::spawn(move || {
            let mut number = 0;
            while !over.load(Ordering::Relaxed) {
                write(&ring, number);
                number += 1;
            }
            number
        });
        let mut seen = 0;
        for _ in 0..200 {
            let tail = reader.last(usize::MAX);
            for (found, number) in tail.records.iter().zip(tail.first..) {
                assert_eq!(*found, record(number));
                seen = number;
            }
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(writer.join().unwrap() >= seen);
    }
}
