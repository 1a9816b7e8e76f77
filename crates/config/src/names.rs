//! Names that texts refer to: maps and variables that a listener sets. A text may come before what it names, so each name is
//! looked for once all was read.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// What a name is called within texts, in this configuration and in every other: a text of one still means the map of the same
/// name in the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NameId(u64);

impl NameId {
    /// FNV-1a of the name. The few names of a file have different ones.
    pub fn of(name: &str) -> Self {
        let add = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        Self(name.bytes().fold(0xcbf2_9ce4_8422_2325, add))
    }
}

/// What a name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Named {
    Map,
    Set,
    /// A group of a pattern among `names` of a server.
    Match,
}

/// The names of one file.
#[derive(Default)]
pub(super) struct Names {
    /// With the place of the first.
    pub(super) defined: RefCell<BTreeMap<(Named, String), Range<usize>>>,
    /// With the place of each.
    pub(super) used: RefCell<Vec<(Named, String, Range<usize>)>>,
}

impl Names {
    pub(super) fn define(&self, what: Named, name: &str, place: Range<usize>) {
        let mut defined = self.defined.borrow_mut();
        defined.entry((what, name.to_owned())).or_insert(place);
    }

    /// Where a name is first defined.
    pub(super) fn place(&self, what: Named, name: &str) -> Range<usize> {
        let defined = self.defined.borrow();
        defined
            .get(&(what, name.to_owned()))
            .cloned()
            .unwrap_or_default()
    }

    pub(super) fn name(&self, what: Named, name: &str, place: Range<usize>) {
        self.used.borrow_mut().push((what, name.to_owned(), place));
    }
}
