//! What a loop sees of a ring whose writer goes on meanwhile.

use moorline_ipc::{Consumer, Header, Producer, Region, Side, create_region};

use super::{Seen, look, within_ring};

const RING: usize = 64 * 1024;

/// A process's way to a loop: its end, and the loop's.
fn ring() -> (Producer, Consumer) {
    let region = create_region(RING).expect("a region");
    let theirs = region.try_clone().expect("a descriptor");
    let map = |region, side| Region::map(region, side).expect("it is a region");
    let (process, gateway) = (map(theirs, Side::Process), map(region, Side::Gateway));
    (process.producer, gateway.consumer)
}

fn write(producer: &mut Producer, number: u64) {
    let header = Header {
        session: number,
        ..Header::default()
    };
    producer.push(&header, &[]).expect("there is room");
    // The loop does not sleep.
    let _ = producer.publish();
}

fn take(consumer: &mut Consumer) -> u64 {
    let record = consumer.next().expect("it is sound").expect("it is there");
    record.header().session
}

/// Its event is in the queue by then, and was not when the loop looked there.
#[test]
fn a_record_that_comes_while_the_events_are_looked_for_is_not_seen_before_the_next_look() {
    let (mut producer, mut consumer) = ring();
    let seen = look(&mut consumer, || {
        write(&mut producer, 1);
        false
    });
    assert_eq!(seen, Ok(Seen::Nothing));
    write(&mut producer, 1);
    let seen = look(&mut consumer, || {
        write(&mut producer, 2);
        false
    });
    assert_eq!(seen, Ok(Seen::Records));
    assert_eq!(take(&mut consumer), 1);
    assert!(consumer.is_spent(), "the second one was seen");
    assert_eq!(look(&mut consumer, || true), Ok(Seen::BehindEvents));
    assert_eq!(look(&mut consumer, || false), Ok(Seen::Records));
    assert_eq!(take(&mut consumer), 2);
}

#[test]
fn no_position_lies_further_ahead_than_a_ring() {
    let (mut producer, mut consumer) = ring();
    write(&mut producer, 1);
    assert_eq!(take(&mut consumer), 1);
    let (position, ring) = (consumer.position(), consumer.capacity());
    assert_eq!(within_ring(&consumer, u64::MAX), position + ring);
    assert_eq!(within_ring(&consumer, position + 8), position + 8);
    assert_eq!(within_ring(&consumer, 0), 0);
}
