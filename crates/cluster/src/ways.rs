//! How much is on its way to each process, and where to go on when a process is replaced.
//!
//! A sender counts what it writes to a process, and the other one says how far it has read. What lies between them is
//! bounded, so that nobody's queue grows. When another process serves a slot, what was written to the old one must have been
//! read first: so messages stay in order over a reload.

use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::members::Target;

/// What may be on its way to one process. A round trip within a data centre takes less than a millisecond.
const WINDOW: u64 = 1024 * 1024;
/// What a frame counts for beside its bytes, so that a window of small ones is not too many.
const FRAME_COST: u64 = 512;
/// How long an old process has to read what was written to it, before its successor is written to.
const DRAIN: Duration = Duration::from_secs(1);
/// How often a process is asked how far it has read, if nothing else tells.
const ASKS_AGAIN: Duration = Duration::from_millis(500);
/// The seconds in a position: a way to the same process that begins anew begins above the old one.
const SECONDS_FROM: u32 = 36;

/// What a frame with this many bytes counts for.
pub(crate) const fn cost(bytes: usize) -> u64 {
    FRAME_COST + bytes as u64
}

/// Whether something may be written now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// To this process, and the position behind it.
    Go { process: u64, position: u64 },
    /// Not yet.
    Wait,
}

/// A question how far a process has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asking {
    pub(crate) node: u16,
    pub(crate) process: u64,
    pub(crate) position: u64,
    /// Nothing more will follow.
    pub(crate) is_last: bool,
}

/// The ways to all processes that were written to, by node and slot.
#[derive(Debug, Default)]
pub(crate) struct Ways {
    ways: FxHashMap<(u16, u16), Way>,
}

#[derive(Debug)]
struct Way {
    process: u64,
    written: u64,
    read: u64,
    /// Until when the process has time to read the rest; another one serves its slot.
    drains_until: Option<Duration>,
    /// Somebody waits.
    is_awaited: bool,
    asked: Option<Duration>,
}

impl Way {
    fn new(target: Target, now: Duration) -> Self {
        let begin = now.as_secs() << SECONDS_FROM;
        Self {
            process: target.process,
            written: begin,
            read: begin,
            drains_until: None,
            is_awaited: false,
            asked: None,
        }
    }

    fn is_read(&self) -> bool {
        self.written == self.read
    }
}

impl Ways {
    /// Takes a turn to write a frame of this cost. `is_old_there`: whether a process may still read what was written to it.
    pub(crate) fn turn(
        &mut self,
        node: u16,
        target: Target,
        cost: u64,
        now: Duration,
        is_old_there: impl Fn(u64) -> bool,
    ) -> Turn {
        let way = self
            .ways
            .entry((node, target.slot))
            .or_insert_with(|| Way::new(target, now));
        if way.process != target.process {
            let is_over = way.is_read()
                || !is_old_there(way.process)
                || way.drains_until.is_some_and(|until| until <= now);
            if !is_over {
                way.drains_until.get_or_insert(now + DRAIN);
                way.is_awaited = true;
                return Turn::Wait;
            }
            *way = Way::new(target, now);
        }
        if !way.is_read() && way.written - way.read + cost > WINDOW {
            way.is_awaited = true;
            return Turn::Wait;
        }
        way.written += cost;
        Turn::Go {
            process: way.process,
            position: way.written,
        }
    }

    /// A turn was not used.
    pub(crate) fn give_back(&mut self, node: u16, slot: u16, cost: u64) {
        if let Some(way) = self.ways.get_mut(&(node, slot)) {
            way.written = way.written.saturating_sub(cost).max(way.read);
        }
    }

    /// A process says how far it has read. True: there may be room for those who wait.
    pub(crate) fn read(&mut self, node: u16, slot: u16, process: u64, position: u64) -> bool {
        let Some(way) = self.ways.get_mut(&(node, slot)) else {
            return false;
        };
        // Anything else is a lie, or of a way that is given up.
        if way.process != process || !(way.read..=way.written).contains(&position) {
            return false;
        }
        way.read = position;
        std::mem::take(&mut way.is_awaited)
    }

    /// Begins to end the ways to processes whose slots others serve: what they have to read must be known soon.
    pub(crate) fn replaced(&mut self, serving: impl Fn(u16, u16) -> Option<Target>, now: Duration) {
        for (&(node, slot), way) in &mut self.ways {
            let is_old = serving(node, slot).is_some_and(|it| it.process != way.process);
            if is_old && way.drains_until.is_none() {
                way.drains_until = Some(now + DRAIN);
                way.asked = None;
            }
        }
    }

