//! What the connections of each listener must note for the texts that they fill in later. What no text has is not kept.

use serde::{Deserialize, Serialize};

use super::variables::{Template, Variable};
use super::{AccessLog, Balance, ConnectionLimit, Listener, Rates, Upstream};

/// What the connections of a listener must note.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uses {
    /// The address that the connection itself comes from.
    pub connection: bool,
    /// Each attempt to connect to a peer, and its times.
    pub attempts: bool,
}

impl Uses {
    fn note(&mut self, variable: Variable) {
        match variable {
            Variable::ConnectionAddress | Variable::ConnectionPort => self.connection = true,
            Variable::UpstreamAddress
            | Variable::UpstreamConnectTime
            | Variable::UpstreamFirstByteTime
            | Variable::UpstreamSessionTime
            | Variable::UpstreamBytesSent
            | Variable::UpstreamBytesReceived => self.attempts = true,
            _ => {}
        }
    }
}

/// Fills in what the listeners use.
pub(super) fn fill_in(
    listeners: &mut [Listener],
    upstreams: &[Upstream],
    limits: &[ConnectionLimit],
    access_logs: &[AccessLog],
) {
    for listener in listeners {
        let reached = |it: &&Upstream| listener.upstream.as_ref() == Some(&it.name);
        let of_upstreams = upstreams.iter().filter(reached).flat_map(of_upstream);
        let counted = |it: &&ConnectionLimit| {
            let mut used = listener.stream.limits.iter();
            used.any(|one| one.limit == it.name)
        };
        let of_limits = limits.iter().filter(counted).map(|limit| &limit.key);
        let logged = |it: &&AccessLog| {
            let used = listener.stream.access_log.as_ref();
            used.is_some_and(|used| used.contains(&it.name))
        };
        let of_logs = access_logs.iter().filter(logged).flat_map(AccessLog::texts);
        let texts = of_upstreams
            .chain(of_limits)
            .chain(of_logs)
            .chain(listener.stream.rate.iter().flat_map(Rates::texts));
        let mut uses = Uses::default();
        texts
            .flat_map(Template::variables)
            .for_each(|it| uses.note(it));
        listener.uses = uses;
    }
}

/// The texts of an upstream.
fn of_upstream(upstream: &Upstream) -> impl Iterator<Item = &Template> {
    let key = match &upstream.balance {
        Balance::Hash { key, .. } => Some(key),
        _ => None,
    };
    let tls = upstream.tls.as_ref();
    key.into_iter()
        .chain(tls.and_then(|tls| tls.server_name.as_ref()))
}
