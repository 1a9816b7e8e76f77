use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::announcer::{Announcer, PresenceAsker};
use crate::roster::MOST_MEMBERSHIPS;

const NODE: u16 = 1;
const FOLLOWERS: usize = 3;

fn membership(group: u8, session: u64, label: Option<u8>) -> Membership {
    Membership {
        group: vec![b'a' + group],
        session,
        label: label.map(|label| vec![label]),
    }
}

const fn source(term: u64) -> PresenceSource {
    PresenceSource {
        node: NODE,
        incarnation: 1,
        term,
    }
}

fn all(roster: &Roster) -> Vec<Membership> {
    let mut all: Vec<_> = roster.iter().collect();
    all.sort_unstable();
    all
}

/// One node that announces, and others that follow it by a network that loses, doubles, reorders and is cut.
struct Net {
    announcer: Announcer,
    followers: Vec<Follower>,
    now: Duration,
    term: u64,
}

#[derive(Default)]
struct Follower {
    rosters: Rosters,
    /// What its changes lead to.
    told: Roster,
    on_its_way: Vec<Bytes>,
    is_cut: bool,
}

#[derive(Debug, Clone)]
enum Step {
    Set(Membership),
    Flush,
    Digest,
    /// Another process announces from now on; it knows the members.
    Succeed,
    Deliver(usize, usize),
    Lose(usize, usize),
    Double(usize, usize),
    Cut(usize, bool),
    /// The follower takes the node for lost.
    Forget(usize),
    /// It is another process, which knows nothing.
    Begin(usize),
    Pass(u64),
}

impl Net {
    fn new() -> Self {
        Self {
            announcer: Announcer::new(source(1), std::iter::empty()),
            followers: (0..FOLLOWERS).map(|_| Follower::default()).collect(),
            now: Duration::ZERO,
            term: 1,
        }
    }

    fn publish(&mut self, messages: impl IntoIterator<Item = Bytes>) {
        for message in messages {
            for follower in self.followers.iter_mut().filter(|it| !it.is_cut) {
                follower.on_its_way.push(message.clone());
            }
        }
    }

