//! The main thread: it speaks with the supervisor, and hands what that says to the event loops.

pub(crate) mod file_channel;
pub(crate) mod panics;
pub(crate) mod setup;
pub(crate) mod stopping;
pub(crate) mod waiting;

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use moorline_ipc::{Channel, Chime, Doorbell, Marks, Region, Scoreboard, Side};
use moorline_net::reserve_descriptors;
use moorline_net::tls::server::ServerTls;
use rustc_hash::FxHashMap;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use moorline_config::Config;
use moorline_process::credentials::Credentials;
use moorline_process::open_files;
use moorline_process::signals::{leave_term_to_supervisor, leave_to_supervisor};
use moorline_protocol::control::{
    BEAT, FromRole, LOOP_ROW, ListPlace, LoopCounter, ProcessId, Role, ToRole, main_row,
    process_name,
};
use moorline_protocol::control_channel::{ControlChannel, Descriptors};

use crate::change::Change;
use crate::commands::{Attached, Command, Death, Inbox, Report};
use crate::event_loop::{Loop, Parts};
use crate::http::Site;
use crate::ids::ListenerId;
use crate::main_thread::waiting::Waiting;
use crate::shared::Shared;
use crate::sockets::share_out;
use crate::start::GatewayStart;

/// How often removed listeners are looked at, until they have no connection any more: nothing waits for it.
const LOOK_AT_RETIRED: Duration = Duration::from_millis(500);

/// Runs the gateway until the supervisor lets go of it.
///
/// # Errors
/// What keeps it from starting: no memory, no descriptors, no threads.
pub fn run(start: GatewayStart) -> io::Result<()> {
    panics::end_on_panic();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())?;
    let ended = runtime.block_on(async {
        leave_to_supervisor()?;
        leave_term_to_supervisor()?;
        Gateway::start(start)?.serve().await
    });
    // A look at a file may hang.
    runtime.shutdown_background();
    ended
}

/// The main thread's part.
pub(crate) struct Gateway {
    pub(crate) control: ControlChannel,
    /// What it runs with.
    pub(crate) config: Arc<Config>,
    pub(crate) max_wait: Duration,
    pub(crate) loops: Arc<[Inbox]>,
    /// What HTTP listeners serve.
    pub(crate) sites: Vec<Option<Arc<Site>>>,
    pub(crate) reports: mpsc::UnboundedReceiver<Report>,
    pub(crate) reporter: mpsc::UnboundedSender<Report>,
    pub(crate) shared: Arc<Shared>,
    /// What the listeners show, as it came and as it is used.
    pub(crate) credentials: Credentials,
    pub(crate) tls: Arc<[Option<ServerTls>]>,
    /// What a reload changes, if it is committed.
    pub(crate) change: Option<Change>,
    /// Removed listeners that had connections when they were last looked at.
    pub(crate) retired: Vec<u16>,
    /// The processes that are joined with this gateway.
    pub(crate) joined: FxHashMap<ProcessId, Joined>,
    /// What logs call the processes that there are.
    pub(crate) names: FxHashMap<ProcessId, String>,
    /// Processes that some loops do not hear yet, and how many of them.
    pub(crate) attaching: FxHashMap<ProcessId, usize>,
    /// How many loops have released each process.
    pub(crate) released: FxHashMap<ProcessId, usize>,
    /// How many `Activate` there were, how many of them each loop has obeyed, and of how many the supervisor knows.
    pub(crate) activations: usize,
    pub(crate) activated: Vec<usize>,
    pub(crate) confirmed: usize,
    /// Who waits in each loop for processes that do not answer.
    pub(crate) waiting: Waiting,
    /// The drain that goes on, if one does, and how many loops have ended it.
    pub(crate) drain: Option<u64>,
    pub(crate) drained: usize,
    pub(crate) is_stopping: bool,
    /// Where the main thread gives its signs of life.
    pub(crate) board: Scoreboard,
    /// How many loops are empty after `Stop`; one more, if there is no HTTP connection any more.
    pub(crate) empty: usize,
}

