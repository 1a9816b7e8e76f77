//! A `frontend`, `backend` or `listen`, with what `defaults` say.

use super::lines::{Line, Section};
use super::value;
use crate::note::{Report, Reported};
use crate::number::number;

/// A section and its defaults.
#[derive(Clone, Copy)]
pub(super) struct Proxy<'a> {
    pub(super) section: &'a Section,
    defaults: Option<&'a Section>,
}

/// Which keywords have the same meaning where they are written several times: the last one counts, the section's before that
/// of the defaults.
impl<'a> Proxy<'a> {
    pub(super) fn new(section: &'a Section, defaults: Option<&'a Section>) -> Self {
        Self { section, defaults }
    }

    /// The section's own lines that begin with these words.
    pub(super) fn own(self, words: &[&str]) -> Vec<&'a Line> {
        lines(self.section, words).collect()
    }

    /// Whether it has servers of its own.
    pub(super) fn has_servers(self) -> bool {
        let mut lines = self.section.lines.iter();
        lines.any(|it| matches!(it.word(0), "server" | "server-template"))
    }

    /// The line that counts, unless `no` takes it back.
    pub(super) fn one(self, words: &[&str]) -> Option<&'a Line> {
        let negated: Vec<_> = ["no"].iter().chain(words).copied().collect();
        for section in [Some(self.section), self.defaults].into_iter().flatten() {
            let begins = |line: &&Line| begins_with(line, words) || begins_with(line, &negated);
            if let Some(line) = section.lines.iter().rev().find(begins) {
                return begins_with(line, words).then_some(line);
            }
        }
        None
    }

    /// The lines that count where each adds to those before it; a section with some has none of the defaults.
    pub(super) fn all(self, words: &[&str]) -> Vec<&'a Line> {
        let own: Vec<_> = lines(self.section, words).collect();
        match (own.is_empty(), self.defaults) {
            (true, Some(defaults)) => lines(defaults, words).collect(),
            _ => own,
        }
    }

    /// The lines of the defaults.
    pub(super) fn inherited(self, words: &[&str]) -> Vec<&'a Line> {
        let defaults = self.defaults.into_iter();
        defaults.flat_map(|it| lines(it, words)).collect()
    }

    /// The value of `timeout NAME` in milliseconds.
    pub(super) fn timeout(self, name: &str, report: &mut Report) -> Option<(u64, &'a Line)> {
        let line = self.one(&["timeout", name])?;
        let time = value::time(line.word(2))
            .ok_or_else(|| -> Reported { line.refuse(report, "takes a time, such as 5s") });
        Some((time.ok()?, line))
    }

    /// The number behind a keyword.
    pub(super) fn number(self, name: &str, report: &mut Report) -> Option<(u64, &'a Line)> {
        let line = self.one(&[name])?;
        let number = number(line.word(1))
            .ok_or_else(|| -> Reported { line.refuse(report, "takes a whole number") });
        Some((number.ok()?, line))
    }
}

fn lines<'a>(section: &'a Section, words: &[&str]) -> impl Iterator<Item = &'a Line> {
    let words: Vec<String> = words.iter().map(|it| (*it).to_owned()).collect();
    let begins = move |line: &&Line| line.words.starts_with(&words);
    section.lines.iter().filter(begins)
}

fn begins_with(line: &Line, words: &[&str]) -> bool {
    line.words.len() >= words.len() && line.words.iter().zip(words).all(|(a, b)| a == b)
}
