//! The members of the groups of all nodes, over NATS.
//!
//! One process of each node announces the node's members; each process of the others follows that. An announcement is lost, late
//! or doubled as anything on NATS: `rosters` makes up for it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use crate::announcer::{Announcer, PresenceAsker};
use crate::link::ClusterLink;
use crate::presence_message::{PresenceMessage, PresenceSource};
use crate::roster::Membership;
use crate::rosters::Rosters;
use crate::subjects;

/// How often a process looks for nodes that are gone, and for what it has to ask.
const LOOK: Duration = Duration::from_millis(100);
/// How often changes are announced.
const FLUSH: Duration = Duration::from_millis(20);
/// How often a node says how far it is.
const DIGEST: Duration = Duration::from_millis(500);
/// Parts of snapshots that are sent at once; of 16 KiB each.
const PARTS_AT_ONCE: usize = 16;
/// With more processes that ask, all are sent the snapshot.
const MOST_ASKERS: usize = 16;
/// A node hints at a group once in this time: shorter than a hint holds.
const HINTS_AGAIN: Duration = Duration::from_secs(1);
/// Groups that were hinted at.
const MOST_HINTED: usize = 4096;
/// How long the members of a node that has just come are waited for.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);
/// A node that has been there for this long and does not tell its members is not waited for.
const NEW_FOR: Duration = Duration::from_secs(5);

/// Takes what is told about members of other nodes.
pub trait PresenceUser {
    /// These have joined or left groups of another node, or have another label.
    fn changed(&self, changes: &[Membership]);
}

/// The members of the groups of all nodes.
#[derive(Debug)]
pub struct PresenceLink {
    link: Rc<ClusterLink>,
    began: Instant,
    rosters: RefCell<Rosters>,
    announcer: RefCell<Option<Announcer>>,
    /// The highest number that a process of this node had that announced its members.
    term: Cell<u64>,
    hinted: RefCell<FxHashMap<Box<[u8]>, Duration>>,
    /// Since when nodes are there.
    since: RefCell<BTreeMap<u16, (u64, Instant)>>,
    /// Rings when more is known.
    news: Notify,
}

/// A snapshot on its way to those that have asked.
struct SnapshotUnderWay {
    /// The subjects.
    to: Vec<String>,
    parts: VecDeque<Bytes>,
}

impl PresenceLink {
    /// Follows nobody yet.
    pub fn new(link: Rc<ClusterLink>) -> Rc<Self> {
        Rc::new(Self {
            link,
            began: Instant::now(),
            rosters: RefCell::default(),
            announcer: RefCell::default(),
            term: Cell::new(0),
            hinted: RefCell::default(),
            since: RefCell::default(),
            news: Notify::new(),
        })
    }

