//! What every part of a worker shares.

mod sessions;

use std::cell::{OnceCell, RefCell};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use moorline_cluster::PresenceLink;
use moorline_ipc::{Consumer, Header, Scoreboard};
use moorline_net::Address;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::broadcasts::{Broadcasts, EventDraft, group_link};
use super::calls_in_hand::CallsInHand;
use super::commitment::Commitment;
use super::counters::Counters;
use super::credits::{Credits, OwnSlot, TaskOrder};
use super::files::Files;
use super::inquiries::Inquiries;
use super::neighbours::Neighbours;
use super::outbox::{Link, Outbox, Room};
use super::presence::Presence;
use super::questions::{Asked, Questions};
use super::quota::Quota;
use super::requests::Requests;
use super::sampler::Sampler;
use super::stalls::{Hook, Waits};
use crate::app::{AskError, FileError, PostError, SendError, SizeLimit, TaskError};
use crate::config::Config;
use crate::control::{PROCESS_ROW, ProcessId, Role};
use crate::flight::{FlightKind, FlightLog};
use crate::log;
use crate::wire::{FileSpan, FromProcess, Peer, Question};

pub(super) use sessions::Event;
pub(crate) use sessions::{Form, Refusal, SessionState, SessionTable};

/// The most bytes that a UDP datagram carries over IPv4.
const LARGEST_DATAGRAM: usize = 65_507;

/// How long a post hook or a task waits for room for a post. Room comes when other post hooks end, which may wait for this one.
const POST_PATIENCE: Duration = Duration::from_secs(5);

/// Room for any [`Peer`] in postcard.
const PEER_ROOM: usize = 128;

/// What every part of a worker shares. It belongs to the process's one thread.
pub(crate) struct Core {
    pub(crate) process: ProcessId,
    pub(crate) role: Role,
    /// The number of this node; 0 without a cluster.
    pub(crate) node: u16,
    /// The processes of other nodes, if this one is in a cluster.
    pub(crate) neighbours: OnceCell<Rc<Neighbours>>,
    /// What other nodes ask of this process, and it of them.
    pub(crate) calls_in_hand: CallsInHand,
    pub(crate) inquiries: Inquiries,
    /// The members of groups.
    pub(crate) presence: Rc<Presence>,
    pub(crate) generation: u32,
    pub(crate) config: Config,
    pub(crate) outbox: Outbox,
    pub(crate) sessions: SessionTable,
    pub(crate) credits: Credits,
    pub(crate) questions: Questions,
    pub(crate) files: Files,
    pub(crate) broadcasts: Broadcasts,
    pub(crate) counters: Rc<Counters>,
    /// Its last events, for the supervisor.
    pub(crate) flight: FlightLog,
    pub(crate) sampler: Sampler,
    pub(crate) commitment: Commitment,
    pub(crate) requests: Requests,
    pub(crate) quota: Quota,
    pub(super) waits: Waits,
    /// The deadline of the stop in progress.
    pub(crate) stopping: watch::Sender<Option<Instant>>,
    /// The rings of the gateway that replaces a dead one, until the ring task takes them.
    pub(super) replacement: RefCell<Option<Rings>>,
}

/// The rings to and from all loops of one gateway.
#[derive(Default)]
pub(super) struct Rings {
    pub(super) links: Vec<Link>,
    pub(super) inlets: Vec<Consumer>,
}

impl Core {
    pub(super) fn new(
        process: ProcessId,
        role: Role,
        generation: u32,
        config: Config,
        scoreboard: Scoreboard,
        waits: Waits,
    ) -> Rc<Self> {
        let max_requests = match role {
            Role::Task(_) => config.tasks.max_requests,
            Role::Worker(_) | Role::Gateway => config.workers.max_requests,
        };
        let flight = FlightLog::new(scoreboard.row(PROCESS_ROW));
        Rc::new(Self {
            process,
            role,
            node: config.cluster.as_ref().map_or(0, |it| it.number),
            neighbours: OnceCell::new(),
            calls_in_hand: CallsInHand::default(),
            inquiries: Inquiries::default(),
            presence: Rc::default(),
            waits,
            quota: Quota::new(max_requests, |most| fastrand::u64(0..=most)),
            generation,
            requests: Requests::default(),
            outbox: Outbox::default(),
            sessions: SessionTable::default(),
            credits: Credits::new(process),
            questions: Questions::default(),
            files: Files::default(),
            broadcasts: Broadcasts::default(),
            sampler: Sampler::new(flight.clone(), &config),
            flight,
            counters: Rc::new(Counters::new(scoreboard)),
            commitment: Commitment::default(),
            stopping: watch::Sender::new(None),
            replacement: RefCell::new(None),
            config,
        })
    }

