//! One process's place in the cluster.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use moorline_config::Cluster;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use crate::arrivals::{Arrival, Arrivals};
use crate::beat::{Beat, BeatKind};
use crate::connection::Connection;
use crate::frame::{Frame, FrameHeader, FrameKind, HEADER_BYTES};
use crate::link_state::{LinkState, Unpublished};
use crate::members::{Members, Node, NodeChange, Standing};
use crate::pending::{PendingCalls, Presence};
use crate::subjects;
use crate::traffic::Traffic;
use crate::user::{ClusterNews, ClusterPlace, ClusterUser, FrameDraft, OfferError};
use crate::ways::{Turn, Ways, cost};

/// How often a process says that it is there.
const BEAT: Duration = Duration::from_millis(500);
/// How often it looks what is due.
const LOOK: Duration = Duration::from_millis(100);
/// A process that did not look for this long has heard nobody.
const MISSES_BEATS_AFTER: Duration = Duration::from_secs(1);
/// How often the log has why NATS is away, at most.
const TELLS_AGAIN: Duration = Duration::from_secs(30);
/// A beat is not said sooner after another one, even if others ask.
const BEATS_APART: Duration = Duration::from_millis(100);
/// How long a process waits whether anyone objects: longer than the time between two beats.
const OBJECTIONS: Duration = Duration::from_millis(700);
/// How long a start waits for NATS.
const START: Duration = Duration::from_secs(2);
/// How long a send waits at most.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an old process waits until nobody writes to it any more: longer than senders wait for it.
const FAREWELL: Duration = Duration::from_millis(1500);

/// The flag of a `Probe`: its sender writes to another process from now on.
const LAST: u8 = 1;

/// How far this process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Starting,
    Serving,
    Leaving,
}

/// One process's place in the cluster.
#[derive(Debug)]
pub struct ClusterLink {
    own: Node,
    pub(crate) place: ClusterPlace,
    pub(crate) prefix: String,
    pub(crate) connection: Rc<Connection>,
    pub(crate) members: RefCell<Members>,
    ways: RefCell<Ways>,
    arrivals: RefCell<Arrivals>,
    pub(crate) pending: Rc<PendingCalls>,
    stage: Cell<Stage>,
    began: Instant,
    said: Cell<Option<Instant>>,
    /// When it last looked what is due.
    looked: Cell<Duration>,
    /// The start of this process did not wait any more: from now on it is told if it is kept out.
    has_started: Cell<bool>,
    /// Since when there is a connection.
    up_since: Cell<Option<Instant>>,
    /// Rings when there may be room, or somebody has come or gone.
    pub(crate) news: Notify,
    traffic: Traffic,
}

impl ClusterLink {
    /// Begins to connect.
    ///
    /// # Errors
    /// The settings cannot be used: why.
    pub async fn open(settings: &Cluster, place: ClusterPlace) -> Result<Rc<Self>, String> {
        let own = Node {
            number: settings.number,
            name: settings.node.clone(),
            incarnation: place.incarnation,
        };
        let name = format!("moorline {} worker {}", settings.node, place.slot);
        Ok(Rc::new(Self {
            members: RefCell::new(Members::new(own.clone(), place.slot)),
            own,
            place,
            prefix: settings.subject.clone(),
            connection: Connection::open(settings, &name).await?,
            ways: RefCell::default(),
            arrivals: RefCell::default(),
            pending: Rc::default(),
            stage: Cell::new(Stage::Starting),
            began: Instant::now(),
            said: Cell::new(None),
            looked: Cell::new(Duration::ZERO),
            has_started: Cell::new(false),
            up_since: Cell::new(None),
            news: Notify::new(),
            traffic: Traffic::default(),
        }))
    }

    /// Waits until it is known whether this node belongs to the cluster; not long if NATS is away. Needs
    /// [`follow_beats`](Self::follow_beats) to run beside it.
    ///
    /// # Errors
    /// Another node has its name or number.
    pub async fn admitted(&self) -> Result<(), String> {
        let until = Instant::now() + START;
        loop {
            let mut news = std::pin::pin!(self.news.notified());
            news.as_mut().enable();
            if self.members.borrow().standing != Standing::Asking {
                break;
            }
            if Instant::now() < until {
                let _ = timeout_at(until, news).await;
            } else if self.up_since.get().is_none() {
                break;
            } else {
                news.await;
            }
        }
        self.has_started.set(true);
        self.refused().map_or(Ok(()), Err)
    }

    /// Why it is kept out of the cluster, if it is.
    pub fn refused(&self) -> Option<String> {
        match &self.members.borrow().standing {
            Standing::Refused(other) => Some(self.refusal(other)),
            Standing::Asking | Standing::Belongs => None,
        }
    }

