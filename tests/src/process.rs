//! Processes as `/proc` shows them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

/// One living process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    pub parent: i32,
    pub session: i32,
    /// Its first argument, which names the role.
    pub title: String,
}

impl Process {
    /// Anonymous memory of its own, in bytes: heap and stacks, without shared rings and files.
    pub fn private_memory(pid: i32) -> u64 {
        Self::field(pid, "RssAnon:")
    }

    /// All memory it has in use, in bytes.
    pub fn resident_memory(pid: i32) -> u64 {
        Self::field(pid, "VmRSS:")
    }

    /// All addresses it uses, in bytes.
    pub fn address_space(pid: i32) -> u64 {
        Self::field(pid, "VmSize:")
    }

    /// The user it runs as.
    pub fn user(pid: i32) -> u64 {
        Self::number(pid, "Uid:")
    }

    /// The group it runs as.
    pub fn group(pid: i32) -> u64 {
        Self::number(pid, "Gid:")
    }

    /// The supplementary groups it has.
    pub fn groups(pid: i32) -> Vec<u64> {
        Self::line(pid, "Groups:")
            .split_whitespace()
            .filter_map(|group| group.parse().ok())
            .collect()
    }

    /// It can never get more rights than it has.
    pub fn has_no_new_privileges(pid: i32) -> bool {
        Self::number(pid, "NoNewPrivs:") == 1
    }

    /// The CPUs its first thread may use, as the kernel writes them.
    pub fn cpus(pid: i32) -> String {
        Self::line(pid, "Cpus_allowed_list:").trim().to_owned()
    }

    /// The CPUs that the thread of this name may use.
    pub fn cpus_of_thread(pid: i32, name: &str) -> Option<String> {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        let named = |task: &std::path::PathBuf| {
            fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name)
        };
        let task = threads
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(named)?;
        let status = fs::read_to_string(task.join("status")).ok()?;
        let line = |line: &str| Some(line.strip_prefix("Cpus_allowed_list:")?.trim().to_owned());
        status.lines().find_map(line)
    }

    /// The CPU time it has used.
    pub fn cpu_time(pid: i32) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // After the name, which is in brackets: the state, ten numbers, then user and system time in hundredths.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|ticks| ticks.parse::<u64>().ok())
            .sum();
        Duration::from_millis(ticks * 10)
    }

    /// How many descriptors it holds.
    pub fn descriptors(pid: i32) -> usize {
        fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |entries| entries.count())
    }

    /// Whether one of its descriptors is this file or folder.
    pub fn holds(pid: i32, path: &Path) -> bool {
        let entries = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten();
        let mut held = entries.flatten().map(|entry| fs::read_link(entry.path()));
        held.any(|held| held.is_ok_and(|held| held == path))
    }

    /// Their numbers.
    pub fn descriptor_numbers(pid: i32) -> Vec<u32> {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives, and is ours");
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect()
    }

    /// The flags of what each of its descriptors is an opening of, by its number.
    pub fn flags(pid: i32) -> BTreeMap<u32, String> {
        let flags = |number: u32| {
            let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
            let flags = info.lines().find(|line| line.starts_with("flags:"))?;
            Some((number, flags.to_owned()))
        };
        let numbers = Self::descriptor_numbers(pid);
        numbers.into_iter().filter_map(flags).collect()
    }

    /// Sets a flag of what a descriptor of it is an opening of, or takes it away. Needs root.
    pub fn toggle_non_blocking(pid: i32, number: u32) {
        let pid = rustix::process::Pid::from_raw(pid).expect("no process has number zero");
        let process = pidfd_open(pid, PidfdFlags::empty()).expect("it lives");
        let flags = PidfdGetfdFlags::empty();
        let descriptor = pidfd_getfd(process, number as i32, flags).expect("the test runs as root");
        let before = fcntl_getfl(&descriptor).expect("it is open");
        fcntl_setfl(&descriptor, before ^ OFlags::NONBLOCK).expect("it has flags");
    }

    fn field(pid: i32, name: &str) -> u64 {
        Self::number(pid, name) * 1024
    }

    fn number(pid: i32, name: &str) -> u64 {
        Self::line(pid, name)
            .split_whitespace()
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("process {pid} has no {name} in its status"))
    }

    fn line(pid: i32, name: &str) -> String {
        fs::read_to_string(format!("/proc/{pid}/status"))
            .unwrap_or_default()
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_default()
            .to_owned()
    }
}

/// Every process whose session is `session`, zombies left out: they have ended and wait for their parent only.
///
/// A process cannot leave its session by being orphaned, so this finds what a dead supervisor left behind.
pub fn processes_of_session(session: i32) -> Vec<Process> {
    let mut found: Vec<Process> = fs::read_dir("/proc")
        .expect("Linux has /proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(read)
        .filter(|process| process.session == session)
        .collect();
    found.sort_by_key(|process| process.pid);
    found
}

fn read(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in brackets and may hold anything, so the fields are counted from the last bracket.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    let (state, parent, session) = (*fields.first()?, fields.get(1)?, fields.get(3)?);
    if state == "Z" || state == "X" {
        return None;
    }
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let title = arguments
        .split(|&byte| byte == 0)
        .next()
        .unwrap_or_default();
    Some(Process {
        pid,
        parent: parent.parse().ok()?,
        session: session.parse().ok()?,
        title: String::from_utf8_lossy(title).into_owned(),
    })
}

/// Sends a signal; a process that has ended meanwhile is fine.
pub fn kill(pid: i32, signal: Signal) {
    let _ = signal::kill(Pid::from_raw(pid), signal);
}

/// Tells a supervisor that its log files were moved away.
pub fn reopen_logs(supervisor: i32) {
    // Real-time signals have no name in the library that sends the others.
    let sent = std::process::Command::new("bash")
        .args(["-c", &format!("kill -RTMIN {supervisor}")])
        .status()
        .expect("bash is part of every Debian");
    assert!(sent.success());
}
