//! The threads that look names up, and who waits for them.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::admission::{Admission, Admitted, MAX_THREADS};
use crate::resolve::{Families, Name, ResolveError};

/// How long an idle thread waits for work. Bursts reuse threads, a quiet process has none.
const IDLE: Duration = Duration::from_secs(10);

pub(super) type Function =
    dyn Fn(&str, Families) -> Result<Vec<IpAddr>, ResolveError> + Send + Sync;
type Outcome = Result<Vec<IpAddr>, ResolveError>;

/// The handle that waiters hold: the threads end when it goes.
pub(super) struct Threads(Arc<Shared>);

struct Shared {
    families: Families,
    function: Arc<Function>,
    state: Mutex<State>,
    work: Condvar,
}

struct State {
    admission: Admission,
    /// Asked and unanswered, whether a thread has it or not. Bounded by the threads and the queue.
    asked: HashMap<Name, watch::Sender<Option<Outcome>>>,
    queue: VecDeque<Name>,
    ending: bool,
}

impl Threads {
    pub(super) fn new(families: Families, function: Arc<Function>) -> Self {
        Self(Arc::new(Shared {
            families,
            function,
            state: Mutex::new(State {
                admission: Admission::new(Instant::now()),
                asked: HashMap::new(),
                queue: VecDeque::new(),
                ending: false,
            }),
            work: Condvar::new(),
        }))
    }

    pub(super) fn count(&self) -> usize {
        self.0.lock().admission.threads()
    }

    /// Asks, or joins those who have asked. Cancel-safe: what a thread has begun it ends, for whoever asks next.
    pub(super) async fn ask(&self, name: Name) -> Outcome {
        let mut answer = self.join(&name)?;
        match answer.wait_for(Option::is_some).await {
            Ok(outcome) => (*outcome).clone().expect("waited for it"),
            Err(_) => Err(failed(&name, "the resolver's thread ended".into())),
        }
    }

    fn join(&self, name: &Name) -> Result<watch::Receiver<Option<Outcome>>, ResolveError> {
        let mut state = self.0.lock();
        if let Some(sender) = state.asked.get(name) {
            return Ok(sender.subscribe());
        }
        let admitted = state.admission.admit(Instant::now());
        if admitted == Admitted::Refused {
            return Err(ResolveError::Busy {
                threads: MAX_THREADS,
            });
        }
        let (sender, receiver) = watch::channel(None);
        state.asked.insert(name.clone(), sender);
        state.queue.push_back(name.clone());
        match admitted {
            Admitted::Wake => self.0.work.notify_one(),
            Admitted::Start => self.start(&mut state, name)?,
            Admitted::Wait | Admitted::Refused => {}
        }
        Ok(receiver)
    }

    fn start(&self, state: &mut State, name: &Name) -> Result<(), ResolveError> {
        let shared = Arc::clone(&self.0);
        let started = thread::Builder::new()
            .name("resolver".into())
            .spawn(move || shared.run());
        let Err(error) = started else { return Ok(()) };
        state.admission.gone();
        // Any other thread will come to it; without one it would wait for ever.
        if state.admission.threads() > 0 {
            return Ok(());
        }
        state.queue.pop_back();
        state.admission.taken(Instant::now());
        state.asked.remove(name);
        Err(failed(name, format!("cannot start a thread: {error}")))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.0.lock().ending = true;
        self.0.work.notify_all();
    }
}

impl Shared {
    /// A thread's life.
    fn run(&self) {
        let mut state = self.lock();
        loop {
            if let Some(name) = state.queue.pop_front() {
                state.admission.taken(Instant::now());
                state = self.answer(state, name);
            } else if state.ending {
                break;
            } else {
                state.admission.idle();
                let (woken, waited) = self
                    .work
                    .wait_timeout(state, IDLE)
                    .unwrap_or_else(PoisonError::into_inner);
                state = woken;
                state.admission.woken();
                if waited.timed_out() && state.queue.is_empty() {
                    break;
                }
            }
        }
        state.admission.gone();
    }

    fn answer<'a>(&'a self, mut state: MutexGuard<'a, State>, name: Name) -> MutexGuard<'a, State> {
        // Whoever asked may have left while it was queued.
        if state.asked[&name].is_closed() {
            state.asked.remove(&name);
            return state;
        }
        drop(state);
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
        state.admission.ended(Instant::now());
        if let Some(sender) = state.asked.remove(&name) {
            sender.send_replace(Some(outcome));
        }
        state
    }

    /// Nothing panics while it holds the lock, so what it guards is whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(name: &Name, reason: String) -> ResolveError {
    ResolveError::Failed {
        name: name.as_str().to_owned(),
        reason,
    }
}
