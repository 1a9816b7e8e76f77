//! What the hostile worker does. Most of it goes on until it is killed.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use moorline_engine::control::{
    AppRequest, FromRole, PROCESS_BOARD, PROCESS_ROW, SessionRow, StallKind, StallReport,
};
use moorline_engine::wire::{
    FIRST, FileSpan, FromProcess, LARGEST_BROADCAST, LAST, Question, WHOLE,
};
use moorline_ipc::{Channel, Header, Scoreboard};
use rustix::fs::OFlags;

use crate::answers;
use crate::child;
use crate::lies;
use crate::passing;
use crate::raw_ring::RawRegion;
use crate::rooms;
use crate::worker::Worker;
use moorline_tests::Random;

/// A session that there is none of.
const NOBODY: u64 = 77;
/// One step of something that goes on.
pub(crate) const STEP: Duration = Duration::from_micros(100);

#[expect(clippy::too_many_lines, reason = "one arm for each command")]
pub(crate) fn carry_out(worker: &mut Worker, plan: &str) -> io::Result<()> {
    let (what, rest) = plan.split_once(' ').unwrap_or((plan, ""));
    match what {
        "hang" => forever(|| std::thread::sleep(Duration::from_secs(1))),

        "block-descriptors" => {
            for descriptor in descriptors() {
                let _ = rustix::fs::fcntl_getfl(&descriptor).and_then(|flags| {
                    rustix::fs::fcntl_setfl(&descriptor, flags - OFlags::NONBLOCK)
                });
            }
            Ok(())
        }
        "fill-descriptors" => fill_descriptors(worker),
        "steal-bells" => forever(|| {
            for link in &worker.links {
                let _ = rustix::io::read(&link.doorbell, &mut [0; 8]);
            }
            let _ = rustix::io::read(&worker.chime, &mut [0; 8]);
        }),
        "ring-bells" => forever(|| worker.links.iter().for_each(|link| link.doorbell.ring())),
        "shut-down" => {
            for descriptor in descriptors() {
                let _ = rustix::net::shutdown(&descriptor, rustix::net::Shutdown::Both);
            }
            forever(|| std::thread::sleep(Duration::from_secs(1)))
        }
        "truncate-all" => {
            for descriptor in descriptors() {
                let _ = rustix::fs::ftruncate(&descriptor, 0);
            }
            Ok(())
        }

        "noise" => noise(worker),
        "spoil-page" => {
            for link in &worker.links {
                RawRegion::new(&link.region)?.write(0, &[0xff; 24]);
            }
            Ok(())
        }
        "written-forwards" => positions(worker, |region| region.set_written(u64::MAX - 7)),
        "written-backwards" => positions(worker, |region| region.set_written(0)),
        "taken-forwards" => positions(worker, |region| region.set_taken(u64::MAX - 7)),
        "taken-backwards" => positions(worker, |region| region.set_taken(0)),
        "taken-askew" => positions(worker, |region| region.set_taken(region.taken() + 3)),
        "flags" => positions(worker, |region| region.set_flags(1, 1)),
        "spoil-incoming" => spoil_incoming(worker),
        "events" => events(worker),
        "records" => records(worker, rest.parse().unwrap_or(1)),

        "broadcasts" => flood(worker, FromProcess::Broadcast, WHOLE, &broadcast(0)),
        "large-broadcasts" => large_broadcasts(worker),
        "questions" => {
            let question = Question::Sessions(0);
            let question = postcard::to_stdvec(&question).map_err(io::Error::other)?;
            flood(worker, FromProcess::Ask, WHOLE, &question)
        }
        "posts" => flood(worker, FromProcess::Post, WHOLE, b"1 nothing"),
        "tasks" => flood(worker, FromProcess::Task, WHOLE, b"nothing"),
        "sends" => flood(worker, FromProcess::Send, WHOLE, &[b'x'; 16_000]),
        "closes" => flood(worker, FromProcess::Close, WHOLE, &[]),
        "parts" => parts(worker, 64),
        "endless-part" => parts(worker, 1),
        "half-part" => half_part(worker, rest.parse().unwrap_or(0)),
        "files" => {
            let span = FileSpan {
                offset: 0,
                length: 1,
                head: Vec::new(),
            };
            let span = postcard::to_stdvec(&span).map_err(io::Error::other)?;
            flood(worker, FromProcess::File, WHOLE, &span)
        }

        "control-garbage" => {
            worker.control.send(&[0xff; 1000], &[])?;
            Ok(())
        }
        "control-flood" => {
            let report = FromRole::Stalled(StallReport {
                hook: "x".repeat(20_000),
                session: Some(1.into()),
                kind: StallKind::Waiting,
                elapsed_ms: 1,
                stack: vec!["y".repeat(1000); 50],
                place: None,
            });
            forever(|| {
                if worker.say(&report).is_err() {
                    std::thread::sleep(STEP);
                }
            })
        }
        "control-asks" => {
            let mut number = 0;
            forever(|| {
                number += 1;
                let request = AppRequest::Status;
                if worker.say(&FromRole::Asks { number, request }).is_err() {
                    std::thread::sleep(STEP);
                }
            })
        }
        "control-foreign" => {
            let row = SessionRow {
                id: 1.into(),
                listener: "z".repeat(100_000),
                label: String::new(),
                peer: String::new(),
                worker: None,
                age_s: 0,
                idle_s: 0,
                messages: 0,
                received: 0,
                sent: 0,
                queued: 0,
                relay: None,
            };
            forever(|| {
                let foreign = FromRole::Sessions {
                    question: 1,
                    rows: vec![row.clone()],
                    next: None,
                };
                if worker.say(&foreign).is_err() {
                    std::thread::sleep(STEP);
                }
            })
        }
        "control-lingering" => lingering_descriptors(&worker.control, b"\x00", rest),
        "files-garbage" => {
            worker.files.send(&[1; 100], &[])?;
            Ok(())
        }
        "files-lingering" => lingering_descriptors(&worker.files, &[0; 16], rest),

        "board" => {
            let _ = rustix::io::pwrite(&worker.board, &[0xff; 512], 0);
            Ok(())
        }
        "truncate-log" => forever(|| {
            for descriptor in descriptors() {
                if descriptor.as_raw_fd() <= 2 || is_log(worker, &descriptor) {
                    let _ = rustix::fs::ftruncate(&descriptor, 0);
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }),
        "endless-line" => {
            let line = vec![b'e'; 1 << 20];
            for _ in 0..32 {
                let _ = io::stderr().write_all(&line);
            }
            Ok(())
        }
        "unread-log" => {
            // Nobody else may suffer from flags that it sets on what it shares.
            let _ = rustix::io::ioctl_fionbio(io::stderr(), true);
            let line = vec![b'd'; 1 << 20];
            forever(|| {
                let _ = io::stderr().write(&line);
            })
        }

        "child" => child::leave(worker),
        "close-control" => {
            worker.control = Channel::pair()?.0;
            forever(|| std::thread::sleep(Duration::from_secs(1)))
        }
        "close-files" => {
            worker.files = Channel::pair()?.0;
            forever(|| std::thread::sleep(Duration::from_secs(1)))
        }
        "stop" => {
            // Its rings are full both ways by then.
            for link in &worker.links {
                let region = RawRegion::new(&link.region)?;
                let header = Header {
                    kind: FromProcess::Send as u8,
                    flags: WHOLE,
                    session: NOBODY,
                    ..Header::default()
                };
                while region.push(&header, &[b'x'; 16_000]) {}
                link.doorbell.ring();
            }
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP).map_err(io::Error::other)
        }
        "pass" => passing::carry_out(worker, rest),
        "pass-flood" => passing::flood(worker),
        "lie" => lies::carry_out(worker, rest),
        "answer" => answers::carry_out(worker, rest),
        "group" => rooms::carry_out(worker, rest),
        _ => Err(io::Error::other(format!("no such misuse: {plan}"))),
    }
}

/// Fills what the supervisor reads after its death with noise, again and again.
fn events(worker: &Worker) -> io::Result<()> {
    let board = Scoreboard::map(worker.board.try_clone()?, PROCESS_BOARD)?;
    let mut number = 0_u64;
    forever(|| {
        for index in PROCESS_ROW..PROCESS_BOARD {
            number = number
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            board.set(index, number);
        }
        // The first time is enough for a test.
        let _ = std::fs::write("garbage", "");
    })
}

pub(crate) fn forever(mut step: impl FnMut()) -> io::Result<()> {
    loop {
        step();
    }
}

/// Copies of all that it has open. What belongs to another description (a log, a socket) shares its flags with the copy.
fn descriptors() -> Vec<OwnedFd> {
    (0..200)
        .filter_map(|number| {
            // Taken by its path, since no descriptor may be made of a number.
            let pid = rustix::process::Pid::from_raw(std::process::id() as i32)?;
            let this =
                rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()?;
            rustix::process::pidfd_getfd(&this, number, rustix::process::PidfdGetfdFlags::empty())
                .ok()
        })
        .collect()
}

fn is_log(worker: &Worker, descriptor: &OwnedFd) -> bool {
    let Some(log) = &worker.config.engine.log.file else {
        return false;
    };
    let link = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    std::fs::read_link(link).is_ok_and(|path| path == *log)
}

/// Fills every event counter and every socket that it has, from threads that stay blocked where they may.
fn fill_descriptors(worker: &Worker) -> io::Result<()> {
    for descriptor in descriptors() {
        let link = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
        let Ok(link) = std::fs::read_link(link) else {
            continue;
        };
        let link = link.to_string_lossy().into_owned();
        if !link.contains("eventfd") && !link.starts_with("socket:") {
            continue;
        }
        let _ = rustix::fs::fcntl_getfl(&descriptor)
            .and_then(|flags| rustix::fs::fcntl_setfl(&descriptor, flags - OFlags::NONBLOCK));
        std::thread::spawn(move || {
            loop {
                // Counters first to their brim, then on and on.
                let full = (u64::MAX - 1).to_ne_bytes();
                let _ = rustix::net::send(&descriptor, &full, rustix::net::SendFlags::NOSIGNAL);
                let _ = rustix::io::write(&descriptor, &1u64.to_ne_bytes());
                let _ = rustix::io::write(&descriptor, &full);
            }
        });
    }
    // And has itself be woken with each record.
    positions(worker, |region| region.say_asleep())
}

/// Random bytes over all of the regions.
fn noise(worker: &Worker) -> io::Result<()> {
    let mut random = Random::seeded(1);
    forever(|| {
        for link in &worker.links {
            let Ok(region) = RawRegion::new(&link.region) else {
                continue;
            };
            let length = random.within(1..2000);
            let at = match random.within(0..2) {
                0 => random.within(0..4096),
                _ => random.within(0..region.size() as usize),
            };
            region.write(at as u64, &random.bytes(length));
            link.doorbell.ring();
        }
    })
}

/// Sets positions on and on, whatever the loops do.
pub(crate) fn positions(worker: &Worker, mut set: impl FnMut(&RawRegion<'_>)) -> io::Result<()> {
    forever(|| {
        for link in &worker.links {
            if let Ok(region) = RawRegion::new(&link.region) {
                set(&region);
                link.doorbell.ring();
            }
        }
        std::thread::sleep(STEP);
    })
}

/// All that the gateway writes for it is overwritten, and never taken.
fn spoil_incoming(worker: &Worker) -> io::Result<()> {
    let spoil = vec![0xee; 64 * 1024];
    forever(|| {
        for link in &worker.links {
            if let Ok(region) = RawRegion::new(&link.region) {
                let (begin, length) = region.incoming();
                for at in (begin..begin + length).step_by(spoil.len()) {
                    region.write(at, &spoil);
                }
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    })
}

/// Records of every kind with fields of every kind.
fn records(worker: &Worker, seed: u64) -> io::Result<()> {
    let mut random = Random::seeded(seed);
    forever(|| {
        for link in &worker.links {
            let Ok(region) = RawRegion::new(&link.region) else {
                continue;
            };
            let session = match random.within(0..8) {
                0 => random.number(),
                1 => NOBODY,
                2 => 0,
                3 => ((random.number() % 8) << 48) | (random.number() % 64),
                _ => worker.sessions[random.within(0..worker.sessions.len().max(1))],
            };
            let length = match random.within(0..16) {
                0 => region.ring as usize / 4 - 32,
                1 => random.within(0..20_000),
                _ => random.within(0..40),
            };
            let payload = match random.within(0..4) {
                0 => vec![0; length],
                _ => random.bytes(length),
            };
            let header = Header {
                // Kinds that do not exist end it at once: they come seldom.
                kind: match random.within(0..2000) {
                    0 => random.number() as u8,
                    _ => random.within(1..27) as u8,
                },
                flags: random.number() as u8,
                aux: match random.within(0..4) {
                    0 => random.number() as u16,
                    _ => random.within(0..4) as u16,
                },
                session,
                sequence: random.number() % 4,
                time: random.number(),
            };
            region.push(&header, &payload);
            link.doorbell.ring();
        }
    })
}

/// A broadcast of `bytes` bytes to a group without members.
fn broadcast(bytes: usize) -> Vec<u8> {
    let mut payload = b"\x07nowhere\x00\x00".to_vec();
    payload.resize(payload.len() + bytes, b'b');
    payload
}

/// The largest broadcasts there are, in parts, to groups that its own sessions are in.
fn large_broadcasts(worker: &Worker) -> io::Result<()> {
    let payload = broadcast(LARGEST_BROADCAST);
    let join = |kind: FromProcess, session: u64| Header {
        kind: kind as u8,
        flags: WHOLE,
        session,
        ..Header::default()
    };
    for session in &worker.sessions {
        let link = &worker.links[(session >> 48) as usize];
        RawRegion::new(&link.region)?.push(&join(FromProcess::Join, *session), b"nowhere");
    }
    forever(|| {
        for link in &worker.links {
            let Ok(region) = RawRegion::new(&link.region) else {
                continue;
            };
            let most = region.ring as usize / 4 - 32;
            let count = payload.chunks(most).len();
            for (place, part) in payload.chunks(most).enumerate() {
                let mut header = join(FromProcess::Broadcast, 1);
                header.flags = if place == 0 { FIRST } else { 0 };
                header.flags |= if place + 1 == count { LAST } else { 0 };
                while !region.push(&header, part) {
                    link.doorbell.ring();
                    std::thread::yield_now();
                }
            }
            link.doorbell.ring();
        }
    })
}

/// Begins `posts` posts and never ends one.
fn parts(worker: &Worker, posts: u64) -> io::Result<()> {
    let links = worker.links.len() as u64;
    let each = |header: &mut Header, number: u64| {
        header.kind = FromProcess::Post as u8;
        header.flags = if number < posts * links { FIRST } else { 0 };
        header.session = number % posts;
    };
    flood_with(worker, each, &[b'x'; 16_000])
}

/// Begins one post, sends `bytes` bytes of it, and then nothing.
fn half_part(worker: &Worker, bytes: usize) -> io::Result<()> {
    let link = &worker.links[0];
    let region = RawRegion::new(&link.region)?;
    let payload = [b'x'; 16_000];
    for part in 0..bytes / payload.len() {
        let header = Header {
            kind: FromProcess::Post as u8,
            flags: if part == 0 { FIRST } else { 0 },
            ..Header::default()
        };
        while !region.push(&header, &payload) {
            link.doorbell.ring();
            std::thread::sleep(STEP);
        }
    }
    link.doorbell.ring();
    forever(|| std::thread::sleep(Duration::from_secs(1)))
}

fn flood(worker: &Worker, kind: FromProcess, flags: u8, payload: &[u8]) -> io::Result<()> {
    let each = |header: &mut Header, number| {
        header.kind = kind as u8;
        header.flags = flags;
        header.session = match kind {
            FromProcess::Send | FromProcess::Close | FromProcess::File => NOBODY,
            _ => number,
        };
        header.sequence = number;
    };
    flood_with(worker, each, payload)
}

/// As many records as the loops take, and nothing of what they answer is taken.
fn flood_with(worker: &Worker, each: impl Fn(&mut Header, u64), payload: &[u8]) -> io::Result<()> {
    let mut number = 0;
    forever(|| {
        for link in &worker.links {
            let Ok(region) = RawRegion::new(&link.region) else {
                continue;
            };
            for _ in 0..1000 {
                let mut header = Header::default();
                each(&mut header, number);
                if !region.push(&header, payload) {
                    break;
                }
                number += 1;
            }
            link.doorbell.ring();
        }
    })
}

/// Passes connections whose close waits for a peer that never reads.
fn lingering_descriptors(
    channel: &moorline_ipc::Channel,
    name: &[u8],
    peer: &str,
) -> io::Result<()> {
    for _ in 0..8 {
        let mut stream = std::net::TcpStream::connect(peer)?;
        stream.set_nonblocking(true)?;
        while stream.write(&[b'l'; 65_536]).is_ok() {}
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::from_secs(3600)))?;
        let _ = channel.send(name, &[stream.as_fd()]);
        // Its close waits as well, if it is the last.
        std::thread::spawn(move || drop(stream));
    }
    forever(|| std::thread::sleep(Duration::from_secs(1)))
}
