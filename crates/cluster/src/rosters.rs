//! The members of the groups of other nodes, from what these announce. Messages may be lost, doubled, late or lies.
//!
//! Each node counts its changes. A process that has heard all of them knows the members; one that has missed some asks for a snapshot, and
//! goes on with the changes behind it. What differs between two snapshots is told as changes, so that nobody joins or leaves twice.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::presence_message::{PresenceMessage, PresenceSource};
use crate::roster::{Membership, Roster};

/// A snapshot is asked for again after this time without a part of it.
const ASKS_AGAIN: Duration = Duration::from_millis(500);
/// A process that announces a node's members and was not heard for this long gives way to any other.
const SILENCE: Duration = Duration::from_secs(3);
/// Changes behind a snapshot that is coming; with more it is asked for again.
const MOST_LATER: usize = 16 * 1024;
/// After this number of digests in a row that are behind what is known here, what is known here is wrong. Fewer may just be late.
const MOST_LOWER: u8 = 4;
/// A node that was not heard for three digests may have members that are not known.
const UNSURE_AFTER: Duration = Duration::from_millis(1500);
/// How long a node that has hinted at a group is sent what is sent to the group: its announcement takes less.
const HINT_HOLDS: Duration = Duration::from_secs(3);
/// Hints that hold. With more, each node is sent everything for a while.
const MOST_HINTS: usize = 8192;

/// The members of the groups of all other nodes.
#[derive(Debug, Default)]
pub(crate) struct Rosters {
    nodes: BTreeMap<u16, Followed>,
    /// Until when nodes may have members of groups, because they have said so.
    hints: FxHashMap<(u16, Box<[u8]>), Duration>,
    /// Until when there were too many hints.
    unsure_until: Duration,
}

/// What is known of one node.
#[derive(Debug, Default)]
struct Followed {
    /// The source of what `roster` has, and how many changes these were.
    known: Option<(PresenceSource, u64)>,
    roster: Roster,
    /// Changes are missing.
    is_behind: bool,
    /// The node has more members than it announces.
    is_partial: bool,
    coming: Option<ComingSnapshot>,
    /// Who announces the node's members, and when it was last heard.
    heard: Option<(PresenceSource, Duration)>,
    lower_digests: u8,
    asked: Option<Duration>,
}

/// A snapshot of which parts are missing.
#[derive(Debug)]
struct ComingSnapshot {
    source: PresenceSource,
    snapshot: u64,
    version: u64,
    parts: BTreeMap<u32, Vec<Membership>>,
    /// How many there are.
    all: u32,
    /// Changes that may come behind it.
    later: VecDeque<(u64, Vec<Membership>)>,
    held: usize,
    heard: Duration,
}

impl Rosters {
    /// A message has come from a node that is there. Returns what has changed.
    pub(crate) fn hear(&mut self, message: PresenceMessage, now: Duration) -> Vec<Membership> {
        let Some(source) = message.source() else {
            return Vec::new();
        };
        let node = self.nodes.entry(source.node).or_default();
        if !node.note_source(source, now) {
            return Vec::new();
        }
        match message {
            PresenceMessage::Digest {
                version,
                sum,
                is_partial,
                ..
            } => {
                node.is_partial = is_partial;
                node.hear_digest(source, version, sum);
                Vec::new()
            }
            PresenceMessage::Delta {
                before, changes, ..
            } => node.hear_delta(source, before, changes),
            PresenceMessage::Part {
                snapshot,
                version,
                part,
                parts,
                members,
                ..
            } => {
                let begun = ComingSnapshot {
                    source,
                    snapshot,
                    version,
                    parts: BTreeMap::new(),
                    all: parts,
                    later: VecDeque::new(),
                    held: 0,
                    heard: now,
                };
                node.hear_part(begun, part, members)
            }
            PresenceMessage::Ask { .. } | PresenceMessage::Hint { .. } => Vec::new(),
        }
    }

    /// A session of a node joins a group.
    pub(crate) fn hint(&mut self, node: u16, group: &[u8], now: Duration) {
        if self.hints.len() >= MOST_HINTS {
            self.hints.retain(|_, until| *until > now);
        }
        if self.hints.len() >= MOST_HINTS {
            self.unsure_until = now + HINT_HOLDS;
            return;
        }
        self.hints.insert((node, group.into()), now + HINT_HOLDS);
    }

    /// The nodes to be asked for a snapshot now.
    pub(crate) fn questions(&mut self, now: Duration) -> Vec<u16> {
        let is_quiet = |since: Option<Duration>| since.is_none_or(|it| it + ASKS_AGAIN <= now);
        let mut nodes = Vec::new();
        for (&number, node) in &mut self.nodes {
            let coming = node.coming.as_ref().map(|coming| coming.heard);
            if node.is_behind && is_quiet(node.asked) && is_quiet(coming) {
                node.asked = Some(now);
                nodes.push(number);
            }
        }
        nodes
    }

    /// Forgets nodes that are gone. Returns their members that leave.
    pub(crate) fn keep(&mut self, is_there: impl Fn(u16) -> bool) -> Vec<(u16, Vec<Membership>)> {
        let mut gone = Vec::new();
        self.nodes.retain(|&number, node| {
            let stays = is_there(number);
            if !stays {
                gone.push((number, node.roster.changes_to(&Roster::default())));
            }
            stays
        });
        gone
    }

