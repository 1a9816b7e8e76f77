//! What a ring promises, on plain memory in one thread.

mod hostile;
mod model;
mod send;

use super::*;
use crate::sync::Ordering;

/// How many random cases are enough: for Miri, which takes a second for each, a few.
const fn cases(usual: u32) -> u32 {
    if cfg!(miri) { usual / 64 } else { usual }
}

/// A ring of `capacity` bytes, and its memory.
fn ring(capacity: usize) -> (Producer, Consumer, Memory) {
    let memory = Memory::plain(capacity);
    (
        Producer::new(memory.clone()).remembering(),
        Consumer::new(memory.clone()),
        memory,
    )
}

/// A header that differs in all fields for each number.
fn header(number: u64) -> Header {
    Header {
        kind: number as u8,
        flags: (number as u8).wrapping_mul(3),
        aux: (number as u16).wrapping_mul(257),
        session: number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        sequence: number,
        time: !number,
    }
}

/// Takes the next record whole.
fn take(consumer: &mut Consumer) -> Option<(Header, Vec<u8>)> {
    consumer.next().unwrap().map(|record| {
        let mut payload = Vec::new();
        record.copy_to(&mut payload);
        assert_eq!(payload.len(), record.len());
        (*record.header(), payload)
    })
}

fn untaken(producer: &mut Producer) -> Result<Vec<(Header, Vec<u8>)>, Corrupt> {
    let mut records = Vec::new();
    producer.untaken(&mut |header, payload| records.push((header, payload.to_vec())))?;
    Ok(records)
}

#[test]
fn a_record_arrives_once_published_with_its_parts_joined() {
    let (mut producer, mut consumer, _) = ring(1024);
    producer.push(&header(1), &[b"moor", b"", b"line"]).unwrap();
    producer.push(&header(2), &[]).unwrap();
    assert_eq!(take(&mut consumer), None);
    assert_eq!(producer.unpublished(), 2);
    assert!(!producer.publish());
    assert_eq!(producer.unpublished(), 0);
    assert_eq!(take(&mut consumer), Some((header(1), b"moorline".to_vec())));
    assert_eq!(take(&mut consumer), Some((header(2), vec![])));
    assert_eq!(take(&mut consumer), None);
    assert!(producer.is_consumed());
}

#[test]
fn a_record_is_copied_out_in_the_parts_that_are_asked_for() {
    let (mut producer, mut consumer, _) = ring(1024);
    producer.push(&header(1), &[b"harbour"]).unwrap();
    let _ = producer.publish();
    let record = consumer.next().unwrap().unwrap();
    let mut out = b"+".to_vec();
    record.copy_from(4, &mut out);
    record.copy_from(7, &mut out);
    record.copy_from(usize::MAX, &mut out);
    assert_eq!(out, b"+our");
    let (mut short, mut long) = ([0; 3], [0; 9]);
    assert_eq!((record.head(&mut short), record.head(&mut long)), (3, 7));
    assert_eq!((&short, &long), (b"har", b"harbour\0\0"));
}

#[test]
fn the_last_record_can_be_amended_until_it_is_published() {
    let (mut producer, mut consumer, _) = ring(1024);
    assert!(producer.last_unseen().is_none());
    producer.push(&header(1), &[b"first"]).unwrap();
    producer.push(&header(2), &[b"second"]).unwrap();
    let mut last = producer.last_unseen().unwrap();
    assert_eq!(last.header(), header(2));
    last.set_header(header(9));
    assert_eq!(last.header(), header(9));
    let _ = producer.publish();
    assert!(producer.last_unseen().is_none());
    assert_eq!(take(&mut consumer), Some((header(1), b"first".to_vec())));
    assert_eq!(take(&mut consumer), Some((header(9), b"second".to_vec())));
}

#[test]
fn what_is_shown_can_be_taken_at_once_and_is_still_to_be_published() {
    let (mut producer, mut consumer, _) = ring(1024);
    assert!(consumer.begin_sleep());
    producer.push(&header(1), &[b"first"]).unwrap();
    producer.show();
    assert!(producer.last_unseen().is_none());
    assert_eq!(producer.unpublished(), 1);
    assert_eq!(take(&mut consumer), Some((header(1), b"first".to_vec())));
    assert!(producer.publish(), "it said that it sleeps");
    assert_eq!(producer.unpublished(), 0);
}

