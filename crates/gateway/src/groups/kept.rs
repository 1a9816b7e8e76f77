//! The groups of a loop on their way to another process. No broadcast is under way then.

use serde::{Deserialize, Serialize};

use super::{Group, Groups};

/// The groups of one loop.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeptGroups {
    groups: Vec<(u64, Group)>,
    last_group: u64,
    last_broadcast: u64,
}

/// The same, for who writes them.
#[derive(Serialize)]
struct Borrowed<'a> {
    groups: Vec<(u64, &'a Group)>,
    last_group: u64,
    last_broadcast: u64,
}

impl Groups {
    /// What another process must know of them.
    pub(crate) fn keep(&self) -> impl Serialize + '_ {
        let groups = self.groups.iter();
        Borrowed {
            groups: groups.map(|(number, group)| (*number, group)).collect(),
            last_group: self.last_group,
            last_broadcast: self.last_broadcast,
        }
    }

    /// Whether the session of this id is the member in this place of a group.
    pub(crate) fn has(&self, (group, place): (u64, u32), id: u64) -> bool {
        let group = self.groups.get(&group);
        let member = group.and_then(|group| group.members.get(place as usize));
        member.is_some_and(|member| member.name.id == id)
    }

    /// How many members all of them have.
    pub(crate) fn members(&self) -> usize {
        let groups = self.groups.values();
        groups.map(|group| group.members.len()).sum()
    }
}

impl KeptGroups {
    /// The groups again. `None`: two have one name or one number, or one has a number that was not given.
    pub(crate) fn take_up(self) -> Option<Groups> {
        let mut taken = Groups {
            last_group: self.last_group,
            last_broadcast: self.last_broadcast,
            ..Groups::default()
        };
        for (number, mut group) in self.groups {
            // The next hub of all loops counts anew.
            group.members.iter_mut().for_each(|(_, it)| it.after = 0);
            let is_known = taken.by_name.insert(group.name.clone(), number).is_some();
            let is_sound = number <= self.last_group && !group.members.is_empty() && !is_known;
            if !is_sound || taken.groups.insert(number, group).is_some() {
                return None;
            }
        }
        Some(taken)
    }
}
