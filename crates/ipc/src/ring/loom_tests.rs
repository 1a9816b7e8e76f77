//! All interleavings of a producer and a consumer, as loom finds them.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p moorline-ipc --lib --release ring::loom_tests`
//!
//! Loom fails a run in which all threads wait (a lost wake-up), and one in which a word of the ring is read
//! while it may be written (a torn record).

use std::sync::Arc;

use loom::sync::Notify;
use loom::thread;

use super::*;

/// The smallest ring there is: five of the records below fill it, and the sixth begins behind padding.
const CAPACITY: usize = Memory::MIN_CAPACITY;

struct Bells {
    consumer: Notify,
    producer: Notify,
}

fn ring() -> (Producer, Consumer, Arc<Bells>) {
    let memory = Memory::plain(CAPACITY);
    let bells = Bells {
        consumer: Notify::new(),
        producer: Notify::new(),
    };
    (
        Producer::new(memory.clone()).remembering(),
        Consumer::new(memory),
        Arc::new(bells),
    )
}

fn header(number: u64) -> Header {
    Header {
        kind: 1,
        flags: 2,
        aux: 3,
        session: number,
        sequence: number + 1,
        time: number + 2,
    }
}

fn push(producer: &mut Producer, number: u64) {
    producer
        .push(&header(number), &[&[number as u8; 16]])
        .unwrap();
}

fn publish(producer: &mut Producer, bells: &Bells) {
    if producer.publish() {
        bells.consumer.notify();
    }
}

/// Takes the records with these numbers, sleeping when there is none.
fn take(consumer: &mut Consumer, bells: &Bells, numbers: std::ops::Range<u64>) {
    for number in numbers {
        loop {
            if let Some(record) = consumer.next().unwrap() {
                let mut payload = Vec::new();
                record.copy_to(&mut payload);
                assert_eq!(
                    (*record.header(), payload),
                    (header(number), vec![number as u8; 16])
                );
                break;
            }
            if consumer.begin_sleep() {
                bells.consumer.wait();
                consumer.awake();
            }
        }
        if consumer.end_turn() {
            bells.producer.notify();
        }
    }
}

fn explore(test: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(test);
}

#[test]
fn a_sleeping_consumer_is_woken_for_each_record() {
    explore(|| {
        let (mut producer, mut consumer, bells) = ring();
        let theirs = bells.clone();
        let taker = thread::spawn(move || take(&mut consumer, &theirs, 0..2));
        for number in 0..2 {
            push(&mut producer, number);
            publish(&mut producer, &bells);
        }
        taker.join().unwrap();
        assert!(producer.is_consumed());
    });
}

#[test]
fn a_consumer_that_missed_what_was_shown_is_woken_for_it() {
    explore(|| {
        let (mut producer, mut consumer, bells) = ring();
        let theirs = bells.clone();
        let taker = thread::spawn(move || take(&mut consumer, &theirs, 0..2));
        for number in 0..2 {
            push(&mut producer, number);
            producer.show();
        }
        publish(&mut producer, &bells);
        taker.join().unwrap();
        assert!(producer.is_consumed());
    });
}

#[test]
fn a_producer_that_waits_for_room_is_woken() {
    explore(|| {
        let (mut producer, mut consumer, bells) = ring();
        for number in 0..5 {
            push(&mut producer, number);
        }
        publish(&mut producer, &bells);
        let theirs = bells.clone();
        let taker = thread::spawn(move || take(&mut consumer, &theirs, 0..6));
        while !producer.fits(16) && !producer.wait_for_room(16) {
            bells.producer.wait();
        }
        push(&mut producer, 5);
        publish(&mut producer, &bells);
        taker.join().unwrap();
        assert!(producer.is_consumed());
        assert_eq!(producer.check(), Ok(()));
    });
}

#[test]
fn the_records_taken_before_a_death_are_known_exactly() {
    explore(|| {
        let (mut producer, mut consumer, bells) = ring();
        push(&mut producer, 0);
        publish(&mut producer, &bells);
        let taker = thread::spawn(move || {
            let mut taken = 0;
            while taken < 2 && consumer.next().unwrap().is_some() {
                taken += 1;
            }
            taken
        });
        for number in 1..3 {
            push(&mut producer, number);
            publish(&mut producer, &bells);
        }
        let taken = taker.join().unwrap();
        let mut left = Vec::new();
        producer
            .untaken(&mut |header, _| left.push(header.session))
            .unwrap();
        assert_eq!(left, (taken..3).collect::<Vec<u64>>());
    });
}