    /// Switches to the links of this gateway.
    pub(super) fn connect(&self, links: Vec<Link>) {
        let marks = || links.iter().map(Link::marks).collect();
        self.waits.follow(marks);
        log::origin::follow(marks);
        self.outbox.connect(links);
    }

    /// Its generation is committed: waiting calls continue.
    pub(super) fn commit(&self) {
        self.commitment.commit();
        self.flight.note(FlightKind::Serves, 0, 0, 0);
        // Posts of the process to itself are among them.
        self.outbox.schedule();
    }

    /// The members of groups of other nodes, in a cluster.
    pub(crate) fn far_members(&self) -> Option<&PresenceLink> {
        self.neighbours.get().map(|it| &**it.presence())
    }

    pub(crate) fn slot(&self) -> u16 {
        match self.role {
            Role::Worker(slot) | Role::Task(slot) => slot,
            Role::Gateway => 0,
        }
    }

    /// Posts to a worker slot, if there is credit now.
    pub(crate) fn try_post(&self, to: u16, bytes: &[u8]) -> Result<(), PostError> {
        let own = self.poster(to)?;
        self.credits.try_post(&self.outbox, own, to, bytes)
    }

    /// Posts to a worker slot, waiting for credit. Cancel-safe.
    pub(crate) async fn post(&self, to: u16, bytes: &[u8]) -> Result<(), PostError> {
        match self.try_post(to, bytes) {
            // What would give room is handled only after `start`.
            Err(PostError::Full) if self.commitment.is_starting() => Err(PostError::NotServing),
            Err(PostError::Full) => {
                let is_in_job = matches!(self.waits.polled(), Some(Hook::Post | Hook::Task));
                let own = self.poster(to)?;
                let posted = self.credits.post(&self.outbox, own, to, bytes);
                match is_in_job {
                    true => timeout(POST_PATIENCE, posted)
                        .await
                        .unwrap_or(Err(PostError::Full)),
                    false => posted.await,
                }
            }
            done => done,
        }
    }

    fn poster(&self, to: u16) -> Result<OwnSlot, PostError> {
        if to >= self.config.workers.count {
            return Err(PostError::NoSuchWorker);
        }
        Ok(match self.role {
            Role::Worker(own) => OwnSlot::Worker(own),
            Role::Task(own) => OwnSlot::Task(own),
            Role::Gateway => return Err(PostError::NoSuchWorker),
        })
    }

    /// Gives out a task, if there is room now.
    pub(crate) fn try_task(&self, order: TaskOrder<'_>) -> Result<(), TaskError> {
        let own = self.task_giver(order.slot)?;
        let (outbox, commitment) = (&self.outbox, &self.commitment);
        self.credits.try_task(outbox, commitment, own, order)
    }

    /// Gives out a task, waiting for room. Cancel-safe.
    pub(crate) async fn task(&self, order: TaskOrder<'_>) -> Result<(), TaskError> {
        let own = self.task_giver(order.slot)?;
        let (outbox, commitment) = (&self.outbox, &self.commitment);
        // Tasks are given out only after `start`.
        if commitment.is_starting() {
            return self
                .credits
                .try_task(outbox, commitment, own, order)
                .map_err(|error| match error {
                    TaskError::Full => TaskError::NotServing,
                    other => other,
                });
        }
        self.credits.task(outbox, commitment, own, order).await
    }

    fn task_giver(&self, slot: Option<u16>) -> Result<u16, TaskError> {
        let Role::Worker(own) = self.role else {
            return Err(TaskError::NotAWorker);
        };
        let workers = self.config.tasks.count;
        if workers == 0 {
            return Err(TaskError::NoTaskWorkers);
        }
        match slot {
            Some(slot) if slot >= workers => Err(TaskError::NoSuchTaskWorker),
            _ => Ok(own),
        }
    }

    /// Asks a loop something.
    pub(crate) fn ask(&self, link: usize, question: &Question) -> Result<Asked, AskError> {
        self.questions
            .ask(&self.outbox, &self.commitment, link, question)
    }

    /// Passes a file on, waiting for credit and until the gateway has the descriptor. Cancel-safe: the file goes whole
    /// or not at all.
    pub(crate) async fn send_file(
        &self,
        session: u64,
        file: impl AsFd,
        span: FileSpan,
    ) -> Result<(), FileError> {
        let (outbox, commitment) = (&self.outbox, &self.commitment);
        self.files
            .send(outbox, commitment, session, file, span)
            .await
    }

    /// The gateway has the descriptor of a file, whose record may follow. False if there is no file of this number.
    pub(super) fn file_is_there(&self, number: u64) -> bool {
        self.files.is_there(&self.outbox, number)
    }

