//! The threads that look names up, and the callers that wait for them.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::ops::{Index, IndexMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::admission::{Admission, Admitted, COMMON_THREADS, RESERVED_THREADS, STUCK_AFTER};
use super::lately::Lately;
use crate::resolve::{Families, Name, ResolveError};

/// How long an idle thread waits for work. Bursts reuse threads, a quiet process has none.
const IDLE: Duration = Duration::from_secs(10);

pub(super) type Function =
    dyn Fn(&str, Families) -> Result<Vec<IpAddr>, ResolveError> + Send + Sync;
type LookupOutcome = Result<Vec<IpAddr>, ResolveError>;

/// The handle that waiters hold: the threads end when it goes.
pub(super) struct Threads(Arc<ThreadsShared>);

struct ThreadsShared {
    families: Families,
    function: Arc<Function>,
    state: Mutex<ThreadsState>,
    /// Wakes idle threads of each kind.
    work: PerKind<Condvar>,
}

struct ThreadsState {
    lanes: PerKind<Lane>,
    /// Asked and unanswered, whether a thread has it or not. Bounded by the threads and the queues.
    asked: HashMap<Name, watch::Sender<Option<LookupOutcome>>>,
    lately: Lately,
    ending: bool,
}

/// Threads of one kind, and the names that wait for them.
struct Lane {
    admission: Admission,
    queue: VecDeque<Name>,
}

/// What threads are for.
#[derive(Debug, Clone, Copy)]
enum ThreadKind {
    /// Every name.
    Common,
    /// Names that were answered lately, while all common ones are busy.
    Reserved,
}

struct PerKind<T> {
    common: T,
    reserved: T,
}

impl<T> Index<ThreadKind> for PerKind<T> {
    type Output = T;

    fn index(&self, kind: ThreadKind) -> &T {
        match kind {
            ThreadKind::Common => &self.common,
            ThreadKind::Reserved => &self.reserved,
        }
    }
}

impl<T> IndexMut<ThreadKind> for PerKind<T> {
    fn index_mut(&mut self, kind: ThreadKind) -> &mut T {
        match kind {
            ThreadKind::Common => &mut self.common,
            ThreadKind::Reserved => &mut self.reserved,
        }
    }
}

impl Threads {
    pub(super) fn new(families: Families, function: Arc<Function>) -> Self {
        Self(Arc::new(ThreadsShared {
            families,
            function,
            state: Mutex::new(ThreadsState {
                lanes: PerKind {
                    common: Lane::new(COMMON_THREADS),
                    reserved: Lane::new(RESERVED_THREADS),
                },
                asked: HashMap::new(),
                lately: Lately::default(),
                ending: false,
            }),
            work: PerKind {
                common: Condvar::new(),
                reserved: Condvar::new(),
            },
        }))
    }

    pub(super) fn count(&self) -> usize {
        let state = self.0.lock();
        let threads = |kind| state.lanes[kind].admission.threads();
        threads(ThreadKind::Common) + threads(ThreadKind::Reserved)
    }

    /// Asks, or joins callers that have asked. Cancel-safe: a thread ends a look-up that it has begun, for the next
    /// caller.
    pub(super) async fn ask(&self, name: Name) -> LookupOutcome {
        let mut answer = self.join(&name)?;
        match answer.wait_for(Option::is_some).await {
            Ok(outcome) => (*outcome).clone().expect("waited for it"),
            Err(_) => Err(failed(&name, "the resolver's thread ended".into())),
        }
    }

    fn join(&self, name: &Name) -> Result<watch::Receiver<Option<LookupOutcome>>, ResolveError> {
        let mut state = self.0.lock();
        if let Some(sender) = state.asked.get(name) {
            return Ok(sender.subscribe());
        }
        let (kind, admitted) = state.admit(name)?;
        let (sender, receiver) = watch::channel(None);
        state.lanes[kind].queue.push_back(name.clone());
        state.asked.insert(name.clone(), sender);
        match admitted {
            Admitted::Wake => self.0.work[kind].notify_one(),
            Admitted::Start => self.start(&mut state, kind, name)?,
            Admitted::Wait | Admitted::Refused => {}
        }
        Ok(receiver)
    }

