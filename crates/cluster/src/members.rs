//! Which nodes and processes there are: from their beats and the times of these.

use std::collections::BTreeMap;
use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::beat::{Beat, BeatKind};

/// A process that was not heard for this long is gone, and a node with none left is lost. Six beats.
pub(crate) const SILENCE: Duration = Duration::from_secs(3);
/// Another engine takes the place of a node that was not heard for this long. Two beats: while both speak, the older one stays.
const GIVES_WAY: Duration = Duration::from_secs(1);
/// More processes than an engine has, two for each slot during a reload. Bounds what a liar can fill.
const MOST_PROCESSES: usize = 1024;

/// Another node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Node {
    /// Its number, which is in the ids of its sessions.
    pub number: u16,
    /// Its name.
    pub name: String,
    /// Its engine: a later one of the same node has a higher one.
    pub incarnation: u64,
}

/// What has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeChange {
    /// A node is there.
    Joined(Node),
    /// It said goodbye, or was not heard for three seconds.
    Lost(Node),
}

/// Whether this process belongs to the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has asked, and waits whether anyone objects.
    Asking,
    Belongs,
    /// Another node has its name or number.
    Refused(Node),
}

/// What follows from a beat.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) changes: Vec<NodeChange>,
    /// The other one should hear a beat of this process at once.
    pub(crate) wants_beat: bool,
}

/// Where frames for a session go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) slot: u16,
    pub(crate) process: u64,
}

/// All that is known of other nodes.
#[derive(Debug)]
pub(crate) struct Members {
    own: Node,
    slot: u16,
    /// When another process of this slot was heard.
    twin: Option<Duration>,
    nodes: BTreeMap<u16, Member>,
    /// The nodes that another process of this engine knows, which let this one in. It waits to know them, too.
    expected: Option<Vec<u16>>,
    pub(crate) standing: Standing,
}

#[derive(Debug)]
struct Member {
    node: Node,
    processes: FxHashMap<u64, Process>,
    /// The worker slots of its newest deployment, and which that is.
    slots: u16,
    generation: u32,
    /// The process to be sent to, by slot.
    serving: Vec<Option<Target>>,
}

#[derive(Debug)]
struct Process {
    slot: u16,
    generation: u32,
    since: Duration,
    heard: Duration,
    is_leaving: bool,
    /// It was not heard since the connection to NATS is back: perhaps its own is not.
    is_doubtful: bool,
}

impl Members {
    pub(crate) fn new(own: Node, slot: u16) -> Self {
        Self {
            own,
            slot,
            twin: None,
            nodes: BTreeMap::new(),
            expected: None,
            standing: Standing::Asking,
        }
    }

    /// A beat was heard.
    pub(crate) fn hear(&mut self, beat: &Beat, now: Duration) -> Heard {
        let is_hello = beat.kind == BeatKind::Hello;
        if beat.number == self.own.number || beat.name == self.own.name {
            return self.hear_namesake(beat, now);
        }
        let mut changes = Vec::new();
        match beat.kind {
            BeatKind::Hello => {}
            BeatKind::Here | BeatKind::Leaving => {
                self.note(beat, now, &mut changes);
                self.belong_if_all_are_known();
            }
            BeatKind::Bye => self.forget(beat, &mut changes),
        }
        Heard {
            changes,
            wants_beat: is_hello,
        }
    }

    /// A beat of this engine itself, or of another one with its name or number.
    fn hear_namesake(&mut self, beat: &Beat, now: Duration) -> Heard {
        let is_hello = beat.kind == BeatKind::Hello;
        let is_sibling = beat.number == self.own.number && beat.incarnation == self.own.incarnation;
        if is_sibling {
            if beat.slot == self.slot {
                self.twin = (beat.kind != BeatKind::Bye).then_some(now);
            }
            // It was let in, and so are all.
            if beat.kind == BeatKind::Here {
                self.expected = Some(beat.others.clone());
                self.belong_if_all_are_known();
            }
        } else {
            let is_older = beat.incarnation < self.own.incarnation;
            let yields = match (&self.standing, beat.kind) {
                (_, BeatKind::Bye) | (Standing::Refused(_), _) => false,
                // A member stays, whatever the clocks say.
                (Standing::Asking, BeatKind::Here | BeatKind::Leaving) => true,
                (Standing::Belongs, BeatKind::Hello) => false,
                (Standing::Asking, BeatKind::Hello) | (Standing::Belongs, _) => is_older,
            };
            if yields {
                self.standing = Standing::Refused(node_of(beat));
            }
        }
        Heard {
            changes: Vec::new(),
            wants_beat: is_hello || !is_sibling,
        }
    }

