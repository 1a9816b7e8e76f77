//! Staying on one CPU.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::config::CpuAffinity;

/// The calling thread, and whatever it starts from then on, stays on the CPU for this number: worker k and gateway
/// loop k share one, so that what passes between them stays in its caches. To be called once there is a log.
pub(crate) fn stay(affinity: &CpuAffinity, number: u16) {
    let cpus = match affinity {
        CpuAffinity::Off => return,
        CpuAffinity::Each => allowed(),
        CpuAffinity::Only(cpus) => cpus.iter().map(|&cpu| usize::from(cpu)).collect(),
    };
    let Some(&cpu) = cpus.get(usize::from(number) % cpus.len().max(1)) else {
        return;
    };
    let mut set = CpuSet::new();
    let stayed = set
        .set(cpu)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    match stayed {
        Ok(()) => tracing::debug!(cpu, number, "stays on one CPU"),
        // A CPU may have been taken away since the configuration was read. It runs as well elsewhere.
        Err(error) => tracing::warn!(cpu, number, %error, "cannot stay on this CPU"),
    }
}

/// The CPUs that this process may use.
pub(crate) fn allowed() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else {
        return Vec::new();
    };
    (0..CpuSet::count())
        .filter(|&cpu| set.is_set(cpu).unwrap_or(false))
        .collect()
}
