//! Which names were answered lately.

use std::collections::{HashSet, VecDeque};

use crate::resolve::Name;

/// The most names that are remembered, some hundred bytes each. The one that was first noted goes.
const MAX_NAMES: usize = 4096;

/// Names that were answered lately, and in good time.
#[derive(Debug, Default)]
pub(super) struct Lately {
    names: HashSet<Name>,
    /// In the order in which they were noted; those that are not in `names` any more among them.
    order: VecDeque<Name>,
}

impl Lately {
    pub(super) fn contains(&self, name: &Name) -> bool {
        self.names.contains(name)
    }

    /// A server has answered for it.
    pub(super) fn note(&mut self, name: &Name) {
        if !self.names.insert(name.clone()) {
            return;
        }
        if self.order.len() == MAX_NAMES
            && let Some(first) = self.order.pop_front()
        {
            self.names.remove(&first);
        }
        self.order.push_back(name.clone());
    }

    /// No server has answered for it in good time.
    pub(super) fn forget(&mut self, name: &Name) {
        self.names.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_forgets_what_was_first_noted() {
        let name = |number: usize| Name::parse(&format!("name-{number}.test")).unwrap();
        let mut lately = Lately::default();
        for number in 0..=MAX_NAMES {
            lately.note(&name(number));
            lately.note(&name(number));
        }
        assert!(!lately.contains(&name(0)));
        assert!(lately.contains(&name(1)) && lately.contains(&name(MAX_NAMES)));
        // Forgetting and noting again and again makes it no larger.
        for _ in 0..2 * MAX_NAMES {
            lately.forget(&name(7));
            lately.note(&name(7));
        }
        assert!(lately.contains(&name(7)));
        assert!(lately.order.len() <= MAX_NAMES && lately.names.len() <= MAX_NAMES);
    }
}
