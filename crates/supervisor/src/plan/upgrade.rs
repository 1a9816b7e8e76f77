//! An upgrade: a gateway of the executable that is at the path now takes everything from the present one.
//!
//! The new one is started and waits beside the present one, which then stops and hands everything over. Until the new one has
//! all of it, any failure ends the new one, and the present one goes on. The plan decides alone: once it has, the present one
//! never goes on.

use std::collections::BTreeSet;
use std::time::Duration;

use tracing::{info, warn};

use super::closing::{GRACE, LONGEST};
use super::process::Process;
use super::reload::Reload;
use super::{Action, Caller, Child, Mode, Now, Plan, Reply, UpgradeAction, seconds};

/// How long the gateways may take to hand everything over. Clients wait meanwhile.
const MOVE_TIME: Duration = Duration::from_secs(4);
/// How long the new gateway may take to say that it goes on.
const WORD_TIME: Duration = Duration::from_secs(10);

/// The upgrade in progress.
#[derive(Debug, Default)]
pub(super) struct Upgrade {
    stage: UpgradeStage,
    callers: Vec<Caller>,
    /// What cannot move is closed, over this time.
    close_rest: Option<Duration>,
    /// How many connections were closed for it.
    closed: u64,
    /// The next one.
    queued: Option<QueuedUpgrade>,
    /// Gateways that are not the present one and have not been reaped.
    others: BTreeSet<u32>,
    /// Gateways that were told to end.
    dismissed: BTreeSet<u32>,
}

/// An upgrade that waits.
#[derive(Debug, Default)]
struct QueuedUpgrade {
    callers: Vec<Caller>,
    close_rest: Option<Duration>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum UpgradeStage {
    #[default]
    Idle,
    /// The new gateway starts.
    Starting { to: u32, deadline: Now },
    /// The new one waits, and the present one closes what cannot move, as the drain of this number.
    Clearing { to: u32, number: u64, deadline: Now },
    /// The present one was told to hand everything over.
    Moving {
        to: u32,
        deadline: Now,
        is_handed_over: bool,
        is_taken: bool,
    },
    /// The new one is the present one, and has not said yet that it goes on.
    Committed { deadline: Now },
}

impl Upgrade {
    pub(super) fn is_idle(&self) -> bool {
        self.stage == UpgradeStage::Idle
    }

    pub(super) fn deadline(&self) -> Option<Now> {
        match self.stage {
            UpgradeStage::Idle => None,
            UpgradeStage::Starting { deadline, .. }
            | UpgradeStage::Clearing { deadline, .. }
            | UpgradeStage::Moving { deadline, .. }
            | UpgradeStage::Committed { deadline } => Some(deadline),
        }
    }

    /// The present gateway stands still as it was told, within a deadline of its own.
    pub(super) fn is_moving(&self) -> bool {
        matches!(self.stage, UpgradeStage::Moving { .. })
    }

    /// The present gateway closes what cannot move.
    pub(super) fn is_closing_rest(&self) -> bool {
        matches!(self.stage, UpgradeStage::Clearing { .. })
    }

    /// The gateway that is to follow.
    fn successor(&self) -> Option<u32> {
        match self.stage {
            UpgradeStage::Starting { to, .. }
            | UpgradeStage::Clearing { to, .. }
            | UpgradeStage::Moving { to, .. } => Some(to),
            UpgradeStage::Idle | UpgradeStage::Committed { .. } => None,
        }
    }

    /// A gateway that is not the present one has not been reaped.
    pub(super) fn has_others(&self) -> bool {
        !self.others.is_empty()
    }

    pub(super) fn is_other(&self, incarnation: u32) -> bool {
        self.others.contains(&incarnation)
    }
}

impl Plan {
    pub(super) fn upgrade_asked(&mut self, caller: Caller, close_rest: Option<Duration>) {
        let refusal = match close_rest {
            _ if self.is_stopping() => Some("the engine is stopping"),
            Some(over) if over > LONGEST => Some("the time is too long: a year is the most"),
            _ => None,
        };
        if let Some(reason) = refusal {
            self.reply(Some(caller), Reply::Refused(reason.to_owned()));
            return;
        }
        let queued = self.upgrade.queued.get_or_insert_default();
        queued.callers.push(caller);
        queued.close_rest = queued.close_rest.max(close_rest);
        if !self.may_upgrade() {
            let text = "waiting until a reload, a drain or a replacement has ended".to_owned();
            self.reply(Some(caller), Reply::Progress(text));
        }
    }

    fn may_upgrade(&self) -> bool {
        self.mode == Mode::Serving
            && self.upgrade.is_idle()
            && matches!(self.reload, Reload::Idle)
            && self.gateway.is_ready()
            && self.gateway.activations == 0
            && self.closing.is_none()
            && !self.processes.values().any(Process::is_leaving)
    }

