//! The main thread: it speaks with the supervisor, and passes its orders to the event loops.

pub(crate) mod estate;
pub(crate) mod file_channel;
pub(crate) mod file_gate;
mod hand_over;
mod joining;
pub(crate) mod panics;
mod peers;
mod reports;
mod resolvers;
pub(crate) mod setup;
mod standstill;
pub(crate) mod stopping;
mod take_over;
mod trusted_hosts;
mod upkeep;
pub(crate) mod waiting;

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use moorline_ipc::{Doorbell, Marks, Scoreboard};
use moorline_net::reserve_descriptors;
use moorline_net::tls::server::ServerTls;
use rustc_hash::FxHashMap;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tokio::time::MissedTickBehavior;

use moorline_config::Config;
use moorline_process::credentials::Credentials;
use moorline_process::open_files;
use moorline_process::signals::{leave_term_to_supervisor, leave_to_supervisor};
use moorline_protocol::control::{
    BEAT, FromRole, LOOP_ROW, LoopCounter, ProcessId, Role, ToRole, gateway_flight, main_row,
};
use moorline_protocol::control_channel::{ControlChannel, Descriptors};
use moorline_protocol::flight::{FlightKind, FlightLog};

use crate::change::Change;
use crate::clock::Clock;
use crate::commands::{Command, Inbox, Report};
use crate::event_loop::{Loop, Parts};
use crate::http::Site;
use crate::ids::ListenerId;
use crate::main_thread::estate::Heirloom;
use crate::main_thread::file_gate::FileGate;
use crate::main_thread::standstill::Standstill;
use crate::main_thread::trusted_hosts::TrustedHosts;
use crate::main_thread::upkeep::look_after_upstreams;
use crate::main_thread::waiting::Waiting;
use crate::own_address::warn_of_missing_right;
use crate::relay;
use crate::shared::Shared;
use crate::sockets::share_out;
use crate::start::GatewayStart;
use crate::upgrade::take_up::Inheritance;

/// How often removed listeners are checked for remaining connections. Nothing waits for it.
const LOOK_AT_RETIRED: Duration = Duration::from_millis(500);

/// Runs the gateway until the supervisor releases it.
///
/// # Errors
/// The reason why it cannot start: no memory, no descriptors, no threads.
pub fn run(start: GatewayStart) -> io::Result<()> {
    panics::end_on_panic();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // The tasks are in a set: all that the loops wake meanwhile wake this thread once, not by a system call each.
    let ended = LocalSet::new().block_on(&runtime, async {
        leave_to_supervisor()?;
        leave_term_to_supervisor()?;
        let trusted_hosts = Rc::new(TrustedHosts::default());
        trusted_hosts.prepare(&start.config).await;
        let gateway = Gateway::start(start, trusted_hosts).await?;
        let shared = gateway.shared.clone();
        let ended = gateway.serve().await;
        shared.access_logs.finish();
        ended
    });
    // A look at a file may hang.
    runtime.shutdown_background();
    ended
}