#[test]
fn what_is_settled_is_taken_only_after_the_producers_death() {
    let (mut producer, mut consumer, _) = ring(1024);
    producer.push(&header(1), &[b"published"]).unwrap();
    let _ = producer.publish();
    producer.push(&header(2), &[b"settled"]).unwrap();
    producer.settle();
    assert!(producer.last_unseen().is_none());
    producer.push(&header(3), &[b"lost"]).unwrap();
    assert!(producer.last_unseen().is_some());
    assert_eq!(
        take(&mut consumer),
        Some((header(1), b"published".to_vec()))
    );
    assert_eq!(take(&mut consumer), None);
    drop(producer);
    consumer.close();
    assert_eq!(take(&mut consumer), Some((header(2), b"settled".to_vec())));
    assert_eq!(take(&mut consumer), None);
}

#[test]
fn what_was_settled_and_then_published_is_taken_once() {
    let (mut producer, mut consumer, _) = ring(1024);
    producer.push(&header(1), &[b"first"]).unwrap();
    producer.settle();
    producer.push(&header(2), &[b"second"]).unwrap();
    let _ = producer.publish();
    assert_eq!(take(&mut consumer), Some((header(1), b"first".to_vec())));
    consumer.close();
    assert_eq!(take(&mut consumer), Some((header(2), b"second".to_vec())));
    assert_eq!(take(&mut consumer), None);
}

#[test]
fn a_settled_position_that_is_none_is_left_alone() {
    for settled in [7, 1032, 1 << 40, u64::MAX - 7] {
        let (mut producer, mut consumer, memory) = ring(1024);
        producer.push(&header(1), &[b"first"]).unwrap();
        let _ = producer.publish();
        memory.control().settled.0.store(settled, Ordering::Relaxed);
        consumer.close();
        assert_eq!(take(&mut consumer), Some((header(1), b"first".to_vec())));
        assert_eq!(take(&mut consumer), None);
    }
}

#[test]
fn a_payload_of_half_of_the_ring_always_fits_into_an_empty_one() {
    let (mut producer, mut consumer, _) = ring(256);
    assert_eq!(producer.max_payload(), 96);
    assert!(!producer.fits(97));
    assert_eq!(producer.push(&header(0), &[&[0; 97]]), Err(NoRoom));
    // The odd record shifts where the long ones begin, so that all paddings occur.
    for number in 0..100 {
        for payload in [&[7; 96][..], &[5; 3]] {
            producer.push(&header(number), &[payload]).unwrap();
            let _ = producer.publish();
            assert_eq!(
                take(&mut consumer),
                Some((header(number), payload.to_vec()))
            );
        }
    }
}

#[test]
fn an_empty_ring_begins_at_the_front_again() {
    let (mut producer, mut consumer, memory) = ring(64 * 1024);
    let offset = |producer: &Producer| memory.capacity() - memory.rest(producer.position());
    let mut highest = 0;
    for number in 0..1000 {
        producer.push(&header(number), &[&[1; 1000]]).unwrap();
        let _ = producer.publish();
        assert_eq!(take(&mut consumer), Some((header(number), vec![1; 1000])));
        highest = highest.max(offset(&producer));
    }
    assert!((32 * 1024..34 * 1024).contains(&highest), "{highest}");
    // While something is in it, it goes on to its end.
    for number in 0..25 {
        producer.push(&header(number), &[&[2; 1000]]).unwrap();
        let _ = producer.publish();
        producer.push(&header(number), &[&[3; 1000]]).unwrap();
        take(&mut consumer);
    }
    assert!(offset(&producer) > 40 * 1024);
}

#[test]
fn a_full_ring_refuses_and_changes_nothing() {
    let (mut producer, mut consumer, _) = ring(256);
    for number in 0..4 {
        assert!(producer.fits(32));
        producer
            .push(&header(number), &[&[number as u8; 32]])
            .unwrap();
    }
    assert!(!producer.fits(0));
    assert_eq!(producer.push(&header(9), &[]), Err(NoRoom));
    let _ = producer.publish();
    assert!(!producer.is_consumed());
    for number in 0..4 {
        assert_eq!(
            take(&mut consumer),
            Some((header(number), vec![number as u8; 32]))
        );
    }
    assert_eq!(take(&mut consumer), None);
}

#[test]
fn a_record_that_is_forgotten_is_not_taken() {
    let (mut producer, mut consumer, _) = ring(256);
    producer.push(&header(1), &[b"again"]).unwrap();
    let _ = producer.publish();
    std::mem::forget(consumer.next().unwrap().unwrap());
    assert!(!producer.is_consumed());
    assert_eq!(take(&mut consumer), Some((header(1), b"again".to_vec())));
    assert!(producer.is_consumed());
}

