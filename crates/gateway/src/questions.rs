//! What processes and the operator ask a loop, and its answers.

use moorline_ipc::{Header, Record};

use super::Report;
use super::accept::unix_ms;
use super::event_loop::Loop;
use super::ledger::Request;
use super::session::{Phase, Session};
use crate::config::Config;
use crate::control::SessionRow;
use crate::wire::{Answer, Closing, Question, SessionFacts, ToProcess, UNKNOWN_PLACE};

/// The longest question in bytes: a number, and perhaps a name.
const LONGEST_QUESTION: usize = 512;
/// Sessions in one answer. With their keys that is a few records, and it takes 0.1 ms at the most.
const ROWS: usize = 64;
/// Places of the table looked at for one answer: few of them may be taken. That takes 0.1 ms at the most.
const PLACES: usize = 1024;

impl Loop {
    /// A process asks something.
    pub(super) fn answer(&mut self, at: u16, record: &Record<'_>) -> Result<(), String> {
        if record.len() > LONGEST_QUESTION {
            return Err(format!("a question of {} bytes", record.len()));
        }
        let ledger = &mut self.processes[usize::from(at)].ledger;
        ledger.open(Request::Question)?;
        let mut bytes = Vec::with_capacity(record.len());
        record.copy_to(&mut bytes);
        let question: Question =
            postcard::from_bytes(&bytes).map_err(|error| format!("a question: {error}"))?;
        let answer = match question {
            Question::Session(id) => {
                let key = self.table.find(id);
                let session = key
                    .map(|key| &self.table[key])
                    .filter(|session| lives(session));
                Answer::Session(session.map(|session| self.facts(at, session)))
            }
            Question::Members(group, from) => {
                let (ids, next) = self.groups.page(&group, from);
                Answer::Members(ids, next)
            }
            Question::Sessions(from) => {
                let (sessions, next) = self.table.page(from, PLACES, ROWS, lives);
                Answer::Sessions(
                    sessions
                        .into_iter()
                        .map(|session| self.facts(at, session).among_others())
                        .collect(),
                    next,
                )
            }
        };
        let header = Header {
            kind: ToProcess::Answer as u8,
            session: record.header().session,
            ..Header::default()
        };
        // Plain values only: there is nothing in it that could fail to be written.
        let bytes = postcard::to_stdvec(&answer).unwrap_or_default();
        self.parcel_to(at, header, bytes.into());
        Ok(())
    }

    /// For the operator: some sessions, from this place of the table on.
    pub(super) fn list(&self, question: u64, place: u32) {
        let now = unix_ms();
        let (sessions, next) = self.table.page(place, PLACES, ROWS, |_| true);
        let row = |session: &Session| SessionRow {
            id: session.id.into(),
            listener: self.config.listeners[usize::from(session.listener)]
                .name
                .clone(),
            peer: session.peer.to_string(),
            worker: session.process.map(|_| session.slot),
            age_s: now.saturating_sub(session.connected_at) / 1000,
            idle_s: (self.clock.ms - session.received_at.min(self.clock.ms)) / 1000,
            messages: session.messages,
            received: session.bytes_in,
            sent: session.bytes_out,
            queued: session.queued(),
        };
        // The main thread lives as long as the process.
        let _ = self.reports.send(Report::Sessions {
            index: self.index,
            question,
            rows: sessions.into_iter().map(row).collect(),
            next,
        });
    }

    /// What a process is told of a session at its end.
    pub(super) fn closing(&self, session: &Session) -> Vec<u8> {
        let closing = Closing {
            received_at: self.unix(session.received_at),
            sent_at: self.unix(session.sent_at),
            paused: session.paused,
            kept: session.kept,
            messages: session.messages,
            received: session.bytes_in,
            sent: session.bytes_out,
        };
        // Plain values only: there is nothing in it that could fail to be written.
        postcard::to_stdvec(&closing).unwrap_or_default()
    }

    /// The loop's milliseconds as those since the Unix epoch.
    fn unix(&self, ms: u64) -> u64 {
        unix_ms().saturating_sub(self.clock.ms.saturating_sub(ms))
    }

    /// What this process may know of a session.
    fn facts(&self, at: u16, session: &Session) -> SessionFacts {
        let listener = usize::from(session.listener);
        // One that is being replaced may remember another listener in this place.
        let is_known =
            name(&self.processes[usize::from(at)].rules, listener) == name(&self.config, listener);
        SessionFacts {
            id: session.id,
            listener: if is_known {
                session.listener
            } else {
                UNKNOWN_PLACE
            },
            peer: session.peer.clone(),
            connected_at: session.connected_at,
            received_at: self.unix(session.received_at),
            sent_at: self.unix(session.sent_at),
            worker: session.slot,
            key: session
                .extras
                .as_ref()
                .map_or_else(Vec::new, |extras| extras.key.clone()),
            paused: session.paused,
            kept: session.kept,
            messages: session.messages,
            received: session.bytes_in,
            sent: session.bytes_out,
            queued: session.queued(),
            tls: session.tls.as_deref().map(super::tls::facts),
        }
    }
}

fn name(config: &Config, listener: usize) -> Option<&str> {
    Some(&config.listeners.get(listener)?.name)
}

fn lives(session: &Session) -> bool {
    matches!(session.phase, Phase::Open | Phase::Ending(_))
}