    /// What is to be asked now.
    pub(crate) fn questions(&mut self, now: Duration) -> Vec<Asking> {
        let mut questions = Vec::new();
        for (&(node, _), way) in &mut self.ways {
            let is_wanted = way.is_awaited || way.drains_until.is_some();
            let is_due = way.asked.is_none_or(|asked| asked + ASKS_AGAIN <= now);
            if !is_wanted || !is_due || (way.is_read() && way.asked.is_some()) {
                continue;
            }
            way.asked = Some(now);
            questions.push(Asking {
                node,
                process: way.process,
                position: way.written,
                is_last: way.drains_until.is_some(),
            });
        }
        questions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: u16 = 2;

    fn target(process: u64) -> Target {
        Target { slot: 0, process }
    }

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn turn(ways: &mut Ways, target: Target, cost: u64, now: Duration) -> Turn {
        ways.turn(NODE, target, cost, now, |_| true)
    }

    fn go(process: u64, position: u64) -> Turn {
        Turn::Go { process, position }
    }

    #[test]
    fn what_is_on_its_way_is_bounded_and_what_is_read_makes_room() {
        let (mut ways, to) = (Ways::default(), target(7));
        // One that is larger than all goes alone.
        assert_eq!(turn(&mut ways, to, 2 * WINDOW, at(0)), go(7, 2 * WINDOW));
        assert_eq!(turn(&mut ways, to, 1, at(0)), Turn::Wait);
        assert!(!ways.read(NODE, 0, 8, 2 * WINDOW), "another process");
        assert!(!ways.read(NODE, 0, 7, 2 * WINDOW + 1), "never written");
        assert!(ways.read(NODE, 0, 7, 2 * WINDOW));
        let half = WINDOW / 2;
        assert_eq!(turn(&mut ways, to, half, at(0)), go(7, 5 * half));
        assert_eq!(turn(&mut ways, to, half, at(0)), go(7, 6 * half));
        assert_eq!(turn(&mut ways, to, 1, at(0)), Turn::Wait);
        ways.give_back(NODE, 0, half);
        assert_eq!(turn(&mut ways, to, 1, at(0)), go(7, 5 * half + 1));
    }

    #[test]
    fn the_other_one_is_asked_again_and_again_while_a_sender_waits() {
        let (mut ways, to) = (Ways::default(), target(7));
        turn(&mut ways, to, WINDOW, at(0));
        assert_eq!(ways.questions(at(0)), []);
        turn(&mut ways, to, 1, at(0));
        let question = Asking {
            node: NODE,
            process: 7,
            position: WINDOW,
            is_last: false,
        };
        assert_eq!(ways.questions(at(0)), [question]);
        assert_eq!(ways.questions(at(499)), []);
        assert_eq!(ways.questions(at(500)), [question]);
    }

    #[test]
    fn a_new_deployment_is_written_to_once_the_old_one_has_read_all() {
        let (mut ways, old, new) = (Ways::default(), target(7), target(8));
        turn(&mut ways, old, 10, at(0));
        assert_eq!(turn(&mut ways, new, 10, at(0)), Turn::Wait);
        let question = Asking {
            node: NODE,
            process: 7,
            position: 10,
            is_last: true,
        };
        assert_eq!(ways.questions(at(0)), [question]);
        assert!(ways.read(NODE, 0, 7, 10));
        assert_eq!(turn(&mut ways, new, 10, at(1)), go(8, 10));
    }

    #[test]
    fn an_old_process_is_not_waited_for_without_end() {
        let (mut ways, old, new) = (Ways::default(), target(7), target(8));
        turn(&mut ways, old, 10, at(0));
        assert_eq!(turn(&mut ways, new, 10, at(0)), Turn::Wait);
        assert_eq!(turn(&mut ways, new, 10, at(999)), Turn::Wait);
        assert_eq!(turn(&mut ways, new, 10, at(1000)), go(8, (1 << 36) + 10));
    }

    #[test]
    fn one_that_is_gone_is_not_waited_for() {
        let mut ways = Ways::default();
        turn(&mut ways, target(8), 10, at(0));
        let gone = ways.turn(NODE, target(9), 10, at(0), |_| false);
        assert_eq!(gone, go(9, 10));
    }

    #[test]
    fn a_reload_asks_without_a_sender_that_waits() {
        let mut ways = Ways::default();
        turn(&mut ways, target(7), 10, at(0));
        ways.replaced(|_, _| Some(target(7)), at(5));
        assert_eq!(ways.questions(at(5)), []);
        ways.replaced(|_, _| Some(target(8)), at(5));
        assert_eq!(ways.questions(at(5)).len(), 1);
    }
}