    /// Why another node keeps this one out.
    pub fn refusal(&self, other: &Node) -> String {
        let same = match other.number == self.own.number {
            true => format!("the number {}", other.number),
            false => format!("the name {:?}", other.name),
        };
        format!(
            "[cluster]: node {:?} (number {}) has {same} already: write another `node` and `number`",
            other.name, other.number
        )
    }

    /// This process serves from now on: others may send to it.
    pub fn serve(&self) {
        self.stage.set(Stage::Serving);
        self.say();
    }

    /// This process is about to end. If another one goes on in its slot, waits until nobody writes to this one any more, for a
    /// moment at most.
    pub async fn hand_over(&self, deadline: Instant) {
        self.stage.set(Stage::Leaving);
        self.say();
        let until = deadline.min(Instant::now() + FAREWELL);
        if !self.members.borrow().has_twin(self.now()) {
            return;
        }
        while !self.arrivals.borrow().have_ended(self.now()) && Instant::now() < until {
            let _ = timeout_at(until, self.news.notified()).await;
        }
    }

    /// Tells all that this process has ended.
    pub async fn bid_farewell(&self) {
        self.stage.set(Stage::Leaving);
        self.say_as(BeatKind::Bye);
        self.connection.flush().await;
    }

    /// The nodes that are there, by number; without this one.
    pub fn nodes(&self) -> Vec<Node> {
        self.members.borrow().nodes().cloned().collect()
    }

    /// Whether a node is there; this engine of it, if one is meant.
    pub(crate) fn has_node(&self, number: u16, incarnation: Option<u64>) -> bool {
        let members = self.members.borrow();
        let mut nodes = members.nodes();
        nodes.any(|it| it.number == number && incarnation.is_none_or(|at| it.incarnation == at))
    }

    /// This node.
    pub fn own(&self) -> &Node {
        &self.own
    }

    /// Whether it can send and be sent to.
    pub fn is_up(&self) -> bool {
        self.connection.is_up() && self.members.borrow().standing == Standing::Belongs
    }

    /// Why there is no connection, if that is known.
    pub fn trouble(&self) -> Option<String> {
        match &*self.connection.state().borrow() {
            LinkState::Up => None,
            LinkState::Away(reason) => reason.clone(),
        }
    }

    /// What was counted.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Sends something if it can go now.
    ///
    /// # Errors
    /// It was not sent.
    pub fn offer(&self, draft: FrameDraft<'_>) -> Result<(), OfferError> {
        let offered = self.try_offer(draft);
        self.count(&draft, offered)
    }

