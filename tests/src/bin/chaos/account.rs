//! Whether what was promised was kept: what clients have lost in a round, held against what was done to the engine
//! in it and against what the engine says itself.
//!
//! | event | clients may see |
//! | --- | --- |
//! | reload, `TERM` to a worker | nothing |
//! | upgrade, refused or done | nothing |
//! | broken deployment, full disk, flood, garbage | nothing |
//! | worker's death | what it had in progress, by `on_crash`: sessions closed, messages lost, or nothing; requests without an answer; all counted |
//! | task worker's or helper's death | nothing |
//! | `TERM` to the gateway or a helper | nothing |
//! | stopped process | nothing; killed at `max_wait` of a reload it is a dead one, counted as forced |
//! | hostile worker | what it had in progress, as with a death |
//! | no descriptors, no memory for rings, a full `/dev/shm` | nothing; what is started meanwhile may fail and is started again |
//! | gateway's death | its sessions closed; requests without an answer; a gap in each history |
//! | supervisor's death, stop | sessions drained and closed |

use std::fmt;

use moorline_tests::Status;

/// Sessions that a gateway may have accepted and not counted yet when it is killed.
const UNCOUNTED: u64 = 8;

/// What was done to an engine in one round.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// Workers and task workers killed.
    pub(crate) killed: u64,
    pub(crate) gateways_killed: u64,
    /// Upgrades that were asked for: each may bring another gateway.
    pub(crate) upgrades: u64,
    /// TERM to a gateway. One that has a session ignores it.
    pub(crate) gateways_termed: u64,
    pub(crate) supervisors_killed: u64,
    /// Stops with a start behind them.
    pub(crate) restarted: u64,
    /// Workers and task workers that were told to end.
    pub(crate) retired: u64,
    /// Processes stopped for a while.
    pub(crate) stopped: u64,
    /// Times that a process had no descriptors or no memory to get.
    pub(crate) starved: u64,
    /// Reloads that were to succeed, and how many of them did not.
    pub(crate) reloads: u64,
    pub(crate) reloads_failed: u64,
    /// Broken deployments, how many of them were taken, and how many processes each may have started in vain.
    pub(crate) broken: u64,
    pub(crate) broken_taken: u64,
    pub(crate) broken_processes: u64,
    /// Floods, storms and garbage: clients besides the crowd.
    pub(crate) outsiders: u64,
    /// Messages whose handler failed.
    pub(crate) failed: u64,
    /// Times that the log's disk was full.
    pub(crate) disks_filled: u64,
}

/// What the clients that are counted have lost in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Sessions closed by the engine.
    pub(crate) closed: u64,
    /// Messages without an answer in sessions that stayed.
    pub(crate) missing: u64,
    /// Plain requests without a whole answer.
    pub(crate) unanswered: u64,
    /// Times that a reader of the board was notified of a gap.
    pub(crate) gaps: u64,
}

/// What the engine has counted, since its supervisor started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) closed_by_crash: u64,
    /// Sessions that were a dead gateway's.
    pub(crate) gateway_lost: u64,
    pub(crate) dropped: u64,
    /// Plain requests that failed or were refused.
    pub(crate) requests_failed: u64,
    pub(crate) redelivered: u64,
    pub(crate) reload_forced: u64,
    pub(crate) worker_exits: u64,
    pub(crate) gateways: u64,
    pub(crate) log_lines_dropped: u64,
}

/// What has been counted of one engine by some moment, on both sides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) lost: Lost,
    pub(crate) counted: Counted,
}

/// One engine's round.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) done: Done,
    pub(crate) lost: Lost,
    pub(crate) before: Counted,
    pub(crate) after: Counted,
}

impl From<&Status> for Counted {
    fn from(status: &Status) -> Counted {
        Counted {
            closed_by_crash: status.lost.closed_by_crash,
            gateway_lost: status.closed("gateway_lost"),
            dropped: status.lost.dropped,
            requests_failed: ["failed", "refused"]
                .iter()
                .filter_map(|end| status.gateway.requests.get(*end))
                .sum(),
            redelivered: status.lost.redelivered,
            reload_forced: status.lost.reload_forced,
            worker_exits: status.errors.worker_exits,
            gateways: u64::from(status.gateway.incarnation),
            log_lines_dropped: status.log_lines_dropped,
        }
    }
}