/// The main thread's part.
pub(crate) struct Gateway {
    pub(crate) control: ControlChannel,
    /// The present configuration.
    pub(crate) config: Arc<Config>,
    pub(crate) max_wait: Duration,
    pub(crate) loops: Arc<[Inbox]>,
    /// The sites of HTTP listeners.
    pub(crate) sites: Vec<Option<Arc<Site>>>,
    pub(crate) reports: mpsc::UnboundedReceiver<Report>,
    pub(crate) reporter: mpsc::UnboundedSender<Report>,
    pub(crate) shared: Arc<Shared>,
    /// The credentials of the listeners, as received and prepared.
    pub(crate) credentials: Credentials,
    pub(crate) tls: Arc<[Option<ServerTls>]>,
    /// The changes of a reload that is not committed yet.
    pub(crate) change: Option<Change>,
    /// Removed listeners that had connections when they were last looked at.
    pub(crate) retired: Vec<u16>,
    /// The processes that are joined with this gateway.
    pub(crate) joined: FxHashMap<ProcessId, Joined>,
    /// The files that processes pass go through here.
    pub(crate) file_gate: FileGate,
    /// Another gateway goes on with everything, and this one is to end.
    pub(crate) has_left: bool,
    /// Everything stands still: this gateway hands everything over, or has taken it from another.
    pub(crate) stands: Option<Standstill>,
    /// Proxies that are trusted by their names.
    trusted_hosts: Rc<TrustedHosts>,
    /// The names of the processes in logs.
    pub(crate) names: FxHashMap<ProcessId, String>,
    /// Processes that some loops do not hear yet, and how many of them.
    pub(crate) attaching: FxHashMap<ProcessId, usize>,
    /// How many loops have released each process.
    pub(crate) released: FxHashMap<ProcessId, usize>,
    /// How many `Activate` there were, how many of them each loop has executed, and how many the supervisor knows as
    /// executed.
    pub(crate) activations: usize,
    pub(crate) activated: Vec<usize>,
    pub(crate) confirmed: usize,
    /// How many sessions of each loop wait for silent processes.
    pub(crate) waiting: Waiting,
    /// The drain in progress, and how many have not ended it: the loops, and perhaps HTTP connections.
    pub(crate) drain: Option<u64>,
    pub(crate) draining: usize,
    pub(crate) is_stopping: bool,
    /// Where the main thread gives its signs of life.
    pub(crate) board: Scoreboard,
    /// The last events of the main thread, for the supervisor.
    pub(crate) flight: FlightLog,
    /// How many loops are empty after `Stop`; one more once there is no HTTP connection any more, and one for each that came
    /// later.
    pub(crate) empty: usize,
    /// HTTP connections that came after `Stop`: a loop had their first request by then.
    pub(crate) late: usize,
}

/// A process as the main thread sees it.
pub(crate) struct Joined {
    role: Role,
    pid: u32,
    doorbell: Arc<Doorbell>,
    /// The channel for its files.
    files: OwnedFd,
    /// The notes that it leaves for the case of its death, one for each loop.
    pub(crate) marks: Vec<Marks>,
    /// Dropped at its death, which ends the task that takes its files.
    pub(crate) _lives: oneshot::Sender<()>,
}

impl Gateway {
    async fn start(start: GatewayStart, trusted_hosts: Rc<TrustedHosts>) -> io::Result<Self> {
        let control = ControlChannel::new(start.control)?;
        let (mut config, mut credentials) = (start.config, start.credentials);
        config.maps = credentials.take_maps();
        let config = Arc::new(config);
        let count = usize::from(config.engine.gateway_loops);
        raise_descriptors();
        let (loops, outlets) = inboxes(count)?;
        let board = &start.scoreboard;
        let mut gateway = Self::new(control, config.clone(), credentials, loops, board)?;
        trusted_hosts.serve(&config);
        gateway.trusted_hosts = trusted_hosts;
        let (mut sockets, mut folders) = (Vec::new(), Vec::new());
        for listener in start.listeners {
            sockets.push((ListenerId(listener.place), listener.socket));
            let place = listener.place;
            folders.extend(listener.folders.into_iter().map(|folder| (place, folder)));
        }
        let sockets = share_out(&config, sockets, count);
        let last_serial = last_serial(start.last_serial);
        let heirloom = match start.follows {
            Some(channel) => Some(gateway.receive(channel).await?),
            None => None,
        };
        let (inherited, estate) = heirloom.map(Heirloom::split).unzip();
        let inherited = inherited.into_iter().flatten().map(Some);
        let mut inherited = inherited.chain(std::iter::repeat_with(|| None));
        let threads = outlets.into_iter().zip(sockets);
        for (index, ((commands, doorbell), sockets)) in threads.enumerate() {
            let parts = Parts {
                node: config.cluster.as_ref().map_or(0, |cluster| cluster.number),
                index: index as u8,
                config: config.clone(),
                shared: gateway.shared.clone(),
                doorbell,
                counters: start.scoreboard.row(index * LOOP_ROW),
                flight: FlightLog::new(board.row(gateway_flight(count, index))),
                last_serial,
                sockets,
                peers: gateway.loops.to_vec(),
                reports: gateway.reporter.clone(),
                tls: gateway.tls.clone(),
            };
            spawn_loop(parts, commands, inherited.next().flatten())?;
        }
        tracing::debug!(
            incarnation = start.incarnation,
            loops = count,
            "gateway started"
        );
        gateway.change_sites(&config, folders);
        gateway.watch_retired(&config);
        if let Some(estate) = estate {
            gateway.take_over(estate).await?;
        }
        Ok(gateway)
    }

