//! Whatever the other side writes, and wherever: no panic, nothing outside the ring, and what comes out are
//! records that could be some, or an error.

use std::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;

use super::*;

const CAPACITY: usize = 512;

#[derive(Debug, Clone)]
enum Step {
    /// Bytes anywhere in the data.
    Scribble(usize, Vec<u8>),
    /// A first word of a record anywhere.
    Claim(usize, u64),
    /// A position, from the real one or out of the blue.
    Head(Position),
    Tail(Position),
    Flags(u32, u32),
    Push(usize),
    Publish,
    Take,
    Ask(usize),
    Untaken,
}

#[derive(Debug, Clone)]
enum Position {
    Near(i64),
    Anywhere(u64),
}

impl Position {
    fn from(&self, real: u64) -> u64 {
        match *self {
            Self::Near(words) => real.wrapping_add_signed(words * 8),
            Self::Anywhere(position) => position,
        }
    }
}

fn position() -> impl Strategy<Value = Position> {
    prop_oneof![
        4 => (-70i64..70).prop_map(Position::Near),
        1 => any::<u64>().prop_map(Position::Anywhere),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![
        0u64..200,
        Just(u64::from(PADDING)),
        Just(u64::from(PADDING) - 1),
        any::<u64>()
    ];
    prop_oneof![
        2 => (0..CAPACITY, prop::collection::vec(any::<u8>(), 1..64)).prop_map(|(at, bytes)| Step::Scribble(at, bytes)),
        3 => (0..CAPACITY / 8, length).prop_map(|(word, first)| Step::Claim(word * 8, first)),
        3 => position().prop_map(Step::Head),
        3 => position().prop_map(Step::Tail),
        1 => (any::<u32>(), any::<u32>()).prop_map(|(sleeping, waiting)| Step::Flags(sleeping, waiting)),
        4 => (0..CAPACITY / 4).prop_map(Step::Push),
        2 => Just(Step::Publish),
        6 => Just(Step::Take),
        2 => (0..CAPACITY).prop_map(Step::Ask),
        1 => Just(Step::Untaken),
    ]
}

/// A record as it may look when its words are anybody's.
fn assert_plausible(record: &Record<'_>, longest: usize) {
    assert!(record.len() <= longest);
    let mut out = Vec::new();
    record.copy_to(&mut out);
    record.copy_from(record.len() / 2, &mut out);
    assert_eq!(out.len(), record.len() + record.len().div_ceil(2));
    let mut head = [0; 64];
    assert_eq!(record.head(&mut head), record.len().min(64));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_other_side_can_write_what_it_likes(steps in prop::collection::vec(step(), 1..200)) {
        let (mut producer, mut consumer, memory) = ring(CAPACITY);
        let control = memory.control();
        let longest = producer.max_payload();
        for step in steps {
            match step {
                Step::Scribble(at, bytes) => memory.scribble(at, &bytes),
                Step::Claim(at, first) => memory.scribble(at, &first.to_le_bytes()),
                Step::Head(position) => control.head.0.store(position.from(control.head.0.load(Relaxed)), Relaxed),
                Step::Tail(position) => control.tail.0.store(position.from(control.tail.0.load(Relaxed)), Relaxed),
                Step::Flags(sleeping, waiting) => {
                    control.sleeping.0.store(sleeping, Relaxed);
                    control.waiting.0.store(waiting, Relaxed);
                }
                Step::Push(length) => {
                    let _ = producer.push(&header(1), &[&vec![1; length]]);
                }
                Step::Publish => {
                    let _ = producer.publish();
                }
                Step::Take => {
                    // Every record takes up some of the ring, so this ends.
                    let mut budget = CAPACITY / HEADER as usize;
                    while let Ok(Some(record)) = consumer.next() {
                        assert_plausible(&record, longest);
                        drop(record);
                        budget -= 1;
                        if budget == 0 {
                            break;
                        }
                    }
                    let _ = consumer.end_turn();
                }
                Step::Ask(payload) => {
                    let _ = (producer.fits(payload), producer.wait_for_room(payload), producer.is_consumed());
                    let _ = (consumer.is_empty(), consumer.begin_sleep());
                    consumer.awake();
                    if let Some(mut last) = producer.last_unpublished() {
                        last.set_header(header(2));
                    }
                }
                Step::Untaken => {
                    let mut bytes = 0;
                    let _ = producer.untaken(&mut |_, payload| bytes += record_size(payload.len() as u64));
                    prop_assert!(bytes <= CAPACITY as u64);
                }
            }
        }
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
