//! One peer: its settings, its load, its health.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use moorline_config::{TimeOf, UpstreamPeer};
use serde::{Deserialize, Serialize};

use super::address::PeerAddress;
use super::average::Average;

/// The whole of a weight; less during a slow start. Weights are counted in such parts, so that a weight of 1 can grow.
pub(crate) const WHOLE: u64 = 1024;

/// Why an attempt or a check failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Its time was over.
    TimedOut,
    /// The system's error, by number.
    System(i32),
    /// The same, before the peer had a part in it.
    Local(i32),
    /// The peer closed the connection before it sent anything.
    Closed,
    /// It answered a check with something else than was expected.
    Unexpected,
    /// The TLS handshake failed.
    Tls,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("timed out"),
            Self::System(number) | Self::Local(number) => {
                io::Error::from_raw_os_error(*number).fmt(f)
            }
            Self::Closed => f.write_str("closed before its first byte"),
            Self::Unexpected => f.write_str("answered something else than was expected"),
            Self::Tls => f.write_str("the TLS handshake failed"),
        }
    }
}

/// A change of a peer's health, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Failed attempts have taken it out.
    TakenOut,
    /// A connection reached it again.
    Back,
    /// Checks failed: it is not used.
    Unhealthy,
    /// Checks succeed again: it is used.
    Healthy,
}

/// What a command says of a peer, whatever the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    /// It gets connections.
    Up,
    /// It gets no new ones, and is not checked.
    Down,
    /// It gets no new ones, and is still checked.
    Drain,
}

/// What an entry says of its peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The address as the file has it, without the scheme: what `ketama` hashes.
    pub(crate) entry: Arc<str>,
    pub(crate) weight: u32,
    pub(crate) max_connections: Option<u32>,
    pub(crate) max_fails: u32,
    pub(crate) fail_timeout: u64,
    pub(crate) is_backup: bool,
    pub(crate) is_down: bool,
}

impl Settings {
    pub(crate) fn new(peer: &UpstreamPeer) -> Self {
        Self {
            entry: entry(peer),
            weight: peer.weight,
            max_connections: peer.max_connections,
            max_fails: peer.max_fails,
            fail_timeout: millis(peer.fail_timeout),
            is_backup: peer.is_backup,
            is_down: peer.is_down,
        }
    }
}

/// `host:port`, the name of a service, or the path of a Unix socket.
pub(crate) fn entry(peer: &UpstreamPeer) -> Arc<str> {
    let text = peer.address.to_string();
    let bare = text.split_once("://").map_or("", |(_, rest)| rest);
    match peer.is_service() {
        true => bare.rsplit_once(':').map_or(bare, |(name, _)| name).into(),
        false => bare.into(),
    }
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// One peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: PeerAddress,
    pub(crate) settings: Settings,
    /// What a command has said instead of the file.
    pub(crate) switch: Option<Switch>,
    pub(crate) own_weight: Option<u32>,
    /// An entry means it.
    pub(crate) is_listed: bool,
    /// Another peer has the same address.
    pub(crate) has_twin: bool,
    /// Connections, also those that are on their way.
    pub(crate) open: u32,
    pub(crate) turns: Turns,
    pub(crate) passive: Passive,
    pub(crate) active: Active,
    /// When its slow start began.
    pub(crate) warms_since: Option<u64>,
    pub(crate) times: Times,
    pub(crate) counters: Counters,
}

/// The state of smooth weighted round-robin.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// In parts of a weight, see [`WHOLE`].
    pub(crate) current: i64,
    /// In weights. Failures lower it, and each choice among which the peer is raises it again.
    pub(crate) effective: u32,
}

/// Health as connections see it.
#[derive(Debug, Default)]
pub(crate) struct Passive {
    pub(crate) fails: u32,
    /// When the time in which failures count began: at a failure, or at an attempt long after the last one.
    checked: u64,
    /// An attempt has begun since the last failure, long after it.
    is_tried_again: bool,
    /// It was taken out, and has not been reached since.
    pub(crate) is_out: bool,
}

/// Health as checks see it.
#[derive(Debug, Default)]
pub(crate) struct Active {
    pub(crate) is_unhealthy: bool,
    /// Results in a row that speak against it.
    pub(crate) contrary: u32,
    /// When the next check is due; `None`: not planned yet.
    pub(crate) due: Option<u64>,
    pub(crate) is_running: bool,
}