/// A process as the main thread sees it.
pub(crate) struct Joined {
    /// What it notes for the case of its death, one for each loop.
    pub(crate) marks: Vec<Marks>,
    /// Dropped at its death, which is how the task that takes its files hears of that.
    pub(crate) _lives: oneshot::Sender<()>,
}

impl Gateway {
    fn start(start: GatewayStart) -> io::Result<Self> {
        let control = ControlChannel::new(start.control)?;
        let config = Arc::new(start.config);
        let count = usize::from(config.engine.gateway_loops);
        raise_descriptors();
        let reserve = open_files::reserve(&config, &config);
        let shared = Arc::new(Shared::new(&config, count, reserve));
        // Below any serial of a successor started in a later second, above any of a predecessor.
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let last_serial = (now.as_secs() << 24).max(start.last_serial);

        let (loops, inboxes) = inboxes(count)?;
        let (report, reports) = mpsc::unbounded_channel();
        let (mut sockets, mut folders) = (Vec::new(), Vec::new());
        for listener in start.listeners {
            sockets.push((ListenerId(listener.place), listener.socket));
            folders.extend(listener.folder.map(|folder| (listener.place, folder)));
        }
        let sockets = share_out(&config, sockets, count);
        let tls = start
            .credentials
            .ready(&config, &Credentials::default(), &[]);
        let tls: Arc<[_]> = tls.map_err(io::Error::other)?.into();
        let threads = inboxes.into_iter().zip(sockets);
        for (index, ((inbox, doorbell), sockets)) in threads.enumerate() {
            let parts = Parts {
                index: index as u8,
                config: config.clone(),
                shared: shared.clone(),
                doorbell,
                counters: start.scoreboard.row(index * LOOP_ROW),
                last_serial,
                sockets,
                peers: loops.to_vec(),
                reports: report.clone(),
                tls: tls.clone(),
            };
            spawn_loop(parts, inbox)?;
        }
        tracing::debug!(
            incarnation = start.incarnation,
            loops = count,
            "gateway started"
        );
        let mut gateway = Self {
            control,
            config: config.clone(),
            max_wait: config.workers.max_wait,
            loops,
            sites: Vec::new(),
            reports,
            reporter: report,
            shared,
            credentials: start.credentials,
            tls,
            change: None,
            retired: Vec::new(),
            activations: 0,
            joined: FxHashMap::default(),
            names: FxHashMap::default(),
            attaching: FxHashMap::default(),
            released: FxHashMap::default(),
            activated: vec![0; count],
            confirmed: 0,
            waiting: Waiting::new(count),
            drain: None,
            drained: 0,
            is_stopping: false,
            board: start.scoreboard.row(main_row(count)),
            empty: 0,
        };
        gateway.change_sites(&config, folders);
        gateway.watch_retired(&config);
        Ok(gateway)
    }

