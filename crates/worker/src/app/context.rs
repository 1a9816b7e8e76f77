//! The context: what an app can do from anywhere in its process.

use std::fmt;
use std::future::{IntoFuture, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use moorline_net::Address;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep_until};

use crate::app::task::WhenFull;
use crate::app::{PostError, SendError, Session, SessionId, Task, TaskError};
use crate::config::{Listener, LuaScript};
use crate::control::Role;
use crate::wire::Peer;
use crate::{Core, TASKS, run_timer};

/// The app's process and, through it, the engine. Clones are cheap and mean the same.
///
/// ```no_run
/// use std::time::Duration;
///
/// use moorline_worker::app::{Context, Result};
///
/// // What any hook may do.
/// async fn announce(context: &Context) -> Result {
///     context.group("all").send("the news").await?;
///     let result = context.task("a slow job").await?;
///     context.post(0, &result).await?;
///     let beat = async |context: Context| {
///         let _ = context.group("all").send("beat").await;
///     };
///     context.every(Duration::from_secs(10), beat).detach();
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Context(Rc<Core>);

impl Context {
    pub(crate) fn new(core: Rc<Core>) -> Self {
        Self(core)
    }

    pub(crate) fn core(&self) -> &Rc<Core> {
        &self.0
    }

    /// The slot this process serves, from 0. Workers and task workers are counted apart.
    pub fn slot(&self) -> u16 {
        self.0.slot()
    }

    /// The deployment this process belongs to, from 1; rises with each reload.
    pub fn generation(&self) -> u32 {
        self.0.generation
    }

    /// This is a task worker.
    pub fn is_task(&self) -> bool {
        matches!(self.0.role, Role::Task(_))
    }

    /// This process is the leader: the one worker of the engine that runs jobs of which only one may run, such as a timer
    /// that feeds every client. Ask each time such a job has something to do: leaders change.
    ///
    /// There is one whenever a worker serves, and never two. It stays the leader until it dies, or until another process
    /// serves its slot, such as after a reload. Then `leader` becomes false here first. The next leader is appointed when
    /// this process has confirmed that, or has ended. A leader that is stopped or blocked delays the next one by up to
    /// `max_wait`. Task workers never lead.
    pub fn leader(&self) -> bool {
        self.0.commitment.leads()
    }

    /// Waits until this process is the leader, and returns at once if it is. Cancel-safe.
    pub async fn until_leader(&self) {
        self.0.commitment.until_leads(true).await;
        self.0.commitment.committed().await;
    }

    /// Waits until this process is not the leader, and returns at once if it is not. Cancel-safe.
    pub async fn until_not_leader(&self) {
        self.0.commitment.until_leads(false).await;
    }

    /// The number of worker slots.
    pub fn workers(&self) -> u16 {
        self.0.config.workers.count
    }

    /// How long a stopping process waits for its hooks, as the configuration says.
    pub fn max_wait(&self) -> Duration {
        self.0.config.workers.max_wait
    }

    /// The app's name in logs and process titles.
    pub fn name(&self) -> &str {
        &self.0.config.name
    }

    /// The script of an app in Lua, as the configuration names it.
    pub fn lua(&self) -> Option<&LuaScript> {
        self.0.config.workers.lua.as_ref()
    }

    /// The name of the TCP listener with this port.
    pub fn listener_at(&self, port: u16) -> Option<&str> {
        let listeners = self.0.config.listeners.iter();
        let has_port = |address: &Address| match address {
            Address::Tcp(it) | Address::Tls(it) => it.port == port,
            _ => false,
        };
        let mut fitting = listeners.filter(|listener| has_port(&listener.address));
        fitting.next().map(|listener| listener.name.as_str())
    }

    /// The TCP listeners that have this address, or all addresses, or whose address is among these: each with its name, and a word for
    /// what it speaks, as `status` shows it (`raw`, `websocket` and so on).
    pub fn listeners_at(&self, address: SocketAddr) -> impl Iterator<Item = (&str, &'static str)> {
        let is_at = move |listener: &&Listener| {
            let covers = |ip: IpAddr| {
                ip == address.ip() || ip.is_unspecified() || address.ip().is_unspecified()
            };
            let host_port = listener
                .address
                .host_port()
                .filter(|_| !listener.is_datagram());
            host_port.is_some_and(|it| {
                it.port == address.port() && it.ip().is_none_or(covers) && !listener.is_retired
            })
        };
        let listeners = self.0.config.listeners.iter().filter(is_at);
        listeners.map(|listener| (listener.name.as_str(), listener.kind_word()))
    }

