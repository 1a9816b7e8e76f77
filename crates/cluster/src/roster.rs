//! The members of the groups of one node.

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

/// Memberships of one node that are known: about 100 bytes each, so 13 MiB.
pub(crate) const MOST_MEMBERSHIPS: usize = 128 * 1024;

/// How a session is in a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Membership {
    /// The group's name, of at most 255 bytes.
    pub group: Vec<u8>,
    /// The session's id.
    pub session: u64,
    /// Its label, of at most 64 bytes; `None` if it is not in the group.
    pub label: Option<Vec<u8>>,
}

type LabelsById = FxHashMap<u64, Box<[u8]>>;

/// The members of the groups of one node.
#[derive(Debug, Default)]
pub struct Roster {
    groups: FxHashMap<Box<[u8]>, LabelsById>,
    memberships: usize,
    is_partial: bool,
    /// The sum of the marks of all memberships.
    sum: u64,
}

/// A number for a membership, the same in all versions of this program (FNV-1a).
fn mark(group: &[u8], session: u64, label: &[u8]) -> u64 {
    let id = session.to_le_bytes();
    let length = [group.len() as u8];
    let bytes = length.iter().chain(group).chain(&id).chain(label);
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

impl Roster {
    /// Takes up how a session is in a group. True: that is new. One that is one too many is left out.
    pub fn set(&mut self, membership: &Membership) -> bool {
        let (group, session) = (&*membership.group, membership.session);
        match &membership.label {
            Some(label) => self.add(group, session, label),
            None => self.remove(group, session),
        }
    }

    fn add(&mut self, group: &[u8], session: u64, label: &[u8]) -> bool {
        let known = self.groups.get_mut(group);
        if let Some(known) = known.and_then(|members| members.get_mut(&session)) {
            let is_new = **known != *label;
            if is_new {
                let before = mark(group, session, known);
                self.sum = self.sum.wrapping_sub(before);
                self.sum = self.sum.wrapping_add(mark(group, session, label));
                *known = label.into();
            }
            return is_new;
        }
        if self.memberships >= MOST_MEMBERSHIPS {
            self.is_partial = true;
            return false;
        }
        let members = self.groups.entry(group.into()).or_default();
        members.insert(session, label.into());
        self.memberships += 1;
        self.sum = self.sum.wrapping_add(mark(group, session, label));
        true
    }

    fn remove(&mut self, group: &[u8], session: u64) -> bool {
        let Some(members) = self.groups.get_mut(group) else {
            return false;
        };
        let Some(label) = members.remove(&session) else {
            return false;
        };
        if members.is_empty() {
            self.groups.remove(group);
        }
        self.memberships -= 1;
        self.sum = self.sum.wrapping_sub(mark(group, session, &label));
        true
    }

    /// A number that two rosters with other members do not share, but by chance.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// How many memberships there are.
    pub fn len(&self) -> usize {
        self.memberships
    }

    /// Whether nobody is in a group.
    pub fn is_empty(&self) -> bool {
        self.memberships == 0
    }

    /// Whether some were left out.
    pub fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// Whether there is room again for those that were left out. From then on it counts as whole: the caller takes them up.
    pub fn begin_again(&mut self) -> bool {
        let has_room = self.is_partial && self.memberships < MOST_MEMBERSHIPS / 8 * 7;
        self.is_partial &= !has_room;
        has_room
    }

    /// Whether a group has members.
    pub fn has_members(&self, group: &[u8]) -> bool {
        self.groups.contains_key(group)
    }

    /// The members of a group, with their labels.
    pub fn members(&self, group: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
        let members = self.groups.get(group).into_iter().flatten();
        members.map(|(session, label)| (*session, &**label))
    }

    /// The label of a member of a group; `None` if it is none.
    pub fn label(&self, group: &[u8], session: u64) -> Option<&[u8]> {
        self.groups.get(group)?.get(&session).map(|label| &**label)
    }

    /// All memberships, of a group one after another.
    pub fn iter(&self) -> impl Iterator<Item = Membership> {
        self.groups.iter().flat_map(|(group, members)| {
            members.iter().map(|(session, label)| Membership {
                group: group.to_vec(),
                session: *session,
                label: Some(label.to_vec()),
            })
        })
    }

    /// What has to be taken up here to become like another one.
    pub fn changes_to(&self, other: &Self) -> Vec<Membership> {
        let gone = self.iter().filter_map(|it| {
            let stays = other.label(&it.group, it.session).is_some();
            (!stays).then_some(Membership { label: None, ..it })
        });
        let new = other
            .iter()
            .filter(|it| self.label(&it.group, it.session) != it.label.as_deref());
        gone.chain(new).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership(group: &str, session: u64, label: Option<&str>) -> Membership {
        Membership {
            group: group.into(),
            session,
            label: label.map(Into::into),
        }
    }

    #[test]
    fn what_is_known_is_no_change() {
        let mut roster = Roster::default();
        assert!(roster.set(&membership("a", 1, Some("x"))));
        assert!(!roster.set(&membership("a", 1, Some("x"))));
        assert!(roster.set(&membership("a", 1, Some("y"))));
        assert_eq!(roster.label(b"a", 1), Some(&b"y"[..]));
        assert!(roster.set(&membership("a", 1, None)));
        assert!(!roster.set(&membership("a", 1, None)));
        assert!(!roster.has_members(b"a") && roster.is_empty());
        assert_eq!(roster.sum(), 0);
    }

    #[test]
    fn what_leads_from_one_to_another_is_the_difference() {
        let (mut one, mut other) = (Roster::default(), Roster::default());
        for it in [("a", 1, "x"), ("a", 2, ""), ("b", 1, "x")] {
            one.set(&membership(it.0, it.1, Some(it.2)));
        }
        for it in [("a", 1, "x"), ("a", 2, "new"), ("c", 3, "")] {
            other.set(&membership(it.0, it.1, Some(it.2)));
        }
        let mut changes = one.changes_to(&other);
        changes.sort_unstable();
        let expected = [
            membership("a", 2, Some("new")),
            membership("b", 1, None),
            membership("c", 3, Some("")),
        ];
        assert_eq!(changes, expected);
        assert_ne!(one.sum(), other.sum());
        for change in &changes {
            assert!(one.set(change));
        }
        assert_eq!(one.sum(), other.sum());
    }

    #[test]
    fn more_members_than_are_known_are_left_out() {
        let mut roster = Roster::default();
        for session in 0..MOST_MEMBERSHIPS as u64 + 5 {
            roster.set(&membership("a", session, Some("")));
        }
        assert_eq!(roster.len(), MOST_MEMBERSHIPS);
        assert!(roster.is_partial() && !roster.begin_again());
        for session in 0..MOST_MEMBERSHIPS as u64 / 4 {
            roster.set(&membership("a", session, None));
        }
        assert!(roster.begin_again() && !roster.is_partial() && !roster.begin_again());
    }
}
