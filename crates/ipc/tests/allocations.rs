//! The hot path allocates nothing.
#![cfg(not(loom))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use moorline_ipc::{Header, Region, Side, create_region};

/// The system's allocator, which counts for each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: all is handed to the system's allocator as it is; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn moving_records_allocates_nothing() {
    let fd = create_region(0).unwrap();
    let mut producer = Region::map(fd.try_clone().unwrap(), Side::Gateway)
        .unwrap()
        .producer;
    let mut consumer = Region::map(fd, Side::Process).unwrap().consumer;
    let mut out = Vec::with_capacity(producer.max_payload());
    let payload = vec![7; producer.max_payload() - 1];

    let before = ALLOCATIONS.get();
    assert!(before > 0, "the allocator is in use");
    for round in 0..1000usize {
        let length = round * 31 % payload.len();
        let header = Header {
            sequence: round as u64,
            ..Header::default()
        };
        producer.push(&header, &[b"x", &payload[..length]]).unwrap();
        let mut last = producer.last_unseen().unwrap();
        last.set_header(header);
        let _ = producer.publish();
        let record = consumer.next().unwrap().unwrap();
        out.clear();
        record.copy_to(&mut out);
        assert_eq!(
            (record.header().sequence, out.len()),
            (round as u64, length + 1)
        );
        drop(record);
        assert!(!consumer.end_turn() && consumer.begin_sleep());
        consumer.awake();
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
}
