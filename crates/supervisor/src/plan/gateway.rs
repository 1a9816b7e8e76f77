//! The gateway: there is one at a time, and one whenever the engine serves.

use tracing::{info, warn};

use super::backoff::Backoff;
use super::vital::Vital;
use super::{Action, Child, Ended, Mode, Now, Plan};

/// The present gateway, or the wait for the next.
#[derive(Debug)]
pub(super) struct Gateway {
    /// The present or last one; 0 before the first.
    incarnation: u32,
    /// The last number that one was given.
    last_incarnation: u32,
    phase: GatewayPhase,
    ready_at: Option<Now>,
    backoff: Backoff,
    /// How many `Activate` it was sent and has not executed yet.
    pub(super) activations: u32,
    /// Its main thread.
    pub(super) main: Vital,
    /// Its loops, as far as they have been looked at.
    pub(super) loops: Vec<Vital>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GatewayPhase {
    /// Its hello is outstanding.
    Spawned {
        deadline: Now,
    },
    /// It has its start message.
    Starting {
        deadline: Now,
    },
    Ready,
    /// Its channel was closed, which ends it.
    Released,
    /// It was killed.
    Killed,
    /// There is none until then.
    RetryAt(Now),
    /// There is none.
    Gone,
}

impl Gateway {
    pub(super) fn new() -> Self {
        Self {
            incarnation: 0,
            last_incarnation: 0,
            phase: GatewayPhase::Gone,
            ready_at: None,
            backoff: Backoff::default(),
            activations: 0,
            main: Vital::default(),
            loops: Vec::new(),
        }
    }

    /// A number for one more gateway.
    pub(super) fn next_incarnation(&mut self) -> u32 {
        self.last_incarnation += 1;
        self.last_incarnation
    }

    /// The gateway of this number has taken everything from the present one. Returns the number of that.
    pub(super) fn follow(&mut self, to: u32, now: Now) -> u32 {
        let from = std::mem::replace(&mut self.incarnation, to);
        self.phase = GatewayPhase::Ready;
        self.ready_at = Some(now);
        self.goes_on();
        from
    }

    /// It may have stood still, as it was told: its signs of life are looked at anew.
    pub(super) fn goes_on(&mut self) {
        self.main = Vital::default();
        self.loops.clear();
    }

    pub(super) fn is_ready(&self) -> bool {
        self.phase == GatewayPhase::Ready
    }

    /// There is a process that has not been reaped.
    pub(super) fn is_alive(&self) -> bool {
        !matches!(self.phase, GatewayPhase::RetryAt(_) | GatewayPhase::Gone)
    }

    /// It was told to end, and this is how.
    pub(super) fn is_expected(&self, end: Ended) -> bool {
        match self.phase {
            GatewayPhase::Killed => true,
            GatewayPhase::Released => end.is_success(),
            GatewayPhase::Spawned { .. }
            | GatewayPhase::Starting { .. }
            | GatewayPhase::Ready
            | GatewayPhase::RetryAt(_)
            | GatewayPhase::Gone => false,
        }
    }

    pub(super) fn deadline(&self) -> Option<Now> {
        match self.phase {
            GatewayPhase::Spawned { deadline }
            | GatewayPhase::Starting { deadline }
            | GatewayPhase::RetryAt(deadline) => Some(deadline),
            GatewayPhase::Ready
            | GatewayPhase::Released
            | GatewayPhase::Killed
            | GatewayPhase::Gone => None,
        }
    }
}

impl Plan {
    pub(super) fn spawn_gateway(&mut self, now: Now) {
        self.gateway.incarnation = self.gateway.next_incarnation();
        self.gateway.ready_at = None;
        self.gateway.main = Vital::default();
        self.gateway.loops.clear();
        self.gateway.phase = GatewayPhase::Spawned {
            deadline: now + self.shape.start_timeout,
        };
        self.act(Action::SpawnGateway {
            incarnation: self.gateway.incarnation,
            generation: self.workers_generation,
        });
    }