/// Measured times.
#[derive(Debug, Default)]
pub(crate) struct Times {
    pub(crate) connect: Average,
    pub(crate) first_byte: Average,
    pub(crate) last_byte: Average,
}

/// What it did since it is known.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: u64,
    pub(crate) failures: u64,
    pub(crate) last_failure: Option<(u64, Failure)>,
}

impl Times {
    pub(crate) fn of(&self, time: TimeOf) -> &Average {
        match time {
            TimeOf::Connect => &self.connect,
            TimeOf::FirstByte => &self.first_byte,
            TimeOf::LastByte => &self.last_byte,
        }
    }
}

impl Peer {
    pub(crate) fn new(address: PeerAddress, settings: Settings) -> Self {
        let turns = Turns {
            current: 0,
            effective: settings.weight,
        };
        Self {
            address,
            settings,
            switch: None,
            own_weight: None,
            is_listed: false,
            has_twin: false,
            open: 0,
            turns,
            passive: Passive::default(),
            active: Active::default(),
            warms_since: None,
            times: Times::default(),
            counters: Counters::default(),
        }
    }

    pub(crate) fn weight(&self) -> u32 {
        self.own_weight.unwrap_or(self.settings.weight)
    }

    /// Neither the file nor a command has taken it out of service.
    pub(crate) fn is_in_service(&self) -> bool {
        match self.switch {
            None => !self.settings.is_down,
            Some(switch) => switch == Switch::Up,
        }
    }

    /// Failed attempts keep it out for now.
    pub(crate) fn is_out(&self, now: u64) -> bool {
        let Settings {
            max_fails,
            fail_timeout,
            ..
        } = self.settings;
        max_fails > 0
            && self.passive.fails >= max_fails
            && now.saturating_sub(self.passive.checked) <= fail_timeout
    }

    /// When the time in which its failures count began.
    pub(crate) fn checked(&self) -> u64 {
        self.passive.checked
    }

    /// The parts of its weight that count now, see [`WHOLE`]; at least one.
    pub(crate) fn warmth(&self, now: u64, slow_start: Option<u64>) -> u64 {
        match self.warms_since.zip(slow_start) {
            Some((since, whole)) if now < since.saturating_add(whole) => {
                let passed = u128::from(now.saturating_sub(since));
                let parts = passed * u128::from(WHOLE) / u128::from(whole.max(1));
                u64::try_from(parts).unwrap_or(WHOLE).clamp(1, WHOLE)
            }
            _ => WHOLE,
        }
    }

    /// A connection is on its way to it.
    pub(crate) fn begin(&mut self, now: u64) {
        self.open += 1;
        self.counters.connections += 1;
        if now.saturating_sub(self.passive.checked) > self.settings.fail_timeout {
            self.try_again(now);
        }
    }

    /// This attempt decides whether its failures are forgotten.
    pub(crate) fn try_again(&mut self, now: u64) {
        self.passive.checked = now;
        self.passive.is_tried_again = true;
    }

    /// An attempt has reached it. True if it was out.
    pub(crate) fn reached(&mut self, now: u64) -> bool {
        if !self.passive.is_tried_again {
            return false;
        }
        self.passive.fails = 0;
        let was_out = std::mem::take(&mut self.passive.is_out);
        if was_out {
            self.warms_since = Some(now);
        }
        was_out
    }

    /// An attempt has failed. True if that takes it out.
    pub(crate) fn missed(&mut self, now: u64) -> bool {
        let max_fails = self.settings.max_fails;
        let weight = self.weight();
        let passive = &mut self.passive;
        passive.fails = passive.fails.saturating_add(1);
        passive.checked = now;
        passive.is_tried_again = false;
        if max_fails == 0 {
            return false;
        }
        let effective = &mut self.turns.effective;
        *effective = effective.saturating_sub(weight / max_fails);
        let is_out = passive.fails >= max_fails;
        is_out && !std::mem::replace(&mut passive.is_out, true)
    }

    pub(crate) fn note(&mut self, now: u64, failure: Failure) {
        self.counters.failures += 1;
        self.counters.last_failure = Some((now, failure));
    }

    /// It begins anew with what an entry says now.
    pub(crate) fn set(&mut self, settings: Settings) {
        if settings.weight != self.settings.weight {
            self.own_weight = None;
        }
        self.settings = settings;
        self.turns = Turns {
            current: 0,
            effective: self.weight(),
        };
    }
}
