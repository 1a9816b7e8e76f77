//! Whatever the other side writes, and wherever: no panic, nothing outside the ring, and what comes out are
//! records that could be some, or an error. The steps are those of the fuzz target, chosen by chance.

use std::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;

use super::super::invariants;
use super::*;

const CAPACITY: usize = 512;

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(512), failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_write_of_the_other_side_does_harm(steps in prop::collection::vec(any::<u8>(), 1..2000)) {
        invariants::ring(&steps);
    }

    #[test]
    fn random_data_is_records_or_corrupt(data in prop::collection::vec(any::<u8>(), CAPACITY), words in 0..=CAPACITY as u64 / 8) {
        let (_, mut consumer, memory) = ring(CAPACITY);
        memory.scribble(0, &data);
        memory.control().head.0.store(words * 8, Relaxed);
        let mut taken = 0;
        let end = loop {
            match consumer.next() {
                Ok(Some(record)) => taken += record_size(record.len() as u64),
                end => break end.is_ok(),
            }
        };
        // It comes to its end exactly, or it says so.
        prop_assert!(taken == words * 8 || (!end && taken < words * 8));
    }
}
