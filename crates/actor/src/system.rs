//! Starts loops, launches services, waits.

use std::fmt;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::{Builder as ThreadBuilder, JoinHandle, sleep};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, LocalOptions};
use tokio::task::coop::unconstrained;

use crate::actor::Actor;
use crate::id::ServiceId;
use crate::inbox::Letter;
use crate::local::Local;
use crate::mailbox::MailboxLimits;
use crate::message::{Kind, Message, Payload};
use crate::port::{Port, on_port};
use crate::report::Report;
use crate::runner::run;
use crate::shared::{LaunchError, LaunchOptions, Reporter, Shared};
use crate::typed::{Address, Context, Service, host};
use crate::vitals::Handling;

/// How a system runs.
pub struct SystemOptions {
    /// The event loops, from 1 to 255. Default: 1.
    pub loops: u8,
    /// More loops, behind those: they get only services that ask for them. For what must answer while services of the others do not
    /// return. Default: 0.
    pub reserved: u8,
    /// How much may wait in a mailbox.
    pub mailbox: MailboxLimits,
    /// A service that handles one message for longer is reported as stuck, once. Default: 5 s.
    pub stall_after: Duration,
    /// Is called with each report, on the thread where it arises. It does not block. Default: prints to standard error.
    pub report: Box<dyn Fn(&Report) + Send + Sync>,
}

impl Default for SystemOptions {
    fn default() -> Self {
        Self {
            loops: 1,
            reserved: 0,
            mailbox: MailboxLimits::default(),
            stall_after: Duration::from_secs(5),
            report: Box::new(|report| eprintln!("[{}] {report}", report.service())),
        }
    }
}

impl fmt::Debug for SystemOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemOptions")
            .field("loops", &self.loops)
            .field("reserved", &self.reserved)
            .field("mailbox", &self.mailbox)
            .field("stall_after", &self.stall_after)
            .finish_non_exhaustive()
    }
}

/// The loops of a process, and the services on them. Dropping it stops the loops, and waits for the end of their turns.
pub struct System {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Ends the watchdog when it is dropped.
    watchdog: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

/// Messages that wait for a loop to take them, at which [`System::poster`] refuses more. A loop takes all of them each turn.
pub const MOST_POSTED: usize = 65_536;

/// How often the end of the loops is looked for.
const END_LOOK: Duration = Duration::from_millis(1);

impl System {
    /// Starts the loops. Blocks for as long as threads take to start.
    ///
    /// # Errors
    /// The system gives no thread or no epoll set.
    pub fn start(options: SystemOptions) -> io::Result<Self> {
        let (loops, stall_after) = (options.loops.max(1), options.stall_after);
        let all = loops.saturating_add(options.reserved);
        let mut system = Self::new(loops, options);
        for index in 0..all {
            let started = start_loop(index, system.shared.clone())?;
            system.threads.push(started);
        }
        system.watch(stall_after)?;
        Ok(system)
    }

    /// Makes a system with one loop on the thread that calls: the future is the loop. It needs the timers of a tokio runtime of this thread
    /// alone, ends when the system stops, and drops its services with itself.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn on_this_thread(
        options: SystemOptions,
    ) -> io::Result<(Self, impl Future<Output = ()> + 'static)> {
        let stall_after = options.stall_after;
        let mut system = Self::new(1, options);
        system.watch(stall_after)?;
        let this_loop = unconstrained(run(Local::new(0, system.shared.clone())));
        Ok((system, this_loop))
    }

    fn new(loops: u8, options: SystemOptions) -> Self {
        let reporter: Reporter = options.report;
        Self {
            shared: Arc::new(Shared::new(
                loops,
                options.reserved,
                options.mailbox,
                reporter,
            )),
            threads: Vec::new(),
            watchdog: None,
        }
    }

    /// Starts the thread that looks for services that do not return.
    fn watch(&mut self, stall_after: Duration) -> io::Result<()> {
        let (end, ended) = mpsc::channel();
        let shared = self.shared.clone();
        let thread = ThreadBuilder::new()
            .name("watchdog".into())
            .spawn(move || watch(&shared, stall_after, &ended))?;
        self.watchdog = Some((end, thread));
        Ok(())
    }

    /// Launches a service of Rust. Never blocks; requests that are sent before it is made wait for it.
    ///
    /// # Errors
    /// There is no free slot, or no such loop. If `make` fails, the service ends, and calls to it fail.
    pub fn launch<S, F>(&self, options: LaunchOptions, make: F) -> Result<Address<S>, LaunchError>
    where
        S: Service,
        F: FnOnce(&Context) -> Result<S, String> + Send + 'static,
    {
        self.launch_actor(options, host(make)).map(Address::new)
    }

    /// Launches a service without types. See [`launch`](Self::launch).
    ///
    /// # Errors
    /// There is no free slot, or no such loop.
    pub fn launch_actor<F>(&self, options: LaunchOptions, make: F) -> Result<ServiceId, LaunchError>
    where
        F: FnOnce(Port) -> Result<Box<dyn Actor>, String> + Send + 'static,
    {
        self.shared.launch(options, None, on_port(make))
    }

