//! The end of a role whose supervisor is gone.
//!
//! Gateway and workers see their control channel close, drain and exit. A worker whose loop is blocked by its app sees
//! nothing, so a thread of its own ensures that no process outlives the supervisor by more than `max_wait`.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::getpgrp;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{PidfdFlags, getppid, pidfd_open};

/// The time in addition to `max_wait`: a process that ends by itself has ended by then.
const GRACE: Duration = Duration::from_secs(1);
/// The thread waits, sleeps and kills.
const STACK_BYTES: usize = 64 * 1024;

/// How long this process may outlive its supervisor, in milliseconds.
static MAX_WAIT_MS: AtomicU64 = AtomicU64::new(0);

/// Lets this process outlive its supervisor by at most this time.
pub fn outlive(max_wait: Duration) {
    let ms = u64::try_from(max_wait.as_millis()).unwrap_or(u64::MAX);
    MAX_WAIT_MS.store(ms, Ordering::Relaxed);
}

/// The supervisor, held by a descriptor: its number could belong to another process later, and a signal at the parent's
/// death would be cancelled by the change of user.
pub struct Supervisor(OwnedFd);

impl Supervisor {
    /// Call it before anything is received from the supervisor. If the supervisor is gone already, nothing ever is.
    pub fn find() -> io::Result<Self> {
        let parent = getppid().ok_or_else(|| io::Error::other("the supervisor is not visible"))?;
        Ok(Self(pidfd_open(parent, PidfdFlags::empty())?))
    }

    /// Ends this process and all that it has started, `max_wait` after the supervisor's death, or the time set by
    /// [`outlive`].
    pub fn follow(self, max_wait: Duration) -> io::Result<()> {
        outlive(max_wait);
        let follow = move || {
            while poll(&mut [PollFd::new(&self.0, PollFlags::IN)], None).is_err() {}
            let max_wait = Duration::from_millis(MAX_WAIT_MS.load(Ordering::Relaxed));
            thread::sleep(max_wait.saturating_add(GRACE));
            // Each role leads a group of its own. A failure cannot be reported to anyone.
            let _ = killpg(getpgrp(), Signal::SIGKILL);
        };
        thread::Builder::new()
            .name("moorline-orphan".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(follow)?;
        Ok(())
    }
}