    /// Starts the waiting upgrade, unless something else is in progress.
    pub(super) fn begin_queued_upgrade(&mut self, now: Now) {
        if self.upgrade.queued.is_none() || !self.may_upgrade() {
            return;
        }
        let queued = self.upgrade.queued.take().unwrap_or_default();
        self.upgrade.callers = queued.callers;
        self.upgrade.close_rest = queued.close_rest;
        self.upgrade.closed = 0;
        let to = self.gateway.next_incarnation();
        self.upgrade.others.insert(to);
        self.upgrade.stage = UpgradeStage::Starting {
            to,
            deadline: now + self.shape.start_timeout,
        };
        self.act(Action::Upgrade(UpgradeAction::SpawnSuccessor {
            incarnation: to,
            generation: self.workers_generation,
        }));
    }

    /// A gateway that is not the present one has said hello.
    pub(super) fn successor_hello(&mut self, incarnation: u32) {
        if self.upgrade.successor() == Some(incarnation) {
            self.act(Action::Upgrade(UpgradeAction::StartSuccessor {
                incarnation,
            }));
        }
    }

    /// The new gateway can take everything.
    pub(super) fn successor_waits(&mut self, incarnation: u32, now: Now) {
        let UpgradeStage::Starting { to, .. } = self.upgrade.stage else {
            return;
        };
        if to != incarnation {
            return;
        }
        let Some(over) = self.upgrade.close_rest else {
            self.begin_to_move(to, now);
            return;
        };
        let max_wait = self.shape.max_wait;
        self.last_drain += 1;
        let number = self.last_drain;
        self.upgrade.stage = UpgradeStage::Clearing {
            to,
            number,
            deadline: now + over + max_wait + GRACE,
        };
        let text = format!("closing what cannot move over {}", seconds(over));
        info!("upgrade: {text}");
        for caller in self.upgrade.callers.clone() {
            self.reply(Some(caller), Reply::Progress(text.clone()));
        }
        self.act(Action::Upgrade(UpgradeAction::CloseRest {
            number,
            over,
            max_wait,
        }));
    }

    /// The connections of this drain are closed.
    pub(super) fn rest_is_closed(&mut self, ended: u64, count: u64, now: Now) {
        if let UpgradeStage::Clearing { to, number, .. } = self.upgrade.stage
            && number == ended
        {
            self.upgrade.closed = count;
            self.begin_to_move(to, now);
        }
    }

    fn begin_to_move(&mut self, to: u32, now: Now) {
        self.upgrade.stage = UpgradeStage::Moving {
            to,
            deadline: now + MOVE_TIME,
            is_handed_over: false,
            is_taken: false,
        };
        self.act(Action::Upgrade(UpgradeAction::HandOver { to }));
    }

    /// The present gateway has handed everything over and stands still, or cannot for this reason and goes on.
    pub(super) fn gateway_handed_over(
        &mut self,
        incarnation: u32,
        failure: Option<String>,
        now: Now,
    ) {
        if !self.is_present(incarnation) {
            return;
        }
        if let (UpgradeStage::Moving { is_handed_over, .. }, None) =
            (&mut self.upgrade.stage, &failure)
        {
            *is_handed_over = true;
            self.commit_upgrade(now);
        }
        if let Some(reason) = failure {
            self.fail_upgrade(&reason);
        }
    }

    /// The new gateway has taken everything.
    pub(super) fn successor_ready(&mut self, incarnation: u32, now: Now) {
        if self.upgrade.successor() != Some(incarnation) {
            return;
        }
        if let UpgradeStage::Moving { is_taken, .. } = &mut self.upgrade.stage {
            *is_taken = true;
            self.commit_upgrade(now);
        }
    }

    fn commit_upgrade(&mut self, now: Now) {
        let UpgradeStage::Moving {
            to,
            is_handed_over: true,
            is_taken: true,
            ..
        } = self.upgrade.stage
        else {
            return;
        };
        let from = self.gateway.follow(to, now);
        self.upgrade.others.remove(&to);
        self.upgrade.others.insert(from);
        self.upgrade.dismissed.insert(from);
        self.upgrade.stage = UpgradeStage::Committed {
            deadline: now + WORD_TIME,
        };
        self.act(Action::Upgrade(UpgradeAction::SwitchGateway { from, to }));
    }