    /// A process that serves without knowing a node would tell that its sessions are gone.
    fn belong_if_all_are_known(&mut self) {
        let knows = |number: &u16| self.nodes.contains_key(number) || *number == self.own.number;
        if self.standing == Standing::Asking
            && let Some(expected) = &self.expected
            && expected.iter().all(knows)
        {
            self.standing = Standing::Belongs;
        }
    }

    fn note(&mut self, beat: &Beat, now: Duration, changes: &mut Vec<NodeChange>) {
        if let Some(member) = self.nodes.get(&beat.number)
            && member.node.incarnation != beat.incarnation
        {
            let heard = member.processes.values().map(|process| process.heard);
            if heard.max().is_some_and(|heard| heard + GIVES_WAY > now) {
                return;
            }
            changes.extend(
                self.nodes
                    .remove(&beat.number)
                    .map(|old| NodeChange::Lost(old.node)),
            );
        }
        let member = self.nodes.entry(beat.number).or_insert_with(|| {
            let node = node_of(beat);
            changes.push(NodeChange::Joined(node.clone()));
            Member {
                node,
                processes: FxHashMap::default(),
                slots: beat.slots,
                generation: beat.generation,
                serving: Vec::new(),
            }
        });
        member.note(beat, now);
    }

    fn forget(&mut self, beat: &Beat, changes: &mut Vec<NodeChange>) {
        let Some(member) = self.nodes.get_mut(&beat.number) else {
            return;
        };
        if member.node.incarnation == beat.incarnation
            && member.processes.remove(&beat.process).is_some()
        {
            member.settle();
        }
        changes.extend(self.lose_empty());
    }

    /// Time has passed: gives up who was not heard.
    pub(crate) fn elapse(&mut self, now: Duration) -> Vec<NodeChange> {
        for member in self.nodes.values_mut() {
            let before = member.processes.len();
            member
                .processes
                .retain(|_, process| process.heard + SILENCE > now);
            if member.processes.len() < before {
                member.settle();
            }
        }
        self.lose_empty()
    }

    /// Nobody could be heard until now: silence counts anew.
    pub(crate) fn excuse(&mut self, now: Duration) {
        let members = self.nodes.values_mut();
        for process in members.flat_map(|member| member.processes.values_mut()) {
            process.heard = now;
        }
    }

    /// The connection is back: nobody is sent to before it was heard, as its own connection may be back later.
    pub(crate) fn doubt(&mut self) {
        for member in self.nodes.values_mut() {
            for process in member.processes.values_mut() {
                process.is_doubtful = true;
            }
            member.settle();
        }
    }

    fn lose_empty(&mut self) -> Vec<NodeChange> {
        let mut lost = Vec::new();
        self.nodes.retain(|_, member| {
            let is_there = !member.processes.is_empty();
            if !is_there {
                lost.push(NodeChange::Lost(member.node.clone()));
            }
            is_there
        });
        lost
    }

    /// Whether another process of this one's slot is there, to go on when this one ends.
    pub(crate) fn has_twin(&self, now: Duration) -> bool {
        self.twin.is_some_and(|heard| heard + SILENCE > now)
    }

    /// The nodes, by number.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().map(|member| &member.node)
    }

    /// Where frames of this key go on a node: always to the same slot, as long as that has as many. `None` if the node is not
    /// there; `Some(None)` if nobody serves the slot for now.
    pub(crate) fn target(&self, number: u16, key: u64) -> Option<Option<Target>> {
        let member = self.nodes.get(&number)?;
        // Serials of sessions that were accepted together differ in few bits: spread them.
        let spread = key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let slot = spread as usize % usize::from(member.slots.max(1));
        Some(member.serving.get(slot).copied().flatten())
    }

    /// Who serves a slot of a node.
    pub(crate) fn serving(&self, number: u16, slot: u16) -> Option<Target> {
        let member = self.nodes.get(&number)?;
        member.serving.get(usize::from(slot)).copied().flatten()
    }

    /// The number of the node of this name.
    pub(crate) fn named(&self, name: &str) -> Option<u16> {
        self.nodes()
            .find(|node| node.name == name)
            .map(|it| it.number)
    }

    /// How many worker slots a node has; `None` if it is not there.
    pub(crate) fn slots(&self, number: u16) -> Option<u16> {
        Some(self.nodes.get(&number)?.slots)
    }

    /// Whether this process is known, and so may still read what was sent to it.
    pub(crate) fn has(&self, number: u16, process: u64) -> bool {
        let member = self.nodes.get(&number);
        member.is_some_and(|member| member.processes.contains_key(&process))
    }
}

