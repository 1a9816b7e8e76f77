//! Access logs: a line for each connection. A loop makes the line and puts it into a queue; a thread writes it.

mod files;
mod line;
mod writer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use moorline_config::{AccessLog, AccessLogPath, Config};
use moorline_proxy::{Facts, Text};

use crate::access_log::files::fill_path;
use crate::access_log::line::make_line;
use crate::access_log::writer::{Line, Writer};

/// The access logs of the gateway, and which of them each listener has.
#[derive(Debug, Default)]
pub(crate) struct AccessLogs {
    /// Of each listener, by its place; `None`: its connections are told in the engine's log, also where a listener is retired
    /// whose logs are gone.
    used: Mutex<Vec<Option<LogsOfListener>>>,
    writer: Writer,
}

type LogsOfListener = Arc<[Arc<AccessLog>]>;

impl AccessLogs {
    /// Starts the thread if this configuration needs it. The main thread calls it: a loop's thread may be bound to a processor.
    pub(crate) fn prepare(&self, config: &Config) {
        if !config.access_logs.is_empty() {
            self.writer.start();
        }
    }

    /// Takes the access logs of this configuration, and writes what the present ones have buffered.
    pub(crate) fn change(&self, config: &Config) {
        let logs: Vec<_> = config.access_logs.iter().cloned().map(Arc::new).collect();
        let used = config.listeners.iter().map(|listener| {
            let names = listener.stream.access_log.as_ref()?;
            let named = |name: &String| logs.iter().find(|it| it.name == *name).cloned();
            let found: LogsOfListener = names.iter().filter_map(named).collect();
            (names.is_empty() || !found.is_empty()).then_some(found)
        });
        *self.locked() = used.collect();
        self.writer.reopen(logs);
    }

    /// Opens the files again: they were moved away.
    pub(crate) fn reopen(&self) {
        self.writer.reopen_present();
    }

    /// Writes what is left, if that takes no longer than a second.
    pub(crate) fn finish(&self) {
        self.writer.finish();
    }

    /// The lines that were lost so far.
    pub(crate) fn lost(&self) -> u64 {
        self.writer.lost()
    }

    /// Logs the end of a connection of the listener at this place. False: the listener has no access logs of its own.
    pub(crate) fn log(&self, place: usize, facts: &dyn Facts) -> bool {
        let used = self.locked().get(place).cloned().flatten();
        let Some(used) = used else {
            return false;
        };
        for log in &*used {
            if is_wanted(log, facts) {
                self.writer.put(Line {
                    log: log.clone(),
                    path: match &log.path {
                        AccessLogPath::File(path) => fill_path(path, facts),
                        AccessLogPath::Stdout | AccessLogPath::Stderr => None,
                    },
                    bytes: make_line(&log.line, facts),
                });
            }
        }
        true
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Option<LogsOfListener>>> {
        // Code under the lock cannot panic, so a poisoned one is still consistent.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the condition of a log holds.
fn is_wanted(log: &AccessLog, facts: &dyn Facts) -> bool {
    log.condition.as_ref().is_none_or(|condition| {
        let mut text = Text::default();
        text.fill(condition, facts);
        !matches!(text.as_bytes(), b"" | b"0")
    })
}