#[test]
fn a_sleeping_consumer_is_rung_for_once() {
    let (mut producer, mut consumer, _) = ring(256);
    assert!(consumer.begin_sleep());
    assert!(!producer.publish(), "there was nothing to publish");
    producer.push(&header(1), &[]).unwrap();
    assert!(producer.publish());
    producer.push(&header(2), &[]).unwrap();
    assert!(!producer.publish());
    assert!(!consumer.begin_sleep(), "there is something to take");
    while take(&mut consumer).is_some() {}
    assert!(consumer.begin_sleep());
    consumer.awake();
    producer.push(&header(3), &[]).unwrap();
    assert!(!producer.publish());
}

#[test]
fn a_producer_that_waits_for_room_is_rung_for_once() {
    let (mut producer, mut consumer, _) = ring(256);
    assert!(producer.wait_for_room(32), "the ring is empty");
    while producer.fits(32) {
        producer.push(&header(1), &[&[1; 32]]).unwrap();
    }
    let _ = producer.publish();
    assert!(!producer.wait_for_room(32));
    assert!(!consumer.end_turn(), "nothing was taken");
    take(&mut consumer);
    assert!(consumer.end_turn());
    take(&mut consumer);
    assert!(!consumer.end_turn());
    assert!(producer.wait_for_room(32));
    take(&mut consumer);
    assert!(!consumer.end_turn());
}

#[test]
fn records_that_a_dead_consumer_had_not_taken_come_back_in_order() {
    let (mut producer, mut consumer, _) = ring(256);
    for number in 0..3 {
        producer
            .push(&header(number), &[&[number as u8; 20]])
            .unwrap();
    }
    let _ = producer.publish();
    for _ in 0..2 {
        take(&mut consumer);
    }
    let in_hand = consumer.next().unwrap().unwrap();
    std::mem::forget(in_hand);
    drop(consumer);
    // Two more, one of them behind padding; the last is not even published.
    producer.push(&header(3), &[&[3; 10]]).unwrap();
    let _ = producer.publish();
    producer.push(&header(4), &[&[4; 32]]).unwrap();
    let expected: Vec<_> = [(2, 20), (3, 10), (4, 32)]
        .map(|(number, length)| (header(number), vec![number as u8; length]))
        .into();
    assert_eq!(untaken(&mut producer), Ok(expected.clone()));
    assert_eq!(untaken(&mut producer), Ok(expected));
}

#[test]
fn a_consumer_whose_position_does_not_fit_is_corrupt() {
    // Past what is published, no record's end, and back.
    for wrong in [72, 36, 0] {
        let (mut producer, mut consumer, memory) = ring(256);
        producer.push(&header(1), &[]).unwrap();
        let _ = producer.publish();
        take(&mut consumer);
        assert!(producer.is_consumed());
        producer.push(&header(2), &[]).unwrap();
        let _ = producer.publish();
        memory
            .control()
            .tail
            .0
            .store(wrong, std::sync::atomic::Ordering::Relaxed);
        assert!(!producer.is_consumed());
        let corrupt = Corrupt(Fault::Tail {
            found: wrong,
            least: 32,
            most: 64,
        });
        assert_eq!(producer.check(), Err(corrupt));
        assert_eq!(untaken(&mut producer), Err(corrupt));
        // What it had taken before is room, and nothing else becomes any.
        let pushed = (0..)
            .take_while(|_| producer.push(&header(3), &[]).is_ok())
            .count();
        assert_eq!((pushed, producer.wait_for_room(0)), (7, false));
    }
}

#[test]
fn a_producer_whose_position_does_not_fit_is_corrupt() {
    for wrong in [24, 33, 32 + 256 + 8, u64::MAX, 0] {
        let (mut producer, mut consumer, memory) = ring(256);
        producer.push(&header(1), &[]).unwrap();
        let _ = producer.publish();
        take(&mut consumer);
        memory
            .control()
            .head
            .0
            .store(wrong, std::sync::atomic::Ordering::Relaxed);
        let corrupt = Corrupt(Fault::Head {
            found: wrong,
            least: 32,
            most: 288,
        });
        assert!(!consumer.is_empty());
        assert!(!consumer.begin_sleep());
        assert_eq!(consumer.next().unwrap_err(), corrupt);
    }
}

