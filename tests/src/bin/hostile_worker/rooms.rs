//! What the hostile worker says about groups that keep their events.

use std::io;

use moorline_engine::wire::event::EVENT;
use moorline_engine::wire::{FromProcess, WHOLE};
use moorline_ipc::Header;

use crate::lies::neighbour;
use crate::misuse::{STEP, forever};
use crate::raw_ring::RawRegion;
use crate::worker::Worker;

/// Events that a group keeps at the most, and more than that.
const MANY: u32 = u32::MAX;

pub(crate) fn carry_out(worker: &Worker, what: &str) -> io::Result<()> {
    match what {
        "keep-nonsense" => on_and_on(worker, |number| {
            let length = [0, 1, 3, 4, 255, 256, 300, 10_000][number as usize % 8];
            (FromProcess::KeepEvents, number, vec![0xff; length])
        }),
        // Each with a name of its own, as long as a name may be.
        "keep-many" => on_and_on(worker, |number| {
            let name = format!("{number:0250}");
            (FromProcess::KeepEvents, 0, keep(&name))
        }),
        "keep-and-forget" => on_and_on(worker, |number| {
            let events = if number % 2 == 0 { MANY } else { 0 };
            let payload = [&events.to_le_bytes()[..], b"room"].concat();
            (FromProcess::KeepEvents, 0, payload)
        }),
        "events" => events(worker),
        "events-nonsense" => {
            let loops = worker.links.len();
            on_and_on(worker, |number| {
                let payload = match number % 5 {
                    0 => Vec::new(),
                    1 => vec![0xff; 300],
                    2 => event(loops + 1, b"", 10),
                    3 => event(loops, b"a\nid: b", 10),
                    _ => event(0, b"", 10),
                };
                (FromProcess::Broadcast, number, payload)
            })
        }
        // Sessions that it does not hold, and such as there are none of.
        "join-foreign" => on_and_on(worker, |number| {
            let session = match number % 3 {
                0 => 77,
                _ => neighbour(worker, number),
            };
            (FromProcess::JoinAfter, session, join(b"nowhere", b"1"))
        }),
        "join-nonsense" => on_and_on(worker, |number| {
            let payload = match number % 4 {
                0 => Vec::new(),
                1 => vec![0xff; 20],
                2 => join(b"room", &[0xff; 20]),
                _ => join(b"room", &[b'i'; 1000]),
            };
            (FromProcess::JoinAfter, worker.sessions[0], payload)
        }),
        _ => Err(io::Error::other(format!(
            "no such misuse of groups: {what}"
        ))),
    }
}

/// As many events as the loops take, for a group that keeps them all.
fn events(worker: &Worker) -> io::Result<()> {
    for link in &worker.links {
        let header = Header {
            kind: FromProcess::KeepEvents as u8,
            flags: WHOLE,
            ..Header::default()
        };
        RawRegion::new(&link.region)?.push(&header, &keep("room"));
    }
    let loops = worker.links.len();
    on_and_on(worker, |number| {
        (FromProcess::Broadcast, number, event(loops, b"", 16_000))
    })
}

/// One record after another in all rings: its kind, its session, its payload.
fn on_and_on(worker: &Worker, each: impl Fn(u64) -> (FromProcess, u64, Vec<u8>)) -> io::Result<()> {
    let mut number = 0;
    forever(|| {
        for link in &worker.links {
            let Ok(region) = RawRegion::new(&link.region) else {
                continue;
            };
            for _ in 0..100 {
                let (kind, session, payload) = each(number);
                let header = Header {
                    kind: kind as u8,
                    flags: WHOLE,
                    aux: EVENT,
                    session,
                    ..Header::default()
                };
                if !region.push(&header, &payload) {
                    break;
                }
                number += 1;
            }
            link.doorbell.ring();
        }
        std::thread::sleep(STEP);
    })
}

fn keep(name: &str) -> Vec<u8> {
    [&MANY.to_le_bytes()[..], name.as_bytes()].concat()
}

/// An event for the group `room`, as if it had written nothing to as many loops.
fn event(loops: usize, id: &[u8], bytes: usize) -> Vec<u8> {
    let mut payload = b"\x04room\0\0".to_vec();
    payload.push(loops as u8);
    payload.extend(vec![0; 8 * loops]);
    payload.push(id.len() as u8);
    payload.extend_from_slice(id);
    payload.push(0);
    payload.extend(vec![b'e'; bytes]);
    payload
}

fn join(group: &[u8], id: &[u8]) -> Vec<u8> {
    [&[group.len() as u8], group, id].concat()
}