    /// Sends a broadcast to every loop, waiting for credit and room.
    pub(crate) async fn broadcast(&self, flags: u8, payload: &[u8]) -> Result<(), SendError> {
        let (outbox, commitment) = (&self.outbox, &self.commitment);
        self.broadcasts
            .send(outbox, commitment, flags, payload)
            .await
    }

    /// A group keeps its last events from now on.
    pub(crate) fn keep_events(&self, events: &[u8], group: &[u8]) -> Result<(), SendError> {
        let header = Header {
            kind: FromProcess::KeepEvents as u8,
            ..Header::default()
        };
        let link = group_link(group, self.outbox.links());
        self.outbox
            .record(link, header, &[events, group], Room::Bounded)
            .map_err(|_| SendError::Full)
    }

    /// Sends an event to one loop, which gives it to all, waiting until that has it.
    pub(crate) async fn broadcast_event(&self, draft: EventDraft<'_>) -> Result<(), SendError> {
        let (outbox, commitment) = (&self.outbox, &self.commitment);
        self.broadcasts.send_event(outbox, commitment, draft).await
    }

    /// The hook that is being polled, and its session. It can be called from anywhere, also from within the hook.
    pub(super) fn polled(&self) -> Option<(Hook, Option<u64>)> {
        let session = self.outbox.polled();
        let hook = self.waits.polled();
        let hook = hook.or_else(|| session.map(|_| Hook::Message))?;
        Some((hook, session))
    }

    /// The listener of a session that is here, under the same condition.
    pub(super) fn listener_of(&self, session: u64) -> Option<&str> {
        Some(self.listener_name(self.sessions.listener_of(session)?))
    }

    pub(crate) fn listener_name(&self, listener: u16) -> &str {
        self.config
            .listeners
            .get(usize::from(listener))
            .map_or("", |listener| &listener.name)
    }

    pub(crate) fn listener_named(&self, name: &str) -> Option<u16> {
        let place = self
            .config
            .listeners
            .iter()
            .position(|listener| listener.name == name && !listener.is_retired)?;
        u16::try_from(place).ok()
    }

    /// The largest message that can be sent to a session of this listener; without a known listener, to any session.
    pub(crate) fn max_message(&self, listener: Option<u16>) -> u64 {
        match listener.and_then(|listener| self.config.listeners.get(usize::from(listener))) {
            Some(listener) => listener.max_message(),
            None => self.config.max_message(),
        }
    }

    /// The setting behind the limit [`max_message`](Self::max_message).
    #[cold]
    pub(crate) fn size_limit(&self, listener: Option<u16>) -> SizeLimit {
        let max = self.max_message(listener);
        let known = listener.and_then(|listener| self.config.listeners.get(usize::from(listener)));
        let widest = || {
            let mut listeners = self.config.listeners.iter();
            listeners.find(|listener| listener.max_message() == max)
        };
        match known.or_else(widest) {
            Some(listener) if listener.framing.max_message() > max => SizeLimit::HardLimit,
            Some(listener) => SizeLimit::of_framing(&listener.framing),
            None => SizeLimit::FramingMax,
        }
    }

    /// The loop that a UDP listener belongs to.
    pub(crate) fn datagram_link(&self, listener: u16) -> usize {
        usize::from(listener) % self.outbox.links().max(1)
    }

    pub(crate) fn send_datagram(
        &self,
        link: usize,
        listener: u16,
        peer: &Peer,
        bytes: &[u8],
    ) -> Result<(), SendError> {
        let settings = self.config.listeners.get(usize::from(listener));
        let has_paths = settings.is_some_and(|it| matches!(it.address, Address::Unixgram(_)));
        let is_of_kind = match peer {
            Peer::UnixNamed(_) => has_paths,
            Peer::Ip(_) => !has_paths,
            _ => false,
        };
        if !is_of_kind {
            return Err(SendError::NoAddress);
        }
        let mut room = [0; PEER_ROOM];
        // The room holds the longest address there is.
        let address = postcard::to_slice(peer, &mut room).map_err(|_| SendError::NoAddress)?;
        let max = self
            .outbox
            .max_payload(link)
            .saturating_sub(1 + address.len())
            .min(LARGEST_DATAGRAM);
        if bytes.len() > max {
            return Err(SendError::TooLarge {
                limit: SizeLimit::Datagram,
                size: bytes.len() as u64,
                max: max as u64,
            });
        }
        let header = Header {
            kind: FromProcess::SendTo as u8,
            aux: listener,
            ..Header::default()
        };
        let parts = [&[address.len() as u8][..], address, bytes];
        self.outbox
            .record(link, header, &parts, Room::Needed)
            .map_err(|_| SendError::Full)
    }
}
