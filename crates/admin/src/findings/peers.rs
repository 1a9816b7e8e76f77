//! Peers of upstreams, and their names.

use moorline_proxy::{PeerSeen, State, UpstreamSeen};
use serde_json::Value;

use super::{Finding, FindingKind, Urgency, lately};
use crate::text::{duration, plain};

/// A peer that has failed within this time is named where relays find none, in seconds.
const RECENTLY: u64 = 60;

/// Peers that get no connections because they fail.
pub(super) fn down(upstreams: &[UpstreamSeen]) -> Vec<Finding> {
    let found = upstreams.iter().flat_map(|upstream| {
        let is_used = |peer: &&PeerSeen| !matches!(peer.state, State::Gone | State::Down);
        let mut used = upstream.peers.iter().filter(is_used);
        let is_last = used.all(is_failing);
        let failing = upstream.peers.iter().filter(|peer| is_failing(peer));
        failing.map(move |peer| Finding {
            urgency: if is_last {
                Urgency::Page
            } else {
                Urgency::Ticket
            },
            kind: FindingKind::PeerIsDown,
            what: format!(
                "Peer {} of upstream {} is {}{}.{}",
                plain(&peer.address),
                plain(&upstream.name),
                peer.state,
                failure(peer),
                if is_last {
                    " No other peer is left."
                } else {
                    ""
                }
            ),
            remedy:
                "See whether it runs and can be reached from here: moorline dial --probe ADDRESS."
                    .to_owned(),
        })
    });
    found.collect()
}

fn is_failing(peer: &PeerSeen) -> bool {
    matches!(peer.state, State::Unhealthy | State::Out)
}

fn failure(peer: &PeerSeen) -> String {
    let last = peer.last_failure.as_ref();
    last.map_or(String::new(), |(why, ago)| {
        format!(": {}, {} ago", plain(why), duration(ago.as_secs()))
    })
}

/// Names that the last look-up did not find.
pub(super) fn unresolved(upstreams: &[UpstreamSeen]) -> Vec<Finding> {
    let found = upstreams.iter().flat_map(|upstream| {
        let names = upstream.unresolved.iter();
        names.map(|(name, why)| Finding {
            urgency: Urgency::Ticket,
            kind: FindingKind::NameIsNotResolved,
            what: format!(
                "The name {} of upstream {} is not resolved: {}.",
                plain(name),
                plain(&upstream.name),
                plain(why).trim_end_matches('.')
            ),
            remedy: "Ask the name server yourself (getent ahosts NAME). Addresses that are known stay in use.".to_owned(),
        })
    });
    found.collect()
}

/// Relayed connections that found no peer, with the peers that have failed.
pub(super) fn unreachable(status: &Value, upstreams: &[UpstreamSeen]) -> Vec<Finding> {
    let Some(times) = lately(status, "relays_failed", "connection") else {
        return Vec::new();
    };
    let peers = upstreams.iter().flat_map(|upstream| {
        let failed = |peer: &&PeerSeen| {
            let last = peer.last_failure.as_ref();
            last.is_some_and(|(_, ago)| ago.as_secs() < RECENTLY)
        };
        let peers = upstream.peers.iter().filter(failed);
        peers.map(|peer| {
            let (name, address) = (plain(&upstream.name), plain(&peer.address));
            format!(" {address} of {name}{}.", failure(peer))
        })
    });
    let peers: String = peers.take(super::EACH).collect();
    vec![Finding {
        urgency: Urgency::Page,
        kind: FindingKind::RelaysFindNoPeer,
        what: format!("Relayed connections find no peer: {times}.{peers}"),
        remedy: "`moorline upstreams` shows the peers.".to_owned(),
    }]
}
