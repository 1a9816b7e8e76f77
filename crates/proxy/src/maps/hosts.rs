//! Values by text and by name of a host. Case does not matter.

use moorline_config::Template;
use rustc_hash::FxHashMap;

/// The longest name of a host in bytes. Longer texts only match as a whole: each dot of one costs a look.
const LONGEST: usize = 255;

/// Values by text: an exact one, or the longest that the text ends with, or the longest that it begins with.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    /// Names are in lower case.
    exact: ByName,
    /// By what stands behind `*.`.
    below: ByName,
    /// By what stands before `.*`.
    begin: ByName,
}

type ByName = FxHashMap<Box<[u8]>, Template>;

impl Hosts {
    pub(super) fn add_exact(&mut self, name: &str, value: &Template) {
        self.exact.insert(name.as_bytes().into(), value.clone());
    }

    pub(super) fn add_below(&mut self, name: &str, value: &Template) {
        self.below.insert(name.as_bytes().into(), value.clone());
    }

    pub(super) fn add_domain(&mut self, name: &str, value: &Template) {
        self.add_exact(name, value);
        self.add_below(name, value);
    }

    pub(super) fn add_begin(&mut self, name: &str, value: &Template) {
        self.begin.insert(name.as_bytes().into(), value.clone());
    }

    pub(super) fn find(&self, text: &[u8]) -> Option<&Template> {
        let name = text.to_ascii_lowercase();
        let exact = self.exact.get(name.as_slice());
        let has_wildcards = !self.below.is_empty() || !self.begin.is_empty();
        if exact.is_some() || !has_wildcards || name.len() > LONGEST {
            return exact;
        }
        let dots = || (0..name.len()).filter(|at| name[*at] == b'.');
        let below = dots().find_map(|at| self.below.get(&name[at + 1..]));
        below.or_else(|| dots().rev().find_map(|at| self.begin.get(&name[..at])))
    }
}
