//! What a connection has, on its way to become the name of a backend.

use super::acl::Subject;
use super::lines::Line;
use crate::toml::Table;

/// Where a name is written, and what it may be.
pub(super) struct Naming<'a> {
    pub(super) line: &'a Line,
    pub(super) frontend: &'a str,
    /// All backends.
    pub(super) backends: &'a [String],
    /// The one for connections whose name is none of them.
    pub(super) default: &'a str,
}

impl Naming<'_> {
    /// The backend that a text names.
    pub(super) fn backend<'a>(&'a self, text: &str) -> &'a str {
        let known = self.backends.iter().find(|it| *it == text);
        known.map_or(self.default, |it| it)
    }
}

/// A part of a name, so far.
pub(super) struct Sample {
    /// Its text, with variables.
    pub(super) text: String,
    pub(super) maps: Vec<Table>,
    /// HAProxy makes it lower case. No map does that: maps that look it up ignore case instead.
    pub(super) is_lower: bool,
    /// What the connection has, as long as nothing else was made of it.
    pub(super) subject: Option<Subject>,
    pub(super) asks_hello: bool,
}
