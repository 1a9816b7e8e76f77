//! Two threads that sleep and wake each other with real doorbells.
#![cfg(not(loom))]

use std::thread;
use std::time::{Duration, Instant};

use moorline_ipc::{Chime, Consumer, Doorbell, Header, Producer, Region, Side, create_region};
use rustix::event::{Timespec, epoll};

const RECORDS: u64 = 60_000;

/// Longer than any scheduler makes a runnable thread wait, so it means a lost wake-up.
const PATIENCE: Timespec = Timespec {
    tv_sec: 20,
    tv_nsec: 0,
};

#[test]
fn no_wake_up_is_lost() {
    let fd = create_region(0).unwrap();
    let producer = Region::map(fd.try_clone().unwrap(), Side::Gateway)
        .unwrap()
        .producer;
    let consumer = Region::map(fd, Side::Process).unwrap().consumer;
    let producer_bell = Doorbell::new().unwrap();
    let consumer_bell = Doorbell::new().unwrap();
    let producer_chime = producer_bell.chime().unwrap();
    let consumer_chime = consumer_bell.chime().unwrap();
    // A doorbell that is closed takes a ring with it that nobody has heard yet, so it outlives the reader.
    let writer = thread::spawn(move || {
        write(producer, &producer_chime, &consumer_bell);
        consumer_bell
    });
    read(consumer, &producer_bell, &consumer_chime);
    writer.join().unwrap();
}

/// Writes records of all lengths in batches of all sizes, now and then slowly, and waits when there is no room.
fn write(mut producer: Producer, own: &Chime, other: &Doorbell) {
    let mut random = Random(1);
    let payload = vec![0x5a; producer.max_payload()];
    for sequence in 0..RECORDS {
        let longest = if random.below(8) == 0 { 16_000 } else { 200 };
        let length = random.below(longest) as usize;
        let header = Header {
            sequence,
            session: length as u64,
            ..Header::default()
        };
        while producer.push(&header, &[&payload[..length]]).is_err() {
            if producer.publish() {
                other.ring();
            }
            if !producer.wait_for_room(length) {
                sleep(own);
            }
        }
        if random.below(4) == 0 && producer.publish() {
            other.ring();
        }
        random.dawdle();
    }
    if producer.publish() {
        other.ring();
    }
}

/// Takes all of them, in turns of some records, and sleeps when there is nothing.
fn read(mut consumer: Consumer, other: &Doorbell, own: &Chime) {
    let mut random = Random(2);
    let mut expected = 0;
    while expected < RECORDS {
        let mut turn = random.below(64);
        while turn > 0
            && let Some(record) = consumer.next().unwrap()
        {
            assert_eq!(
                (record.header().sequence, record.header().session),
                (expected, record.len() as u64)
            );
            expected += 1;
            turn -= 1;
        }
        if consumer.end_turn() {
            other.ring();
        }
        if expected < RECORDS && turn > 0 && consumer.begin_sleep() {
            sleep(own);
            consumer.awake();
        }
        random.dawdle();
    }
}

fn sleep(chime: &Chime) {
    let mut events = Vec::with_capacity(1);
    let spare = rustix::buffer::spare_capacity(&mut events);
    let rung = epoll::wait(chime, spare, Some(&PATIENCE)).unwrap();
    assert_eq!(rung, 1, "nobody rang");
}

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// Lets the other side catch up and fall asleep, sometimes.
    fn dawdle(&mut self) {
        if self.below(256) == 0 {
            let until = Instant::now() + Duration::from_micros(self.below(100));
            while Instant::now() < until {
                thread::yield_now();
            }
        }
    }
}