    /// A handle to any session, whichever process serves it. The session may not exist: then the first send is lost, and later
    /// ones return [`SendError::NoSuchSession`].
    pub fn session(&self, id: SessionId) -> Session {
        self.0.sessions.any(&self.0, id.into())
    }

    /// Sends a datagram from the `udp://` listener of this name.
    ///
    /// # Errors
    /// [`SendError::NoSuchListener`]; [`SendError::NoAddress`] if the listener is `unixgram://`; [`SendError::Full`] and
    /// [`SendError::TooLarge`].
    pub fn send_to(
        &self,
        listener: &str,
        peer: SocketAddr,
        bytes: impl AsRef<[u8]>,
    ) -> Result<(), SendError> {
        self.send_datagram(listener, &Peer::Ip(peer), bytes.as_ref())
    }

    /// Sends a datagram from the `unixgram://` listener of this name to the socket at a path; an abstract one begins with a
    /// NUL byte.
    ///
    /// # Errors
    /// As for [`send_to`](Self::send_to); [`SendError::NoAddress`] if the listener is `udp://` or the path is too long.
    pub fn send_to_path(
        &self,
        listener: &str,
        peer: impl Into<PathBuf>,
        bytes: impl AsRef<[u8]>,
    ) -> Result<(), SendError> {
        self.send_datagram(listener, &Peer::UnixNamed(peer.into()), bytes.as_ref())
    }

    fn send_datagram(&self, listener: &str, peer: &Peer, bytes: &[u8]) -> Result<(), SendError> {
        let listener = self
            .0
            .listener_named(listener)
            .ok_or(SendError::NoSuchListener)?;
        let link = self.0.datagram_link(listener);
        self.0.send_datagram(link, listener, peer, bytes)
    }

    /// Sends bytes to the [`post`](crate::app::App::post) hook of the worker in this slot, which may be this one. It waits while
    /// 64 posts or 1 MiB from this process to this slot are unhandled; a post of more than 1 MiB waits until none are. When it
    /// returns, the post is on its way. Task workers can post, too.
    ///
    /// Posts from one process to one slot arrive in order. Posts that the slot's process has not taken when it dies or is replaced
    /// go to the next one. Posts that it has taken are lost with it.
    ///
    /// Cancel-safe: a future dropped before its end has posted nothing. Those who wait get room in the order of their waits.
    ///
    /// # Errors
    /// [`PostError::TooLarge`] over 64 MiB; [`PostError::NoSuchWorker`]; [`PostError::NotServing`] if it would wait while `start`
    /// runs, also in a task that `start` has spawned; [`PostError::Full`] if a post hook or a task hook has waited for five
    /// seconds: it may wait for hooks that wait for it. What such a hook spawns waits without end, so it should not await that.
    pub async fn post(&self, worker: u16, bytes: impl AsRef<[u8]>) -> Result<(), PostError> {
        self.0.post(worker, bytes.as_ref()).await
    }

    /// [`post`](Self::post), if there is room now.
    ///
    /// # Errors
    /// [`PostError::Full`] where `post` would wait; else as that.
    pub fn try_post(&self, worker: u16, bytes: impl AsRef<[u8]>) -> Result<(), PostError> {
        self.0.try_post(worker, bytes.as_ref())
    }

    /// A job for a task worker's [`task`](crate::app::App::task) hook. Awaiting it starts it and returns the result;
    /// [`detach`](Task::detach) starts it without waiting for the result. [`on`](Task::on) and [`within`](Task::within) set
    /// the task worker and the time limit. If its process dies, another one runs it again, `[tasks] attempts` times at most.
    ///
    /// At most 64 tasks of a process may be unfinished: further ones wait. The payload of each may have 64 MiB.
    pub fn task<P: AsRef<[u8]>>(&self, payload: P) -> Task<P> {
        Task::new(self.0.clone(), payload, WhenFull::Wait)
    }