    /// A gateway without a process, a site or a running loop.
    fn new(
        control: ControlChannel,
        config: Arc<Config>,
        credentials: Credentials,
        loops: Arc<[Inbox]>,
        board: &Scoreboard,
    ) -> io::Result<Self> {
        let reserve = open_files::reserve(&config, &config);
        let tls = credentials.ready(&config, &Credentials::default(), &[]);
        let peer_tls = credentials.ready_for_peers(&Credentials::default());
        let shared = Shared::new(&config, loops.len(), reserve);
        let peer_tls = peer_tls.map_err(io::Error::other)?;
        warn_of_missing_right(&config);
        shared.upstreams.prepare_tls(peer_tls);
        shared.upstreams.change(&config, Clock::shared_now());
        let (reporter, reports) = mpsc::unbounded_channel();
        Ok(Self {
            control,
            max_wait: config.workers.max_wait,
            sites: Vec::new(),
            reports,
            reporter,
            shared: Arc::new(shared),
            credentials,
            tls: tls.map_err(io::Error::other)?.into(),
            change: None,
            retired: Vec::new(),
            joined: FxHashMap::default(),
            file_gate: FileGate::default(),
            has_left: false,
            stands: None,
            trusted_hosts: Rc::default(),
            names: FxHashMap::default(),
            attaching: FxHashMap::default(),
            released: FxHashMap::default(),
            activations: 0,
            activated: vec![0; loops.len()],
            confirmed: 0,
            waiting: Waiting::new(loops.len()),
            drain: None,
            draining: 0,
            is_stopping: false,
            board: board.row(main_row(loops.len())),
            flight: FlightLog::new(board.row(gateway_flight(loops.len(), loops.len()))),
            empty: 0,
            late: 0,
            config,
            loops,
        })
    }