    /// Gives a service a name. False if another one has it, or the service has ended. A name ends with its service. Messages to
    /// it wait in its mailbox until it has started.
    pub fn give_name(&self, name: &str, to: ServiceId) -> bool {
        self.shared.table.place(to).is_some() && self.shared.names.give(name, to)
    }

    /// Sends a request from outside of all services. It is lost if the service is gone.
    pub fn send<S: Service>(&self, to: Address<S>, request: S::Request) {
        let Some(place) = self.shared.table.place(to.id()) else {
            return;
        };
        let message = Message {
            source: ServiceId::NONE,
            session: 0,
            kind: Kind::TYPED,
            payload: Payload::Value(Box::new(request)),
        };
        let inbox = &self.shared.loops[usize::from(place.on)].inbox;
        inbox.put(Letter::Message(to.id(), message));
    }

    /// What sends messages from outside of all services, also from other threads. False if the receiver is gone, or if its loop has not
    /// taken [`MOST_POSTED`] messages from outside of it.
    pub fn poster(&self) -> impl Fn(ServiceId, Message) -> bool + Send + Sync + 'static {
        let shared = self.shared.clone();
        move |to, message| {
            let Some(place) = shared.table.place(to) else {
                return false;
            };
            let inbox = &shared.loops[usize::from(place.on)].inbox;
            inbox.put_within(Letter::Message(to, message), MOST_POSTED)
        }
    }

    /// Blocks until all services but daemons have ended, or one of them has stopped the system.
    pub fn wait(&self) {
        self.shared.wait();
    }

    /// Stops the loops, and waits this long for the end of their turns. A loop whose service does not return is left behind: its thread
    /// runs on until the process ends. Tells whether all ended.
    pub fn end_within(mut self, time: Duration) -> bool {
        self.shared.stop();
        let deadline = Instant::now() + time;
        while !self.threads.iter().all(JoinHandle::is_finished) {
            if Instant::now() >= deadline {
                self.threads.clear();
                return false;
            }
            sleep(END_LOOK);
        }
        true
    }

    /// What stops it from another thread, such as one that waits for signals.
    pub fn stopper(&self) -> impl Fn() + Send + 'static {
        let shared = self.shared.clone();
        move || shared.stop()
    }
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "System({} loops)", self.threads.len())
    }
}

impl Drop for System {
    fn drop(&mut self) {
        self.shared.stop();
        if let Some((end, thread)) = self.watchdog.take() {
            drop(end);
            let _ = thread.join();
        }
        for thread in self.threads.drain(..) {
            // A loop that panics has said so.
            let _ = thread.join();
        }
    }
}

fn start_loop(index: u8, shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let (tell, told) = mpsc::sync_channel(1);
    let thread = ThreadBuilder::new()
        .name(format!("services {index}"))
        .spawn(move || {
            let options = LocalOptions::default();
            let runtime = match Builder::new_current_thread()
                .enable_all()
                .build_local(options)
            {
                Ok(runtime) => runtime,
                Err(error) => return drop(tell.send(Err(error))),
            };
            let _ = tell.send(Ok(()));
            // A turn has a limit of its own. The runtime's would interrupt services in the middle of their sockets.
            runtime.block_on(unconstrained(run(Local::new(index, shared))));
        })?;
    told.recv().unwrap_or(Ok(())).map(|()| thread)
}

/// How often the watchdog looks.
const LOOK: Duration = Duration::from_millis(500);

/// A message that has lasted for two looks at least.
#[derive(Debug, Clone, Copy)]
struct Lasting {
    handling: Handling,
    since: Instant,
    is_reported: bool,
}

/// Looks at what each loop does, until its other end is dropped.
fn watch(shared: &Shared, stall_after: Duration, end: &mpsc::Receiver<()>) {
    let mut all: Vec<Option<Lasting>> = vec![None; shared.loops.len()];
    let look = LOOK.min(stall_after);
    while end.recv_timeout(look) == Err(mpsc::RecvTimeoutError::Timeout) {
        if shared.is_stopping.load(Ordering::Acquire) {
            return;
        }
        let now = Instant::now();
        for (seat, lasting) in shared.loops.iter().zip(&mut all) {
            let Some(handling) = seat.vitals.look() else {
                *lasting = None;
                continue;
            };
            let before = lasting.filter(|before| before.handling == handling);
            if before.is_some() {
                seat.long_message.store(handling.message, Ordering::Relaxed);
            }
            let mut known = before.unwrap_or(Lasting {
                handling,
                since: now,
                is_reported: false,
            });
            if !known.is_reported && now >= known.since + stall_after {
                known.is_reported = true;
                let others = seat.services.load(Ordering::Relaxed).saturating_sub(1);
                let (service, lasting) = (handling.service, stall_after);
                shared.report(&match handling.is_end {
                    true => Report::EndStuck {
                        service,
                        lasting,
                        others,
                    },
                    false => Report::Stuck {
                        service,
                        source: handling.source,
                        lasting,
                        others,
                    },
                });
            }
            *lasting = Some(known);
        }
    }
}