    /// The new gateway goes on, after clients have waited for this long.
    pub(super) fn gateway_goes_on(&mut self, incarnation: u32, sessions: u64, pause: Duration) {
        if !self.is_present(incarnation)
            || !matches!(self.upgrade.stage, UpgradeStage::Committed { .. })
        {
            return;
        }
        self.upgrade.stage = UpgradeStage::Idle;
        let text = format!(
            "gateway upgraded: {}{}, paused {} ms",
            match sessions {
                1 => "1 session moved".to_owned(),
                _ => format!("{sessions} sessions moved"),
            },
            match self.upgrade.closed {
                0 => String::new(),
                closed => format!(", {closed} closed"),
            },
            pause.as_millis()
        );
        info!("{text}");
        for caller in std::mem::take(&mut self.upgrade.callers) {
            self.reply(Some(caller), Reply::Done(text.clone()));
        }
        self.act(Action::Upgrade(UpgradeAction::Upgraded { pause }));
    }

    /// Ends the new gateway. The present one goes on.
    pub(super) fn fail_upgrade(&mut self, reason: &str) {
        let stage = std::mem::take(&mut self.upgrade.stage);
        let callers = std::mem::take(&mut self.upgrade.callers);
        let reason = match self.upgrade.closed {
            0 => reason.to_owned(),
            closed => format!("{reason}; {closed} connections that cannot move were closed for it"),
        };
        match stage {
            UpgradeStage::Idle => return,
            UpgradeStage::Starting { to, .. } => self.dismiss(to),
            UpgradeStage::Clearing { to, .. } => {
                self.dismiss(to);
                self.act(Action::Upgrade(UpgradeAction::AcceptAgain));
            }
            UpgradeStage::Moving { to, .. } => {
                self.dismiss(to);
                self.gateway.goes_on();
                self.act(Action::Upgrade(UpgradeAction::KeepGateway));
                if self.upgrade.close_rest.is_some() {
                    self.act(Action::Upgrade(UpgradeAction::AcceptAgain));
                }
            }
            // It has happened.
            UpgradeStage::Committed { .. } => {
                for caller in callers {
                    self.reply(Some(caller), Reply::Unconfirmed(reason.clone()));
                }
                return;
            }
        }
        warn!(
            reason = reason.as_str(),
            "upgrade failed; the present gateway goes on: {reason}"
        );
        for caller in callers {
            self.reply(Some(caller), Reply::Refused(reason.clone()));
        }
        self.act(Action::Upgrade(UpgradeAction::NotUpgraded));
    }

    /// The engine stops: neither the running upgrade nor the waiting one will happen.
    pub(super) fn refuse_upgrades(&mut self, reason: &str) {
        self.fail_upgrade(reason);
        let queued = self.upgrade.queued.take().unwrap_or_default();
        for caller in queued.callers {
            self.reply(Some(caller), Reply::Refused(reason.to_owned()));
        }
    }

    fn dismiss(&mut self, incarnation: u32) {
        if self.upgrade.is_other(incarnation) && self.upgrade.dismissed.insert(incarnation) {
            self.act(Action::Kill(Child::Gateway(incarnation)));
        }
    }

    /// Ends all gateways but the present one.
    pub(super) fn kill_other_gateways(&mut self) {
        for incarnation in self.upgrade.others.clone() {
            self.upgrade.dismissed.insert(incarnation);
            self.act(Action::Kill(Child::Gateway(incarnation)));
        }
    }

    /// A gateway that is not the present one has failed.
    pub(super) fn other_gateway_failed(&mut self, incarnation: u32, reason: &str) {
        if self.upgrade.successor() == Some(incarnation) {
            self.fail_upgrade(&format!("the new gateway cannot take over: {reason}"));
        } else {
            self.dismiss(incarnation);
        }
    }

    /// A gateway that is not the present one has ended. False: it is the present one.
    pub(super) fn other_gateway_gone(&mut self, incarnation: u32, how: &str) -> bool {
        if !self.upgrade.others.remove(&incarnation) {
            return false;
        }
        self.upgrade.dismissed.remove(&incarnation);
        if self.upgrade.successor() == Some(incarnation) {
            self.fail_upgrade(&format!("the new gateway {how}"));
        }
        true
    }

    pub(super) fn tick_upgrade(&mut self, now: Now) {
        if self
            .upgrade
            .deadline()
            .is_none_or(|deadline| deadline > now)
        {
            return;
        }
        let reason = match self.upgrade.stage {
            UpgradeStage::Starting { .. } => format!(
                "the new gateway was not ready within {:?}",
                self.shape.start_timeout
            ),
            UpgradeStage::Clearing { .. } => {
                "the present gateway has not closed in time what cannot move".to_owned()
            }
            UpgradeStage::Moving { .. } => {
                format!("the gateways did not hand everything over within {MOVE_TIME:?}")
            }
            UpgradeStage::Idle | UpgradeStage::Committed { .. } => {
                "the new gateway has not said that it goes on".to_owned()
            }
        };
        self.fail_upgrade(&reason);
    }
}
