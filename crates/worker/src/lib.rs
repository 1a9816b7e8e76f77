//! A worker or task worker: one thread that takes records out of the rings and runs the app's hooks.
//!
//! The ring task (`ring_task`) takes records, the `handlers` run hooks for them, and the `outbox` sends their output.
//! Beside them the process listens to its supervisor, here.

#![forbid(unsafe_code)]

mod answering;
pub mod app;
mod asking;
mod backlog;
mod broadcasts;
mod call_wire;
mod calls_in_hand;
mod clock;
mod cluster;
mod commitment;
mod core;
mod counters;
mod credits;
mod dials;
mod exchanges;
mod files;
mod group_reader;
mod handlers;
mod hook;
mod inlets;
mod inquiries;
mod neighbours;
mod outbox;
mod pace;
mod panics;
mod pool;
mod presence;
mod questions;
mod quota;
mod remote;
mod requests;
mod ring_task;
mod sampler;
mod stalls;
mod start;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod waiters;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use moorline_ipc::{Channel, Chime, Doorbell, Region, Side};
use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, timeout_at};

use moorline_config as config;
use moorline_process::{disk_file, log};
use moorline_protocol::{control, control_channel, flight, session_id, wire};

pub(crate) use self::broadcasts::EventDraft;
pub(crate) use self::core::{Core, Form, Refusal, SessionState};
pub(crate) use self::credits::{TASKS, TaskOrder};
pub(crate) use self::outbox::Room;
pub use self::panics::report_panics;
pub(crate) use self::questions::Asked;
pub use self::start::ProcessStart;

use self::core::Rings;
use self::handlers::{Handlers, report_failure};
use self::hook::{Hot, begin_slot, poll_slot};
use self::inlets::{Garbage, Inlets};
use self::outbox::Link;
use self::requests::Asks;
use self::stalls::{Hook, Limits, Pulse, Waits, Watched, watch};
use crate::app::{App, Context};
use crate::control::{AppRequest, FromRole, ToRole, role_name};
use crate::control_channel::{ControlChannel, Descriptors};
use crate::flight::FlightKind;
use moorline_process::signals::leave_to_supervisor;

/// Runs a worker or task worker to its end, on this thread.
///
/// # Errors
/// The process could not start (the supervisor has been told why), or a ring held garbage
/// ([`io::ErrorKind::InvalidData`], exit code 70).
pub fn run<A: App>(
    mut process: ProcessStart,
    start: impl AsyncFnOnce(Context, A::Settings) -> app::Result<A>,
) -> io::Result<()> {
    let mut builder = Builder::new_current_thread();
    builder.enable_all();
    let waits = watched(&mut process, &mut builder)?;
    let runtime = builder.build_local(LocalOptions::default())?;
    runtime.block_on(serve(process, waits, start))
}

/// Makes another thread watch this one for stalls.
fn watched(start: &mut ProcessStart, builder: &mut Builder) -> io::Result<Waits> {
    let pulse = Arc::new(Pulse::default());
    pulse.set_starting(true);
    let (asleep, awake) = (pulse.clone(), pulse.clone());
    builder.on_thread_park(move || asleep.falls_asleep());
    builder.on_thread_unpark(move || awake.awakes());
    watch(Watched {
        name: role_name(start.role),
        after: start.stall_after(),
        limits: Limits {
            handlers: start.wait_after(),
            // Symbolising takes a moment, and the supervisor should have the names before it ends the process.
            start: Some(start.config.workers.start_timeout / 2),
        },
        start_timeout: start.config.workers.start_timeout,
        pulse,
        scoreboard: start.scoreboard.clone(),
        control: Channel::from_fd(start.control.as_fd().try_clone_to_owned()?),
        executable: start.executable.take(),
    })
}

async fn serve<A: App>(
    process: ProcessStart,
    waits: Waits,
    start: impl AsyncFnOnce(Context, A::Settings) -> app::Result<A>,
) -> io::Result<()> {
    let ProcessStart {
        control,
        process,
        role,
        generation,
        engine,
        config,
        scoreboard,
        chime,
        loops,
        executable: _,
        files,
    } = process;
    let max_wait = config.workers.max_wait;
    let core = Core::new(process, role, generation, config, scoreboard, waits);
    let runs = u64::from(generation);
    core.flight.note(FlightKind::Runs, 0, 0, runs);
    dials::note_dials(core.flight.clone());
    panics::belong_to(&core);
    core.files.connect(ControlChannel::new(files)?);
    let mut orders = Orders::new(ControlChannel::new(control)?, core.clone())?;

    let ring_task = map_rings(loops)
        .map_err(|error| format!("mapping the rings: {error}"))
        .and_then(|rings| spawn_ring_task(&core, chime, rings).map_err(|error| error.to_string()));
    let (begin_hooks, mut ring_task) = match ring_task {
        Ok(spawned) => spawned,
        Err(reason) => return orders.fail(reason).await,
    };
    spawn_signs_of_life(&core);
    let started = tokio::select! {
        garbage = &mut ring_task => return Err(end_with(garbage)),
        started = start_app(&core, engine, start) => started,
        order = orders.next() => match order {
            Order::Unjoined(reason) => return orders.fail(reason).await,
            Order::Stop(_) | Order::Orphaned => return Ok(()),
        },
    };
    core.waits.has_started();
    let app = match started {
        Ok(app) => Rc::new(app),
        Err(reason) => return orders.fail(reason.to_string()).await,
    };
    core.flight.note(FlightKind::AppStarted, 0, 0, 0);
    begin_hooks(app.clone());
    spawn_local(group_reader::follow(core.clone()));
    orders.control.send(&FromRole::Ready, &[]).await?;
    spawn_local(serve_app(core.clone(), app.clone()));
    serve_until_ordered(app, orders, ring_task, max_wait).await
}

