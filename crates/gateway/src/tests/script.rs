//! A loop of which a test takes every turn, and looks at the invariants after each.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use moorline_ipc::{
    Chime, Doorbell, FLIGHT_COUNTERS, Region, Scoreboard, Side, create_region, create_scoreboard,
};
use rustix::fs::MemfdFlags;
use tokio::sync::mpsc;

use super::client::Client;
use super::process::{FILE, Process};
use super::web::WebProtocol;
use crate::arrival::Arrival;
use crate::change::Setup;
use crate::commands::{Attached, Command, Death, Inbox, Report};
use crate::event_loop::{Loop, Parts};
use crate::file::PassedFile;
use crate::ids::ListenerId;
use crate::main_loop::Next;
use crate::shared::Shared;
use crate::shared::admission::Counted;
use moorline_config::{Config, load_text};
use moorline_protocol::control::{LOOP_ROW, LoopCounter, ProcessId, Role};
use moorline_protocol::flight::FlightLog;
use moorline_protocol::wire::{CloseReason, Peer};

/// Turns after which a loop that still has something to do is taken for one that spins.
const MOST_TURNS: usize = 20_000;

/// The smallest rings there are, so that they are often full.
const RING: usize = 64 * 1024;

/// Counters and last events of a loop.
const BOARD: usize = LOOP_ROW + FLIGHT_COUNTERS;

/// A request for a WebSocket session.
pub(super) const HANDSHAKE: &[u8] =
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A scripted loop, with all that surrounds it.
pub(super) struct Script {
    pub(super) gateway: Loop,
    /// The time, in the loop's milliseconds.
    pub(super) now: u64,
    pub(super) processes: Vec<Process>,
    pub(super) config: Arc<Config>,
    /// Bytes of each ring.
    ring: usize,
    /// Descriptors of files that the loop has.
    files: Arc<AtomicUsize>,
    pub(super) counters: Scoreboard,
    pub(super) reports: mpsc::UnboundedReceiver<Report>,
    /// Other loops send there. The test gives its own commands itself.
    pub(super) commands: Receiver<Command>,
    last_process: ProcessId,
}

/// The configuration that a text means.
pub(super) fn config(text: &str) -> Config {
    let loaded = load_text(text, Path::new("/scripted.toml"));
    loaded.expect("the test's configuration is right").config
}

impl Script {
    /// A loop with this configuration, without a process.
    pub(super) fn new(config: Config) -> Self {
        Self::several(config, 1).remove(0)
    }

    /// Several loops of one gateway with this configuration and this many workers, all of which serve.
    pub(super) fn loops(config: Config, loops: usize, workers: u16) -> Vec<Self> {
        let mut scripts = Self::several(config, loops);
        for script in &mut scripts {
            for slot in 0..workers {
                script.attach(Role::Worker(slot));
            }
            script.activate(workers);
        }
        scripts
    }

    fn several(config: Config, loops: usize) -> Vec<Self> {
        let config = Arc::new(config);
        let shared = Arc::new(Shared::new(&config, loops, 0));
        let inboxes = (0..loops).map(|_| {
            let doorbell = Arc::new(Doorbell::new().expect("a doorbell"));
            (Inbox::new(doorbell.clone()), doorbell)
        });
        let (inboxes, doorbells): (Vec<_>, Vec<_>) = inboxes.unzip();
        let (peers, commands): (Vec<_>, Vec<_>) = inboxes.into_iter().unzip();
        let outlets = commands.into_iter().zip(doorbells).enumerate();
        outlets
            .map(|(index, outlet)| Self::of_gateway(index, &config, &shared, &peers, outlet))
            .collect()
    }

    fn of_gateway(
        index: usize,
        config: &Arc<Config>,
        shared: &Arc<Shared>,
        peers: &[Inbox],
        (commands, doorbell): (Receiver<Command>, Arc<Doorbell>),
    ) -> Self {
        let counters = create_scoreboard(BOARD).expect("a scoreboard");
        let counters = Scoreboard::map(counters, BOARD).expect("a scoreboard");
        let (reporter, reports) = mpsc::unbounded_channel();
        let gateway = Loop::new(Parts {
            node: 0,
            index: index as u8,
            config: config.clone(),
            shared: shared.clone(),
            doorbell,
            counters: counters.clone(),
            flight: FlightLog::new(counters.row(LOOP_ROW)),
            last_serial: 0,
            sockets: Vec::new(),
            peers: peers.to_vec(),
            reports: reporter,
            tls: Arc::default(),
        })
        .expect("a loop");
        Self {
            gateway,
            now: 1000,
            processes: Vec::new(),
            config: config.clone(),
            ring: RING,
            files: Arc::default(),
            counters,
            reports,
            commands,
            last_process: 0,
        }
    }

