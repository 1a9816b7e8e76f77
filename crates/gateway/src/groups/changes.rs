//! What has changed of groups, for processes that follow their members.
//!
//! Such a process reads all memberships once, and then asks again and again for what has changed. The log has names only: the
//! answer says how it is now. A process that was away for longer than the log reaches back reads all again.

use std::cell::Cell;
use std::collections::VecDeque;

use super::Groups;
use crate::session::Session;

/// Changes in a log. With the longest names they take 1 MiB. A process asks ten times a second.
const MOST_CHANGES: usize = 4096;
/// Changes in one answer.
const CHANGES: usize = 512;

/// The groups and sessions of which something has changed.
#[derive(Debug)]
pub(super) struct GroupLog {
    /// Another log has another number.
    number: u64,
    /// How many changes there were.
    last: u64,
    /// The last ones, oldest first; none while nobody asks.
    changes: VecDeque<(Box<[u8]>, u64)>,
    /// How many there were when somebody asked.
    asked: Cell<Option<u64>>,
}

impl Default for GroupLog {
    fn default() -> Self {
        Self {
            number: fastrand::u64(1..),
            last: 0,
            changes: VecDeque::new(),
            asked: Cell::new(None),
        }
    }
}

/// Changes, as far as a log has them.
#[derive(Debug)]
pub(crate) struct LoggedChanges<'a> {
    pub(crate) log: u64,
    pub(crate) until: u64,
    pub(crate) has_more: bool,
    pub(crate) changes: Option<Vec<(&'a [u8], u64)>>,
}

impl GroupLog {
    pub(super) fn note(&mut self, group: &[u8], session: u64) {
        self.last += 1;
        match self.asked.get() {
            None => {}
            // Nobody follows it any more.
            Some(asked) if asked + MOST_CHANGES as u64 <= self.last => {
                self.asked.set(None);
                self.changes = VecDeque::new();
            }
            Some(_) => self.changes.push_back((group.into(), session)),
        }
        if self.changes.len() > MOST_CHANGES {
            self.changes.pop_front();
        }
    }

    fn since(&self, log: u64, after: u64) -> LoggedChanges<'_> {
        let oldest = self.last - self.changes.len() as u64;
        let was_asked = self.asked.replace(Some(self.last)).is_some();
        if !was_asked || log != self.number || !(oldest..=self.last).contains(&after) {
            return LoggedChanges {
                log: self.number,
                until: self.last,
                has_more: false,
                changes: None,
            };
        }
        let skipped = (after - oldest) as usize;
        let until = self.last.min(after + CHANGES as u64);
        let changes = self.changes.iter().skip(skipped).take(CHANGES);
        LoggedChanges {
            log: self.number,
            until,
            has_more: until < self.last,
            changes: Some(changes.map(|(group, id)| (&**group, *id)).collect()),
        }
    }
}

impl Groups {
    /// The label of a session has changed.
    pub(crate) fn relabel(&mut self, session: &Session) {
        for (number, _) in session.app.groups() {
            if let Some(group) = self.groups.get(number) {
                self.log.note(&group.name, session.id);
            }
        }
    }

    /// What has changed behind the first `after` changes of a log.
    pub(crate) fn changes_since(&self, log: u64, after: u64) -> LoggedChanges<'_> {
        self.log.since(log, after)
    }

    /// The names of the groups that a session is in.
    pub(crate) fn names<'a>(&'a self, session: &'a Session) -> impl Iterator<Item = &'a [u8]> {
        let groups = session.app.groups().iter();
        groups.filter_map(|(number, _)| Some(&*self.groups.get(number)?.name))
    }

    /// Whether a session is in a group.
    pub(crate) fn is_in(&self, name: &[u8], session: &Session) -> bool {
        let number = self.by_name.get(name);
        let mut groups = session.app.groups().iter();
        number.is_some_and(|number| groups.any(|(group, _)| group == number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What has changed, if the log has it.
    fn since(log: &GroupLog, after: u64) -> Option<Vec<u64>> {
        let changes = log.since(log.number, after).changes?;
        Some(changes.into_iter().map(|(_, id)| id).collect())
    }

    #[test]
    fn a_process_gets_what_has_changed_since_it_asked_first() {
        let mut log = GroupLog::default();
        log.note(b"a", 1);
        assert_eq!(since(&log, 1), None, "nobody has asked");
        assert_eq!(since(&log, 1), Some(vec![]));
        log.note(b"a", 2);
        log.note(b"b", 3);
        assert_eq!(since(&log, 1), Some(vec![2, 3]));
        assert_eq!(since(&log, 2), Some(vec![3]));
        assert_eq!(since(&log, 4), None, "there were never as many");
        assert_eq!(log.since(log.number ^ 1, 2).changes, None, "another log");
    }

    #[test]
    fn one_that_is_away_for_long_reads_all_again_and_a_log_nobody_asks_for_is_empty() {
        let mut log = GroupLog::default();
        since(&log, 0);
        for id in 1..MOST_CHANGES as u64 {
            log.note(b"a", id);
        }
        let first = log.since(log.number, 0);
        assert!(first.has_more && first.until == CHANGES as u64);
        for id in 0..2 * MOST_CHANGES as u64 {
            log.note(b"a", id);
            assert!(log.changes.len() <= MOST_CHANGES);
        }
        assert!(log.changes.is_empty());
        assert_eq!(since(&log, log.last), None);
    }
}
