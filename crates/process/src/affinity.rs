//! A thread stays on one CPU.

use moorline_config::{CpuAffinity, allowed_cpus};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// The calling thread, and every thread that it starts from then on, stays on the CPU for this number: worker k and
/// gateway loop k share one, so that their data stays in its caches. Call it once there is a log.
pub fn stay(affinity: &CpuAffinity, number: u16) {
    let cpus = match affinity {
        CpuAffinity::Off => return,
        CpuAffinity::Each => allowed_cpus(),
        CpuAffinity::Only(cpus) => cpus.clone(),
    };
    let Some(&cpu) = cpus.get(usize::from(number) % cpus.len().max(1)) else {
        return;
    };
    let mut set = CpuSet::new();
    let stayed = set
        .set(usize::from(cpu))
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    match stayed {
        Ok(()) => tracing::debug!(cpu, number, "stays on one CPU"),
        // A CPU may have been removed since the configuration was read. The thread works as well on another one.
        Err(error) => tracing::warn!(cpu, number, %error, "cannot stay on this CPU"),
    }
}