    fn start(
        &self,
        state: &mut ThreadsState,
        kind: ThreadKind,
        name: &Name,
    ) -> Result<(), ResolveError> {
        let shared = Arc::clone(&self.0);
        let started = thread::Builder::new()
            .name("resolver".into())
            .spawn(move || shared.run(kind));
        let Err(error) = started else { return Ok(()) };
        let lane = &mut state.lanes[kind];
        lane.admission.gone();
        // Any other thread will take it; without one it would wait for ever.
        if lane.admission.threads() > 0 {
            return Ok(());
        }
        lane.queue.pop_back();
        lane.admission.taken(Instant::now());
        state.asked.remove(name);
        Err(failed(name, format!("cannot start a thread: {error}")))
    }
}

impl ThreadsState {
    /// Which threads look a name up. The reserved ones alone do not make a name wait that the common ones would come to.
    fn admit(&mut self, name: &Name) -> Result<(ThreadKind, Admitted), ResolveError> {
        let now = Instant::now();
        if !self.lanes.common.admission.has_room() && self.lately.contains(name) {
            let admitted = self.lanes.reserved.admission.admit(now);
            if admitted != Admitted::Refused {
                return Ok((ThreadKind::Reserved, admitted));
            }
        }
        let common = &mut self.lanes.common.admission;
        match common.admit(now) {
            Admitted::Refused => Err(ResolveError::Busy {
                threads: common.most(),
            }),
            admitted => Ok((ThreadKind::Common, admitted)),
        }
    }
}

impl Lane {
    fn new(threads: usize) -> Self {
        Self {
            admission: Admission::new(threads, Instant::now()),
            queue: VecDeque::new(),
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.0.lock().ending = true;
        self.0.work.common.notify_all();
        self.0.work.reserved.notify_all();
    }
}

impl ThreadsShared {
    /// A thread's life.
    fn run(&self, kind: ThreadKind) {
        let mut state = self.lock();
        loop {
            let is_ending = state.ending;
            let lane = &mut state.lanes[kind];
            if let Some(name) = lane.queue.pop_front() {
                lane.admission.taken(Instant::now());
                state = self.answer(state, kind, name);
            } else if is_ending {
                break;
            } else {
                lane.admission.idle();
                let (woken, waited) = self.work[kind]
                    .wait_timeout(state, IDLE)
                    .unwrap_or_else(PoisonError::into_inner);
                state = woken;
                let lane = &mut state.lanes[kind];
                lane.admission.woken();
                if waited.timed_out() && lane.queue.is_empty() {
                    break;
                }
            }
        }
        state.lanes[kind].admission.gone();
    }

    fn answer<'a>(
        &'a self,
        mut state: MutexGuard<'a, ThreadsState>,
        kind: ThreadKind,
        name: Name,
    ) -> MutexGuard<'a, ThreadsState> {
        // The caller may have gone while it was queued.
        if state.asked[&name].is_closed() {
            state.asked.remove(&name);
            return state;
        }
        drop(state);
        let began = Instant::now();
        let call = || (self.function)(name.as_str(), self.families);
        let outcome = catch_unwind(AssertUnwindSafe(call))
            .unwrap_or_else(|_| Err(failed(&name, "the look-up panicked".into())))
            .and_then(|addresses| match addresses.is_empty() {
                true => Err(ResolveError::NotFound {
                    name: name.as_str().to_owned(),
                    ttl: None,
                }),
                false => Ok(addresses),
            });
        let mut state = self.lock();
        let now = Instant::now();
        state.lanes[kind].admission.ended(now);
        let is_answer = matches!(outcome, Ok(_) | Err(ResolveError::NotFound { .. }));
        match is_answer && now - began < STUCK_AFTER {
            true => state.lately.note(&name),
            false => state.lately.forget(&name),
        }
        if let Some(sender) = state.asked.remove(&name) {
            sender.send_replace(Some(outcome));
        }
        state
    }

    /// Nothing panics while it holds the lock, so what it guards is whole.
    fn lock(&self) -> MutexGuard<'_, ThreadsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(name: &Name, reason: String) -> ResolveError {
    ResolveError::Failed {
        name: name.as_str().to_owned(),
        reason,
    }
}
