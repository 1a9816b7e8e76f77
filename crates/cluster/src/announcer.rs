//! What one process of a node says to all others about the members of its groups.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::presence_message::{PresenceMessage, PresenceSource, in_messages};
use crate::roster::{Membership, Roster};

/// Processes that wait for a snapshot; others ask again.
const MOST_ASKERS: usize = 1024;

/// A process of another node that wants a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PresenceAsker {
    pub(crate) node: u16,
    pub(crate) process: u64,
}

/// The changes and members of a node's groups, as they are announced.
#[derive(Debug)]
pub(crate) struct Announcer {
    source: PresenceSource,
    /// Changes that were announced.
    version: u64,
    /// The sum of the members after them.
    sum: u64,
    roster: Roster,
    /// Changes that were not.
    pending: Vec<Membership>,
    askers: VecDeque<PresenceAsker>,
    snapshots: u64,
}

impl Announcer {
    /// Begins with these members.
    pub(crate) fn new(source: PresenceSource, members: impl Iterator<Item = Membership>) -> Self {
        let mut roster = Roster::default();
        for member in members {
            roster.set(&member);
        }
        Self {
            source,
            version: 0,
            sum: roster.sum(),
            roster,
            pending: Vec::new(),
            askers: VecDeque::new(),
            snapshots: 0,
        }
    }

    /// A session is in a group like this now.
    pub(crate) fn set(&mut self, membership: &Membership) {
        if self.roster.set(membership) {
            self.pending.push(membership.clone());
        }
    }

    /// Whether some are left out, because they are too many.
    pub(crate) fn is_partial(&self) -> bool {
        self.roster.is_partial()
    }

    /// Whether there is room again for those that were left out, which are set from now on.
    pub(crate) fn begin_again(&mut self) -> bool {
        self.roster.begin_again()
    }

    /// What has changed since the last call, for all.
    pub(crate) fn deltas(&mut self) -> Vec<Bytes> {
        let messages = in_messages(std::mem::take(&mut self.pending).into_iter());
        self.sum = self.roster.sum();
        let delta = |changes: Vec<Membership>| {
            let before = self.version;
            self.version += changes.len() as u64;
            let message = PresenceMessage::Delta {
                source: self.source,
                before,
                changes,
            };
            message.encode()
        };
        messages.into_iter().map(delta).collect()
    }

    /// How far it is, for all, again and again.
    pub(crate) fn digest(&self) -> Bytes {
        let message = PresenceMessage::Digest {
            source: self.source,
            version: self.version,
            sum: self.sum,
            is_partial: self.is_partial(),
        };
        message.encode()
    }

    /// A process wants a snapshot.
    pub(crate) fn ask(&mut self, asker: PresenceAsker) {
        if self.askers.len() < MOST_ASKERS && !self.askers.contains(&asker) {
            self.askers.push_back(asker);
        }
    }

    /// Those that want a snapshot now.
    pub(crate) fn take_askers(&mut self) -> Vec<PresenceAsker> {
        self.askers.drain(..).collect()
    }

    /// All members, as they were announced. What is pending follows as a delta.
    pub(crate) fn snapshot(&mut self) -> VecDeque<Bytes> {
        debug_assert!(self.pending.is_empty(), "deltas go first");
        self.snapshots += 1;
        let mut messages = in_messages(self.roster.iter());
        if messages.is_empty() {
            messages.push(Vec::new());
        }
        let parts = messages.len() as u32;
        let part = |(part, members)| {
            let message = PresenceMessage::Part {
                source: self.source,
                snapshot: self.snapshots,
                version: self.version,
                part,
                parts,
                members,
            };
            message.encode()
        };
        (0..parts).zip(messages).map(part).collect()
    }

    #[cfg(test)]
    pub(crate) fn roster(&self) -> &Roster {
        &self.roster
    }
}
