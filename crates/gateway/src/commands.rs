//! The messages between the main thread and the loops.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use moorline_ipc::{Chime, Doorbell, Marks, Region};
use moorline_net::tls::server::ServerTls;
use moorline_protocol::control::{Limit, ProcessId, Role, SessionRow};
use moorline_protocol::wire::Peer;

use crate::arrival::Arrival;
use crate::change::Setup;
use crate::exchange;
use crate::file::PassedFile;
use crate::ids::ListenerId;
use crate::obstacles::Obstacles;
use crate::refusal_log::KeptOut;
use crate::shared::admission::Counted;
use crate::stream::Stream;
use crate::transfer::Asker;
use crate::upstreams::{PeerKey, SharedUpstream};

/// Where a loop gets its commands.
#[derive(Debug, Clone)]
pub(crate) struct Inbox {
    commands: Sender<Command>,
    doorbell: Arc<Doorbell>,
    /// It was rung, and the loop has not looked since: another ring would say nothing new.
    is_rung: Arc<AtomicBool>,
    /// A task of the main thread is about to wake the loop.
    is_due: Arc<AtomicBool>,
}

impl Inbox {
    /// The inbox of a loop that this doorbell wakes, and where the loop takes its commands.
    pub(crate) fn new(doorbell: Arc<Doorbell>) -> (Self, Receiver<Command>) {
        let (commands, taken) = std::sync::mpsc::channel();
        let inbox = Self {
            commands,
            doorbell,
            is_rung: Arc::default(),
            is_due: Arc::default(),
        };
        (inbox, taken)
    }

    /// Wakes the loop, to look around.
    pub(crate) fn wake(&self) {
        // AcqRel, as in `hear`: a loop that heard an earlier ring sees what came before this one.
        if !self.is_rung.swap(true, Ordering::AcqRel) {
            self.doorbell.ring();
        }
    }

    /// Sends the loop a command and wakes it. A loop ends only with the process, so a failure needs no report.
    pub(crate) fn send(&self, command: Command) {
        let _ = self.commands.send(command);
        self.wake();
    }

    /// Sends the loop a command, and wakes it when the tasks that can go on now have done so: what they send it comes with one
    /// ring. For tasks of the main thread.
    pub(crate) fn send_soon(&self, command: Command) {
        let _ = self.commands.send(command);
        if !self.is_due.swap(true, Ordering::Relaxed) {
            let inbox = self.clone();
            tokio::task::spawn_local(async move {
                inbox.is_due.store(false, Ordering::Relaxed);
                inbox.wake();
            });
        }
    }

    /// The loop looks around: what comes from now on rings again.
    pub(crate) fn hear(&self) {
        self.is_rung.swap(false, Ordering::AcqRel);
    }
}

/// A command to a loop.
#[derive(Debug)]
pub(crate) enum Command {
    /// A connection that loop 0 accepted.
    Accepted {
        socket: OwnedFd,
        listener: ListenerId,
        peer: Peer,
        counted: Counted,
    },
    /// An HTTP connection whose next request asks for a session.
    Returned {
        socket: OwnedFd,
        listener: ListenerId,
        peer: Peer,
        arrival: Arrival,
    },
    /// A handshake on the main thread has failed, perhaps because of this limit. It is counted here, where the counters
    /// are.
    Refused(Option<Limit>),
    Attach(Box<Attached>),
    Activate {
        workers: u16,
        serving: Arc<[ProcessId]>,
        /// Other changes that apply at the same time.
        setup: Option<Box<Setup>>,
    },
    /// The TLS state of the listeners from now on.
    Show(Arc<[Option<ServerTls>]>),
    Dead {
        process: ProcessId,
        death: Death,
    },
    /// A descriptor that a process has passed; without it, if it could not be kept.
    File {
        process: ProcessId,
        number: u64,
        file: Option<PassedFile>,
    },
    /// All members in all loops have been sent an event of a process, which this loop has read.
    EventDone {
        from: Asker,
        bytes: usize,
    },
    /// A group keeps its events, and none did before.
    WatchHistories,
    /// These processes are silent, and no others. The answer is `Report::Waiting`.
    Silent(Arc<[ProcessId]>),
    /// The checks of a peer have failed.
    LeavePeer {
        upstream: Arc<SharedUpstream>,
        peer: PeerKey,
    },
    Stop(Box<Order>),
    Drain(Box<Order>),
    /// About a plain request.
    Exchange(exchange::ExchangeOrder),
    /// Close the session or relay with this id.
    Close {
        question: u64,
        id: u64,
    },
    /// These listeners, and no others, accept nothing.
    StopAccepting(Vec<ListenerId>),
    /// Say how many requests are not answered to the end. Answered with `Report::Requests`.
    CountRequests,
    /// Stand still. Answered with `Report::Stands`.
    Stand,
    /// While it stands still: let what is under way to other loops and to members of groups arrive. Answered with
    /// `Report::Settled`.
    Settle,
    /// While it stands still: send what it has through this. Answered with `Report::HandedOver`.
    HandOver(Arc<Stream>),
    /// Go on.
    GoOn,
    /// List sessions from this place of the table on.
    List {
        question: u64,
        place: u32,
    },
}