    async fn serve(mut self) -> io::Result<()> {
        self.say(&FromRole::Ready).await;
        let mut look = tokio::time::interval(LOOK_AT_RETIRED);
        // While nothing is retired nobody takes its ticks.
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beat.tick() => self.board.add(LoopCounter::Beats as usize, 1),
                _ = look.tick(), if !self.retired.is_empty() => self.look_at_retired().await,
                message = self.control.recv::<ToRole>() => match message {
                    Ok(Some((message, descriptors))) => self.obey(message, descriptors).await,
                    Ok(None) => return self.drain_alone().await,
                    // This packet is lost, which the supervisor notices if it waits for an answer. The next one is whole.
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                        tracing::error!(%error, "a message of the supervisor is lost");
                    }
                    Err(error) => {
                        tracing::error!(%error, "the control channel is broken");
                        return self.drain_alone().await;
                    }
                },
                Some(report) = self.reports.recv() => self.pass_on(report).await,
            }
        }
    }

    /// Tells the supervisor. If it is gone, the next look at the channel says so.
    pub(crate) async fn say(&self, message: &FromRole) {
        if let Err(error) = self.control.send(message, &[]).await {
            tracing::warn!(%error, "the supervisor could not be told");
        }
    }

    /// Does what the supervisor says. What cannot be done is an answer, and never the gateway's end.
    async fn obey(&mut self, message: ToRole, descriptors: Descriptors) {
        match message {
            ToRole::Attach { process, role, pid } => {
                self.names.insert(process, process_name(role, pid));
                if let Err(error) = self.attach(process, role, pid, descriptors) {
                    self.attached(process, Err(error.to_string())).await;
                }
            }
            ToRole::Activate {
                workers,
                serving,
                prepared,
            } => {
                self.activations += 1;
                self.activate(workers, serving, prepared);
            }
            ToRole::Prepare {
                generation,
                config,
                sockets,
                folders,
            } => {
                let change = (generation, *config, sockets, folders);
                self.prepare(change, descriptors).await;
            }
            ToRole::Forget => {
                self.change = None;
                self.keep_descriptors_for(&self.config);
            }
            ToRole::Dead {
                process,
                fault,
                forced,
            } => {
                self.removed(process, fault, forced);
            }
            ToRole::Stop {
                over_ms,
                max_wait_ms,
            } => {
                self.stop(
                    Duration::from_millis(over_ms),
                    Duration::from_millis(max_wait_ms),
                );
            }
            ToRole::Drain {
                number,
                places,
                over_ms,
                max_wait_ms,
            } => {
                let times = (
                    Duration::from_millis(over_ms),
                    Duration::from_millis(max_wait_ms),
                );
                self.begin_drain(number, places, times);
            }
            ToRole::Silent { processes } => {
                let processes: Arc<[ProcessId]> = processes.into();
                for index in self.waiting.ask(&processes) {
                    self.loops[index].send(Command::Silent(processes.clone()));
                }
            }
            ToRole::ListSessions { question, from } => self.list(question, from).await,
            ToRole::ReopenLog => {
                match descriptors.map(|descriptors| descriptors.into_iter().next()) {
                    Ok(Some(file)) => moorline_process::log::reopen(file),
                    Ok(None) => {}
                    Err(error) => tracing::warn!(%error, "the log is not reopened"),
                }
            }
            ToRole::StartGateway { .. }
            | ToRole::StartProcess { .. }
            | ToRole::NewGateway
            | ToRole::Serving
            | ToRole::Lead
            | ToRole::Resign => {
                tracing::warn!("the supervisor sent a gateway a message that is not for one");
            }
        }
    }

    /// Makes ready what a reload changes, and says whether it can be committed.
    async fn prepare(
        &mut self,
        (generation, config, sockets, folders): (u32, Config, Vec<u16>, Vec<u16>),
        descriptors: Descriptors,
    ) {
        // What was prepared before is closed first.
        self.change = None;
        self.keep_descriptors_for(&config);
        let change = Change::new(generation, config, sockets, folders, descriptors);
        let change = change.and_then(|change| change.ready(&self.credentials, &self.tls));
        let failure = match change {
            Ok(change) => {
                self.change = Some(change);
                None
            }
            Err(error) => Some(error.to_string()),
        };
        let answer = FromRole::Prepared {
            generation,
            failure,
        };
        self.say(&answer).await;
    }

    /// A process has died, by a fault or killed at the end of a reload.
    fn removed(&mut self, process: ProcessId, fault: bool, forced: bool) {
        // With it goes the sender that the task which takes its files waits for.
        let marks = self.joined.remove(&process).map(|joined| joined.marks);
        self.released.remove(&process);
        self.attaching.remove(&process);
        self.names.remove(&process);
        let polled = marks
            .iter()
            .flatten()
            .map(Marks::polling)
            .find(|session| *session != 0);
        let death = Death {
            culprit: polled.filter(|_| fault),
            forced,
        };
        self.tell_loops(|_| Command::Dead { process, death });
    }

    /// Keeps so many descriptors free of connections and files that the processes of this configuration have theirs,
    /// beside those that are there.
    fn keep_descriptors_for(&self, config: &Config) {
        let reserve = open_files::reserve(&self.config, config);
        self.shared.keep_free(reserve);
    }

    /// Makes a process known to all loops, or to none. Each of them reports that it hears it.
    fn attach(
        &mut self,
        process: ProcessId,
        role: Role,
        pid: u32,
        descriptors: Descriptors,
    ) -> io::Result<()> {
        let mut descriptors = descriptors?.into_iter();
        let missing = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "a process was attached without its descriptors",
            )
        };
        let doorbell = Doorbell::from_fd(descriptors.next().ok_or_else(missing)?);
        let doorbell = Arc::new(doorbell);
        let mut links = Vec::with_capacity(self.loops.len());
        for _ in self.loops.iter() {
            let chime = Chime::from_fd(descriptors.next().ok_or_else(missing)?);
            let region = Region::map(descriptors.next().ok_or_else(missing)?, Side::Gateway)?;
            links.push((chime, region));
        }
        let files = Channel::from_fd(descriptors.next().ok_or_else(missing)?);
        let files = ControlChannel::new(files)?;
        let marks = links.iter().map(|(_, region)| region.marks.clone());
        let (lives, dead) = oneshot::channel();
        let joined = Joined {
            marks: marks.collect(),
            _lives: lives,
        };
        self.joined.insert(process, joined);
        self.attaching.insert(process, self.loops.len());
        for (inbox, (chime, region)) in self.loops.iter().zip(links) {
            inbox.send(Command::Attach(Box::new(Attached {
                process,
                role,
                pid,
                region,
                doorbell: doorbell.clone(),
                chime,
            })));
        }
        tokio::task::spawn_local(file_channel::receive(
            files,
            (process, self.name(process)),
            self.loops.clone(),
            self.shared.clone(),
            self.reporter.clone(),
            dead,
        ));
        Ok(())
    }

    /// A loop hears a process from now on, or cannot. The supervisor is told once all do, or of each that cannot.
    async fn attached(&mut self, process: ProcessId, result: Result<(), String>) {
        if result.is_ok() {
            let Some(others) = self.attaching.get_mut(&process) else {
                return;
            };
            *others -= 1;
            if *others > 0 {
                return;
            }
        }
        self.attaching.remove(&process);
        let failure = result.err();
        if let Some(reason) = &failure {
            let name = self.name(process);
            tracing::warn!("{name} cannot be served: {reason}");
        }
        self.say(&FromRole::Attached { process, failure }).await;
    }

    /// A process as logs name it.
    fn name(&self, process: ProcessId) -> String {
        let name = self.names.get(&process).cloned();
        // It has ended meanwhile.
        name.unwrap_or_else(|| format!("process {process}, which has ended,"))
    }

    pub(crate) fn tell_loops(&self, command: impl Fn(usize) -> Command) {
        for (index, inbox) in self.loops.iter().enumerate() {
            inbox.send(command(index));
        }
    }

    /// Has a loop list some of its sessions. It reports them, so nothing here waits for it.
    async fn list(&mut self, question: u64, from: ListPlace) {
        if let Some(inbox) = self.loops.get(usize::from(from.event_loop)) {
            let place = from.place;
            inbox.send(Command::List { question, place });
            return;
        }
        let (rows, next) = (Vec::new(), None);
        let none = FromRole::Sessions {
            question,
            rows,
            next,
        };
        self.say(&none).await;
    }

    /// Where a list of sessions goes on after a part from this loop.
    fn next_place(&self, index: u8, next: Option<u32>) -> Option<ListPlace> {
        let index = u16::from(index);
        let is_last = usize::from(index) + 1 == self.loops.len();
        let (event_loop, place) = match next {
            Some(place) => (index, place),
            None if is_last => return None,
            None => (index + 1, 0),
        };
        Some(ListPlace { event_loop, place })
    }

    /// What a loop says.
    async fn pass_on(&mut self, report: Report) {
        match report {
            Report::Http {
                socket,
                listener,
                peer,
            } => {
                if let Some(Some(site)) = self.sites.get(listener.index()) {
                    site.clone().serve(socket, peer);
                }
            }
            Report::Activated(index) => {
                self.activated[usize::from(index)] += 1;
                while self.activated.iter().all(|obeyed| *obeyed > self.confirmed) {
                    self.confirmed += 1;
                    self.say(&FromRole::Activated).await;
                }
            }
            Report::Released(process) => {
                let loops = self.released.entry(process).or_default();
                *loops += 1;
                if *loops == self.loops.len() {
                    self.say(&FromRole::Released { process }).await;
                }
            }
            Report::Garbage(process, reason) => {
                let name = self.name(process);
                tracing::error!("{name} wrote garbage into its ring: {reason}");
                self.say(&FromRole::Garbage { process, reason }).await;
            }
            Report::Sessions {
                index,
                question,
                rows,
                next,
            } => {
                let next = self.next_place(index, next);
                let some = FromRole::Sessions {
                    question,
                    rows,
                    next,
                };
                self.say(&some).await;
            }
            Report::Attached(process, result) => self.attached(process, result).await,
            Report::Waiting(index, counts) => {
                let counts = self.waiting.answered(usize::from(index), counts);
                self.say(&FromRole::Waiting(counts)).await;
            }
            Report::Drained(number) => self.drained(number).await,
            Report::Empty => {
                self.empty += 1;
                if self.empty == self.parties() {
                    self.say(&FromRole::Drained).await;
                }
            }
        }
    }
}

