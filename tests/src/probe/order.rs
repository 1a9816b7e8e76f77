//! A command to the probe, with its arguments.

use std::str::Split;

use moorline::{Context, Session};

use super::Probe;

/// One command of a session.
pub(super) struct Order<'a> {
    pub(super) probe: &'a Probe,
    pub(super) session: &'a Session,
    pub(super) context: &'a Context,
    pub(super) command: &'a str,
    /// All its arguments.
    pub(super) rest: &'a str,
    words: Split<'a, char>,
}

impl<'a> Order<'a> {
    /// What a session says to the probe.
    pub(super) fn new(probe: &'a Probe, session: &'a Session, text: &'a str) -> Self {
        let (command, rest) = text.split_once(' ').unwrap_or((text, ""));
        Self {
            probe,
            session,
            context: &probe.context,
            command,
            rest,
            words: rest.split(' '),
        }
    }

    /// The next argument; empty if there is none.
    pub(super) fn word(&mut self) -> &'a str {
        self.words.next().unwrap_or_default()
    }

    /// The arguments that are left.
    pub(super) fn others(&mut self) -> String {
        self.words.by_ref().collect::<Vec<_>>().join(" ")
    }
}
