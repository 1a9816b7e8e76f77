//! What nodes say to each other about the members of their groups.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::roster::Membership;

/// Rises when the fields change: what another version says is not understood.
const VERSION: u8 = 1;
/// Memberships of one message take about this many bytes: small enough for any NATS server.
pub(crate) const MESSAGE_BYTES: usize = 16 * 1024;
/// More than any message has: the last membership may pass the bound.
const LONGEST: usize = 2 * MESSAGE_BYTES;
const LONGEST_GROUP: usize = 255;
const LONGEST_LABEL: usize = 64;
/// More messages than a snapshot has.
const MOST_PARTS: u32 = 16 * 1024;
const MOST_NODES: u16 = 511;

/// Who says it. Of one node the higher one is the later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct PresenceSource {
    /// The number of the node.
    pub(crate) node: u16,
    /// Its engine.
    pub(crate) incarnation: u64,
    /// The process of it that speaks: the next one has a higher number.
    pub(crate) term: u64,
}

/// The changes and members of groups, as they are said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PresenceMessage {
    /// How many changes there were, again and again.
    Digest {
        source: PresenceSource,
        version: u64,
        /// The sum of the members after them.
        sum: u64,
        /// Some members are left out: there are too many.
        is_partial: bool,
    },
    /// Those behind the first `before`.
    Delta {
        source: PresenceSource,
        before: u64,
        changes: Vec<Membership>,
    },
    /// A part of all members, as they were after `version` changes.
    Part {
        source: PresenceSource,
        /// The snapshot that it is of: a later one has a higher number.
        snapshot: u64,
        version: u64,
        part: u32,
        parts: u32,
        members: Vec<Membership>,
    },
    /// A process of this node wants a snapshot.
    Ask { node: u16, process: u64 },
    /// A session of this node joins a group: who sends to the group does not wait for the change.
    Hint { node: u16, group: Vec<u8> },
}

impl PresenceMessage {
    /// As it travels.
    pub(crate) fn encode(&self) -> Bytes {
        // Plain values only: there is nothing in it that could fail to be written.
        let fields = postcard::to_stdvec(self).unwrap_or_default();
        [&[VERSION][..], &fields].concat().into()
    }

    /// What was written; `None` for anything that no honest process of this version writes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, fields) = bytes.split_first()?;
        if *version != VERSION || bytes.len() > LONGEST {
            return None;
        }
        let (message, rest) = postcard::take_from_bytes::<Self>(fields).ok()?;
        let is_fit = match &message {
            Self::Digest { .. } => true,
            Self::Delta {
                before, changes, ..
            } => before.checked_add(changes.len() as u64).is_some() && changes.iter().all(is_sound),
            Self::Part {
                part,
                parts,
                members,
                ..
            } => part < parts && *parts <= MOST_PARTS && members.iter().all(is_member),
            Self::Ask { .. } => true,
            Self::Hint { group, .. } => group.len() <= LONGEST_GROUP,
        };
        let has_node = (1..=MOST_NODES).contains(&message.node());
        (rest.is_empty() && is_fit && has_node).then_some(message)
    }

    /// The node that it is about, or that asks.
    pub(crate) fn node(&self) -> u16 {
        match self {
            Self::Digest { source, .. }
            | Self::Delta { source, .. }
            | Self::Part { source, .. } => source.node,
            Self::Ask { node, .. } | Self::Hint { node, .. } => *node,
        }
    }

    /// Who says it, if it is about members.
    pub(crate) fn source(&self) -> Option<PresenceSource> {
        match self {
            Self::Digest { source, .. }
            | Self::Delta { source, .. }
            | Self::Part { source, .. } => Some(*source),
            Self::Ask { .. } | Self::Hint { .. } => None,
        }
    }
}

fn is_sound(membership: &Membership) -> bool {
    let label = membership.label.as_ref().map_or(0, Vec::len);
    membership.group.len() <= LONGEST_GROUP && label <= LONGEST_LABEL
}

fn is_member(membership: &Membership) -> bool {
    membership.label.is_some() && is_sound(membership)
}

/// Puts memberships together to messages of a bounded size.
pub(crate) fn in_messages(all: impl Iterator<Item = Membership>) -> Vec<Vec<Membership>> {
    let (mut messages, mut bytes) = (Vec::<Vec<_>>::new(), MESSAGE_BYTES);
    for it in all {
        // Lengths, a number, and the bytes themselves.
        let size = 16 + it.group.len() + it.label.as_ref().map_or(0, Vec::len);
        if bytes + size > MESSAGE_BYTES {
            messages.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        if let Some(last) = messages.last_mut() {
            last.push(it);
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SOURCE: PresenceSource = PresenceSource {
        node: 1,
        incarnation: 2,
        term: 3,
    };

    fn membership(group: usize, label: Option<usize>) -> Membership {
        Membership {
            group: vec![b'g'; group],
            session: u64::MAX,
            label: label.map(|label| vec![b'l'; label]),
        }
    }

    fn delta(changes: Vec<Membership>) -> PresenceMessage {
        PresenceMessage::Delta {
            source: SOURCE,
            before: 7,
            changes,
        }
    }

    #[test]
    fn the_largest_message_is_read_back() {
        let all = std::iter::repeat_n(membership(LONGEST_GROUP, Some(LONGEST_LABEL)), 200);
        for changes in in_messages(all) {
            let message = delta(changes);
            assert_eq!(PresenceMessage::decode(&message.encode()), Some(message));
        }
        let small = in_messages(std::iter::repeat_n(membership(0, None), 10_000));
        assert_eq!(small.iter().map(Vec::len).sum::<usize>(), 10_000);
        for changes in small {
            assert!(delta(changes).encode().len() <= LONGEST);
        }
    }

    #[test]
    fn what_no_process_says_is_not_understood() {
        let part = |part, parts, members| PresenceMessage::Part {
            source: SOURCE,
            snapshot: 1,
            version: 1,
            part,
            parts,
            members,
        };
        let other_node = |node| PresenceMessage::Digest {
            source: PresenceSource { node, ..SOURCE },
            version: 0,
            sum: 0,
            is_partial: false,
        };
        let longer = [&delta(Vec::new()).encode()[..], &[0]].concat();
        for bytes in [
            Bytes::new(),
            Bytes::from(longer),
            delta(vec![membership(256, None)]).encode(),
            delta(vec![membership(0, Some(65))]).encode(),
            part(0, 0, vec![]).encode(),
            part(3, 3, vec![]).encode(),
            part(0, MOST_PARTS + 1, vec![]).encode(),
            part(0, 1, vec![membership(1, None)]).encode(),
            other_node(0).encode(),
            other_node(512).encode(),
            PresenceMessage::Ask {
                node: 512,
                process: 1,
            }
            .encode(),
            PresenceMessage::Hint {
                node: 1,
                group: vec![0; 256],
            }
            .encode(),
        ] {
            assert_eq!(PresenceMessage::decode(&bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_read_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let with_version = [&[VERSION][..], &bytes].concat();
            for bytes in [bytes, with_version] {
                if let Some(message) = PresenceMessage::decode(&bytes) {
                    prop_assert_eq!(PresenceMessage::decode(&message.encode()), Some(message));
                }
            }
        }
    }
}
