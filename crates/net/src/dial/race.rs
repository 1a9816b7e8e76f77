//! The race between the addresses of a name (RFC 8305): which is tried when.
//!
//! It knows neither sockets nor a clock. It is told what happens and when, and answers what comes next.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::order::{Candidate, Order, Preferred};

/// The most addresses of one family that are tried. Trying more would not help.
pub(super) const MAX_CANDIDATES: usize = 64;

/// The shortest time between two attempts (RFC 8305 §8): less would be a flood.
const SHORTEST_ATTEMPT_DELAY: Duration = Duration::from_millis(10);

/// A longer delay is never waited for, and this one can be added to any clock.
const LONGEST_DELAY: Duration = Duration::from_secs(3600);

/// How a race is run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) order: Order,
    /// How long an attempt runs before the next one begins in parallel (§5).
    pub(super) attempt_delay: Duration,
    /// How long one family's answer waits for the preferred one's (§3).
    pub(super) resolution_delay: Duration,
}

/// What an answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Both,
    Ipv6,
    Ipv4,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Begin an attempt to this address now, and ask again.
    Start(SocketAddr),
    /// Nothing before this time, unless something happens.
    WaitUntil(Instant),
    /// Nothing before something happens.
    Wait,
    /// Nothing any more: every address has failed, or there was none.
    Exhausted,
}

/// A race. It ends when an attempt succeeds or [`Next::Exhausted`] is said.
#[derive(Debug)]
pub(super) struct Race {
    rules: Rules,
    awaits_ipv6: bool,
    awaits_ipv4: bool,
    /// Sorted, the best first.
    ipv6: VecDeque<Candidate>,
    ipv4: VecDeque<Candidate>,
    running: usize,
    phase: RacePhase,
}

#[derive(Debug, Clone, Copy)]
enum RacePhase {
    /// No attempt was made.
    Gathering,
    /// There are addresses of one family; the preferred one has until then.
    Holding { until: Instant },
    /// Attempts were made, the last one to this family. The next one may begin at `due`.
    Trying { last: Preferred, due: Instant },
}

impl Race {
    /// A race with answers to come for `awaited`.
    pub(super) fn new(rules: Rules, awaited: Which) -> Self {
        Self {
            rules,
            awaits_ipv6: awaited != Which::Ipv4,
            awaits_ipv4: awaited != Which::Ipv6,
            ipv6: VecDeque::new(),
            ipv4: VecDeque::new(),
            running: 0,
            phase: RacePhase::Gathering,
        }
    }

    /// An answer came, perhaps an empty one; a look-up that failed is one too.
    ///
    /// `source` tells the local address that would be used towards an address. It is not asked where
    /// there is nothing to choose from.
    pub(super) fn answered(
        &mut self,
        which: Which,
        addresses: impl IntoIterator<Item = SocketAddr>,
        mut source: impl FnMut(SocketAddr) -> Option<IpAddr>,
        now: Instant,
    ) {
        self.awaits_ipv6 &= which == Which::Ipv4;
        self.awaits_ipv4 &= which == Which::Ipv6;
        for address in addresses {
            let queue = match address {
                SocketAddr::V6(_) => &mut self.ipv6,
                SocketAddr::V4(_) => &mut self.ipv4,
            };
            let is_new = !queue.iter().any(|known| known.address == address);
            if is_new && queue.len() < MAX_CANDIDATES {
                queue.push_back(Candidate {
                    address,
                    source: None,
                });
            }
        }
        if self.ipv6.len() + self.ipv4.len() > 1 || self.awaits_ipv6 || self.awaits_ipv4 {
            for queue in [&mut self.ipv6, &mut self.ipv4] {
                for candidate in queue.iter_mut() {
                    if candidate.source.is_none() {
                        candidate.source = source(candidate.address);
                    }
                }
                let order = self.rules.order;
                queue.make_contiguous().sort_by(|a, b| order.compare(a, b));
            }
        }
        let preferred_came = match self.rules.order.preferred() {
            Preferred::Ipv6 => !self.awaits_ipv6,
            Preferred::Ipv4 => !self.awaits_ipv4,
        };
        match self.phase {
            RacePhase::Gathering if !preferred_came && self.has_candidates() => {
                let until = now + self.rules.resolution_delay.min(LONGEST_DELAY);
                self.phase = RacePhase::Holding { until };
            }
            RacePhase::Holding { .. } if preferred_came => self.phase = RacePhase::Gathering,
            _ => {}
        }
    }

    /// An attempt failed.
    pub(super) fn failed(&mut self, now: Instant) {
        self.running = self.running.saturating_sub(1);
        if let RacePhase::Trying { due, .. } = &mut self.phase {
            // The next one need not wait for what will not come.
            *due = now;
        }
    }

    /// What comes next, as of `now`.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        let due = match self.phase {
            RacePhase::Gathering => now,
            RacePhase::Holding { until } => until,
            RacePhase::Trying { due, .. } => due,
        };
        if !self.has_candidates() {
            let nothing_can_come = !self.awaits_ipv6 && !self.awaits_ipv4 && self.running == 0;
            return if nothing_can_come {
                Next::Exhausted
            } else {
                Next::Wait
            };
        }
        if now < due {
            return Next::WaitUntil(due);
        }
        let Some((family, candidate)) = self.take() else {
            return Next::Wait;
        };
        self.running += 1;
        let delay = self.rules.attempt_delay;
        self.phase = RacePhase::Trying {
            last: family,
            due: now + delay.clamp(SHORTEST_ATTEMPT_DELAY, LONGEST_DELAY),
        };
        Next::Start(candidate.address)
    }

    /// Takes the candidate whose turn it is: the families alternate (§4).
    fn take(&mut self) -> Option<(Preferred, Candidate)> {
        let family = match (self.ipv6.front(), self.ipv4.front(), self.phase) {
            (None, _, _) => Preferred::Ipv4,
            (_, None, _) => Preferred::Ipv6,
            (_, _, RacePhase::Trying { last, .. }) => match last {
                Preferred::Ipv6 => Preferred::Ipv4,
                Preferred::Ipv4 => Preferred::Ipv6,
            },
            (Some(ipv6), Some(ipv4), _) => {
                if self.rules.order.compare(ipv6, ipv4).is_gt() {
                    Preferred::Ipv4
                } else {
                    Preferred::Ipv6
                }
            }
        };
        let candidate = match family {
            Preferred::Ipv6 => self.ipv6.pop_front(),
            Preferred::Ipv4 => self.ipv4.pop_front(),
        };
        candidate.map(|candidate| (family, candidate))
    }

    fn has_candidates(&self) -> bool {
        !self.ipv6.is_empty() || !self.ipv4.is_empty()
    }
}

#[cfg(test)]
mod tests;
