//! The memory of processes, and whether it grows all the time.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::time::Duration;

use rustix::param::page_size;

/// Looks of each window.
const LOOKS: usize = 11;
/// In this many of the steps between them it must have grown: a garbage collector may run in the others.
const GROWING: usize = 8;
/// What grows by less in a window is left alone, in bytes.
const LEAST: u64 = 16 << 20;
/// What a session may take: clients that arrive are no leak, in bytes.
const EACH_SESSION: u64 = 64 << 10;
/// The windows: one for what grows fast, one for what grows slowly.
const WINDOWS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// The memory of the processes that are looked at, by their numbers in the system.
#[derive(Debug, Default)]
pub(super) struct ProcessMemory(BTreeMap<u32, Growth>);

/// The memory of a process.
#[derive(Debug, Default)]
struct Growth {
    bytes: u64,
    windows: [Window; WINDOWS.len()],
}

#[derive(Debug, Default)]
struct Window {
    looks: VecDeque<Look>,
    next: Duration,
}

/// What a process has at one moment.
#[derive(Debug, Clone, Copy)]
struct Look {
    bytes: u64,
    sessions: u64,
    at: Duration,
}

impl ProcessMemory {
    /// Looks at these processes, with the sessions that they have now, and forgets all others.
    pub(super) fn look(&mut self, processes: &BTreeMap<u32, u64>, now: Duration) {
        self.0.retain(|pid, _| processes.contains_key(pid));
        for (pid, sessions) in processes {
            if let Some(bytes) = own_memory(*pid) {
                let look = Look {
                    bytes,
                    sessions: *sessions,
                    at: now,
                };
                self.0.entry(*pid).or_default().add(look);
            }
        }
    }

    /// The memory of a process that it shares with no file, in bytes.
    pub(super) fn bytes(&self, pid: u32) -> Option<u64> {
        self.0.get(&pid).map(|it| it.bytes)
    }

    /// By how much it grows each second; 0 if it does not grow all the time.
    pub(super) fn growth(&self, pid: u32) -> u64 {
        self.0.get(&pid).map_or(0, Growth::each_second)
    }
}

impl Growth {
    fn add(&mut self, look: Look) {
        self.bytes = look.bytes;
        for (window, every) in self.windows.iter_mut().zip(WINDOWS) {
            if look.at < window.next {
                continue;
            }
            // The next look that comes about then: they are not exactly as far from each other.
            window.next = look.at + every.mul_f64(0.9);
            if window.looks.len() == LOOKS {
                window.looks.pop_front();
            }
            window.looks.push_back(look);
        }
    }

    fn each_second(&self) -> u64 {
        let found = self.windows.iter().map(Window::growth);
        found.max().unwrap_or(0)
    }
}

impl Window {
    /// The growth each second, if it has grown in most steps and by enough.
    fn growth(&self) -> u64 {
        let (Some(first), Some(last)) = (self.looks.front(), self.looks.back()) else {
            return 0;
        };
        let steps = self.looks.iter().zip(self.looks.iter().skip(1));
        let growing = steps.filter(|(before, after)| after.bytes > before.bytes);
        let growing = growing.count();
        let arrived = last.sessions.saturating_sub(first.sessions);
        let grown = last.bytes.saturating_sub(first.bytes);
        let grown = grown.saturating_sub(arrived.saturating_mul(EACH_SESSION));
        let seconds = last.at.saturating_sub(first.at).as_secs();
        match self.looks.len() == LOOKS && growing >= GROWING && grown >= LEAST {
            true => grown / seconds.max(1),
            false => 0,
        }
    }
}

/// What is resident and of no file or shared region: the third number counts those.
fn own_memory(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut pages = text.split_whitespace().skip(1);
    let mut next = || pages.next()?.parse::<u64>().ok();
    let (resident, shared) = (next()?, next()?);
    Some(resident.saturating_sub(shared) * page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn alone(bytes: u64, second: u64) -> Look {
        Look {
            bytes,
            sessions: 0,
            at: Duration::from_secs(second),
        }
    }

    fn growth(looks: &[u64]) -> u64 {
        let mut growth = Growth::default();
        for (at, mebibytes) in looks.iter().enumerate() {
            growth.add(alone(mebibytes * MIB, at as u64));
        }
        growth.each_second()
    }

    #[test]
    fn what_grows_all_the_time_is_found_and_what_was_loaded_once_is_not() {
        let leak: Vec<_> = (0..11).map(|second| 50 + 4 * second).collect();
        assert_eq!(growth(&leak), 4 * MIB);
        assert_eq!(growth(&leak[1..]), 0);
        // A collector runs now and then.
        assert_eq!(
            growth(&[50, 54, 58, 55, 60, 64, 68, 72, 76, 80, 84]),
            34 * MIB / 10
        );
        assert_eq!(growth(&[50, 54, 58, 90, 90, 90, 90, 90, 90, 90, 90]), 0);
        assert_eq!(growth(&(0..11).map(|_| 50).collect::<Vec<_>>()), 0);
    }

    #[test]
    fn a_slow_leak_is_found_in_ten_minutes() {
        let mut growth = Growth::default();
        for second in 0..=602_u64 {
            let bytes = 50 * MIB + second / 60 * 6 * MIB;
            growth.add(alone(bytes, second));
        }
        assert_eq!(growth.each_second(), 6 * MIB / 60);
    }

    #[test]
    fn clients_that_arrive_are_no_leak_unless_each_takes_much() {
        for (each, expected) in [(48 << 10, 0), (256 << 10, (192 * 1000) << 10)] {
            let mut growth = Growth::default();
            for second in 0..11 {
                let sessions = 1000 * second;
                let bytes = 50 * MIB + sessions * each;
                growth.add(Look {
                    bytes,
                    sessions,
                    at: Duration::from_secs(second),
                });
            }
            assert_eq!(growth.each_second(), expected);
        }
    }

    #[test]
    fn the_memory_of_this_process_is_known_and_that_of_none_is_not() {
        let own = std::process::id();
        let mut memory = ProcessMemory::default();
        memory.look(&BTreeMap::from([(own, 0), (u32::MAX, 0)]), Duration::ZERO);
        assert!(memory.bytes(own).is_some_and(|bytes| bytes > 0));
        assert_eq!(memory.bytes(u32::MAX), None);
        memory.look(&BTreeMap::new(), Duration::ZERO);
        assert_eq!(memory.bytes(own), None);
    }
}
