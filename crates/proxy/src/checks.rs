//! Active checks: which peer is due, and what its results mean.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use moorline_config::{CheckKind, Exchange};

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
    /// The address as the file has it, without the scheme.
    pub entry: Arc<str>,
    /// Hands are shaken once it is connected.
    pub is_encrypted: bool,
    /// How long it may take, with its answer.
    pub timeout: Duration,
    /// What to send then, and what must come; `None`: it has succeeded once it is connected.
    pub exchange: Option<Exchange>,
}

/// The bytes of an answer that are looked at. A peer that has sent more without what is expected fails.
const LONGEST_ANSWER: usize = 16 << 10;

/// What a peer answers to a check. It keeps no more than the length of what is expected.
#[derive(Debug)]
pub struct Answer<'a> {
    expected: &'a [u8],
    /// The last bytes: the beginning of what is expected may be there.
    tail: Vec<u8>,
    length: usize,
}

impl<'a> Answer<'a> {
    /// Nothing has come yet.
    pub fn new(exchange: &'a Exchange) -> Self {
        Self {
            expected: &exchange.expect,
            tail: Vec::new(),
            length: 0,
        }
    }

    /// These bytes have come. What that means for the check; `None`: nothing yet.
    pub fn add(&mut self, bytes: &[u8]) -> Option<Result<(), Failure>> {
        let bytes = &bytes[..bytes.len().min(LONGEST_ANSWER - self.length)];
        self.length += bytes.len();
        self.tail.extend_from_slice(bytes);
        let width = self.expected.len().max(1);
        if self.tail.windows(width).any(|it| it == self.expected) {
            return Some(Ok(()));
        }
        let old = self.tail.len().saturating_sub(width - 1);
        self.tail.drain(..old);
        (self.length == LONGEST_ANSWER).then_some(Err(Failure::Unexpected))
    }

    /// No more will come: why the check fails.
    pub fn end(&self) -> Failure {
        match self.length {
            0 => Failure::Closed,
            _ => Failure::Unexpected,
        }
    }
}

impl Upstream {
    /// When [`due_check`](Self::due_check) should be asked next; `None`: nothing is checked, or all checks are running. It
    /// changes with each call that may change peers or their checks.
    pub fn next_check(&self) -> Option<u64> {
        self.members.config.check.as_ref()?;
        let peers = &self.members.peers;
        let waiting = peers.listed().map(|place| peers.at(place));
        let waiting = waiting.filter(|peer| is_waiting(peer));
        // One that was never checked is planned at once.
        waiting.map(|peer| peer.active.due.unwrap_or(0)).min()
    }

    /// A check that is due. It is running from here, until [`checked`](Self::checked) or
    /// [`unchecked`](Self::unchecked). Ask again until there is none.
    pub fn due_check(&mut self, now: u64) -> Option<Probe> {
        let check = self.members.config.check.as_ref()?;
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
            let (address, entry) = (peer.address.clone(), peer.settings.entry.clone());
            let is_encrypted = match check.kind {
                CheckKind::Connect => false,
                CheckKind::Tls => true,
                CheckKind::Expect(_) => self.members.config.tls.is_some(),
            };
            return Some(Probe {
                peer: peers.key(place),
                address,
                entry,
                is_encrypted,
                timeout: check.timeout,
                exchange: match &check.kind {
                    CheckKind::Connect | CheckKind::Tls => None,
                    CheckKind::Expect(exchange) => Some(exchange.clone()),
                },
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
        let check = self.members.config.check.as_ref();
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

    /// A check could not be made, for a reason of this machine. It says nothing of the peer; the next one is planned.
    pub fn unchecked(&mut self, peer: PeerKey, now: u64) {
        let check = self.members.config.check.as_ref();
        let peers = &mut self.members.peers;
        let Some(place) = peers.place(peer) else {
            return;
        };
        let active = &mut peers.at_mut(place).active;
        active.is_running = false;
        if let Some(check) = check {
            let pause = spread(millis(check.interval), &mut self.rng);
            active.due = Some(now.saturating_add(pause));
        }
        peers.forget_unused(place);
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
