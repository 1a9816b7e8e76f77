//! Descriptors that are passed as files and are no files, or unreliable ones.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use moorline_engine::wire::{FileSpan, FromProcess, WHOLE};
use moorline_ipc::Header;
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};

use crate::misuse::forever;
use crate::raw_ring::RawRegion;
use crate::worker::Worker;

/// How long a file claims to be.
const LENGTH: u64 = 1 << 20;

/// Passes one descriptor of this kind for a session of its own, and at once a record for it.
#[expect(clippy::too_many_lines, reason = "one arm for each command")]
pub(crate) fn carry_out(worker: &Worker, kind: &str) -> io::Result<()> {
    let files: Vec<OwnedFd> = match kind {
        "directory" => vec![File::open("/")?.into()],
        "socket" => vec![std::os::unix::net::UnixStream::pair()?.0.into()],
        "fifo" => {
            let path = format!("fifo-{}", std::process::id());
            rustix::fs::mknodat(
                rustix::fs::CWD,
                &path,
                rustix::fs::FileType::Fifo,
                Mode::RWXU,
                0,
            )?;
            vec![rustix::fs::open(
                &path,
                OFlags::RDWR | OFlags::NONBLOCK,
                Mode::empty(),
            )?]
        }
        "proc" => vec![File::open("/proc/self/mem")?.into()],
        // Its read waits for the kernel's next message, where root may open it at all.
        "kernel-log" => vec![
            File::open("/proc/kmsg")
                .or_else(|_| File::open("/proc/uptime"))?
                .into(),
        ],
        "write-only" => vec![File::create("write-only")?.into()],
        "none" => Vec::new(),
        "two" => vec![
            File::open("moorline.toml")?.into(),
            File::open("moorline.toml")?.into(),
        ],
        "sealed" | "shrinking" => {
            let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
            let memory = rustix::fs::memfd_create("hostile", flags)?;
            File::from(memory.try_clone()?).write_all(&[b's'; LENGTH as usize])?;
            if kind == "sealed" {
                let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
                rustix::fs::fcntl_add_seals(&memory, all)?;
            } else {
                let shrinks = memory.try_clone()?;
                std::thread::spawn(move || {
                    loop {
                        let _ = rustix::fs::ftruncate(&shrinks, 0);
                        let _ = rustix::fs::ftruncate(&shrinks, LENGTH);
                    }
                });
            }
            vec![memory]
        }
        _ => return Err(io::Error::other(format!("no such kind: {kind}"))),
    };
    let session = worker.sessions.last().copied().unwrap_or(0);
    let name = (u128::from(session) << 64 | 1).to_le_bytes();
    let borrowed: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    worker.files.send(&name, &borrowed)?;
    // So late that the descriptor is there, if it was taken.
    std::thread::sleep(Duration::from_millis(100));
    let span = FileSpan {
        offset: 0,
        length: LENGTH,
        head: Vec::new(),
    };
    let span = postcard::to_stdvec(&span).map_err(io::Error::other)?;
    let link = &worker.links[(session >> 48) as usize];
    let header = Header {
        kind: FromProcess::File as u8,
        flags: WHOLE,
        session,
        sequence: 1,
        ..Header::default()
    };
    RawRegion::new(&link.region)?.push(&header, &span);
    link.doorbell.ring();
    forever(|| std::thread::sleep(Duration::from_secs(1)))
}

/// One file after the other, and never a record.
pub(crate) fn flood(worker: &Worker) -> io::Result<()> {
    let file = File::open("moorline.toml")?;
    let session = worker.sessions.last().copied().unwrap_or(0);
    let mut number = 0_u64;
    forever(|| {
        number += 1;
        let name = (u128::from(session) << 64 | u128::from(number)).to_le_bytes();
        if worker.files.send(&name, &[file.as_fd()]).is_err() {
            std::thread::sleep(crate::misuse::STEP);
        }
    })
}