    /// A loop with this configuration and this many workers, all of which serve.
    pub(super) fn serving(config: Config, workers: u16) -> Self {
        Self::with_rings(RING, config, workers)
    }

    /// The same, with rings of this many bytes.
    pub(super) fn with_rings(ring: usize, config: Config, workers: u16) -> Self {
        let mut script = Self::new(config);
        script.ring = ring;
        for slot in 0..workers {
            script.attach(Role::Worker(slot));
        }
        script.activate(workers);
        script
    }

    /// A new connection on the listener in this place.
    pub(super) fn connect(&mut self, listener: u16) -> Client {
        let (client, socket) = Client::pair(listener);
        self.accept(listener, socket, client.peer());
        client
    }

    /// A new connection on an HTTP listener, whose client asks for this.
    pub(super) fn connect_web(&mut self, listener: u16, protocol: WebProtocol) -> Client {
        let mut client = self.connect(listener);
        client.ask_for(protocol);
        client
    }

    /// A new WebSocket session on a listener whose path is `/`, after its handshake, about which no process is asked.
    pub(super) fn connect_websocket(&mut self, listener: u16) -> Client {
        for (_, process) in self.gateway.tools.processes.iter_mut() {
            process.is_asked = false;
        }
        let mut client = self.ask_for_websocket(listener);
        client.skip_head();
        client
    }

    /// A new connection that asks for a WebSocket session.
    pub(super) fn ask_for_websocket(&mut self, listener: u16) -> Client {
        let (client, socket) = Client::pair(listener);
        let peer = client.peer();
        let admissions = &self.gateway.tools.cx.shared.admissions;
        let counted = admissions[usize::from(listener)]
            .admit(&peer, Counted::ADMITTED)
            .expect("there is no limit");
        self.command(Command::Returned {
            socket,
            listener: ListenerId(listener),
            peer,
            arrival: Arrival {
                received: HANDSHAKE.to_vec(),
                counted,
                ..Arrival::default()
            },
        });
        client
    }

    pub(super) fn accept(&mut self, listener: u16, socket: OwnedFd, peer: Peer) {
        let admissions = &self.gateway.tools.cx.shared.admissions;
        let counted = admissions[usize::from(listener)]
            .admit(&peer, Counted::ADMITTED)
            .expect("there is no limit");
        admissions[usize::from(listener)].wait();
        self.command(Command::Accepted {
            socket,
            listener: ListenerId(listener),
            peer,
            counted,
        });
    }

    /// Gives the loop a command.
    pub(super) fn command(&mut self, command: Command) {
        self.gateway.tools.cx.clock.set(self.now);
        self.gateway.obey(command);
    }

    /// A new process that does not serve yet; its place in the list of processes.
    pub(super) fn attach(&mut self, role: Role) -> usize {
        self.last_process += 1;
        let process = self.last_process;
        let region = create_region(self.ring).expect("a region");
        let theirs = region.try_clone().expect("a descriptor");
        let map = |region, side| Region::map(region, side).expect("it is a region");
        let bell = Doorbell::new().expect("a doorbell");
        let chime = bell.try_clone().expect("a descriptor");
        self.command(Command::Attach(Box::new(Attached {
            process,
            role,
            pid: 4000 + process,
            region: map(region, Side::Gateway),
            doorbell: Arc::new(Doorbell::new().expect("a doorbell")),
            chime: Chime::from_fd(chime.into()),
        })));
        let theirs = map(theirs, Side::Process);
        self.processes
            .push(Process::new(process, role, theirs, bell));
        self.processes.len() - 1
    }

    /// The newest process of each slot serves from now on.
    pub(super) fn activate(&mut self, workers: u16) {
        self.activate_with(workers, None);
    }

    /// The same, and with that this changes.
    pub(super) fn activate_with(&mut self, workers: u16, setup: Option<Setup>) {
        let newest = |role: &Role| {
            let of_role = self.processes.iter().filter(|it| it.role == *role);
            of_role.map(|it| it.id).max()
        };
        let slots = (0..workers).map(Role::Worker);
        let tasks = (0..8).map(Role::Task);
        let serving = slots
            .chain(tasks)
            .filter_map(|role| newest(&role))
            .collect();
        self.command(Command::Activate {
            workers,
            serving,
            setup: setup.map(Box::new),
        });
    }

