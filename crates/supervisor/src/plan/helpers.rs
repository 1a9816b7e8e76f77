//! Helpers: commands of the user's own, kept alive for as long as the engine runs.

use std::time::Duration;

use tracing::{info, warn};

use super::backoff::Backoff;
use super::{Action, Child, Mode, Now, Plan};

/// How long a helper may take to end. `max_wait` does not matter, because a helper holds no session.
const PATIENCE: Duration = Duration::from_secs(5);

/// An entry of `[[helpers]]`, or a removed one that has not ended.
#[derive(Debug)]
pub(super) struct Helper {
    spec: moorline_config::Helper,
    phase: HelperPhase,
    backoff: Backoff,
    restarts: u64,
}

#[derive(Debug)]
enum HelperPhase {
    RetryAt(Now),
    Running {
        run: u32,
        since: Now,
    },
    /// It was asked to end, or killed if there is no deadline; then comes its successor, if any.
    Ending {
        run: u32,
        deadline: Option<Now>,
        successor: Option<moorline_config::Helper>,
    },
}

impl Helper {
    fn new(spec: moorline_config::Helper, now: Now) -> Self {
        Self {
            spec,
            phase: HelperPhase::RetryAt(now),
            backoff: Backoff::default(),
            restarts: 0,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.spec.name
    }

    pub(super) fn restarts(&self) -> u64 {
        self.restarts
    }

    pub(super) fn is_alive(&self) -> bool {
        !matches!(self.phase, HelperPhase::RetryAt(_))
    }

    pub(super) fn deadline(&self) -> Option<Now> {
        match self.phase {
            HelperPhase::RetryAt(at) => Some(at),
            HelperPhase::Running { .. } => None,
            HelperPhase::Ending { deadline, .. } => deadline,
        }
    }

    pub(super) fn run(&self) -> Option<u32> {
        match self.phase {
            HelperPhase::RetryAt(_) => None,
            HelperPhase::Running { run, .. } | HelperPhase::Ending { run, .. } => Some(run),
        }
    }
}

impl Plan {
    pub(super) fn start_helpers(&mut self, now: Now) {
        self.helpers = self
            .shape
            .helpers
            .iter()
            .map(|spec| Helper::new(spec.clone(), now))
            .collect();
        self.tick_helpers(now);
    }

    /// After a reload: only helpers that the new configuration changes are touched.
    pub(super) fn change_helpers(&mut self, now: Now) {
        let wanted = self.shape.helpers.clone();
        for helper in &mut self.helpers {
            let successor = wanted.iter().find(|spec| spec.name == helper.spec.name);
            match &mut helper.phase {
                HelperPhase::Ending {
                    successor: next, ..
                } => *next = successor.cloned(),
                _ if successor == Some(&helper.spec) => {}
                HelperPhase::Running { run, .. } => {
                    let run = *run;
                    helper.phase = HelperPhase::Ending {
                        run,
                        deadline: Some(now + PATIENCE),
                        successor: successor.cloned(),
                    };
                    self.actions.push_back(Action::TerminateHelper { run });
                }
                HelperPhase::RetryAt(_) => match successor {
                    Some(spec) => *helper = Helper::new(spec.clone(), now),
                    None => helper.phase = HelperPhase::RetryAt(Now::MAX),
                },
            }
        }
        self.helpers
            .retain(|helper| !matches!(helper.phase, HelperPhase::RetryAt(Now::MAX)));
        for spec in wanted {
            if self
                .helpers
                .iter()
                .all(|helper| helper.spec.name != spec.name)
            {
                self.helpers.push(Helper::new(spec, now));
            }
        }
        self.tick_helpers(now);
    }

    pub(super) fn tick_helpers(&mut self, now: Now) {
        for helper in &mut self.helpers {
            match &mut helper.phase {
                HelperPhase::RetryAt(at)
                    if *at <= now && matches!(self.mode, Mode::Booting | Mode::Serving) =>
                {
                    self.last_run += 1;
                    helper.phase = HelperPhase::Running {
                        run: self.last_run,
                        since: now,
                    };
                    self.actions.push_back(Action::SpawnHelper {
                        run: self.last_run,
                        generation: self.workers_generation,
                        helper: helper.spec.clone(),
                    });
                }
                HelperPhase::Ending { run, deadline, .. }
                    if deadline.is_some_and(|deadline| deadline <= now) =>
                {
                    warn!(
                        "helper {} did not end when asked to, and is killed",
                        helper.spec.name
                    );
                    *deadline = None;
                    self.actions.push_back(Action::Kill(Child::Helper(*run)));
                }
                _ => {}
            }
        }
    }

    pub(super) fn helper_gone(&mut self, run: u32, now: Now) {
        let Some(place) = self
            .helpers
            .iter()
            .position(|helper| helper.run() == Some(run))
        else {
            return;
        };
        let is_running = matches!(self.mode, Mode::Booting | Mode::Serving);
        let helper = &mut self.helpers[place];
        match &mut helper.phase {
            HelperPhase::Running { since, .. } if is_running => {
                let wait = helper.backoff.after_death(Some(now.saturating_sub(*since)));
                let name = &helper.spec.name;
                match wait.is_zero() {
                    true => info!(helper = %name, "helper {name} is started again at once"),
                    false => info!(helper = %name, "helper {name} is started again in {wait:?}"),
                }
                helper.restarts += 1;
                helper.phase = HelperPhase::RetryAt(now + wait);
            }
            HelperPhase::Ending {
                successor: Some(spec),
                ..
            } if is_running => {
                let spec = spec.clone();
                *helper = Helper::new(spec, now);
            }
            _ => {
                self.helpers.remove(place);
            }
        }
        self.tick_helpers(now);
    }

    /// The engine stops: asks every helper to end. A helper that waits for its start is not started.
    pub(super) fn terminate_helpers(&mut self, now: Now) {
        self.helpers.retain(Helper::is_alive);
        for helper in &mut self.helpers {
            if let HelperPhase::Running { run, .. } = helper.phase {
                helper.phase = HelperPhase::Ending {
                    run,
                    deadline: Some(now + PATIENCE),
                    successor: None,
                };
                self.actions.push_back(Action::TerminateHelper { run });
            }
        }
    }

    pub(super) fn kill_helpers(&mut self) {
        self.helpers.retain(Helper::is_alive);
        for helper in &mut self.helpers {
            if let Some(run) = helper.run() {
                helper.phase = HelperPhase::Ending {
                    run,
                    deadline: None,
                    successor: None,
                };
                self.actions.push_back(Action::Kill(Child::Helper(run)));
            }
        }
    }

    pub(super) fn has_helpers(&self) -> bool {
        self.helpers.iter().any(Helper::is_alive)
    }
}