    async fn serve(mut self) -> io::Result<()> {
        self.say(&FromRole::Ready).await;
        tokio::task::spawn_local(look_after_upstreams(
            self.shared.clone(),
            self.loops.clone(),
        ));
        tokio::task::spawn_local(self.trusted_hosts.clone().look_after());
        let mut look = tokio::time::interval(LOOK_AT_RETIRED);
        // While nothing is retired its ticks are not taken.
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.has_left {
            tokio::select! {
                _ = beat.tick(), if !self.waits_to_go_on() => self.beat(),
                _ = look.tick(), if !self.retired.is_empty() => self.look_at_retired().await,
                message = self.control.recv::<ToRole>() => match message {
                    Ok(Some((message, descriptors))) => self.obey(message, descriptors).await,
                    Ok(None) if self.stands.is_some() => return self.end_in_standstill(),
                    Ok(None) => return self.drain_alone().await,
                    // This packet is lost, which the supervisor notices if it waits for an answer. The next one is whole.
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                        tracing::error!(%error, "a message of the supervisor is lost");
                    }
                    Err(error) => {
                        tracing::error!(%error, "the control channel is broken");
                        if self.stands.is_some() {
                            return self.end_in_standstill();
                        }
                        return self.drain_alone().await;
                    }
                },
                Some(report) = self.reports.recv() => self.pass_on(report).await,
            }
        }
        Ok(())
    }

    /// Gives a sign of life, and counts descriptors.
    fn beat(&self) {
        let board = &self.board;
        board.add(LoopCounter::Beats as usize, 1);
        let open = open_files::open_now(rustix::stdio::stdin());
        board.set(LoopCounter::Descriptors as usize, open);
        let most = self.shared.descriptors();
        board.set(LoopCounter::DescriptorsMost as usize, most);
    }

    /// Tells the supervisor. If it is gone, the next read of the channel shows it.
    pub(crate) async fn say(&self, message: &FromRole) {
        if let Err(error) = self.control.send(message, &[]).await {
            tracing::warn!(%error, "the supervisor could not be told");
        }
    }

    /// Executes an order of the supervisor. A failure is an answer, and never ends the gateway.
    async fn obey(&mut self, message: ToRole, descriptors: Descriptors) {
        let time = Duration::from_millis;
        match message {
            ToRole::Attach { process, role, pid } => {
                self.join(process, role, pid, descriptors).await;
            }
            ToRole::Activate {
                workers,
                serving,
                prepared,
            } => self.activate(workers, serving, prepared),
            ToRole::Prepare {
                generation,
                config,
                sockets,
                folders,
            } => {
                let change = (generation, *config, sockets, folders);
                self.prepare(change, descriptors).await;
            }
            ToRole::Forget => self.forget_change(),
            ToRole::Dead {
                process,
                fault,
                forced,
            } => self.removed(process, fault, forced),
            ToRole::Stop {
                over_ms,
                max_wait_ms,
            } => self.stop(time(over_ms), time(max_wait_ms)),
            ToRole::Drain { .. } => self.begin_drain(message),
            ToRole::Silent { processes } => self.ask_who_waits(processes.into()),
            ToRole::ListSessions { question, from } => self.list(question, from).await,
            ToRole::CloseSession { question, id } => self.close_session(question, id).await,
            ToRole::StopAccepting { places } => self.stop_accepting(places),
            ToRole::ListUpstreams { .. } | ToRole::SetPeer { .. } => {
                self.asked_of_upstreams(message).await;
            }
            ToRole::HandOver { cuts_http } => self.hand_over(descriptors, cuts_http).await,
            ToRole::GoOn => self.go_on().await,
            ToRole::Leave => self.leave().await,
            ToRole::ReopenLog => self.reopen_logs(descriptors),
            ToRole::StartGateway { .. }
            | ToRole::StartProcess { .. }
            | ToRole::NewGateway
            | ToRole::Serving
            | ToRole::Answered { .. }
            | ToRole::Lead
            | ToRole::Resign => {
                tracing::warn!("the supervisor sent the gateway a message for another role");
            }
        }
    }

    /// Log files were moved away. The engine's comes with the message, if it has one.
    fn reopen_logs(&self, descriptors: Descriptors) {
        match descriptors.map(|descriptors| descriptors.into_iter().next()) {
            Ok(Some(file)) => moorline_process::log::reopen(file),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the log is not reopened"),
        }
        self.shared.access_logs.reopen();
    }

    /// The reload that was prepared has failed.
    fn forget_change(&mut self) {
        self.change = None;
        self.flight.note(FlightKind::Forgotten, 0, 0, 0);
        self.trusted_hosts.serve(&self.config);
        self.keep_descriptors_for(&self.config);
    }

    /// Asks the loops how many sessions wait for these processes, which do not answer.
    fn ask_who_waits(&mut self, processes: Arc<[ProcessId]>) {
        for index in self.waiting.ask(&processes) {
            self.loops[index].send(Command::Silent(processes.clone()));
        }
    }

    /// Prepares the changes of a reload, and answers whether it can be committed.
    async fn prepare(
        &mut self,
        (generation, config, sockets, folders): (u32, Config, Vec<u16>, Vec<u16>),
        descriptors: Descriptors,
    ) {
        // An earlier preparation is closed first.
        self.change = None;
        self.keep_descriptors_for(&config);
        let change = Change::new(generation, config, sockets, folders, descriptors);
        let change = change.and_then(|change| change.ready(&self.credentials, &self.tls));
        if let Ok(change) = &change {
            self.trusted_hosts.prepare(&change.config).await;
        }
        // As late as it can be refused.
        let change = change.and_then(|change| self.leaves_nobody(&change.config).map(|()| change));
        let failure = match change {
            Ok(change) => {
                self.change = Some(change);
                None
            }
            Err(error) => Some(error.to_string()),
        };
        let failed = u16::from(failure.is_some());
        self.flight
            .note(FlightKind::Prepared, failed, 0, u64::from(generation));
        let answer = FromRole::Prepared {
            generation,
            failure,
        };
        self.say(&answer).await;
    }

    /// Keeps enough descriptors free of connections and files for the processes of this configuration, beside the
    /// present ones.
    fn keep_descriptors_for(&self, config: &Config) {
        let reserve = open_files::reserve(&self.config, config);
        self.shared.keep_free(reserve);
    }

    pub(crate) fn tell_loops(&self, command: impl Fn(usize) -> Command) {
        for (index, inbox) in self.loops.iter().enumerate() {
            inbox.send(command(index));
        }
    }
}

