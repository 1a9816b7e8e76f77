//! One loop: its handle, and what its thread does.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{getpriority_process, setpriority_process};
use rustix::thread::{CpuSet, gettid, sched_setaffinity};
use tokio::runtime::{Builder, Handle, LocalOptions, LocalRuntime};
use tokio::sync::Notify;

use super::load::LoadMeter;
use super::lock::lock;
use super::options::{LoopOptions, Priority};
use super::shared::{LoopShared, Owner};
use super::task::{self, Job, Task, TaskError};
use super::watchdog;

/// The most work that may wait to be started on one loop. Waiting would not help a loop that is so far behind.
pub const MAX_POSTED: usize = 1 << 17;
/// Posted work started in one turn, so that what runs already is not kept waiting.
const POSTED_PER_TURN: usize = 256;
/// How much the nice value of a loop of high priority is lowered: the kernel gives it ten times the weight.
const HIGH_PRIORITY: i32 = -10;

/// One thread that runs a tokio `LocalRuntime`: work is posted to it from anywhere.
///
/// A handle: clones are the same loop, which ends when the last of them is dropped, or by [`stop`](Self::stop).
/// Whatever lives on it then is dropped on its thread.
///
/// ```
/// use moorline_net::{EventLoop, LoopOptions};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let event_loop = EventLoop::start(LoopOptions::default()).unwrap();
/// let answer = event_loop.spawn(|| async { 6 * 7 }).await;
/// assert_eq!(answer.unwrap(), 42);
/// # });
/// ```
#[derive(Clone)]
pub struct EventLoop(Arc<Owner>);

impl EventLoop {
    /// Starts a loop. When this returns, it runs. Blocks for as long as a thread takes to start.
    ///
    /// # Errors
    /// The system gives no thread, no epoll, or not the CPU.
    pub fn start(options: LoopOptions) -> io::Result<Self> {
        let (tell, told) = mpsc::sync_channel(1);
        let name = options.name.clone();
        thread::Builder::new().name(name).spawn(move || {
            let (shared, runtime) = match LoopShared::set_up(&options) {
                Ok(parts) => parts,
                Err(error) => return drop(tell.send(Err(error))),
            };
            CURRENT.set(Arc::downgrade(&shared));
            // The caller has gone, and nobody else holds the loop, so it is about to end.
            let _ = tell.send(Ok(shared.clone()));
            shared.run(runtime);
        })?;
        let shared = told
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the loop's thread ended")))?;
        let this = Self(Arc::new(Owner(shared)));
        *lock(&this.shared().owner) = Arc::downgrade(&this.0);
        if let Some(stall_after) = this.shared().stall_after {
            watchdog::watch(this.shared(), stall_after)?;
        }
        Ok(this)
    }

    /// The loop that runs this code, if one does and is not ending.
    pub fn current() -> Option<Self> {
        let shared = CURRENT.with_borrow(Weak::upgrade)?;
        let owner = lock(&shared.owner).upgrade()?;
        Some(Self(owner))
    }

    /// Posts work behind all that is posted. Never blocks.
    ///
    /// `make` runs on the loop and returns a future, which need not be `Send`. The [`Task`] gives its result, and
    /// [`cancel`](Task::cancel) cancels it; dropping the task does not.
    pub fn spawn<F, Fut>(&self, make: F) -> Task<Fut::Output>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        let (job, task) = task::new(make);
        self.shared().post(job, QueueEnd::Back);
        task
    }

    /// Posts work before all that is posted. See [`spawn`](Self::spawn).
    pub fn spawn_first<F, Fut>(&self, make: F) -> Task<Fut::Output>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        let (job, task) = task::new(make);
        self.shared().post(job, QueueEnd::Front);
        task
    }

    /// On this loop already: begins the work now, before it returns, up to its first wait. Elsewhere posts it.
    /// See [`spawn`](Self::spawn).
    pub fn run_here_or_spawn<F, Fut>(&self, make: F) -> Task<Fut::Output>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        let (job, task) = task::new(make);
        if self.is_current() && !self.shared().is_stopped.load(Ordering::Acquire) {
            job.start(&self.shared().name);
        } else {
            self.shared().post(job, QueueEnd::Back);
        }
        task
    }

    /// Whether this code runs on it.
    pub fn is_current(&self) -> bool {
        CURRENT.with_borrow(|current| current.as_ptr() == Arc::as_ptr(self.shared()))
    }

    /// The share of time that it was awake, from 0 to 1; the last second counts most.
    pub fn load(&self) -> f64 {
        self.shared().load.at(Instant::now())
    }

    /// How often it was held by one piece of work for longer than `stall_after`.
    pub fn stalls(&self) -> u64 {
        self.shared().stalls.load(Ordering::Relaxed)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared().name
    }

    /// Its runtime, to spawn futures that are `Send` and to make sockets of it.
    pub fn handle(&self) -> &Handle {
        &self.shared().handle
    }

    /// Ends it: no more work is started, and everything on it is dropped there. Does not wait for that.
    pub fn stop(&self) {
        self.shared().stop();
    }

    /// Waits until its thread has let go of everything, at most so long. Blocks: not to be called on a loop.
    ///
    /// # Errors
    /// It has not ended within that time ([`io::ErrorKind::TimedOut`]).
    pub fn wait(&self, within: Duration) -> io::Result<()> {
        let shared = self.shared();
        let has_ended = lock(&shared.has_ended);
        let (has_ended, _) = shared
            .ended
            .wait_timeout_while(has_ended, within, |has_ended| !*has_ended)
            .unwrap_or_else(PoisonError::into_inner);
        if *has_ended {
            Ok(())
        } else {
            Err(io::ErrorKind::TimedOut.into())
        }
    }

    fn shared(&self) -> &Arc<LoopShared> {
        &self.0.0
    }
}