impl Account {
    pub(crate) fn between(done: &Done, before: &Tally, now: &Tally) -> Account {
        Account {
            done: done.clone(),
            lost: Lost {
                closed: now.lost.closed.saturating_sub(before.lost.closed),
                // A message that was given up may come after all.
                missing: now.lost.missing.saturating_sub(before.lost.missing),
                unanswered: now.lost.unanswered.saturating_sub(before.lost.unanswered),
                gaps: now.lost.gaps.saturating_sub(before.lost.gaps),
            },
            before: before.counted.clone(),
            after: now.counted.clone(),
        }
    }

    /// What nothing explains.
    pub(crate) fn unexplained(&self) -> Vec<String> {
        let (done, new) = (&self.done, self.counted());
        let mut found = Vec::new();
        let mut unless = |kept: bool, text: String| {
            if !kept {
                found.push(text);
            }
        };
        unless(
            done.broken_taken == 0,
            format!("{} broken builds were deployed", done.broken_taken),
        );
        unless(
            done.reloads_failed == 0 || self.is_disturbed(),
            format!("{} reloads failed undisturbed", done.reloads_failed),
        );
        // What the supervisor before had counted is gone, and its sessions with it.
        if done.supervisors_killed + done.restarted > 0 {
            return found;
        }
        unless(
            new.worker_exits <= done.killed + done.broken_processes || done.starved > 0,
            format!(
                "{} processes died, {} were killed",
                new.worker_exits, done.killed
            ),
        );
        let gateways_ended = done.gateways_killed + done.gateways_termed;
        // A new one that the engine has no memory or descriptors for is tried again, under the next number.
        unless(
            new.gateways <= gateways_ended + done.upgrades
                || (gateways_ended > 0 && done.starved > 0),
            format!(
                "{} new gateways, {} killed",
                new.gateways, done.gateways_killed
            ),
        );
        unless(
            new.reload_forced == 0 || done.stopped > 0,
            format!("{} messages lost to reloads", new.reload_forced),
        );
        let had_cause = done.killed + done.failed + done.starved + new.reload_forced > 0;
        unless(
            had_cause || new.closed_by_crash + new.dropped == 0,
            format!(
                "{} sessions closed and {} messages dropped without a death",
                new.closed_by_crash, new.dropped
            ),
        );
        unless(
            new.log_lines_dropped == 0 || done.disks_filled > 0,
            format!(
                "{} log lines dropped with room for them",
                new.log_lines_dropped
            ),
        );
        found.extend(self.uncounted());
        found.extend(self.uncounted_on_board());
        found
    }

    /// Requests without an answer, and gaps, that nothing explains.
    fn uncounted_on_board(&self) -> Vec<String> {
        let (done, lost, new) = (&self.done, &self.lost, self.counted());
        let mut found = Vec::new();
        // Those of upgrades go on with everything.
        let dead = new.gateways.saturating_sub(done.upgrades);
        if lost.gaps > 0 && done.gateways_killed + dead == 0 {
            found.push(format!("{} gaps, and the gateway has lived", lost.gaps));
        }
        let most = match done.gateways_killed + dead {
            0 => new.requests_failed,
            // What the one before had counted is gone.
            _ => u64::MAX,
        };
        if lost.unanswered > most {
            found.push(format!(
                "{} requests are not answered, the engine counted {most}",
                lost.unanswered
            ));
        }
        if new.requests_failed > 0 && !self.is_disturbed() && done.failed == 0 {
            found.push(format!(
                "{} requests failed undisturbed",
                new.requests_failed
            ));
        }
        found
    }

