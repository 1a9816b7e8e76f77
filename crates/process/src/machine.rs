//! What the machine has left.

use std::fs;

/// The memory that programs can still take, in bytes: what the machine and the control group leave. `None`: the system does not say.
pub fn memory_available() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    let machine = kibibytes * 1024;
    let number = |name: &str| -> Option<u64> {
        let path = format!("/sys/fs/cgroup/memory.{name}");
        fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    let group = number("max").map(|most| most.saturating_sub(number("current").unwrap_or(0)));
    Some(group.map_or(machine, |group| group.min(machine)))
}
