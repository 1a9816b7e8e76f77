//! Records and ring positions that are false.

use std::io;

use moorline_engine::wire::{DONE, FIRST, FromProcess, LAST, WHOLE};
use moorline_ipc::Header;

use crate::misuse::{forever, positions};
use crate::raw_ring::RawRegion;
use crate::worker::Worker;

/// Sizes of records that wrap around, or end outside of the ring.
const SIZES: [u64; 8] = [
    u32::MAX as u64,
    u32::MAX as u64 - 1,
    u32::MAX as u64 - 7,
    u32::MAX as u64 - 31,
    1 << 31,
    (1 << 31) - 1,
    1 << 21,
    1 << 20,
];

#[expect(clippy::too_many_lines, reason = "one arm for each command")]
pub(crate) fn carry_out(worker: &Worker, what: &str) -> io::Result<()> {
    match what {
        "written-falling" => positions(worker, |region| {
            region.set_written(region.written().wrapping_sub(64));
        }),
        "written-askew" => positions(worker, |region| region.set_written(region.written() + 4)),
        "written-unwritten" => positions(worker, |region| {
            region.set_written(region.written() + 8 * 1024);
        }),
        "taken-falling" => positions(worker, |region| {
            region.set_taken(region.taken().wrapping_sub(64));
        }),
        "taken-unpublished" => {
            positions(worker, |region| region.set_taken(region.published() + 64))
        }
        "sizes" => {
            let mut next = 0;
            positions(worker, |region| {
                next = (next + 1) % SIZES.len();
                region.push_lie(&send(0), SIZES[next]);
            })
        }
        "beyond-the-end" => {
            // Up to the ring's last bytes with records that are sound, then one that does not end there.
            positions(worker, |region| {
                while region.ring - region.written() % region.ring > 128 {
                    if !region.push(&send(77), &[b'x'; 64]) {
                        return;
                    }
                }
                region.push_lie(&send(77), 8 * 1024);
            })
        }
        "undefined-flags" => each(worker, |header, number| {
            header.kind = 1 + (number % 20) as u8;
            header.flags = 0xf0 | number as u8;
        }),
        "unknown-kind" => each(worker, |header, _| header.kind = 200),
        // Sessions that it never served: the other worker's, by their likely numbers.
        "foreign-done" => each(worker, |header, number| {
            header.kind = FromProcess::Done as u8;
            header.session = neighbour(worker, number);
            header.sequence = number % 8;
        }),
        "foreign-opened" => each(worker, |header, number| {
            header.kind = FromProcess::Opened as u8;
            header.session = neighbour(worker, number);
        }),
        "foreign-state" => each(worker, |header, number| {
            header.kind = FromProcess::KeepState as u8;
            header.session = neighbour(worker, number);
        }),
        "foreign-credits" => each(worker, |header, number| {
            header.kind = match number % 2 {
                0 => FromProcess::PostDone as u8,
                _ => FromProcess::TaskDone as u8,
            };
            header.flags = WHOLE;
            header.session = number % 64;
        }),
        "done-undelivered" => each(worker, |header, number| {
            header.kind = FromProcess::Done as u8;
            header.session = own(worker, number);
            header.sequence = 1000 + number;
        }),
        "answers-twice" => each(worker, |header, number| {
            header.kind = FromProcess::Send as u8;
            header.flags = WHOLE | DONE;
            header.session = own(worker, number);
            header.sequence = 1;
        }),
        "unended-part" => each(worker, |header, number| {
            header.kind = FromProcess::Send as u8;
            header.flags = [FIRST, 0, LAST][number as usize % 3];
            header.session = own(worker, number / 2);
        }),
        _ => Err(io::Error::other(format!("no such misuse: {what}"))),
    }
}

fn send(session: u64) -> Header {
    Header {
        kind: FromProcess::Send as u8,
        flags: WHOLE,
        session,
        ..Header::default()
    }
}

fn own(worker: &Worker, number: u64) -> u64 {
    worker.sessions[number as usize % worker.sessions.len().max(1)]
}

/// Ids of one loop follow each other: next to its own lie those of others, few of which are its own as well.
pub(crate) fn neighbour(worker: &Worker, number: u64) -> u64 {
    let mut session = own(worker, number)
        .wrapping_add(number % 16)
        .wrapping_sub(8);
    while worker.sessions.contains(&session) {
        session = session.wrapping_add(1);
    }
    session
}

/// One record after another in all rings.
fn each(worker: &Worker, change: impl Fn(&mut Header, u64)) -> io::Result<()> {
    let mut number = 0;
    forever(|| {
        for link in &worker.links {
            if let Ok(region) = RawRegion::new(&link.region) {
                let mut header = Header::default();
                change(&mut header, number);
                region.push(&header, b"hostile");
                number += 1;
                link.doorbell.ring();
            }
        }
        std::thread::sleep(crate::misuse::STEP);
    })
}
