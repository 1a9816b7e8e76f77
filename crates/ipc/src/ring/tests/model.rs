//! A ring does what a `VecDeque` does, whatever the order of calls.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Push { length: usize, cut: usize },
    Amend,
    Show,
    Publish,
    Take,
    Forget,
    Look,
}

fn step(longest: usize) -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..longest + 2, 0..longest).prop_map(|(length, cut)| Step::Push { length, cut }),
        1 => Just(Step::Amend),
        1 => Just(Step::Show),
        2 => Just(Step::Publish),
        4 => Just(Step::Take),
        1 => Just(Step::Forget),
        1 => Just(Step::Look),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(256), failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_ring_is_a_queue(
        (capacity, steps) in prop::sample::select(vec![256usize, 512, 1024, 4096])
            .prop_flat_map(|capacity| (Just(capacity), prop::collection::vec(step(capacity / 2 - 32), 1..300)))
    ) {
        let (mut producer, mut consumer, _) = ring(capacity);
        let mut pushed: VecDeque<(Header, Vec<u8>)> = VecDeque::new();
        // What the consumer can see, and what was pushed since it was last looked for.
        let (mut shown, mut unpublished) = (0, 0);
        let mut number = 0u64;
        for step in steps {
            match step {
                Step::Push { length, cut } => {
                    number += 1;
                    let payload: Vec<u8> = (0..length).map(|i| (i as u64 ^ number) as u8).collect();
                    let (one, other) = payload.split_at(cut.min(length));
                    let fits = producer.fits(length);
                    let outcome = producer.push(&header(number), &[one, other]);
                    prop_assert_eq!(outcome.is_ok(), fits);
                    if fits {
                        pushed.push_back((header(number), payload));
                        unpublished += 1;
                    } else if length <= producer.max_payload() {
                        // When it went back to the front, at least an eighth of the ring was before it.
                        let used: u64 = pushed.iter().map(|(_, payload)| record_size(payload.len() as u64)).sum();
                        let size = record_size(length as u64);
                        prop_assert!(used > 0 && used + size > capacity as u64 / 8);
                    }
                }
                Step::Amend => match producer.last_unseen() {
                    Some(mut last) => {
                        number += 1;
                        let newest = pushed.back_mut().unwrap();
                        prop_assert_eq!(last.header(), newest.0);
                        last.set_header(header(number));
                        newest.0 = header(number);
                    }
                    None => prop_assert_eq!(shown, pushed.len()),
                },
                Step::Show => {
                    producer.show();
                    shown = pushed.len();
                }
                Step::Publish => {
                    prop_assert!(!producer.publish());
                    (shown, unpublished) = (pushed.len(), 0);
                }
                Step::Take => {
                    let expected = if shown > 0 { pushed.pop_front() } else { None };
                    shown -= usize::from(expected.is_some());
                    prop_assert_eq!(take(&mut consumer), expected);
                }
                Step::Forget => {
                    if let Some(record) = consumer.next().unwrap() {
                        prop_assert_eq!(record.header(), &pushed[0].0);
                        std::mem::forget(record);
                    }
                }
                Step::Look => {
                    prop_assert_eq!(untaken(&mut producer).unwrap(), Vec::from(pushed.clone()));
                    prop_assert_eq!(consumer.is_empty(), shown == 0);
                    prop_assert_eq!(producer.is_consumed(), shown == 0);
                    prop_assert_eq!(producer.unpublished(), unpublished);
                    prop_assert_eq!(producer.check(), Ok(()));
                }
            }
        }
    }
}