impl Member {
    fn note(&mut self, beat: &Beat, now: Duration) {
        let is_leaving = beat.kind == BeatKind::Leaving;
        let has_room = self.processes.len() < MOST_PROCESSES;
        if beat.generation >= self.generation {
            (self.generation, self.slots) = (beat.generation, beat.slots);
        }
        let changed = match self.processes.get_mut(&beat.process) {
            Some(process) => {
                process.heard = now;
                let changed = process.is_leaving != is_leaving || process.is_doubtful;
                process.is_leaving = is_leaving;
                process.is_doubtful = false;
                changed
            }
            None if has_room => {
                let process = Process {
                    slot: beat.slot,
                    generation: beat.generation,
                    since: now,
                    heard: now,
                    is_leaving,
                    is_doubtful: false,
                };
                self.processes.insert(beat.process, process);
                true
            }
            None => false,
        };
        if changed || self.serving.len() != usize::from(self.slots) {
            self.settle();
        }
    }

    /// Chooses the receiver of each slot: the process of the newest deployment, and of two of the same, where one follows on a crash, the
    /// later one.
    fn settle(&mut self) {
        let mut best: Vec<Option<(u64, &Process)>> = vec![None; usize::from(self.slots)];
        let rank = |process: &Process| (!process.is_leaving, process.generation, process.since);
        for (&name, process) in &self.processes {
            if process.is_doubtful {
                continue;
            }
            if let Some(place) = best.get_mut(usize::from(process.slot))
                && place.is_none_or(|(_, other)| rank(process) > rank(other))
            {
                *place = Some((name, process));
            }
        }
        let target = |(process, it): (u64, &Process)| Target {
            slot: it.slot,
            process,
        };
        self.serving = best.into_iter().map(|best| best.map(target)).collect();
    }
}

