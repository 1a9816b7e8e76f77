//! What a region is, and what is refused as one.

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

use super::*;
use crate::Header;

fn map(fd: &OwnedFd, side: Side) -> Region {
    Region::map(fd.try_clone().unwrap(), side).unwrap()
}

/// A file in memory of this size and beginning, sealed like this.
fn file(size: usize, head: &[u8], seals: SealFlags) -> OwnedFd {
    let fd = memfd_create("imitation", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&fd, size as u64).unwrap();
    rustix::io::pwrite(&fd, head, 0).unwrap();
    fcntl_add_seals(&fd, seals).unwrap();
    fd
}

const SEALS: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::SEAL);

#[test]
fn each_side_reads_what_the_other_wrote() {
    let fd = create_region(0).unwrap();
    let mut gateway = map(&fd, Side::Gateway);
    let mut process = map(&fd, Side::Process);
    let sent = Header {
        kind: 1,
        session: 7,
        ..Header::default()
    };
    for (from, to) in [
        (&mut gateway.producer, &mut process.consumer),
        (&mut process.producer, &mut gateway.consumer),
    ] {
        assert_eq!(from.max_payload(), MIN_RING / 2 - 32);
        // More than one time around.
        for round in 0..20u8 {
            let payload = vec![round; 10_000];
            from.push(&sent, &[&payload]).unwrap();
            let _ = from.publish();
            let record = to.next().unwrap().unwrap();
            let mut received = Vec::new();
            record.copy_to(&mut received);
            assert_eq!((*record.header(), received), (sent, payload));
        }
        assert!(from.is_consumed() && to.is_empty());
    }
    assert!(gateway.consumer.is_empty() && process.consumer.is_empty());
}

#[test]
fn marks_and_records_outlive_the_side_that_wrote_them() {
    let fd = create_region(100_000).unwrap();
    let Region {
        mut consumer,
        marks,
        producer,
        ..
    } = map(&fd, Side::Gateway);
    drop(producer);
    let mut process = map(&fd, Side::Process);
    drop(fd);
    assert_eq!(process.producer.max_payload(), 131_072 / 2 - 32);
    process.marks.set_polling(42);
    process
        .producer
        .push(&Header::default(), &[b"farewell"])
        .unwrap();
    let _ = process.producer.publish();
    drop(process);
    assert_eq!(marks.polling(), 42);
    drop(marks);
    assert_eq!(consumer.next().unwrap().unwrap().len(), 8);
}

#[test]
fn senders_are_held_until_the_process_has_taken_the_records_before_a_position() {
    let fd = create_region(0).unwrap();
    let mut gateway = map(&fd, Side::Gateway);
    let mut process = map(&fd, Side::Process);
    assert!(!process.marks.holds_senders());
    for _ in 0..2 {
        gateway.producer.push(&Header::default(), &[]).unwrap();
        gateway.marks.hold_senders(gateway.producer.position());
    }
    let _ = gateway.producer.publish();
    for _ in 0..2 {
        assert!(process.marks.holds_senders());
        drop(process.consumer.next().unwrap().unwrap());
    }
    assert!(!process.marks.holds_senders());
    gateway.marks.hold_senders(u64::MAX);
    assert!(process.marks.holds_senders());
}

#[test]
fn a_region_cannot_be_cut_grown_or_sealed_again() {
    let fd = create_region(MIN_RING).unwrap();
    let size = (HEADER_SIZE + 2 * MIN_RING) as u64;
    assert!(ftruncate(&fd, size - 1).is_err());
    assert!(ftruncate(&fd, size + 1).is_err());
    assert!(fcntl_add_seals(&fd, SealFlags::FUTURE_WRITE).is_err());
}

#[test]
fn an_impossible_ring_is_refused() {
    for size in [MAX_RING + 1, usize::MAX] {
        assert_eq!(
            create_region(size).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
}

#[test]
fn a_file_that_is_not_a_region_is_refused() {
    let good = HEADER_SIZE + 2 * MIN_RING;
    let right = head(MIN_RING);
    let mut other_magic = right;
    other_magic[0] ^= 1;
    let mut other_version = right;
    other_version[8] ^= 1;
    assert!(Region::map(file(good, &right, SEALS), Side::Process).is_ok());
    for (what, fd) in [
        ("without seals", file(good, &right, SealFlags::empty())),
        (
            "may shrink",
            file(good, &right, SealFlags::GROW | SealFlags::SEAL),
        ),
        (
            "may grow",
            file(good, &right, SealFlags::SHRINK | SealFlags::SEAL),
        ),
        (
            "may be sealed",
            file(good, &right, SealFlags::SHRINK | SealFlags::GROW),
        ),
        ("magic", file(good, &other_magic, SEALS)),
        ("version", file(good, &other_version, SEALS)),
        ("ring size", file(good, &head(2 * MIN_RING), SEALS)),
        ("empty", file(0, &[], SEALS)),
        ("too short", file(good - 1, &right, SEALS)),
        ("too long", file(good + 1, &right, SEALS)),
        (
            "small rings",
            file(HEADER_SIZE + MIN_RING, &head(MIN_RING / 2), SEALS),
        ),
        (
            "odd rings",
            file(HEADER_SIZE + 3 * MIN_RING, &head(3 * MIN_RING / 2), SEALS),
        ),
        (
            "huge rings",
            file(HEADER_SIZE + 4 * MAX_RING, &head(2 * MAX_RING), SEALS),
        ),
        (
            "no file in memory",
            std::fs::File::open("/dev/null").unwrap().into(),
        ),
    ] {
        assert_eq!(
            Region::map(fd, Side::Process).unwrap_err().kind(),
            io::ErrorKind::InvalidData,
            "{what}"
        );
    }
}

#[test]
fn the_lines_of_a_page_are_apart() {
    for offset in [
        offset_of!(Page, marks),
        offset_of!(Page, to_process),
        offset_of!(Page, to_gateway),
    ] {
        assert_eq!(offset % 128, 0);
    }
    assert_eq!((size_of::<Control>(), size_of::<Page>()), (640, 1536));
}