    pub(super) fn gateway_hello(&mut self, incarnation: u32, _now: Now) {
        if self.is_present(incarnation)
            && let GatewayPhase::Spawned { deadline } = self.gateway.phase
        {
            self.gateway.phase = GatewayPhase::Starting { deadline };
            self.act(Action::StartGateway { incarnation });
        } else {
            self.successor_hello(incarnation);
        }
    }

    pub(super) fn gateway_ready(&mut self, incarnation: u32, now: Now) {
        self.successor_ready(incarnation, now);
        if !self.is_present(incarnation)
            || !matches!(self.gateway.phase, GatewayPhase::Starting { .. })
        {
            return;
        }
        self.gateway.phase = GatewayPhase::Ready;
        self.gateway.ready_at = Some(now);
        if self.mode == Mode::Booting {
            self.start_helpers(now);
            self.spawn_all();
        } else {
            self.activate(None);
            self.prepare_gateway();
        }
    }

    pub(super) fn gateway_failed(&mut self, incarnation: u32, reason: &str) {
        if !self.is_present(incarnation) {
            self.other_gateway_failed(incarnation, reason);
            return;
        }
        if self.mode == Mode::Booting {
            self.fail_boot(format!("gateway: {reason}"));
        } else {
            warn!("the gateway failed, and is killed: {reason}");
            self.kill_gateway();
        }
    }

    pub(super) fn gateway_gone(&mut self, incarnation: u32, how: &str, now: Now) {
        if self.other_gateway_gone(incarnation, how) || !self.is_present(incarnation) {
            return;
        }
        self.gateway.phase = GatewayPhase::Gone;
        self.fail_upgrade("the present gateway has ended");
        self.gateway.activations = 0;
        self.release_deferred();
        self.drain_is_lost("the gateway has ended");
        self.preparation_lost(now);
        match self.mode {
            Mode::Booting => self.fail_boot(format!("the gateway {how} before it was ready")),
            Mode::Serving => {
                self.detach_processes(now);
                let lived = self.gateway.ready_at.map(|at| now.saturating_sub(at));
                let wait = self.gateway.backoff.after_death(lived);
                if wait.is_zero() {
                    self.spawn_gateway(now);
                } else {
                    info!("the gateway is started again in {wait:?}");
                    self.gateway.phase = GatewayPhase::RetryAt(now + wait);
                }
            }
            Mode::Stopping(_) | Mode::Ending { .. } | Mode::Over => self.detach_processes(now),
        }
    }

    pub(super) fn tick_gateway(&mut self, now: Now) {
        match self.gateway.phase {
            GatewayPhase::Spawned { deadline } | GatewayPhase::Starting { deadline }
                if deadline <= now =>
            {
                let reason = format!("was not ready within {:?}", self.shape.start_timeout);
                self.gateway_failed(self.gateway.incarnation, &reason);
            }
            GatewayPhase::RetryAt(at) if at <= now && self.mode == Mode::Serving => {
                self.spawn_gateway(now)
            }
            _ => {}
        }
    }

    /// Ends it without waiting, or the wait for the next one.
    pub(super) fn kill_gateway(&mut self) {
        if self.gateway.is_alive() {
            self.gateway.phase = GatewayPhase::Killed;
            self.act(Action::Kill(Child::Gateway(self.gateway.incarnation)));
        } else {
            self.gateway.phase = GatewayPhase::Gone;
        }
    }

    /// Ends it by closing its channel.
    pub(super) fn release_gateway(&mut self) {
        if self.gateway.is_ready() {
            self.gateway.phase = GatewayPhase::Released;
            self.act(Action::ReleaseGateway {
                incarnation: self.gateway.incarnation,
            });
        } else {
            self.kill_gateway();
        }
    }

    /// Events of an earlier gateway come late and mean nothing.
    pub(super) fn is_present(&self, incarnation: u32) -> bool {
        self.gateway.is_alive() && self.gateway.incarnation == incarnation
    }
}