fn node_of(beat: &Beat) -> Node {
    Node {
        number: beat.number,
        name: beat.name.clone(),
        incarnation: beat.incarnation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(incarnation: u64) -> Members {
        let own = Node {
            number: 1,
            name: "a".to_owned(),
            incarnation,
        };
        Members::new(own, 0)
    }

    fn beat(number: u16, name: &str, incarnation: u64, process: u64) -> Beat {
        Beat {
            kind: BeatKind::Here,
            number,
            name: name.to_owned(),
            incarnation,
            process,
            slot: 0,
            generation: 1,
            slots: 1,
            others: Vec::new(),
        }
    }

    fn of_kind(kind: BeatKind, beat: Beat) -> Beat {
        Beat { kind, ..beat }
    }

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn node(number: u16, name: &str, incarnation: u64) -> Node {
        Node {
            number,
            name: name.to_owned(),
            incarnation,
        }
    }

    #[test]
    fn a_node_joins_with_its_first_process_and_is_lost_with_its_last() {
        let mut members = own(1);
        let b = node(2, "b", 5);
        let joined = members.hear(&beat(2, "b", 5, 10), at(0)).changes;
        assert_eq!(joined, [NodeChange::Joined(b.clone())]);
        assert_eq!(members.hear(&beat(2, "b", 5, 11), at(0)).changes, []);
        let bye = |process| of_kind(BeatKind::Bye, beat(2, "b", 5, process));
        assert_eq!(members.hear(&bye(10), at(1)).changes, []);
        assert_eq!(members.hear(&bye(11), at(1)).changes, [NodeChange::Lost(b)]);
        assert_eq!(members.target(2, 1), None);
    }

    #[test]
    fn a_process_belongs_once_it_knows_the_nodes_that_its_sibling_knows() {
        let mut members = own(5);
        let sibling = Beat {
            slot: 1,
            others: vec![1, 2],
            ..beat(1, "a", 5, 20)
        };
        members.hear(&sibling, at(0));
        assert_eq!(members.standing, Standing::Asking);
        members.hear(&beat(2, "b", 1, 10), at(10));
        assert_eq!(members.standing, Standing::Belongs);
    }

    #[test]
    fn nobody_is_sent_to_before_it_was_heard_again() {
        let mut members = own(5);
        members.hear(&beat(2, "b", 1, 10), at(0));
        assert!(members.target(2, 1).flatten().is_some());
        members.doubt();
        assert_eq!(members.target(2, 1), Some(None));
        members.hear(&beat(2, "b", 1, 10), at(10));
        assert!(members.target(2, 1).flatten().is_some());
    }

    #[test]
    fn silence_loses_a_node_and_one_that_nobody_could_hear_is_excused() {
        let mut members = own(1);
        members.hear(&beat(2, "b", 5, 10), at(0));
        assert_eq!(members.elapse(at(2999)), []);
        members.excuse(at(2999));
        assert_eq!(members.elapse(at(5998)), []);
        assert_eq!(
            members.elapse(at(5999)),
            [NodeChange::Lost(node(2, "b", 5))]
        );
    }

    #[test]
    fn another_engine_takes_the_place_of_a_silent_one_only() {
        let mut members = own(1);
        members.hear(&beat(2, "b", 5, 10), at(0));
        assert_eq!(members.hear(&beat(2, "b", 6, 20), at(999)).changes, []);
        let changes = members.hear(&beat(2, "b", 6, 20), at(1000)).changes;
        let (old, new) = (node(2, "b", 5), node(2, "b", 6));
        assert_eq!(changes, [NodeChange::Lost(old), NodeChange::Joined(new)]);
    }

    #[test]
    fn a_newcomer_is_refused_by_a_member_and_by_an_earlier_newcomer() {
        for (kind, incarnation, is_refused) in [
            (BeatKind::Here, 9, true),
            (BeatKind::Leaving, 9, true),
            (BeatKind::Hello, 4, true),
            (BeatKind::Hello, 9, false),
            (BeatKind::Bye, 4, false),
        ] {
            for (number, name) in [(1, "x"), (2, "a")] {
                let mut members = own(5);
                let heard = members.hear(&of_kind(kind, beat(number, name, incarnation, 1)), at(0));
                let refused = matches!(members.standing, Standing::Refused(_));
                assert_eq!(refused, is_refused, "{kind:?}");
                assert!(heard.wants_beat && heard.changes.is_empty());
            }
        }
    }

    #[test]
    fn of_two_that_belong_the_younger_leaves() {
        for (incarnation, is_refused) in [(4, true), (9, false)] {
            let mut members = own(5);
            members.standing = Standing::Belongs;
            members.hear(&beat(1, "x", incarnation, 1), at(0));
            let refused = matches!(members.standing, Standing::Refused(_));
            assert_eq!(refused, is_refused);
        }
    }

    #[test]
    fn a_process_of_the_same_engine_is_let_in_by_one_that_serves() {
        let mut members = own(5);
        members.hear(&of_kind(BeatKind::Hello, beat(1, "a", 5, 1)), at(0));
        assert_eq!(members.standing, Standing::Asking);
        members.hear(&beat(1, "a", 5, 1), at(0));
        assert_eq!(members.standing, Standing::Belongs);
        assert_eq!(members.nodes().count(), 0);
    }

    #[test]
    fn the_newest_process_of_a_slot_is_sent_to() {
        let mut members = own(1);
        let target = |members: &Members| members.target(2, 77).flatten().map(|it| it.process);
        members.hear(&beat(2, "b", 5, 10), at(0));
        assert_eq!(target(&members), Some(10));
        // One that follows on a crash.
        members.hear(&beat(2, "b", 5, 11), at(10));
        assert_eq!(target(&members), Some(11));
        let mut newer = beat(2, "b", 5, 12);
        newer.generation = 2;
        members.hear(&newer, at(20));
        members.hear(&beat(2, "b", 5, 10), at(30));
        assert_eq!(target(&members), Some(12));
        newer.kind = BeatKind::Bye;
        members.hear(&newer, at(40));
        assert_eq!(target(&members), Some(11));
    }

    #[test]
    fn a_liar_fills_no_more_than_the_bound() {
        let mut members = own(1);
        for process in 0..5000 {
            members.hear(&beat(2, "b", 5, process), at(0));
        }
        assert_eq!(members.nodes[&2].processes.len(), MOST_PROCESSES);
    }
}