    /// Losses of the clients that differ from what the engine has counted.
    fn uncounted(&self) -> Vec<String> {
        let (done, lost, new) = (&self.done, &self.lost, self.counted());
        let mut found = Vec::new();
        let mut unless = |kept: bool, text: String| {
            if !kept {
                found.push(text);
            }
        };
        unless(
            new.gateway_lost == 0 || done.gateways_killed > 0,
            format!(
                "{} sessions went with a gateway that nobody killed",
                new.gateway_lost
            ),
        );
        let deaths = new.closed_by_crash + new.gateway_lost;
        let most = deaths + UNCOUNTED * done.gateways_killed;
        let least = match done.outsiders + done.gateways_killed {
            0 => deaths,
            // Outsiders' sessions may be among them.
            _ => 0,
        };
        unless(
            (least..=most).contains(&lost.closed),
            format!(
                "{} sessions were closed, the engine counted {deaths}",
                lost.closed
            ),
        );
        let least = match done.gateways_killed {
            0 => new.dropped,
            // Of a session that was lost afterwards nobody can say what else it misses.
            _ => 0,
        };
        unless(
            (least..=new.dropped).contains(&lost.missing),
            format!(
                "{} messages are missing, the engine counted {}",
                lost.missing, new.dropped
            ),
        );
        found
    }

    /// What there is now that was not there before the round.
    fn counted(&self) -> Counted {
        let (before, after) = (&self.before, &self.after);
        Counted {
            closed_by_crash: after.closed_by_crash.saturating_sub(before.closed_by_crash),
            gateway_lost: after.gateway_lost.saturating_sub(before.gateway_lost),
            dropped: after.dropped.saturating_sub(before.dropped),
            requests_failed: after.requests_failed.saturating_sub(before.requests_failed),
            redelivered: after.redelivered.saturating_sub(before.redelivered),
            reload_forced: after.reload_forced.saturating_sub(before.reload_forced),
            worker_exits: after.worker_exits.saturating_sub(before.worker_exits),
            gateways: after.gateways.saturating_sub(before.gateways),
            log_lines_dropped: after
                .log_lines_dropped
                .saturating_sub(before.log_lines_dropped),
        }
    }

    /// A reload may fail: something that it needs was killed or stopped.
    fn is_disturbed(&self) -> bool {
        let done = &self.done;
        let ended =
            done.gateways_killed + done.gateways_termed + done.supervisors_killed + done.restarted;
        done.killed + ended + done.stopped + done.starved > 0
    }
}