    /// Follows the members of the groups of other nodes. It ends with the connection, which does not.
    ///
    /// # Errors
    /// The connection has been given up: why.
    pub async fn follow(&self, user: &impl PresenceUser) -> Result<(), String> {
        let (prefix, own) = (&self.link.prefix, self.link.own().number);
        let to_this = subjects::presence_to(prefix, own, self.link.place.process);
        let mut to_all = self
            .link
            .connection
            .follow(subjects::presences(prefix))
            .await?;
        let mut to_this = self.link.connection.follow(to_this).await?;
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let heard = tokio::select! {
                heard = to_all.next() => heard,
                heard = to_this.next() => heard,
                _ = looks.tick() => {
                    self.look(user);
                    continue;
                }
            };
            match heard {
                Some(bytes) => self.hear(&bytes, user),
                None => return Err("[cluster]: the connection has been given up".to_owned()),
            }
        }
    }

    fn hear(&self, bytes: &[u8], user: &impl PresenceUser) {
        let Some(message) = PresenceMessage::decode(bytes) else {
            self.link.traffic().garbage();
            return;
        };
        let node = message.node();
        if node == self.link.own().number {
            if let Some(source) = message.source()
                && source.incarnation == self.link.own().incarnation
            {
                self.term.set(self.term.get().max(source.term));
            }
            return;
        }
        let incarnation = message.source().map(|source| source.incarnation);
        let is_there = self.link.has_node(node, incarnation);
        if !is_there {
            return;
        }
        let mut rosters = self.rosters.borrow_mut();
        if let PresenceMessage::Hint { node, group } = &message {
            rosters.hint(*node, group, self.now());
            return;
        }
        let changes = rosters.hear(message, self.now());
        drop(rosters);
        self.news.notify_waiters();
        if !changes.is_empty() {
            user.changed(&changes);
        }
    }

    fn look(&self, user: &impl PresenceUser) {
        let nodes = self.link.nodes();
        let mut since = self.since.borrow_mut();
        since.retain(|number, (incarnation, _)| {
            let mut nodes = nodes.iter();
            nodes.any(|node| node.number == *number && node.incarnation == *incarnation)
        });
        for node in &nodes {
            let begun = (node.incarnation, Instant::now());
            since.entry(node.number).or_insert(begun);
        }
        drop(since);
        let is_there = |number| nodes.iter().any(|node| node.number == number);
        let gone = self.rosters.borrow_mut().keep(is_there);
        for (_, changes) in gone.iter().filter(|(_, changes)| !changes.is_empty()) {
            user.changed(changes);
        }
        let ask = PresenceMessage::Ask {
            node: self.link.own().number,
            process: self.link.place.process,
        };
        let questions = self.rosters.borrow_mut().questions(self.now());
        for node in questions {
            let subject = subjects::presence_asks(&self.link.prefix, node);
            // One that is lost is followed by another.
            let _ = self.link.connection.publish(&subject, ask.encode());
        }
    }

    /// Waits until the members of all nodes are known, for a second at most. A node that has told none for long is not waited for,
    /// and while NATS is away nobody is. Cancel-safe.
    pub async fn known(&self) {
        let until = Instant::now() + KNOWN_WITHIN;
        loop {
            let mut news = std::pin::pin!(self.news.notified());
            news.as_mut().enable();
            let is_known = !self.link.is_up() || self.are_known();
            if is_known || timeout_at(until, news).await.is_err() {
                return;
            }
        }
    }

    fn are_known(&self) -> bool {
        let rosters = self.rosters.borrow();
        let since = self.since.borrow();
        let is_new = |number: u16| {
            let since = since.get(&number);
            since.is_none_or(|(_, since)| since.elapsed() < NEW_FOR)
        };
        let nodes = self.link.nodes();
        let mut numbers = nodes.iter().map(|node| node.number);
        numbers.all(|number| rosters.is_known(number) || !is_new(number))
    }

    /// The members of a group on other nodes, as far as is known: the node, the session and its label.
    pub fn members(&self, group: &[u8]) -> Vec<(u16, u64, Vec<u8>)> {
        let rosters = self.rosters.borrow();
        let mut members = Vec::new();
        for node in self.link.nodes() {
            let of_node = rosters.of(node.number).into_iter();
            let of_group = of_node.flat_map(|roster| roster.members(group));
            members.extend(of_group.map(|(id, label)| (node.number, id, label.to_vec())));
        }
        members
    }

    /// The label of a member of a group on another node; `None` if it is none.
    pub fn label(&self, node: u16, group: &[u8], session: u64) -> Option<Vec<u8>> {
        let rosters = self.rosters.borrow();
        rosters.of(node)?.label(group, session).map(<[u8]>::to_vec)
    }

    /// Whether another node may have members of a group.
    pub fn may_have(&self, node: u16, group: &[u8]) -> bool {
        self.rosters.borrow().may_have(node, group, self.now())
    }

    /// A session of this node is about to join a group: from now on others send here what they send to the group.
    pub fn hint(&self, group: &[u8]) {
        let now = self.now();
        let mut hinted = self.hinted.borrow_mut();
        if hinted.get(group).is_some_and(|at| now < *at + HINTS_AGAIN) {
            return;
        }
        if hinted.len() >= MOST_HINTED {
            hinted.clear();
        }
        hinted.insert(group.into(), now);
        let message = PresenceMessage::Hint {
            node: self.link.own().number,
            group: group.to_vec(),
        };
        self.publish(message.encode());
    }

    /// This process announces the members of its node from now on; these there are.
    pub fn begin(&self, members: impl Iterator<Item = Membership>) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let clock = since.map_or(0, |since| since.as_millis() as u64);
        let term = clock.max(self.term.get().saturating_add(1));
        self.term.set(term);
        let source = PresenceSource {
            node: self.link.own().number,
            incarnation: self.link.own().incarnation,
            term,
        };
        *self.announcer.borrow_mut() = Some(Announcer::new(source, members));
    }

    /// It does not any more.
    pub fn end(&self) {
        *self.announcer.borrow_mut() = None;
    }

    /// A session of this node is in a group like this now. If this process announces, others are told.
    pub fn set(&self, membership: &Membership) {
        if let Some(announcer) = &mut *self.announcer.borrow_mut() {
            announcer.set(membership);
        }
    }

    /// Whether this process announces, and there are more members than it can announce.
    pub fn is_partial(&self) -> bool {
        let announcer = self.announcer.borrow();
        announcer.as_ref().is_some_and(Announcer::is_partial)
    }

    /// Whether this process announces, and there is room again for members that were left out. They are to be set again.
    pub fn begin_again(&self) -> bool {
        let mut announcer = self.announcer.borrow_mut();
        announcer.as_mut().is_some_and(Announcer::begin_again)
    }

    /// Announces what [`set`](Self::set) was told, and answers those that ask. It ends with the connection, which does not.
    ///
    /// # Errors
    /// The connection has been given up: why.
    pub async fn announce(&self) -> Result<(), String> {
        let asks = subjects::presence_asks(&self.link.prefix, self.link.own().number);
        let mut asks = self.link.connection.follow(asks).await?;
        let mut flushes = interval(FLUSH);
        flushes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut said, mut under_way) = (None::<Instant>, None);
        loop {
            tokio::select! {
                asked = asks.next() => match asked {
                    Some(bytes) => self.hear_ask(&bytes),
                    None => return Err("[cluster]: the connection has been given up".to_owned()),
                },
                _ = flushes.tick() => {
                    self.flush(&mut under_way);
                    if said.is_none_or(|said| said.elapsed() >= DIGEST) && self.link.is_up() {
                        said = Some(Instant::now());
                        let digest = self.announcer.borrow().as_ref().map(Announcer::digest);
                        digest.into_iter().for_each(|digest| self.publish(digest));
                    }
                }
            }
        }
    }

    fn hear_ask(&self, bytes: &[u8]) {
        match PresenceMessage::decode(bytes) {
            Some(PresenceMessage::Ask { node, process }) if self.link.has_node(node, None) => {
                if let Some(announcer) = &mut *self.announcer.borrow_mut() {
                    announcer.ask(PresenceAsker { node, process });
                }
            }
            _ => self.link.traffic().garbage(),
        }
    }

    /// Announces changes, and sends some parts of a snapshot.
    fn flush(&self, under_way: &mut Option<SnapshotUnderWay>) {
        let mut announcer = self.announcer.borrow_mut();
        let Some(announcer) = announcer.as_mut() else {
            return;
        };
        // What is not published is found missing, and asked for.
        announcer
            .deltas()
            .into_iter()
            .for_each(|it| self.publish(it));
        let to = match under_way {
            Some(_) => Vec::new(),
            None => announcer.take_askers(),
        };
        if !to.is_empty() {
            let parts = announcer.snapshot();
            let prefix = &self.link.prefix;
            let to = match to.len() > MOST_ASKERS {
                true => vec![subjects::presence(prefix, self.link.own().number)],
                false => to
                    .iter()
                    .map(|it| subjects::presence_to(prefix, it.node, it.process))
                    .collect(),
            };
            *under_way = Some(SnapshotUnderWay { to, parts });
        }
        let Some(snapshot) = under_way else {
            return;
        };
        let at_once = (PARTS_AT_ONCE / snapshot.to.len()).max(1);
        let parts: Vec<_> = (0..at_once)
            .map_while(|_| snapshot.parts.pop_front())
            .collect();
        for part in parts {
            for subject in &snapshot.to {
                // A process that misses a part asks again.
                let _ = self.link.connection.publish(subject, part.clone());
            }
        }
        if snapshot.parts.is_empty() {
            *under_way = None;
        }
    }

    fn publish(&self, message: Bytes) {
        let subject = subjects::presence(&self.link.prefix, self.link.own().number);
        let _ = self.link.connection.publish(&subject, message);
    }

    /// The time on the clock of this process.
    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}
