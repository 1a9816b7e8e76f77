//! The kinds of what cannot go to another process, and how many there are of each.

use std::fmt;

/// How many of each kind cannot go to another process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Obstacles {
    pub(crate) counts: [u64; Obstacle::ALL.len()],
}

/// One kind of what cannot go to another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Obstacle {
    Tls,
    Compressed,
    Parts,
    Files,
    Beginning,
    Limited,
    Relays,
    Datagrams,
    Requests,
    Http,
    Leaving,
    Drains,
}

impl Obstacle {
    pub(crate) const ALL: [Self; 12] = [
        Self::Tls,
        Self::Compressed,
        Self::Parts,
        Self::Files,
        Self::Beginning,
        Self::Limited,
        Self::Relays,
        Self::Datagrams,
        Self::Requests,
        Self::Http,
        Self::Leaving,
        Self::Drains,
    ];

    /// One of them, and several.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Tls => ("session with TLS", "sessions with TLS"),
            Self::Compressed => (
                "WebSocket whose client compresses with a context",
                "WebSockets whose clients compress with a context",
            ),
            Self::Parts => (
                "WebSocket in the middle of a message",
                "WebSockets in the middle of a message",
            ),
            Self::Files => ("file that is being sent", "files that are being sent"),
            Self::Beginning => ("connection that begins", "connections that begin"),
            Self::Limited => (
                "session that counts for a limit by key",
                "sessions that count for a limit by key",
            ),
            Self::Relays => ("relayed connection", "relayed connections"),
            Self::Datagrams => ("relayed UDP client", "relayed UDP clients"),
            Self::Requests => ("plain request", "plain requests"),
            Self::Http => ("HTTP connection", "HTTP connections"),
            Self::Leaving => (
                "process that is being replaced",
                "processes that are being replaced",
            ),
            Self::Drains => ("drain in progress", "drains in progress"),
        }
    }
}

impl Obstacles {
    /// There are this many of a kind.
    pub(crate) fn note(&mut self, what: Obstacle, many: u64) {
        self.counts[what as usize] += many;
    }

    pub(crate) fn add(&mut self, others: &Self) {
        for (count, more) in self.counts.iter_mut().zip(others.counts) {
            *count += more;
        }
    }

    pub(crate) fn are_none(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Obstacles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut is_first = true;
        for (what, count) in Obstacle::ALL.into_iter().zip(self.counts) {
            if count == 0 {
                continue;
            }
            let (one, several) = what.names();
            let separator = if is_first { "" } else { ", " };
            is_first = false;
            match count {
                1 => write!(f, "{separator}1 {one}")?,
                _ => write!(f, "{separator}{count} {several}")?,
            }
        }
        f.write_str(" cannot move to another gateway")
    }
}