impl fmt::Display for Account {
    /// Each loss with its cause.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (done, lost, new) = (&self.done, &self.lost, self.counted());
        write!(
            f,
            "killed {} workers, {} gateways ({} told to end), {} supervisors; restarted {}, held {}, starved {}, retired {}; reloads {} ({} failed), broken {}; outsiders {}; disks filled {}\n    lost: {} sessions, {} messages, {} requests; {} gaps",
            done.killed,
            done.gateways_killed,
            done.gateways_termed,
            done.supervisors_killed,
            done.restarted,
            done.stopped,
            done.starved,
            done.retired,
            done.reloads,
            done.reloads_failed,
            done.broken,
            done.outsiders,
            done.disks_filled,
            lost.closed,
            lost.missing,
            lost.unanswered,
            lost.gaps,
        )?;
        if done.supervisors_killed + done.restarted > 0 {
            return write!(
                f,
                ", with the supervisor, or the stop: all sessions were drained and closed"
            );
        }
        write!(
            f,
            "; workers' deaths: {} sessions closed, {} messages dropped, {} given to the next worker ({} of all forced by reloads)",
            new.closed_by_crash, new.dropped, new.redelivered, new.reload_forced
        )?;
        if done.gateways_killed > 0 {
            write!(f, "; gateways' deaths: {} sessions", new.gateway_lost)?;
        }
        if new.log_lines_dropped > 0 {
            write!(f, "; {} log lines on a full disk", new.log_lines_dropped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two workers were killed; the engine says that this cost three sessions and four messages.
    fn two_kills() -> Account {
        Account {
            done: Done {
                killed: 2,
                ..Done::default()
            },
            lost: Lost {
                closed: 3,
                missing: 4,
                ..Lost::default()
            },
            before: Counted {
                closed_by_crash: 10,
                dropped: 10,
                worker_exits: 10,
                ..Counted::default()
            },
            after: Counted {
                closed_by_crash: 13,
                dropped: 14,
                worker_exits: 12,
                ..Counted::default()
            },
        }
    }

    #[test]
    fn a_quiet_round_needs_no_explanation() {
        assert_eq!(Account::default().unexplained(), Vec::<String>::new());
    }

    #[test]
    fn losses_that_the_engine_counts_are_explained_by_deaths() {
        assert_eq!(two_kills().unexplained(), Vec::<String>::new());
    }

    #[test]
    fn each_uncounted_loss_is_found() {
        let mut account = two_kills();
        account.lost = Lost {
            closed: 4,
            missing: 5,
            ..Lost::default()
        };
        assert_eq!(
            account.unexplained(),
            [
                "4 sessions were closed, the engine counted 3",
                "5 messages are missing, the engine counted 4"
            ]
        );
    }

    #[test]
    fn gaps_are_explained_by_a_gateways_death_and_unanswered_requests_by_a_count() {
        let mut account = two_kills();
        account.lost.gaps = 1;
        account.lost.unanswered = 2;
        account.after.requests_failed = 1;
        assert_eq!(
            account.unexplained(),
            [
                "1 gaps, and the gateway has lived",
                "2 requests are not answered, the engine counted 1"
            ]
        );
        account.done.gateways_killed = 1;
        account.after.gateways = 1;
        assert_eq!(account.unexplained(), Vec::<String>::new());
        let mut quiet = Account::default();
        quiet.after.requests_failed = 1;
        assert_eq!(quiet.unexplained(), ["1 requests failed undisturbed"]);
    }

    #[test]
    fn losses_without_a_death_and_deaths_without_a_kill_are_found() {
        let mut account = two_kills();
        account.done.killed = 0;
        assert_eq!(
            account.unexplained(),
            [
                "2 processes died, 0 were killed",
                "3 sessions closed and 4 messages dropped without a death"
            ]
        );
    }

    #[test]
    fn a_gateways_death_explains_the_sessions_it_had_and_no_missing_message() {
        let mut account = two_kills();
        account.done.gateways_killed = 1;
        account.after.gateways = 1;
        account.after.gateway_lost = 50;
        account.lost = Lost {
            closed: 53,
            missing: 5,
            ..Lost::default()
        };
        assert_eq!(
            account.unexplained(),
            ["5 messages are missing, the engine counted 4"]
        );
        account.lost.closed += UNCOUNTED + 1;
        assert_eq!(
            account.unexplained(),
            [
                "62 sessions were closed, the engine counted 53",
                "5 messages are missing, the engine counted 4"
            ]
        );
    }

    #[test]
    fn a_gateway_that_ends_by_itself_is_found() {
        let mut account = two_kills();
        account.after.gateways = 1;
        assert_eq!(account.unexplained(), ["1 new gateways, 0 killed"]);
    }

    #[test]
    fn a_new_gateway_may_be_tried_again_while_its_engine_starves() {
        let mut account = two_kills();
        account.after.gateways = 4;
        account.done.starved = 1;
        assert_eq!(account.unexplained(), ["4 new gateways, 0 killed"]);
        account.done.gateways_killed = 1;
        assert!(account.unexplained().is_empty());
    }

    #[test]
    fn a_gateway_that_ends_by_an_order_loses_nothing() {
        let mut account = two_kills();
        account.done.gateways_termed = 1;
        account.after.gateways = 1;
        account.after.gateway_lost = 50;
        account.lost.closed = 53;
        let found = "50 sessions went with a gateway that nobody killed";
        assert_eq!(account.unexplained(), [found]);
    }

    #[test]
    fn a_supervisors_death_explains_all_but_a_broken_build() {
        let mut account = two_kills();
        account.done.supervisors_killed = 1;
        account.done.broken_taken = 1;
        account.after = Counted::default();
        assert_eq!(account.unexplained(), ["1 broken builds were deployed"]);
    }

    #[test]
    fn a_reload_that_nothing_disturbed_does_not_fail() {
        let done = Done {
            reloads: 1,
            reloads_failed: 1,
            ..Done::default()
        };
        let account = Account {
            done,
            ..Account::default()
        };
        assert_eq!(account.unexplained(), ["1 reloads failed undisturbed"]);
    }
}
