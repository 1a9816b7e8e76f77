//! Which names were answered lately.

use std::collections::{BTreeMap, HashMap};

use crate::resolve::Name;

/// The most names that are remembered, some hundred bytes each. The oldest one is dropped.
const MAX_NAMES: usize = 4096;

/// Names that were answered lately, and in good time.
#[derive(Debug, Default)]
pub(super) struct Lately {
    /// The note of each name.
    notes: HashMap<Name, u64>,
    /// The names, in the order of their notes.
    names: BTreeMap<u64, Name>,
    next: u64,
}

impl Lately {
    pub(super) fn contains(&self, name: &Name) -> bool {
        self.notes.contains_key(name)
    }

    /// A server has answered for it.
    pub(super) fn note(&mut self, name: &Name) {
        self.forget(name);
        if self.names.len() == MAX_NAMES
            && let Some((_, first)) = self.names.pop_first()
        {
            self.notes.remove(&first);
        }
        self.notes.insert(name.clone(), self.next);
        self.names.insert(self.next, name.clone());
        self.next += 1;
    }

    /// No server has answered for it in good time.
    pub(super) fn forget(&mut self, name: &Name) {
        if let Some(note) = self.notes.remove(name) {
            self.names.remove(&note);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> Name {
        Name::parse(&format!("name-{number}.test")).unwrap()
    }

    #[test]
    fn it_forgets_the_oldest_note() {
        let mut lately = Lately::default();
        for number in 0..MAX_NAMES {
            lately.note(&name(number));
        }
        lately.note(&name(0));
        lately.note(&name(MAX_NAMES));
        assert!(!lately.contains(&name(1)));
        assert!(
            [0, 2, MAX_NAMES]
                .map(name)
                .iter()
                .all(|name| lately.contains(name))
        );
    }

    #[test]
    fn a_name_that_comes_and_goes_takes_no_others_place() {
        let mut lately = Lately::default();
        for number in 0..MAX_NAMES {
            lately.note(&name(number));
        }
        for _ in 0..2 * MAX_NAMES {
            lately.forget(&name(7));
            assert!(!lately.contains(&name(7)));
            lately.note(&name(7));
        }
        assert!((0..MAX_NAMES).all(|number| lately.contains(&name(number))));
        assert_eq!(
            (lately.notes.len(), lately.names.len()),
            (MAX_NAMES, MAX_NAMES)
        );
    }
}