    /// [`task`](Self::task), refused with [`TaskError::Full`] where that would wait for others to end.
    pub fn try_task<P: AsRef<[u8]>>(&self, payload: P) -> Task<P> {
        Task::new(self.0.clone(), payload, WhenFull::Refuse)
    }

    /// Runs several tasks, as many at once as there may be, and waits for all of them, up to the time limit. The results are in
    /// the order of the payloads. A result that is late is [`TaskError::Timeout`]. Dropping the future gives out no more of them;
    /// those that have begun run to their end.
    pub async fn tasks<P: AsRef<[u8]>>(
        &self,
        payloads: impl IntoIterator<Item = P>,
        within: Duration,
    ) -> Vec<Result<Vec<u8>, TaskError>> {
        // All have the same deadline.
        let deadline = Instant::now().checked_add(within);
        let mut waiting = payloads.into_iter();
        let (mut running, mut results) = (Vec::new(), Vec::new());
        poll_fn(|cx| {
            loop {
                while running.len() < TASKS
                    && let Some(payload) = waiting.next()
                {
                    let task = self.task(payload).until(deadline).into_future();
                    running.push((results.len(), task));
                    results.push(Err(TaskError::Timeout));
                }
                if running.is_empty() {
                    return Poll::Ready(());
                }
                let before = running.len();
                running.retain_mut(|(place, task)| match task.as_mut().poll(cx) {
                    Poll::Ready(result) => {
                        results[*place] = result;
                        false
                    }
                    Poll::Pending => true,
                });
                if running.len() == before {
                    return Poll::Pending;
                }
            }
        })
        .await;
        results
    }

    /// Runs `work` once, after a delay.
    ///
    /// A timer that is set in [`start`](crate::app::App::start) fires when the process serves, not before. A process that
    /// stops waits for it until the stop deadline, and clears it at once if it is due later. Its panics are logged and
    /// counted, like those of hooks.
    pub fn after(&self, delay: Duration, work: impl AsyncFnOnce(Context) + 'static) -> Timer {
        let context = self.clone();
        let at = Instant::now() + delay;
        let pending = self.0.counters.pending_timer();
        Timer::new(spawn_local(async move {
            let _pending = pending;
            let core = context.0.clone();
            let mut stopping = core.stopping.subscribe();
            tokio::select! {
                () = async {
                    sleep_until(at).await;
                    core.commitment.committed().await;
                } => run_timer(&core, work(context)).await,
                _ = stopping.wait_for(|deadline| deadline.is_some_and(|deadline| deadline < at)) => {}
            }
        }))
    }

    /// Runs `work` once a period, one run at a time; the first time after one period. Times that pass while it still
    /// runs, or before the process serves, are skipped. It ends when the process stops.
    pub fn every(&self, period: Duration, mut work: impl AsyncFnMut(Context) + 'static) -> Timer {
        // A period of nothing would leave no time for anything else.
        let period = period.max(Duration::from_millis(1));
        let context = self.clone();
        Timer::new(spawn_local(async move {
            let core = context.0.clone();
            let mut stopping = core.stopping.subscribe();
            let mut next = Instant::now() + period;
            loop {
                tokio::select! {
                    () = async {
                        sleep_until(next).await;
                        core.commitment.committed().await;
                    } => {}
                    _ = stopping.wait_for(Option::is_some) => return,
                }
                let pending = core.counters.pending_timer();
                run_timer(&core, async { work(context.clone()).await }).await;
                drop(pending);
                next = (next + period).max(Instant::now());
            }
        }))
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("role", &self.0.role)
            .field("generation", &self.generation())
            .finish()
    }
}

/// A timer. Dropping it clears it, and drops a run of it that awaits.
#[derive(Debug)]
#[must_use = "a timer that is dropped never fires; `detach` lets it run on its own"]
pub struct Timer(Option<AbortHandle>);

impl Timer {
    fn new(task: tokio::task::JoinHandle<()>) -> Self {
        Self(Some(task.abort_handle()))
    }

    /// Lets it run without a handle.
    pub fn detach(mut self) {
        self.0 = None;
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