impl PartialEq for EventLoop {
    /// Whether both are the same loop.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.shared(), other.shared())
    }
}

impl Eq for EventLoop {}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.stop();
    }
}

thread_local! {
    static CURRENT: RefCell<Weak<LoopShared>> = const { RefCell::new(Weak::new()) };
}

/// Where posted work stands among what waits.
enum QueueEnd {
    Back,
    Front,
}

impl LoopShared {
    /// On the loop's thread.
    fn set_up(options: &LoopOptions) -> io::Result<(Arc<Self>, LocalRuntime)> {
        if let Some(cpu) = options.cpu {
            pin(cpu)?;
        }
        if options.priority == Priority::High
            && let Err(error) = raise_priority()
        {
            tracing::warn!(event_loop = %options.name, %error, "no permission for high priority: the loop runs with normal priority");
        }
        let load = Arc::new(LoadMeter::new(Instant::now()));
        let (falling_asleep, waking) = (load.clone(), load.clone());
        let runtime = Builder::new_current_thread()
            .enable_all()
            .on_thread_park(move || falling_asleep.sleep(Instant::now()))
            .on_thread_unpark(move || waking.wake(Instant::now()))
            .build_local(LocalOptions::default())?;
        let shared = Arc::new(Self {
            name: options.name.as_str().into(),
            stall_after: options.stall_after,
            thread: gettid(),
            handle: runtime.handle().clone(),
            owner: Mutex::default(),
            posted: Mutex::default(),
            wake: Notify::new(),
            is_stopped: AtomicBool::new(false),
            has_ended: Mutex::new(false),
            ended: Condvar::new(),
            load,
            asked: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            stalls: AtomicU64::new(0),
        });
        Ok((shared, runtime))
    }

    /// Runs until it is stopped.
    fn run(&self, runtime: LocalRuntime) {
        runtime.block_on(self.start_posted());
        // Work that was not started is dropped here, like started work.
        let posted = std::mem::take(&mut *lock(&self.posted));
        if catch_unwind(AssertUnwindSafe(|| drop(posted))).is_err() {
            tracing::error!(event_loop = %self.name, "a queued task panicked while it was dropped");
        }
        // Does not wait for threads that block: they may do so for ever.
        runtime.shutdown_background();
        *lock(&self.has_ended) = true;
        self.ended.notify_all();
    }

    async fn start_posted(&self) {
        loop {
            for _ in 0..POSTED_PER_TURN {
                self.answer();
                if self.is_stopped.load(Ordering::Acquire) {
                    return;
                }
                // A statement of its own: the lock is not held while the job runs.
                let job = lock(&self.posted).pop_front();
                match job {
                    Some(job) => job.start(&self.name),
                    None => self.wake.notified().await,
                }
            }
            tokio::task::yield_now().await;
        }
    }

    fn post(&self, job: Box<dyn Job>, place: QueueEnd) {
        let mut posted = lock(&self.posted);
        // Under the lock, as the loop empties the queue under it for the last time.
        if self.is_stopped.load(Ordering::Acquire) {
            drop(posted);
            return job.refuse(TaskError::Stopped);
        }
        if posted.len() >= MAX_POSTED {
            drop(posted);
            tracing::error!(event_loop = %self.name, "refused a task: {MAX_POSTED} are queued");
            return job.refuse(TaskError::Full);
        }
        match place {
            QueueEnd::Back => posted.push_back(job),
            QueueEnd::Front => posted.push_front(job),
        }
        drop(posted);
        self.wake.notify_one();
    }

    fn stop(&self) {
        {
            let _posted = lock(&self.posted);
            self.is_stopped.store(true, Ordering::Release);
        }
        self.wake.notify_one();
    }

    /// Tells the watchdog that nothing holds the loop.
    fn answer(&self) {
        let asked = self.asked.load(Ordering::Relaxed);
        self.answered.store(asked, Ordering::Relaxed);
    }
}

fn pin(cpu: usize) -> io::Result<()> {
    let mut cpus = CpuSet::new();
    if cpu >= CpuSet::MAX_CPU {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    cpus.set(cpu);
    Ok(sched_setaffinity(None, &cpus)?)
}

/// Linux gives each thread a nice value of its own; that of "this process" is the calling thread's.
fn raise_priority() -> io::Result<()> {
    let nice = getpriority_process(None)?;
    Ok(setpriority_process(None, nice.min(HIGH_PRIORITY))?)
}