/// Checks again and again what hooks wait for, and gives signs of life.
fn spawn_signs_of_life(core: &Rc<Core>) {
    let looking = core.clone();
    spawn_local(async move { looking.waits.look_after().await });
    let counters = core.counters.clone();
    let flight = core.flight.clone();
    spawn_local(async move { counters.beat(&flight).await });
}

/// Serves until the supervisor orders the end, or is gone, and then ends in order.
async fn serve_until_ordered<A: App>(
    app: Rc<A>,
    mut orders: Orders,
    mut ring_task: JoinHandle<Garbage>,
    max_wait: Duration,
) -> io::Result<()> {
    let core = orders.core.clone();
    let order = tokio::select! {
        garbage = &mut ring_task => return Err(end_with(garbage)),
        order = orders.next() => order,
    };
    if let Order::Unjoined(reason) = order {
        return orders.fail(reason).await;
    }
    let deadline = Instant::now() + order.max_wait(max_wait);
    let ending = async {
        if order == Order::Orphaned {
            log::fall_silent();
            // The next engine has a leader of its own.
            core.commitment.lead(false);
            // The gateway drains its sessions by itself, within the same time.
            let is_over = || core.counters.is_idle() && core.sessions.len() == 0;
            let _ = timeout_at(deadline, reached(&core, is_over)).await;
        }
        stop(&core, app, deadline).await;
    };
    tokio::select! {
        garbage = &mut ring_task => Err(end_with(garbage)),
        () = ending => Ok(()),
        never = orders.follow() => match never {},
    }
}

/// Makes the app from its part of the configuration. The commit waits for it.
async fn start_app<A: App>(
    core: &Rc<Core>,
    engine: u64,
    start: impl AsyncFnOnce(Context, A::Settings) -> app::Result<A>,
) -> hook::Ended<A> {
    let joined = cluster::join(core, engine).await;
    joined.map_err(hook::Failure::Erred)?;
    // Its line numbers would be those of a text that no user has written.
    let settings = toml::from_str(&core.config.app)
        .map_err(|error| hook::Failure::Erred(format!("[app]: {}", error.message())))?;
    start_with(core, start, settings).await
}

/// Makes the app from these settings.
async fn start_with<A: App>(
    core: &Rc<Core>,
    start: impl AsyncFnOnce(Context, A::Settings) -> app::Result<A>,
    settings: A::Settings,
) -> hook::Ended<A> {
    let context = Context::new(core.clone());
    let mut start = pin!(named(core, Hook::Start, || start(context, settings)));
    core.commitment.set_starting(true);
    let started = poll_fn(|cx| core.commitment.in_start(|| start.as_mut().poll(cx))).await;
    core.commitment.set_starting(false);
    started
}

/// Runs the serving hook, once the process serves. A stop waits for it.
async fn serve_app<A: App>(core: Rc<Core>, app: Rc<A>) {
    core.commitment.committed().await;
    core.counters.begin();
    let context = Context::new(core.clone());
    if let Err(error) = named(&core, Hook::Serving, || app.serving(context)).await {
        report_failure(&core, Hook::Serving, None, &error);
    }
    core.counters.end();
}

fn map_rings(loops: Vec<(Doorbell, OwnedFd)>) -> io::Result<Rings> {
    let mut rings = Rings::default();
    for (doorbell, region) in loops {
        let Region {
            producer,
            consumer,
            marks,
            ..
        } = Region::map(region, Side::Process)?;
        rings.links.push(Link::new(producer, doorbell, marks));
        rings.inlets.push(consumer);
    }
    Ok(rings)
}

