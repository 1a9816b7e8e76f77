//! Stopping: sessions drain, then workers, task workers and helpers end, and the gateway last.

use std::time::Duration;

use tracing::info;

use moorline_protocol::control::Role;

use super::process::Process;
use super::{Action, Forced, Mode, Now, Plan};

/// Added to `max_wait`: the children keep to the same limit and need a moment to report it.
const GRACE: Duration = Duration::from_secs(1);

/// How far the stop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    stage: Stage,
    /// When the children that this stage waits for are killed.
    pub(super) deadline: Now,
    /// When `stop_over` and then `max_wait` are over for all stages together.
    end: Now,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The gateway closes sessions.
    Draining,
    Workers,
    Tasks,
    Helpers,
    Gateway,
}

impl Plan {
    pub(super) fn stop_asked(&mut self, now: Now) {
        match self.mode {
            Mode::Booting => {
                info!("stopping before everything was started");
                self.end(None);
            }
            // Everything is served as before until the hook has ended, or a second stop is asked for.
            Mode::Serving if !self.stop_hook_runs => {
                self.stop_hook_runs = true;
                self.act(Action::RunStopHook);
            }
            Mode::Serving => self.begin_stop(now),
            Mode::Stopping(_) => {
                info!("asked to stop again: stopping now");
                self.end(None);
            }
            Mode::Ending { .. } | Mode::Over => {}
        }
    }

    pub(super) fn stop_hook_ended(&mut self, now: Now) {
        if self.mode == Mode::Serving && self.stop_hook_runs {
            self.begin_stop(now);
        }
    }

    fn begin_stop(&mut self, now: Now) {
        info!("stopping");
        self.stop_hook_runs = false;
        self.refuse_reloads("the engine is stopping");
        self.refuse_upgrades("the engine is stopping");
        let (over, max_wait) = (self.shape.stop_over, self.shape.max_wait);
        let end = now + over + max_wait;
        self.mode = Mode::Stopping(Step {
            stage: Stage::Draining,
            deadline: end + GRACE,
            end,
        });
        if self.gateway.is_ready() {
            self.stop_closes(over, now);
            self.act(Action::StopGateway { over, max_wait });
        } else {
            self.kill_gateway();
            self.enter(Stage::Workers, now);
        }
    }

    /// Sessions are served: all of them, or in a stop that is spread over a time those whose turn has not come.
    pub(super) fn serves_sessions(&self) -> bool {
        match self.mode {
            Mode::Serving => true,
            Mode::Stopping(step) => {
                step.stage == Stage::Draining && !self.shape.stop_over.is_zero()
            }
            Mode::Booting | Mode::Ending { .. } | Mode::Over => false,
        }
    }

    pub(super) fn gateway_drained(&mut self, incarnation: u32, now: Now) {
        if self.is_present(incarnation)
            && matches!(
                self.mode,
                Mode::Stopping(Step {
                    stage: Stage::Draining,
                    ..
                })
            )
        {
            self.enter(Stage::Workers, now);
        }
    }

    /// Goes from stage to stage until there is something to wait for.
    pub(super) fn advance_stop(&mut self, now: Now) {
        while let Mode::Stopping(step) = self.mode {
            let is_done = match step.stage {
                Stage::Draining | Stage::Gateway => !self.gateway.is_alive(),
                Stage::Workers => !self.processes.values().any(is_worker),
                Stage::Tasks => self.processes.is_empty(),
                Stage::Helpers => !self.has_helpers(),
            };
            if !is_done {
                return;
            }
            match step.stage {
                Stage::Draining => self.enter(Stage::Workers, now),
                Stage::Workers => self.enter(Stage::Tasks, now),
                Stage::Tasks => self.enter(Stage::Helpers, now),
                Stage::Helpers => self.enter(Stage::Gateway, now),
                // Nothing is left that would have to be killed.
                Stage::Gateway => self.mode = Mode::Ending { failure: None },
            }
        }
    }

    fn enter(&mut self, stage: Stage, now: Now) {
        let Mode::Stopping(Step { end, .. }) = self.mode else {
            return;
        };
        let deadline = end.max(now) + GRACE;
        self.mode = Mode::Stopping(Step {
            stage,
            deadline,
            end,
        });
        let remaining = end.saturating_sub(now);
        match stage {
            Stage::Draining => {}
            Stage::Workers => {
                for id in self.ids(is_worker) {
                    self.stop_for_good(id, deadline, remaining);
                }
            }
            Stage::Tasks => {
                for id in self.ids(|_| true) {
                    self.stop_for_good(id, deadline, remaining);
                }
            }
            Stage::Helpers => self.terminate_helpers(now),
            Stage::Gateway => self.release_gateway(),
        }
    }

    pub(super) fn tick_stop(&mut self, now: Now) {
        let Mode::Stopping(step) = self.mode else {
            return;
        };
        if step.deadline > now {
            return;
        }
        match step.stage {
            Stage::Draining => {
                tracing::warn!("the gateway has sessions left at max_wait");
                self.enter(Stage::Workers, now);
            }
            Stage::Workers => {
                for id in self.ids(is_worker) {
                    self.kill_process(id, Forced::No);
                }
                self.wait_for_the_killed(step, now);
            }
            Stage::Tasks => {
                for id in self.ids(|_| true) {
                    self.kill_process(id, Forced::No);
                }
                self.wait_for_the_killed(step, now);
            }
            Stage::Helpers => {
                self.kill_helpers();
                self.wait_for_the_killed(step, now);
            }
            Stage::Gateway => {
                self.kill_gateway();
                self.wait_for_the_killed(step, now);
            }
        }
    }

    /// Killed children end without being asked again, so the deadline only moves out of the way.
    fn wait_for_the_killed(&mut self, step: Step, now: Now) {
        self.mode = Mode::Stopping(Step {
            deadline: now + GRACE,
            ..step
        });
    }

    fn ids(&self, which: impl Fn(&Process) -> bool) -> Vec<u32> {
        self.processes
            .iter()
            .filter(|(_, process)| which(process))
            .map(|(&id, _)| id)
            .collect()
    }
}

fn is_worker(process: &Process) -> bool {
    matches!(process.role, Role::Worker(_))
}
