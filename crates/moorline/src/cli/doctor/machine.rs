//! What the kernel says of this machine.

use std::fs;

use moorline_engine::memory_available;

/// What the kernel says of this machine. `None`: it does not say.
#[derive(Debug)]
pub(super) struct Machine {
    /// As in `6.1.0-13-amd64`.
    pub(super) release: String,
    /// Bytes that programs can still take.
    pub(super) available: Option<u64>,
    /// The most open files that a limit may say.
    pub(super) most_files: Option<u64>,
    pub(super) longest_backlog: Option<u64>,
    /// The most connections that the firewall keeps.
    pub(super) most_tracked: Option<u64>,
    /// Ports for connections of its own.
    pub(super) own_ports: Option<u64>,
}

impl Machine {
    pub(super) fn current() -> Self {
        let system = rustix::system::uname();
        Self {
            release: system.release().to_string_lossy().into_owned(),
            available: memory_available(),
            most_files: number("/proc/sys/fs/nr_open"),
            longest_backlog: number("/proc/sys/net/core/somaxconn"),
            most_tracked: number("/proc/sys/net/netfilter/nf_conntrack_max"),
            own_ports: own_ports(),
        }
    }

    /// The first two numbers of the release.
    pub(super) fn version(&self) -> Option<(u64, u64)> {
        let mut numbers = self.release.split(|c: char| !c.is_ascii_digit());
        let mut next = || numbers.next()?.parse().ok();
        Some((next()?, next()?))
    }
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn own_ports() -> Option<u64> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut words = text.split_whitespace();
    let mut next = || words.next()?.parse::<u64>().ok();
    let (first, last) = (next()?, next()?);
    Some(last.saturating_sub(first) + 1)
}