/// Spawns the task that follows the rings. It runs the app's hooks once the first returned value is called.
fn spawn_ring_task<A: App>(
    core: &Rc<Core>,
    chime: Chime,
    rings: Rings,
) -> io::Result<(impl FnOnce(Rc<A>), JoinHandle<Garbage>)> {
    core.connect(rings.links);
    let inlets = Inlets::new(core.clone(), chime, rings.inlets)?;
    let (sender, handlers) = oneshot::channel();
    let ring_task = spawn_local(ring_task::run(core.clone(), inlets, handlers));
    let core = core.clone();
    let begin_hooks = move |app| {
        let (messages, datagrams) = (Hot::new(A::message), Hot::new(A::datagram));
        // If the ring task has ended, the process is about to.
        let handlers = Handlers::new(core.clone(), app, messages, datagrams);
        let carrier = Rc::downgrade(&handlers);
        core.calls_in_hand.connect(move |inquiry, to, bytes| {
            if let Some(carrier) = carrier.upgrade() {
                carrier.inquiry(inquiry, to, bytes);
            }
        });
        let _ = sender.send(handlers);
    };
    Ok((begin_hooks, ring_task))
}

/// Takes the remaining records from the rings, runs the stop hook, and waits until the hooks in progress have ended and
/// everything sent is published, until the deadline.
async fn stop<A: App>(core: &Rc<Core>, app: Rc<A>, deadline: Instant) {
    core.flight.note(FlightKind::ToldToStop, 0, 0, 0);
    core.commitment.lead(false);
    core.stopping.send_replace(Some(deadline));
    // The order to stop may have overtaken the last records, among them the ends of sessions.
    core.counters.look_again();
    core.outbox.schedule();
    let context = Context::new(core.clone());
    let ending = async {
        cluster::leave(core, deadline).await;
        reached(core, || core.counters.is_emptied()).await;
        if let Err(error) = named(core, Hook::Stop, || app.stop(context)).await {
            report_failure(core, Hook::Stop, None, &error);
        }
        reached(core, || {
            core.counters.is_idle() && core.counters.is_emptied() && core.outbox.is_flushed()
        })
        .await;
    };
    if timeout_at(deadline, ending).await.is_err() {
        match core.counters.running() {
            0 => tracing::warn!("stop deadline passed: abandoning timers and unsent output"),
            hooks => tracing::warn!("stop deadline passed: abandoning {hooks} hooks in progress"),
        }
    }
    cluster::end(core).await;
}

/// Waits until this is true. It checks again whenever a hook or a timer ends, and after each turn of the ring task,
/// which every send causes.
async fn reached(core: &Core, is_true: impl Fn() -> bool) {
    loop {
        let mut progress = pin!(core.counters.progress());
        progress.as_mut().enable();
        if is_true() {
            return;
        }
        progress.await;
    }
}

fn end_with(garbage: Result<Garbage, tokio::task::JoinError>) -> io::Error {
    match garbage {
        Ok(Garbage(what)) => {
            tracing::error!(error = %what, "the gateway's ring holds garbage; this process ends");
            io::Error::new(io::ErrorKind::InvalidData, what)
        }
        Err(error) => io::Error::other(error),
    }
}

/// Why the process must end.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Order {
    /// The supervisor orders it, and says how long it may take.
    Stop(Duration),
    /// The supervisor is gone.
    Orphaned,
    /// There is a new gateway, and this process cannot be joined with it, for this reason.
    Unjoined(String),
}

impl Order {
    fn max_wait(&self, configured: Duration) -> Duration {
        match self {
            Order::Stop(max_wait) => *max_wait,
            Order::Orphaned | Order::Unjoined(_) => configured,
        }
    }
}

/// The inputs beside the rings: the supervisor's messages, and signals.
struct Orders {
    control: ControlChannel,
    core: Rc<Core>,
    asks: Option<Asks>,
    terminate: Signal,
    has_said_stopping: bool,
}

impl Orders {
    fn new(control: ControlChannel, core: Rc<Core>) -> io::Result<Self> {
        leave_to_supervisor()?;
        Ok(Self {
            control,
            asks: core.requests.asks(),
            core,
            terminate: signal(SignalKind::terminate())?,
            has_said_stopping: false,
        })
    }