#[test]
fn a_record_that_does_not_fit_is_corrupt() {
    let first = |length: u32| u64::from(length).to_le_bytes();
    for (length, fault) in [
        (
            97,
            Fault::Length {
                position: 0,
                length: 97,
            },
        ),
        (
            9,
            Fault::Length {
                position: 0,
                length: 9,
            },
        ),
        (
            u32::MAX - 1,
            Fault::Length {
                position: 0,
                length: u32::MAX - 1,
            },
        ),
        (
            PADDING,
            Fault::Padding {
                position: 0,
                rest: 256,
            },
        ),
    ] {
        let (mut producer, mut consumer, memory) = ring(256);
        producer.push(&header(1), &[b"8 bytes."]).unwrap();
        let _ = producer.publish();
        memory.scribble(0, &first(length));
        assert_eq!(consumer.next().unwrap_err(), Corrupt(fault));
        // What the consumer finds broken, the producer still knows.
        assert!(untaken(&mut producer).is_ok());
    }
}

/// A dead consumer, or a child that it has left, may have written anything over what it had not taken.
#[test]
fn a_record_that_was_taken_in_part_is_untaken() {
    let (mut producer, _, memory) = ring(256);
    for number in 0..2 {
        producer.push(&header(number), &[&[7; 88]]).unwrap();
    }
    let _ = producer.publish();
    // No consumer stops there but one that lies, and there is room again.
    memory
        .control()
        .tail
        .0
        .store(64, std::sync::atomic::Ordering::Relaxed);
    producer.push(&header(2), &[&[7; 24]]).unwrap();
    let _ = producer.publish();
    let untaken = untaken(&mut producer).unwrap();
    let headers: Vec<_> = untaken.iter().map(|(header, _)| *header).collect();
    assert_eq!(headers, [header(0), header(1), header(2)]);
}

#[test]
fn untaken_records_are_known_even_if_they_were_overwritten() {
    let (mut producer, mut consumer, memory) = ring(1024);
    for number in 1..=4 {
        producer
            .push(&header(number), &[&[number as u8; 20]])
            .unwrap();
    }
    let _ = producer.publish();
    take(&mut consumer);
    memory.scribble(0, &[0xff; 1024]);
    let known: Vec<_> = (2..=4)
        .map(|number| (header(number), vec![0xff; 20]))
        .collect();
    assert_eq!(untaken(&mut producer), Ok(known));
}

#[test]
fn records_published_after_the_producers_death_are_not_taken() {
    let (mut producer, mut consumer, _) = ring(256);
    producer.push(&header(1), &[]).unwrap();
    producer.push(&header(2), &[]).unwrap();
    let _ = producer.publish();
    consumer.close();
    assert_eq!(take(&mut consumer), Some((header(1), vec![])));
    producer.push(&header(3), &[]).unwrap();
    let _ = producer.publish();
    assert_eq!(take(&mut consumer), Some((header(2), vec![])));
    assert_eq!(take(&mut consumer), None);
    assert!(consumer.is_empty() && consumer.begin_sleep());
}

#[test]
fn the_journal_of_a_producer_is_bounded_by_the_ring() {
    let (mut producer, mut consumer, _) = ring(64 * 1024);
    for number in 0..100_000 {
        producer.push(&header(number), &[]).unwrap();
        let _ = producer.publish();
        take(&mut consumer);
        assert!(producer.remembers() <= super::producer::JOURNAL);
    }
    let many = (0..)
        .take_while(|_| producer.push(&header(0), &[]).is_ok())
        .count();
    assert_eq!(many, 64 * 1024 / 32);
    assert!(producer.remembers() <= 2 * many);
    assert_eq!(
        untaken(&mut producer).map(|untaken| untaken.len()),
        Ok(many)
    );
}

#[test]
fn a_large_ring_holds_half_of_its_size_in_records_or_two_of_1_mib() {
    const MIB: usize = 1024 * 1024;
    for (capacity, records) in [(2 * MIB, 31), (4 * MIB, 32), (8 * MIB, 63)] {
        let (mut producer, mut consumer, _) = ring(capacity);
        let push = |producer: &mut Producer| producer.push(&header(1), &[&[0; 65_536]]).is_ok();
        let pushed = (0..).take_while(|_| push(&mut producer)).count();
        assert_eq!(pushed, records, "{capacity}");
        let _ = producer.publish();
        take(&mut consumer);
        assert!(push(&mut producer) && !push(&mut producer));
        assert!(!producer.wait_for_room(65_536) && !producer.wait_until_taken(0));
        let _ = producer.publish();
        while take(&mut consumer).is_some() {}
        assert!(producer.wait_until_taken(0) && producer.fits(producer.max_payload()));
    }
}