    fn flush(&mut self) {
        let deltas = self.announcer.deltas();
        self.publish(deltas);
        let askers = self.announcer.take_askers();
        if !askers.is_empty() {
            let snapshot = self.announcer.snapshot();
            for asker in askers {
                let follower = &mut self.followers[asker.process as usize];
                if !follower.is_cut {
                    follower.on_its_way.extend(snapshot.iter().cloned());
                }
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Set(membership) => self.announcer.set(&membership),
            Step::Flush => self.flush(),
            Step::Digest => {
                let digest = self.announcer.digest();
                self.publish([digest]);
            }
            Step::Succeed => {
                self.term += 1;
                self.announcer = Announcer::new(source(self.term), self.announcer.roster().iter());
            }
            Step::Deliver(to, at) => self.deliver(to, at),
            Step::Lose(to, at) => {
                let messages = &mut self.followers[to].on_its_way;
                if !messages.is_empty() {
                    messages.remove(at % messages.len());
                }
            }
            Step::Double(to, at) => {
                let messages = &mut self.followers[to].on_its_way;
                if !messages.is_empty() {
                    messages.push(messages[at % messages.len()].clone());
                }
            }
            Step::Cut(to, is_cut) => self.followers[to].is_cut = is_cut,
            Step::Forget(to) => {
                let follower = &mut self.followers[to];
                for (_, gone) in follower.rosters.keep(|_| false) {
                    follower.tell(gone);
                }
            }
            Step::Begin(to) => {
                let follower = &mut self.followers[to];
                (follower.rosters, follower.told) = Default::default();
            }
            Step::Pass(ms) => self.pass(ms),
        }
        for follower in &self.followers {
            let known = follower.rosters.of(NODE).map(all).unwrap_or_default();
            assert_eq!(
                all(&follower.told),
                known,
                "the changes lead to what is known"
            );
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        for (number, follower) in self.followers.iter_mut().enumerate() {
            let asks = !follower.rosters.questions(self.now).is_empty();
            if asks && !follower.is_cut {
                self.announcer.ask(PresenceAsker {
                    node: 2,
                    process: number as u64,
                });
            }
        }
    }

    fn deliver(&mut self, to: usize, at: usize) {
        let follower = &mut self.followers[to];
        if !follower.on_its_way.is_empty() {
            let at = at % follower.on_its_way.len();
            let message = follower.on_its_way.remove(at);
            let message = PresenceMessage::decode(&message).expect("it is sound");
            let changes = follower.rosters.hear(message, self.now);
            follower.tell(changes);
        }
    }

    /// All is well for this many beats.
    fn heal(&mut self, beats: usize) {
        for _ in 0..beats {
            for to in 0..FOLLOWERS {
                self.step(Step::Cut(to, false));
            }
            self.step(Step::Flush);
            self.step(Step::Digest);
            for to in 0..FOLLOWERS {
                while !self.followers[to].on_its_way.is_empty() {
                    self.step(Step::Deliver(to, 0));
                }
            }
            self.step(Step::Pass(500));
        }
    }

    fn assert_all_agree(&self) {
        let truth = all(self.announcer.roster());
        for follower in &self.followers {
            let known = follower.rosters.of(NODE).map(all).unwrap_or_default();
            assert_eq!(known, truth);
        }
    }
}

impl Follower {
    fn tell(&mut self, changes: Vec<Membership>) {
        for change in changes {
            assert!(self.told.set(&change), "{change:?} is told once");
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..FOLLOWERS;
    let set = (0..3u8, 0..6u64, proptest::option::of(0..2u8));
    prop_oneof![
        8 => set.prop_map(|(group, session, label)| Step::Set(membership(group, session, label))),
        6 => Just(Step::Flush),
        3 => Just(Step::Digest),
        1 => Just(Step::Succeed),
        12 => (who.clone(), 0..3usize).prop_map(|(to, at)| Step::Deliver(to, at)),
        2 => (who.clone(), any::<usize>()).prop_map(|(to, at)| Step::Lose(to, at)),
        2 => (who.clone(), any::<usize>()).prop_map(|(to, at)| Step::Double(to, at)),
        2 => (who.clone(), any::<bool>()).prop_map(|(to, is_cut)| Step::Cut(to, is_cut)),
        1 => who.clone().prop_map(Step::Forget),
        1 => who.prop_map(Step::Begin),
        3 => (0..1000u64).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn after_losses_doubles_and_partitions_all_agree_with_the_truth(steps in proptest::collection::vec(step(), 0..200)) {
        let mut net = Net::new();
        steps.into_iter().for_each(|step| net.step(step));
        net.heal(6);
        net.assert_all_agree();
    }
}

/// A net in which all followers know these members.
fn agreed(members: u64) -> Net {
    let mut net = Net::new();
    for session in 0..members {
        net.step(Step::Set(membership(0, session, Some(1))));
    }
    net.heal(3);
    net.assert_all_agree();
    net
}

#[test]
fn a_change_needs_no_snapshot_while_all_is_well() {
    let mut net = agreed(3);
    net.step(Step::Set(membership(1, 9, Some(7))));
    net.step(Step::Set(membership(0, 1, None)));
    for message in net.announcer.deltas() {
        let heard = PresenceMessage::decode(&message).expect("it is sound");
        let changes = net.followers[0].rosters.hear(heard, net.now);
        let expected = [membership(1, 9, Some(7)), membership(0, 1, None)];
        assert_eq!(changes, expected);
    }
    assert_eq!(net.followers[0].rosters.questions(net.now), [0; 0]);
    let (rosters, now) = (&mut net.followers[0].rosters, net.now);
    assert!(rosters.may_have(NODE, b"b", now) && !rosters.may_have(NODE, b"c", now));
    assert!(rosters.may_have(2, b"c", now), "an unknown node may");
    rosters.hint(NODE, b"c", now);
    assert!(rosters.may_have(NODE, b"c", now));
    let later = now + HINT_HOLDS;
    let digest = PresenceMessage::decode(&net.announcer.digest()).expect("it is sound");
    assert_eq!(rosters.hear(digest, later), []);
    assert!(!rosters.may_have(NODE, b"c", later));
    assert!(
        rosters.may_have(NODE, b"c", later + UNSURE_AFTER),
        "it is silent"
    );
}

#[test]
fn a_successor_that_knows_the_same_members_changes_nothing() {
    let mut net = agreed(3);
    net.step(Step::Succeed);
    net.step(Step::Digest);
    net.step(Step::Deliver(0, 0));
    assert!(
        net.followers[0].rosters.may_have(NODE, b"z", net.now),
        "not all is known"
    );
    net.step(Step::Pass(500));
    let _ = net.announcer.deltas();
    for part in net.announcer.snapshot() {
        let part = PresenceMessage::decode(&part).expect("it is sound");
        assert_eq!(net.followers[0].rosters.hear(part, net.now), []);
    }
}

#[test]
fn a_late_message_of_a_predecessor_is_not_heard_but_one_that_is_silent_gives_way() {
    let mut net = agreed(1);
    let sum = net.announcer.roster().sum();
    let digest = |term, version| PresenceMessage::Digest {
        source: source(term),
        version,
        sum,
        is_partial: false,
    };
    let rosters = &mut net.followers[0].rosters;
    let _ = rosters.hear(digest(u64::MAX, 1), net.now);
    assert_eq!(rosters.questions(net.now), [NODE], "a lie");
    let _ = rosters.hear(digest(1, 1), net.now + Duration::from_millis(2999));
    assert!(rosters.may_have(NODE, b"z", net.now));
    let _ = rosters.hear(digest(1, 1), net.now + SILENCE);
    assert!(
        !rosters.may_have(NODE, b"z", net.now + SILENCE),
        "the roster is right again"
    );
}

#[test]
fn a_lie_of_later_changes_is_found_out() {
    let mut net = agreed(1);
    let lie = PresenceMessage::Delta {
        source: source(1),
        before: 1,
        changes: vec![membership(2, 7, Some(0)); 3],
    };
    for follower in &mut net.followers {
        let changes = follower.rosters.hear(lie.clone(), net.now);
        follower.tell(changes);
    }
    net.heal(8);
    net.assert_all_agree();
}

#[test]
fn a_lie_in_place_of_a_change_is_found_out() {
    let mut net = agreed(1);
    let lie = PresenceMessage::Delta {
        source: source(1),
        before: 1,
        changes: vec![membership(2, 7, Some(0))],
    };
    for follower in &mut net.followers {
        let changes = follower.rosters.hear(lie.clone(), net.now);
        follower.tell(changes);
    }
    net.step(Step::Set(membership(1, 5, Some(3))));
    net.heal(3);
    net.assert_all_agree();
}

#[test]
fn what_a_liar_can_fill_is_bounded() {
    let mut rosters = Rosters::default();
    for number in 0..MOST_HINTS as u64 + 1 {
        rosters.hint(NODE, &number.to_le_bytes(), Duration::ZERO);
    }
    assert!(rosters.hints.len() <= MOST_HINTS);
    let mut say = |version, part, members| {
        let message = PresenceMessage::Part {
            source: source(1),
            snapshot: 1,
            version,
            part,
            parts: 1,
            members,
        };
        rosters.hear(message, Duration::ZERO).len()
    };
    let many = (0..MOST_MEMBERSHIPS as u64 + 9).map(|session| membership(0, session, Some(0)));
    assert_eq!(say(1, 0, many.collect()), MOST_MEMBERSHIPS);
    // Changes behind a snapshot that never ends.
    let part = PresenceMessage::Part {
        source: source(2),
        snapshot: 1,
        version: 0,
        part: 0,
        parts: 2,
        members: Vec::new(),
    };
    let _ = rosters.hear(part, Duration::ZERO);
    for before in 0..MOST_LATER as u64 + 1 {
        let delta = PresenceMessage::Delta {
            source: source(2),
            before,
            changes: vec![membership(0, 1, None)],
        };
        let _ = rosters.hear(delta, Duration::ZERO);
    }
    let node = &rosters.nodes[&NODE];
    assert!(node.coming.is_none() && node.is_behind);
}
