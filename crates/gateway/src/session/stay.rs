//! Which process has a session, and whether it stays there.

use crate::ids::{ProcessKey, SlotId};
use serde::{Deserialize, Serialize};

/// Which process has the session.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Placement {
    /// The worker slot that it belongs to.
    pub(crate) slot: SlotId,
    pub(crate) stay: Stay,
}

/// Whether a process has the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stay {
    /// None has known of it.
    New,
    /// None has it now. One did: the next is told `adopted`.
    Between,
    /// This one does.
    With(ProcessKey, Visit),
}

/// The state of the session in its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Visit {
    /// The open hook runs.
    Opening,
    /// The open hook has ended.
    Open,
    /// The open hook runs, and the session moves to another process then; until then it is not read.
    OpeningAndMoving,
    /// It moves to another process as soon as no message of it is in progress; until then it is not read.
    Moving,
}

impl Placement {
    pub(crate) fn new(slot: SlotId) -> Self {
        Self {
            slot,
            stay: Stay::New,
        }
    }

    /// The process that knows of it.
    #[inline]
    pub(crate) fn process(&self) -> Option<ProcessKey> {
        match self.stay {
            Stay::With(process, _) => Some(process),
            Stay::New | Stay::Between => None,
        }
    }

    /// Whether its process gives it up as soon as no message of it is in progress.
    #[inline]
    pub(crate) fn is_moving(&self) -> bool {
        let Stay::With(_, visit) = self.stay else {
            return false;
        };
        matches!(visit, Visit::OpeningAndMoving | Visit::Moving)
    }

    /// Whether the open hook in its process has not ended.
    pub(crate) fn is_opening(&self) -> bool {
        let Stay::With(_, visit) = self.stay else {
            return false;
        };
        matches!(visit, Visit::Opening | Visit::OpeningAndMoving)
    }

    /// Whether some process knows or has known of it.
    pub(crate) fn is_known(&self) -> bool {
        self.stay != Stay::New
    }

    /// A process knows of it.
    pub(crate) fn arrive(&mut self, process: ProcessKey) {
        self.stay = Stay::With(process, Visit::Opening);
    }

    /// Its open hook has ended.
    pub(crate) fn opened(&mut self) {
        if let Stay::With(_, visit) = &mut self.stay {
            *visit = match visit {
                Visit::Opening | Visit::Open => Visit::Open,
                Visit::OpeningAndMoving | Visit::Moving => Visit::Moving,
            };
        }
    }

    /// It should move to another process, if one has it.
    pub(crate) fn must_move(&mut self) {
        if let Stay::With(_, visit) = &mut self.stay {
            *visit = match visit {
                Visit::Opening | Visit::OpeningAndMoving => Visit::OpeningAndMoving,
                Visit::Open | Visit::Moving => Visit::Moving,
            };
        }
    }

    /// It stays where it is.
    pub(crate) fn stay(&mut self) {
        if let Stay::With(_, visit) = &mut self.stay {
            *visit = match visit {
                Visit::Opening | Visit::OpeningAndMoving => Visit::Opening,
                Visit::Open | Visit::Moving => Visit::Open,
            };
        }
    }

    /// No process knows of it any more.
    pub(crate) fn forget(&mut self) {
        self.stay = Stay::New;
    }

    /// Its process does not have it any more.
    pub(crate) fn leave(&mut self) {
        if self.is_known() {
            self.stay = Stay::Between;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_is_to_move_waits_for_its_open_hook_and_is_known_from_then_on() {
        let mut placement = Placement::new(SlotId(0));
        placement.must_move();
        assert!(
            !placement.is_moving() && !placement.is_known(),
            "nobody has it"
        );
        placement.arrive(ProcessKey(3));
        placement.must_move();
        assert!(placement.is_moving() && placement.is_opening());
        placement.opened();
        assert!(placement.is_moving() && !placement.is_opening());
        placement.leave();
        assert_eq!((placement.process(), placement.is_known()), (None, true));
    }
}