/// A report from a loop.
#[derive(Debug)]
pub(crate) enum Report {
    /// A connection that speaks HTTP.
    Http {
        socket: OwnedFd,
        listener: ListenerId,
        peer: Peer,
        arrival: Arrival,
    },
    /// The loop of this number has executed one more `Activate`.
    Activated(u8),
    /// The loop hears this process from now on, or cannot.
    Attached(ProcessId, Result<(), String>),
    /// The loop has nothing of this process any more.
    Released(ProcessId),
    /// This process wrote garbage.
    Garbage(ProcessId, String),
    /// In the loop of this number this many sessions wait for each silent process.
    Waiting(u8, Vec<(ProcessId, u64)>),
    /// No session of this drain is left.
    Drained(u64),
    /// This many requests of the loop are not answered to the end.
    Requests(usize),
    /// The loop stands still.
    Stands,
    /// Whether nothing is under way in a loop that stands still, what keeps it from going to another process, and about how
    /// many bytes it would take with it.
    Settled(bool, Obstacles, u64),
    /// The loop has sent what it has.
    HandedOver(Result<(), String>),
    /// The loop has taken what one of another process had: this many sessions, and what each process notes for it.
    TakenUp(u8, Result<TakenUp, String>),
    /// The loop goes on.
    GoesOn,
    /// No session is left after `Stop`.
    Empty,
    /// Whether there is the session that was to close.
    Closed { question: u64, is_there: bool },
    /// This stands for most of the connections that limits keep out.
    Refused(KeptOut),
    /// Some sessions of the loop of this number, and the place in its table to continue from.
    Sessions {
        index: u8,
        question: u64,
        rows: Vec<SessionRow>,
        next: Option<u32>,
    },
}

/// What a loop has taken from one of another process.
#[derive(Debug)]
pub(crate) struct TakenUp {
    pub(crate) sessions: u64,
    /// Bytes in memory.
    pub(crate) held: u64,
    pub(crate) marks: Vec<(ProcessId, Marks)>,
}

/// A process that a loop should serve.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) process: ProcessId,
    pub(crate) role: Role,
    /// Its number in the system, for messages.
    pub(crate) pid: u32,
    pub(crate) region: Region,
    /// Wakes the process.
    pub(crate) doorbell: Arc<Doorbell>,
    /// The process wakes this loop through it.
    pub(crate) chime: Chime,
}

/// How a process died.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Death {
    /// It died by a fault while it polled this session's handler.
    pub(crate) culprit: Option<u64>,
    /// Killed at `max_wait` of a reload.
    pub(crate) forced: bool,
}

/// Which sessions to close, and how fast.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// Names it; the next one has a higher number.
    pub(crate) number: u64,
    /// The time over which they are spread.
    pub(crate) over: Duration,
    /// How long messages in progress may take to end then.
    pub(crate) max_wait: Duration,
    /// Only sessions of these listeners; without a list, all.
    pub(crate) listeners: Option<Vec<ListenerId>>,
    pub(crate) seed: u64,
}

impl Order {
    /// The part of one loop: each loop closes sessions at its own moments.
    pub(crate) fn of_loop(&self, index: usize) -> Box<Self> {
        let seed = self.seed.wrapping_add(index as u64);
        Box::new(Self {
            seed,
            ..self.clone()
        })
    }
}
