//! All interleavings of a writer of records and a reader of the last ones, as loom finds them.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p moorline-ipc --lib --release flight::loom_tests`

use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::AtomicU64;
use loom::thread;

use super::*;

/// The smallest rings, of which one and two records can be read.
const SMALL: usize = 2;
const LARGER: usize = 3;

struct ExploredWords(Vec<AtomicU64>);

impl FlightWords for ExploredWords {
    fn get(&self, index: usize) -> u64 {
        self.0[index].load(Ordering::Relaxed)
    }

    fn set(&self, index: usize, word: u64) {
        self.0[index].store(word, Ordering::Relaxed);
    }

    fn publish(&self, index: usize, word: u64) {
        self.0[index].store(word, Ordering::Release);
    }

    fn published(&self, index: usize) -> u64 {
        self.0[index].load(Ordering::Acquire)
    }
}

fn words(number: u64) -> [u64; 3] {
    [number + 10, number + 20, number + 30]
}

fn write_all<const RECORDS: usize>(ring: &ExploredWords, numbers: std::ops::Range<u64>) {
    for number in numbers {
        write::<RECORDS>(ring, number as u32, words(number));
    }
}

/// A reader looks while a writer, which has written some records before, writes these.
fn explore<const RECORDS: usize>(written: std::ops::Range<u64>) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let atomics = (0..FIRST + RECORDS * WORDS).map(|_| AtomicU64::new(0));
        let ring = Arc::new(ExploredWords(atomics.collect()));
        write_all::<RECORDS>(&ring, 0..written.start);
        let (writer, numbers) = (Arc::clone(&ring), written.clone());
        let writing = thread::spawn(move || write_all::<RECORDS>(&writer, numbers));
        let tail = last::<RECORDS>(&*ring, usize::MAX);
        assert!(tail.records.len() < RECORDS);
        for (record, number) in tail.records.iter().zip(tail.first..) {
            assert!(is_whole(record, number), "{number}: {record:x?}");
            assert_eq!(record[1..], words(number));
        }
        writing.join().unwrap();
        let after = last::<RECORDS>(&*ring, usize::MAX);
        assert_eq!(after.first + after.records.len() as u64, written.end);
        assert_eq!(after.records.len(), RECORDS - 1);
    });
}

#[test]
fn a_record_is_read_whole_or_not_at_all() {
    explore::<SMALL>(2..4);
}

#[test]
fn records_that_are_overwritten_while_they_are_read_are_left_out() {
    explore::<LARGER>(3..5);
}