    /// A process passes the descriptor of a file for this session, or one that cannot be kept.
    pub(super) fn pass_file(&mut self, at: usize, session: u64, is_kept: bool) {
        let number = self.processes[at].pass_file(session);
        let process = self.processes[at].id;
        let file = is_kept.then(|| {
            let file = rustix::fs::memfd_create("file", MemfdFlags::CLOEXEC).expect("a file");
            rustix::io::write(&file, FILE).expect("it takes bytes");
            PassedFile::new(file, &self.files)
        });
        self.command(Command::File {
            process,
            number,
            file,
        });
    }

    /// Descriptors of files that the loop has.
    pub(super) fn open_files(&self) -> usize {
        self.files.load(Ordering::Relaxed)
    }

    /// A process dies.
    pub(super) fn kill(&mut self, at: usize) {
        self.kill_naming(at, None);
    }

    /// A process dies, and has noted that it polled the handler of this session.
    pub(super) fn kill_naming(&mut self, at: usize, culprit: Option<u64>) {
        let process = self.processes.remove(at);
        self.command(Command::Dead {
            process: process.id,
            death: Death {
                culprit,
                forced: false,
            },
        });
    }

    /// One turn. True: the loop has more to do at once; else it would sleep.
    pub(super) fn turn(&mut self) -> bool {
        let goes_on = self.turn_unchecked();
        self.gateway.check_invariants();
        goes_on
    }

    /// The same, by a loop whose state the test has changed.
    pub(super) fn turn_unchecked(&mut self) -> bool {
        self.gateway.tools.cx.clock.set(self.now);
        self.gateway.obey_all(&self.commands);
        let next = self.gateway.turn();
        self.gateway.fetch_events(Duration::ZERO).expect("epoll");
        match next {
            Next::Go => true,
            Next::Sleep(_) => false,
        }
    }

    /// Takes turns for `ms` milliseconds, one every ten.
    pub(super) fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 10 {
            self.turn();
            self.now += 10;
        }
        self.turn();
    }

    /// Turns until neither the loop nor a process nor a client has anything to do. Processes answer what they get.
    ///
    /// # Panics
    /// It never comes to rest: something spins.
    pub(super) fn settle(&mut self, clients: &mut [Client]) {
        let mut quiet = 0;
        for _ in 0..MOST_TURNS {
            let mut is_busy = self.turn() || (self.gateway.poller.count() > 0);
            for process in &mut self.processes {
                is_busy |= process.serve(&self.config, usize::MAX);
            }
            for client in clients.iter_mut() {
                is_busy |= client.go_on();
            }
            quiet = if is_busy { 0 } else { quiet + 1 };
            // Nobody stops a time that stands still: what looks again after some milliseconds does so.
            self.now += 1;
            if quiet == 20 {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    /// The reports of the loop since the last call.
    pub(super) fn reports(&mut self) -> Vec<Report> {
        let mut reports = Vec::new();
        while let Ok(report) = self.reports.try_recv() {
            reports.push(report);
        }
        reports
    }

    /// Ends the processes that the loop has released, as the supervisor does. Returns the others' reports.
    pub(super) fn end_released(&mut self) -> Vec<Report> {
        let (released, others): (Vec<_>, Vec<_>) = self
            .reports()
            .into_iter()
            .partition(|report| matches!(report, Report::Released(_)));
        for report in released {
            let Report::Released(id) = report else {
                continue;
            };
            if let Some(at) = self.processes.iter().position(|it| it.id == id) {
                let process = &self.processes[at];
                assert!(
                    process.is_idle() || process.lies,
                    "process {id} was released with something in progress"
                );
                self.kill(at);
            }
        }
        others
    }

    pub(super) fn count(&self, counter: LoopCounter) -> u64 {
        self.count_at(counter as usize)
    }

    /// Sessions closed for this reason.
    pub(super) fn closed(&self, reason: CloseReason) -> u64 {
        self.count_at(LoopCounter::Closed as usize + reason as usize - 1)
    }

    /// The counter in this place of the loop's row.
    pub(super) fn count_at(&self, place: usize) -> u64 {
        self.counters.get(place)
    }
}
