//! Which attempt a client is at, and when the next one is due.
//!
//! Sans-io: it is told what happened and when, and answers what to do. Every attempt has a number, and reports under an
//! older one change nothing.

use std::time::{Duration, Instant};

use super::options::Reconnect;
use crate::clock::later;

/// Which attempt a client is at.
#[derive(Debug)]
pub(super) struct Attempts {
    phase: AttemptsPhase,
    attempt: u64,
    /// Attempts in a row that failed, or whose connection did not last.
    failures: u32,
    connected_at: Instant,
    reconnect: Option<Reconnect>,
    random: fastrand::Rng,
}

/// Where a client stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttemptsPhase {
    /// Nothing was begun, or all has ended.
    Idle,
    /// An attempt runs.
    Dialing,
    /// It succeeded, and its connection lives.
    Connected,
    /// The next attempt is due then.
    Waiting(Instant),
}

/// The report that is due for an attempt that ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owed {
    /// It ran: its error must be reported.
    Error,
    /// It was connected: its close must be reported.
    Closed,
}

/// The meaning of an attempt's outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DialVerdict {
    /// Nothing: another attempt has taken its place.
    Late,
    /// It is the connection now.
    Connected,
    /// It must be reported; the phase says what comes next.
    Failed,
}

impl Attempts {
    pub(super) fn new(reconnect: Option<Reconnect>, seed: u64, now: Instant) -> Self {
        Self {
            phase: AttemptsPhase::Idle,
            attempt: 0,
            failures: 0,
            connected_at: now,
            reconnect,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    pub(super) fn phase(&self) -> AttemptsPhase {
        self.phase
    }

    /// The number of the latest attempt; the first is 1.
    pub(super) fn attempt(&self) -> u64 {
        self.attempt
    }

    /// A new attempt begins, whatever was before. Says what the one before is owed.
    pub(super) fn begin(&mut self) -> Option<Owed> {
        let owed = self.owed();
        self.attempt += 1;
        self.phase = AttemptsPhase::Dialing;
        owed
    }

    /// An attempt has ended, well or not.
    pub(super) fn dialed(&mut self, attempt: u64, succeeded: bool, now: Instant) -> DialVerdict {
        if attempt != self.attempt || self.phase != AttemptsPhase::Dialing {
            return DialVerdict::Late;
        }
        if succeeded {
            self.phase = AttemptsPhase::Connected;
            self.connected_at = now;
            return DialVerdict::Connected;
        }
        self.fail(now);
        DialVerdict::Failed
    }

    /// None follows on the attempt that has failed.
    pub(super) fn give_up(&mut self) {
        if let AttemptsPhase::Waiting(_) = self.phase {
            self.phase = AttemptsPhase::Idle;
        }
    }

    /// An attempt's connection is lost. False: it had none, or it is not the present one any more.
    pub(super) fn lost(&mut self, attempt: u64, now: Instant) -> bool {
        if attempt != self.attempt || self.phase != AttemptsPhase::Connected {
            return false;
        }
        let lasted = now.saturating_duration_since(self.connected_at);
        if let Some(reconnect) = &self.reconnect
            && lasted >= reconnect.good_after
        {
            self.failures = 0;
        }
        self.fail(now);
        true
    }

    /// The attempt that runs is given up, as if it had not begun.
    pub(super) fn abandon(&mut self, now: Instant) {
        if self.phase == AttemptsPhase::Dialing {
            self.phase = match &self.reconnect {
                Some(_) => AttemptsPhase::Waiting(now),
                None => AttemptsPhase::Idle,
            };
        }
    }

    /// Everything ends. Says what the latest attempt is owed.
    pub(super) fn end(&mut self) -> Option<Owed> {
        let owed = self.owed();
        self.phase = AttemptsPhase::Idle;
        self.failures = 0;
        owed
    }

    fn owed(&self) -> Option<Owed> {
        match self.phase {
            AttemptsPhase::Dialing => Some(Owed::Error),
            AttemptsPhase::Connected => Some(Owed::Closed),
            AttemptsPhase::Idle | AttemptsPhase::Waiting(_) => None,
        }
    }

    fn fail(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let Some(reconnect) = &self.reconnect else {
            self.phase = AttemptsPhase::Idle;
            return;
        };
        if reconnect.attempts.is_some_and(|most| self.failures > most) {
            self.phase = AttemptsPhase::Idle;
            return;
        }
        let wait = back_off(reconnect, self.failures, &mut self.random);
        self.phase = AttemptsPhase::Waiting(later(now, wait));
    }
}

/// The wait after this many failures in a row.
fn back_off(reconnect: &Reconnect, failures: u32, random: &mut fastrand::Rng) -> Duration {
    // Doubling more than thirty times exceeds every cap that a duration can be written as.
    let doublings = failures.saturating_sub(1).min(30);
    let wait = reconnect
        .first
        .saturating_mul(1 << doublings)
        .min(reconnect.cap);
    let jitter = u32::from(reconnect.jitter.min(100));
    wait - (wait / 100 * jitter).mul_f64(random.f64())
}

#[cfg(test)]
mod tests;