/// 2020-01-01, from which serials count.
const SERIALS_BEGIN: Duration = Duration::from_secs(1_577_836_800);
/// A second has room for this many sessions of each loop, as a power of two. Then serials last until 2088.
const SERIALS_A_SECOND: u32 = 17;

/// The serial that no session may be at or below: that of the predecessor, or one from the clock if that is higher. It is
/// below any of a successor started in a later second. Numbers of relays are below all of them, also while the clock is wrong.
fn last_serial(of_predecessor: u64) -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH + SERIALS_BEGIN)
        .unwrap_or_default();
    let from_clock = (now.as_secs() << SERIALS_A_SECOND).max(relay::HIGHEST_NUMBER);
    from_clock.max(of_predecessor)
}

/// The receiving end of a loop's commands, and the doorbell that wakes the loop for them.
type Outlet = (Receiver<Command>, Arc<Doorbell>);

/// An inbox for each of this many loops.
fn inboxes(count: usize) -> io::Result<(Arc<[Inbox]>, Vec<Outlet>)> {
    let mut loops = Vec::with_capacity(count);
    let mut outlets = Vec::with_capacity(count);
    for _ in 0..count {
        let doorbell = Arc::new(Doorbell::new()?);
        let (inbox, commands) = Inbox::new(doorbell.clone());
        outlets.push((commands, doorbell));
        loops.push(inbox);
    }
    Ok((loops.into(), outlets))
}

/// Starts the thread of a loop.
fn spawn_loop(
    parts: Parts,
    commands: Receiver<Command>,
    inherited: Option<Inheritance>,
) -> io::Result<()> {
    let index = parts.index;
    let thread = std::thread::Builder::new().name(format!("loop {index}"));
    thread.spawn(move || {
        moorline_process::affinity::stay(
            &parts.config.workers.cpu_affinity,
            u16::from(parts.index),
        );
        // A gateway without one of its loops would let its sessions hang: it ends, and the supervisor starts a new one.
        if let Err(error) = Loop::run(parts, commands, inherited) {
            tracing::error!(event_loop = index, %error, "event loop failed");
        }
        moorline_process::log::flush();
        std::process::exit(70);
    })?;
    Ok(())
}

/// Room for this many descriptors exists from the start. It costs half a megabyte of kernel memory.
const EARLY_DESCRIPTORS: u32 = 65_536;

/// Raises the limit of open files as far as it goes, and makes room for the first of them.
pub(crate) fn raise_descriptors() {
    open_files::raise();
    if let Err(error) = reserve_descriptors(EARLY_DESCRIPTORS) {
        // It grows with the sessions then, and each doubling causes a delay.
        tracing::warn!(%error, "cannot reserve room for descriptors");
    }
}
