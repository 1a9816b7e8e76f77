//! Whether one thread lives: what its signs of life have shown so far.

use std::time::Duration;

use moorline_protocol::control::BEAT;

use super::Now;

/// How often signs of life are looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(BEAT.as_millis() as u64 / 2);
/// A process without a sign of life for this long is silent. It has missed four.
const SILENT_AFTER: Duration = Duration::from_secs(2);

/// What the shell has seen of one thread that gives signs of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sign {
    /// Its count.
    pub(crate) beats: u64,
    /// A debugger holds the process. Read only for processes that are [`doubtful`](Vital::is_doubtful).
    pub(crate) is_traced: bool,
}

/// Whether a thread lives, as far as can be seen.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Vital {
    beats: u64,
    looked_at: Option<Now>,
    /// How long there has been no sign of life.
    pub(super) still: Duration,
    /// The part of that which counts towards `kill_after`.
    charged: Duration,
    /// When its silence is reported again. Without a value it is not silent.
    report_at: Option<Duration>,
}

/// What a look has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// Nothing new.
    Nothing,
    /// It has just fallen silent.
    FellSilent,
    /// It has been silent for twice as long as when this was found last.
    StillSilent,
    /// It lives; it was silent for this long.
    Answers(Duration),
}

impl Vital {
    pub(super) fn look(&mut self, sign: Sign, now: Now) -> Finding {
        let before = self.looked_at.replace(now);
        if std::mem::replace(&mut self.beats, sign.beats) != sign.beats || before.is_none() {
            self.charged = Duration::ZERO;
            let still = std::mem::take(&mut self.still);
            return match self.report_at.take() {
                Some(_) => Finding::Answers(still),
                None => Finding::Nothing,
            };
        }
        let passed = now.saturating_sub(before.unwrap_or(now)).min(2 * LOOK);
        self.still += passed;
        if !sign.is_traced {
            self.charged += passed;
        }
        match self.report_at {
            None if self.still >= SILENT_AFTER => {
                self.report_at = Some(SILENT_AFTER + 2 * LOOK);
                Finding::FellSilent
            }
            Some(at) if self.still >= at => {
                self.report_at = Some(2 * at);
                Finding::StillSilent
            }
            None | Some(_) => Finding::Nothing,
        }
    }

    /// How long it has been silent, if it is.
    pub(super) fn silent(&self) -> Option<Duration> {
        self.report_at.map(|_| self.still)
    }

    pub(super) fn is_over(&self, kill_after: Option<Duration>) -> bool {
        kill_after.is_some_and(|after| self.charged >= after)
    }

    pub(super) fn is_doubtful(&self) -> bool {
        self.still >= BEAT
    }
}