    /// Sends something, waiting for room, but not without end. Cancel-safe.
    ///
    /// # Errors
    /// It was not sent. [`OfferError::Full`] after five seconds.
    pub async fn send(&self, draft: FrameDraft<'_>) -> Result<(), OfferError> {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut news = std::pin::pin!(self.news.notified());
            news.as_mut().enable();
            match self.try_offer(draft) {
                Err(OfferError::Full) if timeout_at(until, news).await.is_ok() => {}
                offered => return self.count(&draft, offered),
            }
        }
    }

    pub(crate) fn count(
        &self,
        draft: &FrameDraft<'_>,
        offered: Result<(), OfferError>,
    ) -> Result<(), OfferError> {
        match offered {
            Ok(()) => self.traffic.sent(HEADER_BYTES + draft.payload.len()),
            Err(OfferError::Unreachable | OfferError::Gone) => self.traffic.unreachable(),
            Err(_) => {}
        }
        offered
    }

    fn try_offer(&self, draft: FrameDraft<'_>) -> Result<(), OfferError> {
        self.try_offer_to(draft, None).map(drop)
    }

    /// Sends something to the process of this worker slot, or of the one that the session belongs to. Returns the process.
    pub(crate) fn try_offer_to(
        &self,
        draft: FrameDraft<'_>,
        slot: Option<u16>,
    ) -> Result<u64, OfferError> {
        if !self.connection.is_up() {
            return Err(OfferError::Unreachable);
        }
        let members = self.members.borrow();
        match members.standing {
            Standing::Belongs => {}
            // It soon is.
            Standing::Asking => return Err(OfferError::Full),
            Standing::Refused(_) => return Err(OfferError::Unreachable),
        }
        let target = match slot {
            Some(slot) if slot >= members.slots(draft.node).ok_or(OfferError::Gone)? => {
                return Err(OfferError::NoSuchSlot);
            }
            Some(slot) => Some(members.serving(draft.node, slot)),
            None => members.target(draft.node, draft.session),
        };
        let target = target.ok_or(OfferError::Gone)?.ok_or(OfferError::Full)?;
        let cost = cost(draft.payload.len());
        let is_there = |process| members.has(draft.node, process);
        let turn = self
            .ways
            .borrow_mut()
            .turn(draft.node, target, cost, self.now(), is_there);
        let Turn::Go { process, position } = turn else {
            self.ask();
            return Err(OfferError::Full);
        };
        let header = FrameHeader {
            kind: draft.kind,
            flags: draft.flags,
            aux: draft.aux,
            node: self.own.number,
            process: self.place.process,
            position,
            session: draft.session,
        };
        let published = self.publish(draft.node, process, &header, draft.payload);
        if published.is_err() {
            let mut ways = self.ways.borrow_mut();
            ways.give_back(draft.node, target.slot, cost);
        }
        published
            .map(|()| process)
            .map_err(|error| error.for_payload(draft.payload.len()))
    }

    /// Answers a process with a frame that needs no room: what it is about is bounded by what the other one has sent.
    pub fn answer(&self, to: &FrameHeader, kind: FrameKind, position: u64, session: u64) {
        let header = FrameHeader {
            kind,
            flags: 0,
            aux: self.place.slot,
            node: self.own.number,
            process: self.place.process,
            position,
            session,
        };
        // If the question is lost, the next one asks again.
        let _ = self.publish(to.node, to.process, &header, &[]);
    }

    pub(crate) fn publish(
        &self,
        node: u16,
        process: u64,
        header: &FrameHeader,
        payload: &[u8],
    ) -> Result<(), Unpublished> {
        let subject = subjects::process(&self.prefix, node, process);
        self.connection.publish(&subject, header.encode(payload))
    }

    /// Says that this process is there, and hears who else is. It ends with the connection, which does not.
    ///
    /// # Errors
    /// The connection has been given up: why.
    pub async fn follow_beats(&self, user: &impl ClusterUser) -> Result<(), String> {
        let mut beats = self
            .connection
            .follow(subjects::beats(&self.prefix))
            .await?;
        let mut state = self.connection.state();
        let (mut told, mut was_up) = (None::<Instant>, false);
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                beat = beats.next() => match beat {
                    Some(bytes) => self.hear(&bytes, user),
                    None => return Err("[cluster]: the connection has been given up".to_owned()),
                },
                _ = looks.tick() => self.look(user),
                Ok(()) = state.changed() => {
                    let state = state.borrow_and_update().clone();
                    let before = std::mem::replace(&mut was_up, state == LinkState::Up);
                    let is_due = before || told.is_none_or(|told| told.elapsed() > TELLS_AGAIN);
                    if let LinkState::Away(reason) = state && is_due {
                        told = Some(Instant::now());
                        user.tell(ClusterNews::Away(reason));
                    }
                }
            }
        }
    }

    fn hear(&self, bytes: &[u8], user: &impl ClusterUser) {
        let Some(beat) = Beat::decode(bytes) else {
            self.traffic.garbage();
            return;
        };
        if beat.process == self.place.process {
            return;
        }
        let standing = self.members.borrow().standing.clone();
        let heard = self.members.borrow_mut().hear(&beat, self.now());
        if heard.wants_beat {
            self.say_soon();
        }
        let after = self.members.borrow().standing.clone();
        if !matches!(standing, Standing::Refused(_))
            && let Standing::Refused(other) = after
        {
            if standing == Standing::Belongs {
                self.say_as(BeatKind::Bye);
            }
            if self.has_started.get() {
                user.tell(ClusterNews::Refused(other));
            }
        }
        let is_new = !heard.changes.is_empty() || beat.kind != BeatKind::Here;
        self.tell(heard.changes, user);
        if is_new {
            self.news.notify_waiters();
        }
    }

    /// Does what is due.
    fn look(&self, user: &impl ClusterUser) {
        let now = Instant::now();
        if !self.connection.is_up() {
            // Nobody can be heard, and so silence says nothing.
            if self.up_since.take().is_some() {
                self.pending.lose_all();
                self.news.notify_waiters();
            }
            return;
        }
        let up_since = self.up_since.get().unwrap_or_else(|| {
            let mut members = self.members.borrow_mut();
            members.excuse(self.now());
            members.doubt();
            drop(members);
            self.up_since.set(Some(now));
            self.say();
            user.tell(ClusterNews::Up);
            now
        });
        let looked = self.looked.replace(self.now());
        let mut members = self.members.borrow_mut();
        if looked + MISSES_BEATS_AFTER < self.now() {
            // A handler kept the thread: what others said meanwhile is yet to be read.
            members.excuse(self.now());
        }
        if members.standing == Standing::Asking && up_since + OBJECTIONS <= now {
            members.standing = Standing::Belongs;
        }
        let changes = members.elapse(self.now());
        self.pending
            .look(|node, process| match members.slots(node) {
                _ if members.has(node, process) => Presence::There,
                Some(_) => Presence::ProcessLost,
                None => Presence::NodeLost,
            });
        drop(members);
        self.tell(changes, user);
        if self.said.get().is_none_or(|said| said + BEAT <= now) {
            self.say();
        }
        self.ask();
        self.news.notify_waiters();
    }

    fn tell(&self, changes: Vec<NodeChange>, user: &impl ClusterUser) {
        for change in changes {
            user.tell(ClusterNews::Node(change));
        }
    }

    /// Asks processes how far they have read, if somebody waits for that.
    fn ask(&self) {
        let members = self.members.borrow();
        let mut ways = self.ways.borrow_mut();
        ways.replaced(|node, slot| members.serving(node, slot), self.now());
        let questions = ways.questions(self.now());
        drop((ways, members));
        for question in questions {
            let header = FrameHeader {
                kind: FrameKind::Probe,
                flags: if question.is_last { LAST } else { 0 },
                aux: 0,
                node: self.own.number,
                process: self.place.process,
                position: question.position,
                session: 0,
            };
            let _ = self.publish(question.node, question.process, &header, &[]);
        }
    }

    fn say_soon(&self) {
        let now = Instant::now();
        if self.said.get().is_none_or(|said| said + BEATS_APART <= now) {
            self.say();
        }
    }

    fn say(&self) {
        match (&self.members.borrow().standing, self.stage.get()) {
            (Standing::Refused(_), _) => {}
            (Standing::Asking, _) | (_, Stage::Starting) => self.say_as(BeatKind::Hello),
            (_, Stage::Serving) => self.say_as(BeatKind::Here),
            (_, Stage::Leaving) => self.say_as(BeatKind::Leaving),
        }
    }

    fn say_as(&self, kind: BeatKind) {
        // One that nobody sends to only listens.
        if self.place.slots == 0 {
            return;
        }
        let beat = Beat {
            kind,
            number: self.own.number,
            name: self.own.name.clone(),
            incarnation: self.own.incarnation,
            process: self.place.process,
            slot: self.place.slot,
            generation: self.place.generation,
            slots: self.place.slots,
            others: self.members.borrow().nodes().map(|it| it.number).collect(),
        };
        let subject = subjects::beats(&self.prefix);
        // One that is lost is followed by another.
        let _ = self.connection.publish(&subject, beat.encode().into());
        self.said.set(Some(Instant::now()));
    }

    /// Takes frames from other processes, one after another.
    ///
    /// # Errors
    /// The connection has been given up: why.
    pub async fn follow_frames(&self, user: &impl ClusterUser) -> Result<(), String> {
        let own = subjects::process(&self.prefix, self.own.number, self.place.process);
        let mut frames = self.connection.follow(own).await?;
        while let Some(bytes) = frames.next().await {
            match Frame::decode(&bytes) {
                Some(frame) if frame.header.node != self.own.number => {
                    self.traffic.received(bytes.len());
                    self.take(frame, user).await;
                }
                _ => self.traffic.garbage(),
            }
        }
        Err("[cluster]: the connection has been given up".to_owned())
    }

    async fn take(&self, frame: Frame, user: &impl ClusterUser) {
        let header = frame.header;
        let process = header.process;
        match header.kind {
            FrameKind::Probe => {
                let is_last = header.flags & LAST != 0;
                if is_last {
                    user.settle().await;
                }
                let mut arrivals = self.arrivals.borrow_mut();
                let read = arrivals.ask(process, header.position, is_last, self.now());
                drop(arrivals);
                self.answer(&header, FrameKind::Taken, read, 0);
                self.news.notify_waiters();
            }
            FrameKind::Taken => {
                let mut ways = self.ways.borrow_mut();
                if ways.read(header.node, header.aux, process, header.position) {
                    self.news.notify_waiters();
                }
            }
            FrameKind::Unknown => user.take(frame).await,
            FrameKind::Answer => {
                if !self.pending.answer(&header, frame.payload) {
                    self.traffic.late();
                }
            }
            FrameKind::Send
            | FrameKind::Close
            | FrameKind::Broadcast
            | FrameKind::Join
            | FrameKind::Leave
            | FrameKind::Call => {
                let bytes = frame.payload.len();
                let now = self.now();
                let arrival = self
                    .arrivals
                    .borrow_mut()
                    .take(process, header.position, bytes, now);
                let Arrival::New { has_gap } = arrival else {
                    self.traffic.repeated();
                    return;
                };
                if has_gap {
                    self.traffic.gap();
                }
                user.take(frame).await;
                let confirmed = self.arrivals.borrow_mut().confirm(process);
                if let Some(read) = confirmed {
                    self.answer(&header, FrameKind::Taken, read, 0);
                }
            }
        }
    }

    /// The time on the clock of this process.
    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}