    /// The members of the groups of a node, as far as is known.
    pub(crate) fn of(&self, node: u16) -> Option<&Roster> {
        self.nodes.get(&node).map(|node| &node.roster)
    }

    /// Whether all changes of a node are known, as far as can be known.
    pub(crate) fn is_known(&self, node: u16) -> bool {
        let node = self.nodes.get(&node);
        node.is_some_and(|node| node.known.is_some() && !node.is_behind)
    }

    /// Whether a node may have members of a group: it has some, or not all of its members are known.
    pub(crate) fn may_have(&self, node: u16, group: &[u8], now: Duration) -> bool {
        let is_sure = |it: &Followed| {
            let heard = it.heard.map(|(_, heard)| heard);
            self.is_known(node)
                && !it.is_partial
                && heard.is_some_and(|heard| now < heard + UNSURE_AFTER)
        };
        let followed = self.nodes.get(&node);
        let has = followed.is_none_or(|it| !is_sure(it) || it.roster.has_members(group));
        // A name with its node is the key: it is made only for groups that are nowhere else.
        let is_hinted = || {
            let until = self.hints.get(&(node, group.into()));
            until.is_some_and(|until| now < *until)
        };
        has || now < self.unsure_until || (!self.hints.is_empty() && is_hinted())
    }
}

impl Followed {
    /// False: another process announces the node's members, or will soon.
    fn note_source(&mut self, source: PresenceSource, now: Duration) -> bool {
        if let Some((heard, at)) = self.heard
            && source < heard
            && now < at + SILENCE
        {
            return false;
        }
        if self.heard.is_none_or(|(heard, _)| heard != source) {
            self.is_behind = true;
            (self.asked, self.coming, self.lower_digests) = (None, None, 0);
        }
        self.heard = Some((source, now));
        true
    }

    fn hear_digest(&mut self, source: PresenceSource, version: u64, sum: u64) {
        match self.known {
            Some((known, at)) if known == source && version < at => {
                self.lower_digests += 1;
                if self.lower_digests >= MOST_LOWER {
                    (self.known, self.is_behind, self.lower_digests) = (None, true, 0);
                }
            }
            Some((known, at)) if known == source && version == at => {
                self.lower_digests = 0;
                self.is_behind = sum != self.roster.sum();
                if self.is_behind {
                    // Something else was taken for a change.
                    self.known = None;
                }
            }
            _ => (self.is_behind, self.lower_digests) = (true, 0),
        }
    }

    fn hear_delta(
        &mut self,
        source: PresenceSource,
        before: u64,
        changes: Vec<Membership>,
    ) -> Vec<Membership> {
        let after = before + changes.len() as u64;
        if let Some(coming) = &mut self.coming
            && after > coming.version
        {
            coming.held += changes.len();
            coming.later.push_back((before, changes.clone()));
            if coming.held > MOST_LATER {
                self.coming = None;
            }
        }
        match self.known {
            Some((known, at)) if known == source && before == at => {
                self.apply(source, changes, after)
            }
            Some((known, at)) if known == source && after <= at => Vec::new(),
            _ => {
                self.is_behind = true;
                Vec::new()
            }
        }
    }

    fn apply(
        &mut self,
        source: PresenceSource,
        changes: Vec<Membership>,
        after: u64,
    ) -> Vec<Membership> {
        self.known = Some((source, after));
        let roster = &mut self.roster;
        changes.into_iter().filter(|it| roster.set(it)).collect()
    }

    fn hear_part(
        &mut self,
        begun: ComingSnapshot,
        part: u32,
        members: Vec<Membership>,
    ) -> Vec<Membership> {
        let is_known =
            |(known, at): (PresenceSource, u64)| known == begun.source && begun.version <= at;
        if self.known.is_some_and(is_known) {
            return Vec::new();
        }
        let now = begun.heard;
        let coming = match &mut self.coming {
            Some(coming) if coming.snapshot > begun.snapshot => return Vec::new(),
            Some(coming) if coming.snapshot == begun.snapshot => coming,
            // Changes that were kept for an older one may come behind this one as well.
            other => {
                let before = other.take();
                let (later, held) = before.map_or_else(Default::default, |it| (it.later, it.held));
                other.insert(ComingSnapshot {
                    later,
                    held,
                    ..begun
                })
            }
        };
        coming.heard = now;
        if part < coming.all {
            coming.parts.insert(part, members);
        }
        match coming.parts.len() == coming.all as usize {
            true => self.take_up(),
            false => Vec::new(),
        }
    }

    /// All parts of a snapshot are here.
    fn take_up(&mut self) -> Vec<Membership> {
        let Some(mut coming) = self.coming.take() else {
            return Vec::new();
        };
        let mut version = coming.version;
        let mut roster = Roster::default();
        for member in coming.parts.values().flatten() {
            roster.set(member);
        }
        self.is_behind = false;
        coming
            .later
            .make_contiguous()
            .sort_by_key(|(before, _)| *before);
        for (before, changes) in coming.later {
            let after = before + changes.len() as u64;
            if before == version {
                changes.iter().for_each(|it| {
                    roster.set(it);
                });
                version = after;
            } else if after > version {
                self.is_behind = true;
                break;
            }
        }
        let changes = self.roster.changes_to(&roster);
        (self.roster, self.known) = (roster, Some((coming.source, version)));
        changes
    }
}

#[cfg(test)]
mod tests;
