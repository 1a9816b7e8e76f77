//! Several event loops: new work goes to the least loaded.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity};

use super::handle::EventLoop;
use super::options::{LoopOptions, Priority};
use crate::setters::setters;

/// Loads closer to each other than this are the same, so that what comes in a burst is spread in turn.
const LOAD_STEP: f64 = 0.05;

/// Several event loops. Clones are the same pool; its loops end when the last clone and the last handle of
/// each are dropped.
///
/// ```
/// use moorline_net::{EventLoopPool, LoopPoolOptions};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let pool = EventLoopPool::start(LoopPoolOptions::default()).unwrap();
/// let answer = pool.least_loaded().spawn(|| async { 6 * 7 }).await;
/// assert_eq!(answer.unwrap(), 42);
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct EventLoopPool(Arc<Loops>);

#[derive(Debug)]
struct Loops {
    loops: Vec<EventLoop>,
    /// Where the last search ended.
    next: AtomicUsize,
    prefer_current: bool,
}

/// Options of a pool of loops.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoopPoolOptions {
    /// How many. `None`: as many as CPUs that this process may use.
    pub size: Option<usize>,
    /// The beginning of their names; a number follows.
    pub name: String,
    /// How the system's scheduler treats them.
    pub priority: Priority,
    /// Each runs on one CPU alone, in turn. Off: the scheduler knows better, except on a machine that does nothing
    /// else.
    pub cpu_affinity: bool,
    /// [`EventLoopPool::choose`] gives the loop that asks, if it belongs to the pool. On: work that stays on its
    /// loop wakes no other.
    pub prefer_current: bool,
    /// See [`LoopOptions::stall_after`].
    pub stall_after: Option<Duration>,
}

setters! {
    LoopPoolOptions {
        size: Option<usize>,
        name: String,
        priority: Priority,
        cpu_affinity: bool,
        prefer_current: bool,
        stall_after: Option<Duration>,
    }
}

impl Default for LoopPoolOptions {
    fn default() -> Self {
        let LoopOptions {
            name,
            priority,
            stall_after,
            ..
        } = LoopOptions::default();
        Self {
            size: None,
            name,
            priority,
            cpu_affinity: false,
            prefer_current: true,
            stall_after,
        }
    }
}

impl EventLoopPool {
    /// Starts the loops. When this returns, all of them run. Blocks for as long as that takes.
    ///
    /// # Errors
    /// One of them could not be started ([`EventLoop::start`]), or none is asked for.
    pub fn start(options: LoopPoolOptions) -> io::Result<Self> {
        let size = match options.size {
            Some(0) => return Err(io::ErrorKind::InvalidInput.into()),
            Some(size) => size,
            None => thread::available_parallelism()?.get(),
        };
        let cpus = usable_cpus()?;
        let loops = (0..size).map(|index| {
            EventLoop::start(LoopOptions {
                name: format!("{} {index}", options.name),
                priority: options.priority,
                cpu: options.cpu_affinity.then(|| cpus[index % cpus.len()]),
                stall_after: options.stall_after,
            })
        });
        Ok(Self(Arc::new(Loops {
            loops: loops.collect::<io::Result<_>>()?,
            next: AtomicUsize::new(0),
            prefer_current: options.prefer_current,
        })))
    }

    /// The loops.
    pub fn loops(&self) -> &[EventLoop] {
        &self.0.loops
    }

    /// Where new work belongs: on the loop that runs this code, if it belongs to the pool and the pool prefers it;
    /// else on the least loaded.
    pub fn choose(&self) -> &EventLoop {
        let current = self.loops().iter().find(|candidate| candidate.is_current());
        match current {
            Some(current) if self.0.prefer_current => current,
            _ => self.least_loaded(),
        }
    }

    /// The loop that has slept most lately; among equals each in turn.
    pub fn least_loaded(&self) -> &EventLoop {
        let loops = self.loops();
        let start = self.0.next.load(Ordering::Relaxed);
        let loads = (0..loops.len()).map(|step| {
            let index = start.wrapping_add(step) % loops.len();
            (step, (loops[index].load() / LOAD_STEP) as u32)
        });
        // The first of equals. A pool has a loop.
        let (step, _) = loads.min_by_key(|(_, load)| *load).unwrap_or_default();
        let chosen = start.wrapping_add(step) % loops.len();
        self.0.next.store(chosen + 1, Ordering::Relaxed);
        &loops[chosen]
    }

    /// Ends all loops; see [`EventLoop::stop`].
    pub fn stop(&self) {
        self.loops().iter().for_each(EventLoop::stop);
    }
}

/// The CPUs that this process may use; at least one.
fn usable_cpus() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect();
    if cpus.is_empty() {
        return Err(io::Error::other("the system names no CPU that may be used"));
    }
    Ok(cpus)
}
