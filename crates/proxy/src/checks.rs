//! Active checks: which peer is due, and what its results mean.

use std::time::Duration;

use fastrand::Rng;

use super::address::PeerAddress;
use super::peer::{Active, Failure, Peer, Switch, Turn, millis};
use super::peers::PeerKey;
use super::upstream::Upstream;

/// A check that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What to name the peer by in [`Upstream::checked`].
    pub peer: PeerKey,
    /// Where to connect to.
    pub address: PeerAddress,
    /// How long it may take.
    pub timeout: Duration,
}

impl Upstream {
    /// When [`due_check`](Self::due_check) should be asked next; `None`: nothing is checked, or all checks are running. It
    /// changes with each call that may change peers or their checks.
    pub fn next_check(&self) -> Option<u64> {
        self.members.config.check?;
        let peers = &self.members.peers;
        let waiting = peers.listed().map(|place| peers.at(place));
        let waiting = waiting.filter(|peer| is_waiting(peer));
        // One that was never checked is planned at once.
        waiting.map(|peer| peer.active.due.unwrap_or(0)).min()
    }

    /// A check that is due. It is running from here, until [`checked`](Self::checked). Ask again until there is none.
    pub fn due_check(&mut self, now: u64) -> Option<Probe> {
        let check = self.members.config.check?;
        let interval = millis(check.interval);
        let peers = &mut self.members.peers;
        let listed: Vec<_> = peers.listed().collect();
        for place in listed {
            let peer = peers.at_mut(place);
            if !is_waiting(peer) {
                continue;
            }
            // The first checks of many peers are spread over the interval.
            let due = *peer
                .active
                .due
                .get_or_insert_with(|| now.saturating_add(self.rng.u64(0..=interval)));
            if due > now {
                continue;
            }
            peer.active.is_running = true;
            let address = peer.address.clone();
            return Some(Probe {
                peer: peers.key(place),
                address,
                timeout: check.timeout,
            });
        }
        None
    }

    /// A check has succeeded, or failed.
    pub fn checked(
        &mut self,
        peer: PeerKey,
        now: u64,
        result: Result<(), Failure>,
    ) -> Option<Turn> {
        let check = self.members.config.check;
        let peers = &mut self.members.peers;
        let place = peers.place(peer)?;
        let peer = peers.at_mut(place);
        peer.active.is_running = false;
        let Some(check) = check else {
            peers.forget_unused(place);
            return None;
        };
        peer.active.due = Some(now.saturating_add(spread(millis(check.interval), &mut self.rng)));
        if let Err(failure) = result {
            peer.counters.last_failure = Some((now, failure));
        }
        let turn = peer.active.judge(result.is_ok(), check.rise, check.fall);
        if turn == Some(Turn::Healthy) {
            peer.warms_since = Some(now);
        }
        peers.forget_unused(place);
        turn
    }

    /// Nothing is checked any more: all count as healthy.
    pub(crate) fn forget_checks(&mut self) {
        let peers = &mut self.members.peers;
        let listed: Vec<_> = peers.listed().collect();
        for place in listed {
            let active = &mut peers.at_mut(place).active;
            *active = Active {
                is_running: active.is_running,
                ..Active::default()
            };
        }
    }
}

fn is_waiting(peer: &Peer) -> bool {
    let is_down = match peer.switch {
        None => peer.settings.is_down,
        Some(switch) => switch == Switch::Down,
    };
    !is_down && !peer.active.is_running
}

/// A tenth more or less, so that many peers, and many engines, do not check in step.
fn spread(interval: u64, rng: &mut Rng) -> u64 {
    interval - interval / 10 + rng.u64(0..=interval / 5)
}

impl Active {
    fn judge(&mut self, is_success: bool, rise: u32, fall: u32) -> Option<Turn> {
        if is_success != self.is_unhealthy {
            self.contrary = 0;
            return None;
        }
        self.contrary += 1;
        let (needed, turn) = match self.is_unhealthy {
            true => (rise, Turn::Healthy),
            false => (fall, Turn::Unhealthy),
        };
        if self.contrary < needed {
            return None;
        }
        self.contrary = 0;
        self.is_unhealthy = !self.is_unhealthy;
        Some(turn)
    }
}
