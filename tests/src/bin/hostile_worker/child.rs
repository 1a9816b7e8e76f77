//! A child that outlives its worker and keeps what the worker was given: it goes on writing into the rings.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Command, ExitCode, Stdio};

use moorline_engine::wire::{FromProcess, Question, WHOLE};
use moorline_ipc::{Doorbell, Header};
use rustix::io::{FdFlags, fcntl_setfd};

use crate::raw_ring::RawRegion;
use crate::worker::Worker;

/// The descriptors that a child is given, regions and doorbells in turn, then what it only holds.
const VARIABLE: &str = "HOSTILE_CHILD";

/// What this process was given, if it is such a child.
pub(crate) fn inherited() -> Option<String> {
    std::env::var(VARIABLE).ok()
}

/// Starts one, and writes its process id into the file `child`.
pub(crate) fn leave(worker: &Worker) -> io::Result<()> {
    let mut numbers = Vec::new();
    let mut pass = |descriptor: &dyn AsFd| -> io::Result<()> {
        fcntl_setfd(descriptor.as_fd(), FdFlags::empty())?;
        numbers.push(descriptor.as_fd().as_raw_fd().to_string());
        Ok(())
    };
    for link in &worker.links {
        pass(&link.region)?;
        pass(&link.doorbell)?;
    }
    pass(&worker.control)?;
    pass(&worker.files)?;
    let child = Command::new("/proc/self/exe")
        .env(VARIABLE, numbers.join(","))
        .stdin(Stdio::null())
        .spawn()?;
    std::fs::write("child.draft", child.id().to_string())?;
    std::fs::rename("child.draft", "child")
}

/// Writes questions without end, each of which the gateway would answer.
pub(crate) fn run(inherited: &str) -> ExitCode {
    // The supervisor ends the process group of a worker that has died.
    let _ = nix::unistd::setsid();
    let mut descriptors: Vec<OwnedFd> = inherited
        .split(',')
        .filter_map(|number| moorline_ipc::inherited(number.parse().ok()?).ok())
        .collect();
    let held = descriptors.split_off(descriptors.len().saturating_sub(2));
    let mut links = Vec::new();
    let mut descriptors = descriptors.into_iter();
    while let (Some(region), Some(doorbell)) = (descriptors.next(), descriptors.next()) {
        links.push((region, Doorbell::from_fd(doorbell)));
    }
    let question = postcard::to_stdvec(&Question::Session(1)).unwrap_or_default();
    let header = Header {
        kind: FromProcess::Ask as u8,
        flags: WHOLE,
        ..Header::default()
    };
    loop {
        let mut written = 0;
        for (region, doorbell) in &links {
            let Ok(region) = RawRegion::new(region) else {
                return ExitCode::FAILURE;
            };
            while written < 1000 && region.push(&header, &question) {
                written += 1;
            }
            // What it has from the gateway it takes at once, so that there is room for more answers.
            region.set_taken(region.taken());
            doorbell.ring();
        }
        if written == 0 {
            std::thread::yield_now();
        }
        std::hint::black_box(&held);
    }
}
