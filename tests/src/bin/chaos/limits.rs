//! Limits that a process has for a while. Two may overlap: the end of the last one restores the limits from before the
//! first.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

/// The limits that are in force, by process and kind.
#[derive(Default)]
pub(crate) struct Limits {
    held: Arc<Mutex<HashMap<(i32, Kind), Held>>>,
}

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    OpenFiles,
    FileSize,
}

/// One limit in force.
struct Held {
    /// The soft limit before the first of its holders.
    before: Option<u64>,
    holders: u32,
}

impl Limits {
    /// Gives a process no more than this for a while. None: it has ended.
    pub(crate) fn hold(
        &self,
        process: i32,
        kind: Kind,
        most: u64,
        time: Duration,
    ) -> Option<JoinHandle<()>> {
        let pid = Pid::from_raw(process)?;
        let maximum = kind.hard_limit(pid)?;
        let set = move |current| prlimit(Some(pid), kind.resource(), Rlimit { current, maximum });
        let key = (process, kind);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let before = set(Some(most)).ok()?.current;
        held.entry(key)
            .or_insert(Held { before, holders: 0 })
            .holders += 1;
        drop(held);
        let shared = self.held.clone();
        Some(thread::spawn(move || {
            thread::sleep(time);
            let mut held = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(limit) = held.get_mut(&key) else {
                return;
            };
            limit.holders -= 1;
            if limit.holders == 0 {
                // A process that has ended meanwhile has no limit.
                let _ = set(limit.before);
                held.remove(&key);
            }
        }))
    }
}

impl Kind {
    fn resource(self) -> Resource {
        match self {
            Kind::OpenFiles => Resource::Nofile,
            Kind::FileSize => Resource::Fsize,
        }
    }

    /// The hard limit of a process, which stays; none for a process that is gone. Inside: none for what has no limit.
    fn hard_limit(self, pid: Pid) -> Option<Option<u64>> {
        let limits = fs::read_to_string(format!("/proc/{}/limits", pid.as_raw_nonzero())).ok()?;
        let name = match self {
            Kind::OpenFiles => "Max open files",
            Kind::FileSize => "Max file size",
        };
        let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().nth(1)?.parse().ok())
    }
}

#[test]
fn overlapping_limits_restore_the_original_ones() {
    let mut child = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let process = child.id() as i32;
    let pid = Pid::from_raw(process).unwrap();
    let soft = || {
        let limits = fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
        let line = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"));
        line.unwrap().split_whitespace().next().unwrap().to_owned()
    };
    let before = soft();
    assert!(Kind::OpenFiles.hard_limit(pid).is_some());
    let limits = Limits::default();
    let hold = |most, ms| {
        let time = Duration::from_millis(ms);
        limits.hold(process, Kind::OpenFiles, most, time).unwrap()
    };
    let first = hold(20, 30);
    let second = hold(10, 200);
    first.join().unwrap();
    assert_eq!(soft(), "10");
    second.join().unwrap();
    assert_eq!(soft(), before);
    child.kill().unwrap();
    child.wait().unwrap();
}
