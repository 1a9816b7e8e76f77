//! Actions that tell others that a process serves. They are held back until the gateway has executed the last
//! `Activate`.
//!
//! Before that the gateway may still give a message to a process that was replaced. So a command is answered, a
//! commit logged and a leader appointed only when every loop has switched, or when the gateway is gone, and its sessions with
//! it.

use std::time::Duration;

use super::{Action, Now, Plan, Reply};

/// How long the gateway may take to execute it. Then the callers are told that it is late.
const OBEY_TIME: Duration = Duration::from_secs(10);

/// Deferred actions, in order.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    actions: Vec<Action>,
    /// Since when the first of them waits.
    since: Option<Now>,
}

impl Deferred {
    /// When the callers are told that the gateway is late.
    pub(super) fn deadline(&self) -> Option<Now> {
        let is_awaited = self.actions.iter().any(is_reply);
        self.since
            .map(|since| since + OBEY_TIME)
            .filter(|_| is_awaited)
    }

    pub(super) fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// The wait for the pushed actions begins now.
    pub(super) fn begin_wait(&mut self, now: Now) {
        if !self.actions.is_empty() {
            self.since.get_or_insert(now);
        }
    }
}

fn is_reply(action: &Action) -> bool {
    matches!(action, Action::Reply { .. })
}

impl Plan {
    /// Does this at once, or when the gateway has executed every `Activate`.
    pub(super) fn act_after_switch(&mut self, action: Action) {
        match self.gateway.activations {
            0 => self.act(action),
            _ => self.deferred.push(action),
        }
    }

    /// The gateway has executed one more `Activate`.
    pub(super) fn gateway_activated(&mut self, incarnation: u32) {
        if self.is_present(incarnation) {
            self.gateway.activations = self.gateway.activations.saturating_sub(1);
            if self.gateway.activations == 0 {
                self.release_deferred();
            }
        }
    }

    /// The gateway has executed it, or is gone: the deferred actions are true now.
    pub(super) fn release_deferred(&mut self) {
        self.actions
            .extend(std::mem::take(&mut self.deferred).actions);
    }

    /// Answers callers that have waited too long. The rest stays deferred.
    pub(super) fn tick_deferred(&mut self, now: Now) {
        if self.deferred.deadline().is_none_or(|at| at > now) {
            return;
        }
        let hangs = self.what_hangs();
        for action in self.deferred.actions.extract_if(.., |it| is_reply(it)) {
            if let Action::Reply { caller, .. } = action {
                let reply = Reply::Unconfirmed(hangs.clone());
                self.actions.push_back(Action::Reply { caller, reply });
            }
        }
    }
}
