//! Signs of life: a process that gives none gets no new sessions, and is replaced after its `kill_after`.
//!
//! Each gateway loop, the gateway's main thread and each process increment a count in their scoreboard every
//! [`BEAT`](moorline_protocol::control::BEAT), also when idle. The shell reads the counts every [`LOOK`](super::LOOK) and
//! tells the plan. Time in which nobody read them does not count: the machine may have slept, or the supervisor may have
//! been stopped. A process that a debugger holds is not killed.

use std::time::Duration;

use tracing::{info, warn};

use moorline_protocol::control::{ProcessId, Role};

use super::process::{Process, ProcessPhase};
use super::vital::{Finding, Sign, Vital};
use super::{Action, Forced, Left, Now, Plan, role_name};

/// How often the gateway is told which processes are silent, and asked how many sessions wait for them.
const SAY_AGAIN: Duration = Duration::from_secs(1);

/// Signs of life as they are at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signs {
    pub(crate) gateway: Option<GatewaySigns>,
    pub(crate) processes: Vec<(ProcessId, Sign)>,
    /// While sessions are being closed: how many are left, if there is a gateway.
    pub(crate) left: Option<Left>,
}

/// Those of the gateway of this incarnation.
#[derive(Debug, Clone)]
pub(crate) struct GatewaySigns {
    pub(crate) incarnation: u32,
    pub(crate) main: Sign,
    pub(crate) loops: Vec<Sign>,
}

impl Plan {
    /// Handles what has been seen.
    pub(super) fn look(&mut self, signs: Signs, now: Now) {
        if let Some(left) = signs.left {
            self.look_at_closing(left, now);
        }
        if !self.serves_sessions() {
            return;
        }
        if let Some(gateway) = signs.gateway
            && self.is_present(gateway.incarnation)
            && self.gateway.is_ready()
            && !self.upgrade.is_moving()
        {
            self.look_at_gateway(&gateway, now);
        }
        let mut has_changed = false;
        for (id, sign) in signs.processes {
            has_changed |= self.look_at_process(id, sign, now);
        }
        let is_due = !self.silent.is_empty() && self.say_silent_at <= now;
        if has_changed || is_due {
            self.say_silent(now);
        }
    }

    fn look_at_gateway(&mut self, signs: &GatewaySigns, now: Now) {
        let kill_after = self.shape.kill_gateway_after;
        let gateway = &mut self.gateway;
        gateway.loops.resize(signs.loops.len(), Vital::default());
        let main = || MAIN_THREAD.to_owned();
        let mut is_over = look_at_thread(&mut gateway.main, signs.main, now, kill_after, main);
        for (index, (vital, sign)) in gateway.loops.iter_mut().zip(&signs.loops).enumerate() {
            is_over |= look_at_thread(vital, *sign, now, kill_after, || loop_name(index));
        }
        if is_over {
            self.kill_gateway();
        }
    }

    /// True if it has fallen silent, or answers again.
    fn look_at_process(&mut self, id: ProcessId, sign: Sign, now: Now) -> bool {
        let Some(process) = self.processes.get_mut(&id) else {
            return false;
        };
        // A process that starts or ends has a deadline for that.
        if process.phase != ProcessPhase::Ready {
            return false;
        }
        let finding = process.vital.look(sign, now);
        let kill_after = match process.role {
            Role::Task(_) => self.shape.kill_task_after,
            Role::Worker(_) | Role::Gateway => self.shape.kill_worker_after,
        };
        let (still, is_over) = (process.vital.still, process.vital.is_over(kill_after));
        if is_over {
            let (name, still) = (role_name(process.role), seconds(still));
            warn!(worker = %name, "{name} has not answered for {still}, over its `kill_after`: it is replaced");
            self.kill_process(id, Forced::No);
            return true;
        }
        match finding {
            Finding::Nothing => false,
            Finding::FellSilent => true,
            Finding::StillSilent => {
                self.act(Action::ReportSilent {
                    process: id,
                    silent: still,
                });
                false
            }
            Finding::Answers(silent) => {
                self.act(Action::ReportAnswers {
                    process: id,
                    silent,
                });
                true
            }
        }
    }

    fn say_silent(&mut self, now: Now) {
        let silent = |process: &Process| {
            process.phase == ProcessPhase::Ready && process.vital.silent().is_some()
        };
        self.silent = self
            .processes
            .iter()
            .filter(|(_, process)| silent(process))
            .map(|(id, _)| *id)
            .collect();
        self.say_silent_at = now + SAY_AGAIN;
        if self.gateway.is_ready() {
            self.act(Action::SaySilent {
                processes: self.silent.clone(),
            });
        }
    }

    /// How long this process has not answered, if it does not.
    pub(crate) fn silent(&self, process: ProcessId) -> Option<Duration> {
        self.processes.get(&process)?.vital.silent()
    }

    /// How long the gateway's main thread has stood still, if it does.
    pub(crate) fn still_main(&self) -> Option<Duration> {
        self.gateway.main.silent()
    }

    /// The gateway's loops that stand still, and how long they have.
    pub(crate) fn still_loops(&self) -> impl Iterator<Item = (usize, Duration)> {
        let loops = self.gateway.loops.iter().enumerate();
        loops.filter_map(|(index, vital)| Some((index, vital.silent()?)))
    }

    /// Which of the gateway's threads stands still, as far as is known.
    pub(crate) fn what_hangs(&self) -> String {
        let main = self
            .still_main()
            .map(|still| (MAIN_THREAD.to_owned(), still));
        let loops = self.still_loops();
        let loops = loops.map(|(index, still)| (loop_name(index), still));
        let still = main.into_iter().chain(loops).map(|(name, still)| {
            let still = seconds(still);
            format!("{name} has been stuck for {still}")
        });
        let still: Vec<_> = still.collect();
        match still.is_empty() {
            true => "the gateway is late, though its threads take turns".to_owned(),
            false => still.join(", "),
        }
    }

    /// Whether a process has missed a sign of life.
    pub(crate) fn is_doubtful(&self, process: ProcessId) -> bool {
        let process = self.processes.get(&process);
        process.is_some_and(|process| process.vital.is_doubtful())
    }

    /// Whether a thread of the gateway has.
    pub(crate) fn is_gateway_doubtful(&self) -> bool {
        self.gateway.main.is_doubtful() || self.gateway.loops.iter().any(Vital::is_doubtful)
    }
}

/// The thread that serves HTTP, takes files from workers and receives the supervisor's messages.
const MAIN_THREAD: &str = "the gateway's main thread";

fn loop_name(index: usize) -> String {
    format!("gateway loop {index}")
}

/// Looks at one thread of the gateway. True: it has stood still for too long.
fn look_at_thread(
    vital: &mut Vital,
    sign: Sign,
    now: Now,
    kill_after: Option<Duration>,
    name: impl Fn() -> String,
) -> bool {
    match vital.look(sign, now) {
        Finding::Nothing => {}
        Finding::FellSilent | Finding::StillSilent => {
            warn!("{} has been stuck for {}", name(), seconds(vital.still));
        }
        Finding::Answers(still) => info!("{} runs again after {}", name(), seconds(still)),
    }
    let is_over = vital.is_over(kill_after);
    if is_over {
        warn!(
            "{} has been stuck for {}, over `kill_after` in [engine]: the gateway is replaced",
            name(),
            seconds(vital.still)
        );
    }
    is_over
}

/// As in "4.2 s".
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