/// What a loop takes its commands from, and what wakes it for them.
type Outlet = (std::sync::mpsc::Receiver<Command>, Arc<Doorbell>);

/// An inbox for each of so many loops.
fn inboxes(count: usize) -> io::Result<(Arc<[Inbox]>, Vec<Outlet>)> {
    let mut loops = Vec::with_capacity(count);
    let mut outlets = Vec::with_capacity(count);
    for _ in 0..count {
        let (commands, inbox) = std::sync::mpsc::channel();
        let doorbell = Arc::new(Doorbell::new()?);
        outlets.push((inbox, doorbell.clone()));
        loops.push(Inbox { commands, doorbell });
    }
    Ok((loops.into(), outlets))
}

/// Starts the thread of a loop.
fn spawn_loop(parts: Parts, inbox: std::sync::mpsc::Receiver<Command>) -> io::Result<()> {
    let index = parts.index;
    let thread = std::thread::Builder::new().name(format!("loop {index}"));
    thread.spawn(move || {
        moorline_process::affinity::stay(
            &parts.config.workers.cpu_affinity,
            u16::from(parts.index),
        );
        // A gateway with a loop missing would let its sessions hang: better to end, and be started anew.
        if let Err(error) = Loop::run(parts, inbox) {
            tracing::error!(event_loop = index, %error, "event loop failed");
        }
        moorline_process::log::flush();
        std::process::exit(70);
    })?;
    Ok(())
}

/// So many descriptors have room from the start, for half a megabyte of the kernel's memory.
const EARLY_DESCRIPTORS: u32 = 65_536;

/// Raises the limit of open files as far as it goes, and makes room for the first of them.
pub(crate) fn raise_descriptors() {
    open_files::raise();
    if let Err(error) = reserve_descriptors(EARLY_DESCRIPTORS) {
        // It grows with the sessions then, and each doubling is felt.
        tracing::warn!(%error, "no room is made for descriptors");
    }
}
