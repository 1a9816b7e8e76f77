//! The reloads that apps ask for.
//!
//! An app waits in a handler for the answer. A reload that waited for that handler's process to end would wait for itself, so an
//! app's reload begins at once or is refused.

use std::time::Duration;

use moorline_protocol::command::Scope;
use moorline_protocol::control::{ProcessId, role_name};

use super::process::Process;
use super::{Caller, Now, Plan, Reply, seconds};

/// The least time between the end of one and the begin of the next: several workers may have the same reason.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// An app that reloads whenever it serves does so once in this time in the end.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// One that begins so long after the one before has another reason.
const FORGOTTEN: Duration = Duration::from_secs(300);

/// When an app may reload the engine.
#[derive(Debug, Default)]
pub(super) struct AppReloads {
    is_running: bool,
    ended_at: Option<Now>,
    /// After the last one.
    wait: Duration,
}

impl AppReloads {
    /// How long it is until the next may begin; zero if it may now.
    fn left(&self, now: Now) -> Duration {
        self.ended_at
            .map_or(Duration::ZERO, |at| (at + self.wait).saturating_sub(now))
    }

    fn begin(&mut self, now: Now) {
        let is_soon = |at| now.saturating_sub(at) < FORGOTTEN;
        self.wait = match self.ended_at.is_some_and(is_soon) {
            true => (self.wait * 2).min(LONGEST_WAIT),
            false => FIRST_WAIT,
        };
        self.is_running = true;
    }
}

impl Plan {
    pub(super) fn app_reload_asked(&mut self, by: ProcessId, caller: Caller, now: Now) {
        match self.why_no_app_reload(by, now) {
            None => {
                self.reload_asked(Some(caller), Scope::All);
                if self.queued.is_some() {
                    self.app_reloads.begin(now);
                }
            }
            Some(reason) => self.reply(Some(caller), Reply::Refused(reason)),
        }
    }

    fn why_no_app_reload(&self, by: ProcessId, now: Now) -> Option<String> {
        if self.is_stopping() {
            return None;
        }
        if self.processes.get(&by).is_none_or(Process::is_leaving) {
            return Some("this process is being replaced".to_owned());
        }
        if self.is_reloading() || self.queued.is_some() {
            return Some("a reload is under way".to_owned());
        }
        if let Some(leaving) = self.processes.values().find(|it| it.is_leaving()) {
            let name = role_name(leaving.role);
            return Some(format!("a process of {name} is still ending"));
        }
        let left = self.app_reloads.left(now);
        (!left.is_zero()).then(|| {
            format!(
                "apps reload too often: the next may begin in {}",
                seconds(left)
            )
        })
    }

    /// Notes the end of an app's reload. Call it after each event.
    pub(super) fn follow_app_reload(&mut self, now: Now) {
        if self.app_reloads.is_running && !self.is_reloading() && self.queued.is_none() {
            self.app_reloads.is_running = false;
            self.app_reloads.ended_at = Some(now);
        }
    }
}
