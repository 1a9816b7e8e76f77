//! A count of the sessions that wait for processes which do not answer.

use crate::commands::Report;
use crate::cx::Cx;
use crate::ids::{ProcessKey, SessionKey};
use crate::processes::Processes;
use crate::session::table::Table;
use crate::session::{Phase, Session};
use moorline_protocol::control::ProcessId;

/// Sessions that one turn looks at: a count over very many takes several turns, and nothing waits for it.
const SESSIONS_PER_TURN: usize = 4096;

/// The process that has something of the session to do.
fn awaited(session: &Session, processes: &Processes) -> Option<ProcessKey> {
    let process = session.placement.process();
    if matches!(session.phase, Phase::Asking { .. }) {
        // It may wait until it can be asked about.
        return process.or(processes[session.placement.slot].process);
    }
    process.filter(|_| session.is_worked_for())
}

/// A count under way.
#[derive(Debug)]
pub(crate) struct Census {
    next: usize,
    found: Vec<(ProcessId, u64)>,
}

impl Census {
    /// Begins to count the sessions that wait for these processes. They are silent, and no others are.
    pub(crate) fn begin(silent: &[ProcessId], processes: &mut Processes) -> Self {
        for (_, process) in processes.iter_mut() {
            process.is_silent = silent.contains(&process.id);
        }
        Self {
            next: 0,
            found: silent.iter().map(|process| (*process, 0)).collect(),
        }
    }

    /// Continues the count. `None`: it is complete, and the main thread has the result.
    pub(crate) fn go_on(
        mut self,
        sessions: &Table,
        processes: &Processes,
        cx: &Cx,
    ) -> Option<Self> {
        let end = (self.next + SESSIONS_PER_TURN).min(sessions.places());
        for place in self.next..end {
            let Some(session) = sessions.at(SessionKey(place as u32)) else {
                continue;
            };
            let Some(at) = awaited(session, processes) else {
                continue;
            };
            let process = processes[at].id;
            if let Some((_, count)) = self.found.iter_mut().find(|(id, _)| *id == process) {
                *count += 1;
            }
        }
        if end < sessions.places() {
            self.next = end;
            return Some(self);
        }
        cx.report(Report::Waiting(cx.index, self.found));
        None
    }
}
