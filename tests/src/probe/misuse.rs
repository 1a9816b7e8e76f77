//! Misuse of the descriptors that a process has.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use moorline::Result;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::net::Shutdown;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open, setpgid};

/// Misuses what the engine gave this process: `fill`, `steal`, `shut`, or its process `group`. Returns how many descriptors it found.
pub(super) fn misuse(how: &str) -> Result<String> {
    if how == "group" {
        return leave_group();
    }
    let (bells, sockets) = (given("anon_inode:[event")?, given("socket:[")?);
    let count = bells.len() + sockets.len();
    match how {
        "fill" => bells.iter().for_each(fill),
        // For as long as the test takes.
        "steal" => drop(thread::spawn(move || {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(20) {
                for bell in &bells {
                    let _ = rustix::io::read(bell, &mut [0; 8]);
                }
            }
        })),
        "shut" => {
            for socket in &sockets {
                let _ = rustix::net::shutdown(socket, Shutdown::Both);
            }
            bells.iter().chain(&sockets).for_each(fill);
        }
        other => return Err(format!("no way to misuse: {other}").into()),
    }
    Ok(count.to_string())
}

/// Goes into the process group of a child, so that no signal to its own reaches it.
fn leave_group() -> Result<String> {
    let child = Command::new("sleep").arg("5").process_group(0).spawn()?;
    setpgid(None, Pid::from_raw(child.id() as i32))?;
    Ok("left".to_owned())
}

/// Writes until nothing more fits, so that the next writer waits.
fn fill(descriptor: &OwnedFd) {
    let Ok(flags) = fcntl_getfl(descriptor) else {
        return;
    };
    let _ = fcntl_setfl(descriptor, flags | OFlags::NONBLOCK);
    // A counter takes what still fits, so it is filled from the largest number down.
    for bit in (0..u64::BITS).rev() {
        let amount = 1_u64 << bit;
        while rustix::io::write(descriptor, &amount.to_ne_bytes()).is_ok() {}
    }
    let _ = fcntl_setfl(descriptor, flags - OFlags::NONBLOCK);
}

/// Handles to all open descriptors that `/proc` calls so.
fn given(name: &str) -> Result<Vec<OwnedFd>> {
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let is_such = fs::read_link(entry.path())
            .is_ok_and(|target| target.to_string_lossy().starts_with(name));
        let number = entry.file_name().to_string_lossy().parse()?;
        if is_such && number > 2 {
            found.push(pidfd_getfd(&own, number, PidfdGetfdFlags::empty())?);
        }
    }
    Ok(found)
}