    /// The next order to end; executes all other messages meanwhile. Cancel-safe.
    async fn next(&mut self) -> Order {
        loop {
            tokio::select! {
                message = self.control.recv::<ToRole>() => match message {
                    Ok(Some((ToRole::Serving, _))) => self.core.commit(),
                    Ok(Some((ToRole::Lead, _))) => self.core.commitment.lead(true),
                    Ok(Some((ToRole::Resign, _))) => self.resign().await,
                    Ok(Some((ToRole::Stop { max_wait_ms, .. }, _))) => return Order::Stop(Duration::from_millis(max_wait_ms)),
                    Ok(Some((ToRole::NewGateway, fds))) => {
                        if let Err(error) = self.follow_gateway(fds) {
                            return Order::Unjoined(format!("it cannot be joined with the new gateway: {error}"));
                        }
                    }
                    Ok(Some((ToRole::Answered { number, part, is_last }, _))) => self.core.requests.answered(number, part, is_last),
                    Ok(Some((ToRole::ReopenLog, Ok(fds)))) => fds.into_iter().for_each(log::reopen),
                    Ok(Some((ToRole::ReopenLog, Err(error)))) => tracing::warn!(%error, "the log is not reopened"),
                    Ok(Some((other, _))) => tracing::warn!(message = ?other, "the supervisor sent a worker a message for another role"),
                    Ok(None) => return self.orphaned(),
                    Err(error) => {
                        tracing::error!(%error, "the control channel is broken");
                        return self.orphaned();
                    }
                },
                _ = self.terminate.recv() => self.say_stopping().await,
                () = self.core.quota.spent() => self.say_stopping().await,
                Some((number, request)) = next_ask(&mut self.asks) => self.say_asks(number, request).await,
            }
        }
    }

    fn orphaned(&self) -> Order {
        self.core.requests.supervisor_lost();
        Order::Orphaned
    }

    async fn say_asks(&self, number: u64, request: AppRequest) {
        if let Err(error) = self
            .control
            .send(&FromRole::Asks { number, request }, &[])
            .await
        {
            let reason = format!("the supervisor cannot be asked: {error}");
            self.core.requests.answered(number, Err(reason), true);
        }
    }

    /// Executes the messages that may still come after an order to end.
    async fn follow(&mut self) -> Infallible {
        while let Order::Stop(_) | Order::Unjoined(_) = self.next().await {}
        pending().await
    }

    /// The supervisor starts a replacement first; this process serves until it is told to stop.
    async fn say_stopping(&mut self) {
        if !std::mem::replace(&mut self.has_said_stopping, true)
            && let Err(error) = self.control.send(&FromRole::Stopping, &[]).await
        {
            tracing::warn!(%error, "could not tell the supervisor of a TERM");
        }
    }

    /// Another process leads once it is known that this one does not.
    async fn resign(&self) {
        self.core.commitment.lead(false);
        // Hooks that wait for it learn it before another process leads.
        tokio::task::yield_now().await;
        if let Err(error) = self.control.send(&FromRole::Resigned, &[]).await {
            tracing::warn!(%error, "could not tell the supervisor that this process does not lead any more");
        }
    }

    fn follow_gateway(&self, fds: Descriptors) -> io::Result<()> {
        let mut fds = fds?.into_iter();
        let mut next = || {
            let missing = || io::Error::new(io::ErrorKind::InvalidData, "a descriptor is missing");
            fds.next().ok_or_else(missing)
        };
        let mut loops = Vec::new();
        for _ in 0..self.core.config.engine.gateway_loops {
            loops.push((Doorbell::from_fd(next()?), next()?));
        }
        let files = ControlChannel::new(Channel::from_fd(next()?))?;
        let rings = map_rings(loops)?;
        self.core.files.connect(files);
        *self.core.replacement.borrow_mut() = Some(rings);
        self.core.flight.note(FlightKind::NewGateway, 0, 0, 0);
        self.core.outbox.schedule();
        Ok(())
    }

    /// Tells the supervisor why the process could not start.
    async fn fail(&self, reason: String) -> io::Result<()> {
        self.control
            .send(
                &FromRole::Failed {
                    reason: reason.clone(),
                },
                &[],
            )
            .await?;
        Err(io::Error::other(reason))
    }
}

/// The next request of the app.
async fn next_ask(asks: &mut Option<Asks>) -> Option<(u64, AppRequest)> {
    match asks {
        Some(asks) => asks.recv().await,
        None => pending().await,
    }
}

/// Runs the callback of a timer. It belongs to no session, so its end concerns no other hook.
pub(crate) async fn run_timer(core: &Core, work: impl Future<Output = ()>) {
    let ended = named(core, Hook::Timer, || async {
        work.await;
        Ok(())
    });
    if let Err(error) = ended.await {
        report_failure(core, Hook::Timer, None, &error);
    }
    core.outbox.show();
    core.outbox.keep_pace(clock::now());
}

/// Runs a hook that is for no session to its end.
async fn named<T, F>(core: &Core, hook: Hook, begin: impl FnOnce() -> F) -> hook::Ended<T>
where
    F: Future<Output = crate::app::Result<T>>,
{
    let waits = &core.waits;
    let mut slot = pin!(None);
    if let Poll::Ready(ended) = waits.during(hook, || begin_slot(slot.as_mut(), begin)) {
        return ended;
    }
    let watch = waits.watch(hook);
    poll_fn(|cx| watch.poll::<F, _>(cx, |cx| poll_slot(slot.as_mut(), cx))).await
}
