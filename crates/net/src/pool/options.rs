//! How many connections a pool keeps, and for how long.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::keep::Age;
use crate::clock::later;
use crate::setters::setters;
use crate::unit::as_duration;

/// How many connections a pool keeps, and for how long. As TOML or JSON the same names, unknown ones refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PoolOptions {
    /// The most connections to one key: lent, at rest and being dialed. 64.
    pub max_per_key: usize,
    /// The most connections in all. 1024: the usual limit of a process's descriptors.
    pub max_total: usize,
    /// The most connections at rest for one key; the one that rested longest gives way. 32.
    pub max_idle_per_key: usize,
    /// How long the peer keeps a connection on which nothing moves. It is not used again past that, less
    /// [`lead`](Self::lead). 60 s: the shortest of the usual defaults of servers and address translators,
    /// a few HTTP servers aside (Node.js has 5 s).
    #[serde(with = "as_duration")]
    pub max_idle: Duration,
    /// How long the peer keeps a connection at all, counted from the beginning of its dial; less
    /// [`lead`](Self::lead), too. 1 h: names move to other addresses.
    #[serde(with = "as_duration")]
    pub max_age: Duration,
    /// How much sooner than the peer this side gives a connection up: it must cover the way of the next request
    /// to the peer and the pauses of this machine. 500 ms, and never more than half of `max_idle` and `max_age`.
    #[serde(with = "as_duration")]
    pub lead: Duration,
    /// The longest wait for a connection while a cap is reached. 5 s. A dial has its own deadline.
    #[serde(with = "as_duration")]
    pub max_wait: Duration,
    /// The most callers that wait; the next one is refused at once. 1024.
    pub max_waiting: usize,
    /// What happens to an idle connection when unexpected bytes arrive.
    pub stray: Stray,
    /// What happens to a connection that is returned while an answer may be under way.
    pub unanswered: Unanswered,
}

setters! {
    PoolOptions {
        max_per_key: usize,
        max_total: usize,
        max_idle_per_key: usize,
        max_idle: Duration,
        max_age: Duration,
        lead: Duration,
        max_wait: Duration,
        max_waiting: usize,
        stray: Stray,
        unanswered: Unanswered,
    }
}

/// What happens to an idle connection when unexpected bytes arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Stray {
    /// It is closed and counted: the bytes may be the end of another user's answer.
    #[default]
    Close,
    /// It is lent, and its next user reads them first.
    Keep,
}

/// What happens to a connection that is returned with its last write unanswered, or with a read still waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Unanswered {
    /// It is closed: the answer would reach the next user. This is what a request that was dropped looks like.
    #[default]
    Close,
    /// It is kept, for protocols in which nothing is answered.
    Keep,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            max_per_key: 64,
            max_total: 1024,
            max_idle_per_key: 32,
            max_idle: Duration::from_secs(60),
            max_age: Duration::from_secs(3600),
            lead: Duration::from_millis(500),
            max_wait: Duration::from_secs(5),
            max_waiting: 1024,
            stray: Stray::default(),
            unanswered: Unanswered::default(),
        }
    }
}

impl PoolOptions {
    /// Until when a connection of this age may be used again.
    pub(super) fn usable_until(&self, age: Age) -> Instant {
        let after = |start: Instant, peers: Duration| {
            later(start, peers.saturating_sub(self.lead.min(peers / 2)))
        };
        after(age.used, self.max_idle).min(after(age.born, self.max_age))
    }
}
