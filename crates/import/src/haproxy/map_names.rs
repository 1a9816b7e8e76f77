//! Names of maps that are made.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::proxy::Proxy;

/// Names of maps: those of all frontends, and what is added.
pub(super) struct MapNames {
    taken: BTreeSet<String>,
    /// The names that rules may compute.
    pub(super) backends: Rc<[String]>,
}

impl MapNames {
    pub(super) fn new(proxies: &[Proxy<'_>]) -> Self {
        let name = |it: &Proxy<'_>| it.section.name().to_owned();
        let backends = proxies.iter().filter(|it| it.section.kind() != "frontend");
        Self {
            taken: proxies.iter().map(name).collect(),
            backends: backends.map(name).collect(),
        }
    }

    /// A name that begins with that of the frontend, and ends with this one if it can.
    pub(super) fn add(&mut self, frontend: &str, end: Option<&str>) -> String {
        let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let wanted = end.filter(|it| it.chars().all(is_fit));
        let wanted = wanted.map(|end| format!("{frontend}-{end}"));
        // Names have at most 64 letters, and are ASCII.
        let wanted = wanted.filter(|it| it.len() <= 64);
        let begin = &frontend[..frontend.len().min(56)];
        let numbered = (1_u32..).map(|number| format!("{begin}-{number}"));
        let mut names = wanted.into_iter().chain(numbered);
        let free = names.find(|name| !self.taken.contains(name));
        let name = free.unwrap_or_default();
        self.taken.insert(name.clone());
        name
    }
}
