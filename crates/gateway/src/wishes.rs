//! What apps ask for a session, beside messages: to keep a locker, to pause it, to keep it from closing, to bind it.

use moorline_ipc::{Header, Record};

use super::event_loop::Loop;
use super::memory::Class;
use super::session::{Extras, Phase};
use super::table::Key;
use crate::control::LoopCounter;
use crate::wire::{FromProcess, LARGEST_STATE, LONGEST_NAME};

impl Loop {
    /// Does what a process asks for a session.
    pub(super) fn grant(
        &mut self,
        at: u16,
        kind: FromProcess,
        record: &Record<'_>,
    ) -> Result<(), String> {
        let header = *record.header();
        let limit = match kind {
            FromProcess::KeepState => LARGEST_STATE,
            FromProcess::Bind | FromProcess::Join | FromProcess::Leave => LONGEST_NAME,
            _ => 0,
        };
        if record.len() > limit {
            return Err(format!("{} bytes with a {kind:?}", record.len()));
        }
        let mut bytes = Vec::with_capacity(record.len());
        record.copy_to(&mut bytes);
        let Some(key) = self.living(at, &header) else {
            return Ok(());
        };
        match kind {
            // What another process has there is newer: the session has moved meanwhile.
            FromProcess::KeepState if self.table[key].process != Some(at) => {
                self.count(LoopCounter::Discarded, 1);
            }
            FromProcess::KeepState => self.change_extras(key, |extras| extras.state = bytes),
            FromProcess::Bind => {
                self.change_extras(key, |extras| extras.key = bytes);
                self.go_home(key);
            }
            FromProcess::Join => self.join(key, &bytes),
            FromProcess::Leave => self.leave_group(key, &bytes),
            FromProcess::Pause => self.table[key].paused = true,
            FromProcess::Resume => {
                self.table[key].paused = false;
                self.watch_again(key);
                self.schedule(key);
            }
            FromProcess::Keep => self.table[key].kept = true,
            FromProcess::Unkeep => {
                self.table[key].kept = false;
                self.watch_again(key);
            }
            _ => {}
        }
        Ok(())
    }

    /// The session that a record names, if it has not ended; else its sender is told.
    pub(super) fn living(&mut self, at: u16, header: &Header) -> Option<Key> {
        let key = self
            .table
            .find(header.session)
            .filter(|key| matches!(self.table[*key].phase, Phase::Open | Phase::Ending(_)));
        if key.is_none() {
            self.discard(at, header.session);
        }
        key
    }

    /// Changes what few sessions have. What is empty afterwards goes.
    pub(super) fn change_extras(&mut self, key: Key, change: impl FnOnce(&mut Extras)) {
        let extras = &mut self.table[key].extras;
        let before = extras.as_ref().map_or(0, |extras| extras.held());
        change(extras.get_or_insert_default());
        let after = extras.as_ref().map_or(0, |extras| extras.held());
        if extras.as_ref().is_some_and(|extras| extras.is_empty()) {
            *extras = None;
        }
        self.memory.change(Class::State, before, after);
    }
}
