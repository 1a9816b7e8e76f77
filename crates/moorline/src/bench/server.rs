//! What the server's process tree spends: CPU time and private memory, read from /proc.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The CPU time of a process tree at one moment.
#[derive(Debug)]
pub(super) struct CpuSample {
    /// Nanoseconds of each thread, if the kernel tells them.
    threads: Option<BTreeMap<u32, u64>>,
    /// Ticks of all processes and of their children that ended and were waited for.
    ticks: u64,
}

/// CPU time spent between two samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CpuTime {
    pub(super) spent: Duration,
    pub(super) source: CpuSource,
}

/// Where a CPU time comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum CpuSource {
    /// `schedstat` of each thread, in nanoseconds.
    Schedstat,
    /// `stat` of each process, in ticks of 10 ms: the kernel has no `schedstat`, or a thread ended meanwhile.
    Ticks,
}

/// `USER_HZ`, what `/proc` counts in on every architecture Rust runs Linux on.
const TICKS_PER_SECOND: u64 = 100;

impl CpuSample {
    /// Samples `root` and everything below it. Fails if `root` is not there.
    pub(super) fn take(root: u32) -> io::Result<Self> {
        let mut ticks = 0;
        let mut threads = Some(BTreeMap::new());
        for process in process_tree(root)? {
            ticks += process.ticks;
            if let Some(all) = &mut threads {
                match thread_times(process.pid) {
                    Ok(times) => all.extend(times),
                    Err(_) => threads = None,
                }
            }
        }
        Ok(Self { threads, ticks })
    }

    /// The time spent since an earlier sample of the same tree.
    ///
    /// Nanoseconds are used if every thread of the first look still exists. The time of an ended thread is known only
    /// to its process, and that of an ended process only to its parent, in ticks.
    pub(super) fn since(&self, earlier: &Self) -> CpuTime {
        if let (Some(now), Some(then)) = (&self.threads, &earlier.threads)
            && then.keys().all(|thread| now.contains_key(thread))
        {
            let spent = now.values().sum::<u64>() - then.values().sum::<u64>();
            return CpuTime {
                spent: Duration::from_nanos(spent),
                source: CpuSource::Schedstat,
            };
        }
        let ticks = self.ticks.saturating_sub(earlier.ticks);
        CpuTime {
            spent: Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND),
            source: CpuSource::Ticks,
        }
    }
}

/// The private memory of `root` and everything below it, in bytes: what would be free if the tree ended.
/// Pages shared between its processes, such as rings, are not in it.
pub(super) fn private_memory(root: u32) -> io::Result<u64> {
    let mut bytes = 0;
    for process in process_tree(root)? {
        match fs::read_to_string(format!("/proc/{}/smaps_rollup", process.pid)) {
            Ok(text) => bytes += private_bytes(&text),
            // It ended between the look at the tree and this one.
            Err(error) if has_ended(&error) && process.pid != root => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

fn private_bytes(smaps_rollup: &str) -> u64 {
    smaps_rollup
        .lines()
        .filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            matches!(name, "Private_Clean" | "Private_Dirty").then_some(value)?;
            value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        })
        .sum::<u64>()
        * 1024
}

/// Reading a file of a process that ended says ESRCH, or that the file is not there.
fn has_ended(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

#[derive(Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    parent: u32,
    /// Its own and those of the children it waited for.
    ticks: u64,
}

/// `root` first, then all its descendants.
fn process_tree(root: u32) -> io::Result<Vec<Process>> {
    let read = |pid: u32| -> io::Result<Option<Process>> {
        Ok(parse_stat(&fs::read_to_string(format!(
            "/proc/{pid}/stat"
        ))?))
    };
    let Some(root) = read(root)? else {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    };
    let mut children: BTreeMap<u32, Vec<Process>> = BTreeMap::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        if let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
            && let Ok(Some(process)) = read(pid)
        {
            children.entry(process.parent).or_default().push(process);
        }
    }
    let mut tree = vec![root];
    let mut visited = 0;
    while let Some(process) = tree.get(visited) {
        if let Some(more) = children.remove(&process.pid) {
            tree.extend(more);
        }
        visited += 1;
    }
    Ok(tree)
}

/// Reads `/proc/PID/stat` (proc_pid_stat(5)).
fn parse_stat(text: &str) -> Option<Process> {
    // The name in parentheses may hold anything, parentheses too; fields count from what follows it.
    let (pid, rest) = text.split_once(' ')?;
    let fields: Vec<&str> = rest.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    const PPID: usize = 4;
    const UTIME_TO_CSTIME: std::ops::RangeInclusive<usize> = 14..=17;
    Some(Process {
        pid: pid.parse().ok()?,
        parent: field(PPID)?.try_into().ok()?,
        ticks: UTIME_TO_CSTIME.map(field).sum::<Option<u64>>()?,
    })
}

/// Nanoseconds on a CPU, for each thread of a process.
fn thread_times(pid: u32) -> io::Result<Vec<(u32, u64)>> {
    let mut times = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let entry = entry?;
        let time = fs::read_to_string(entry.path().join("schedstat"))?
            .split_whitespace()
            .next()
            .and_then(|nanoseconds| nanoseconds.parse().ok());
        let thread = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let (Some(thread), Some(time)) = (thread, time) else {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        };
        times.push((thread, time));
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name() {
        let line = "42 (a) S (b) R 7 1 1 0 -1 4194560 9 8 0 0 100 20 3 4 20 0 1 0 5 6 7";
        assert_eq!(
            parse_stat(line),
            Some(Process {
                pid: 42,
                parent: 7,
                ticks: 127
            })
        );
        assert_eq!(parse_stat("42 (cut"), None);
    }

    #[test]
    fn private_memory_is_the_sum_of_clean_and_dirty() {
        let text = "5-7 ---p 00 00:00 0 [rollup]\nRss:  900 kB\nShared_Clean: 3 kB\n\
                    Private_Clean:         16 kB\nPrivate_Dirty:        4 kB\n";
        assert_eq!(private_bytes(text), 20 * 1024);
    }

    #[test]
    fn the_time_of_a_process_that_ended_is_in_its_parents_ticks() {
        let sample = |threads: &[(u32, u64)], ticks| CpuSample {
            threads: Some(threads.iter().copied().collect()),
            ticks,
        };
        let then = sample(&[(1, 100), (2, 500)], 10);
        assert_eq!(
            sample(&[(1, 150), (2, 800), (3, 50)], 11).since(&then),
            CpuTime {
                spent: Duration::from_nanos(400),
                source: CpuSource::Schedstat
            }
        );
        assert_eq!(
            sample(&[(1, 150), (3, 50)], 15).since(&then),
            CpuTime {
                spent: Duration::from_millis(50),
                source: CpuSource::Ticks
            }
        );
    }

    #[test]
    fn a_process_can_look_at_itself() {
        let pid = std::process::id();
        assert!(private_memory(pid).unwrap() > 0);
        let then = CpuSample::take(pid).unwrap();
        assert!(CpuSample::take(pid).unwrap().ticks >= then.ticks);
        assert!(CpuSample::take(u32::MAX).is_err());
    }
}
