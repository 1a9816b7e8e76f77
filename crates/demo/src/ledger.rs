//! What a visitor has heard: whether each other one's messages came once and in order.

use std::collections::HashMap;

/// What was heard, and what was not.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The number of the next message of each sender.
    next: HashMap<u16, u64>,
    pub(crate) heard: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
}

/// A message of a visitor, as it comes back: `7 123 2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) sender: u16,
    pub(crate) number: u64,
    /// The build that has answered.
    pub(crate) build: u32,
}

impl Line {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let line = Self {
            sender: parts.next()?.parse().ok()?,
            number: parts.next()?.parse().ok()?,
            build: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(line)
    }
}

impl Ledger {
    /// Notes a message. The first one of each sender may have any number: this visitor may have come later.
    pub(crate) fn note(&mut self, line: Line) {
        self.heard += 1;
        let next = self.next.entry(line.sender).or_insert(line.number);
        if line.number < *next {
            self.doubled += 1;
            return;
        }
        self.lost += line.number - *next;
        *next = line.number + 1;
    }

    /// The visitor has connected anew: it knows nothing of what came meanwhile.
    pub(crate) fn begin_anew(&mut self) {
        self.next.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_and_what_came_twice_is_counted() {
        let mut ledger = Ledger::default();
        let mut note = |sender, number| {
            ledger.note(Line {
                sender,
                number,
                build: 1,
            })
        };
        for (sender, number) in [
            (1, 5),
            (2, 1),
            (1, 6),
            (2, 4),
            (1, 6),
            (1, 7),
            (2, 3),
            (2, 5),
        ] {
            note(sender, number);
        }
        assert_eq!((ledger.heard, ledger.lost, ledger.doubled), (8, 2, 2));
        ledger.begin_anew();
        ledger.note(Line {
            sender: 1,
            number: 99,
            build: 1,
        });
        assert_eq!((ledger.lost, ledger.doubled), (2, 2));
    }

    #[test]
    fn only_whole_lines_are_read() {
        let line = Line {
            sender: 7,
            number: 123,
            build: 2,
        };
        assert_eq!(Line::parse("7 123 2"), Some(line));
        for text in ["", "welcome", "7 123", "7 123 2 1", "7 -1 2", "70000 1 1"] {
            assert_eq!(Line::parse(text), None, "{text:?}");
        }
    }
}
