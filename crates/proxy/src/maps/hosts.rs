//! Values by text and by name of a host. Case does not matter.

use rustc_hash::FxHashMap;

/// The longest name of a host in bytes. Longer texts only match as a whole: each dot of one costs a look.
const LONGEST: usize = 255;

/// Values by text: an exact one, or the longest that the text ends with, or the longest that it begins with.
#[derive(Debug)]
pub(crate) struct Hosts<T> {
    /// Names are in lower case.
    exact: ByName<T>,
    /// By what stands behind `*.`.
    below: ByName<T>,
    /// By what stands before `.*`.
    begin: ByName<T>,
}

type ByName<T> = FxHashMap<Box<[u8]>, T>;

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        Self {
            exact: ByName::default(),
            below: ByName::default(),
            begin: ByName::default(),
        }
    }
}

impl<T: Clone> Hosts<T> {
    pub(crate) fn add_exact(&mut self, name: &str, value: &T) {
        self.exact.insert(name.as_bytes().into(), value.clone());
    }

    pub(crate) fn add_below(&mut self, name: &str, value: &T) {
        self.below.insert(name.as_bytes().into(), value.clone());
    }

    pub(crate) fn add_domain(&mut self, name: &str, value: &T) {
        self.add_exact(name, value);
        self.add_below(name, value);
    }

    pub(crate) fn add_begin(&mut self, name: &str, value: &T) {
        self.begin.insert(name.as_bytes().into(), value.clone());
    }

    pub(crate) fn find(&self, text: &[u8]) -> Option<&T> {
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
