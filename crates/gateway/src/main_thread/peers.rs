//! Questions of the operator about upstreams, and changes of peers.

use crate::clock::Clock;
use crate::main_thread::Gateway;
use moorline_protocol::control::{FromRole, PeerChange, ToRole, UpstreamPlace};

/// Peers in one answer: with their names and failures some tens of kilobytes.
const PEERS_AT_ONCE: usize = 64;

impl Gateway {
    /// Answers what the supervisor asks of upstreams.
    pub(super) async fn asked_of_upstreams(&mut self, message: ToRole) {
        match message {
            ToRole::ListUpstreams { question, from } => self.list_upstreams(question, from).await,
            ToRole::SetPeer {
                question,
                upstream,
                peer,
                change,
            } => {
                let result = self.set_peer(&upstream, &peer, change);
                self.say(&FromRole::PeerSet { question, result }).await;
            }
            _ => {}
        }
    }

    /// Tells of some peers of one upstream.
    async fn list_upstreams(&mut self, question: u64, from: UpstreamPlace) {
        let upstreams = self.shared.upstreams.all();
        let upstream = upstreams.get(usize::from(from.upstream));
        let mut seen = upstream.map(|it| it.snapshot(Clock::shared_now()));
        let mut next = None;
        if let Some(seen) = &mut seen {
            let (begin, all) = (usize::from(from.peer), seen.peers.len());
            let end = begin.saturating_add(PEERS_AT_ONCE).min(all);
            seen.peers.truncate(end);
            seen.peers.drain(..begin.min(end));
            next = match end < all {
                true => Some(UpstreamPlace {
                    peer: from.peer.saturating_add(PEERS_AT_ONCE as u16),
                    ..from
                }),
                false => Some(UpstreamPlace {
                    upstream: from.upstream.saturating_add(1),
                    peer: 0,
                }),
            };
        }
        let answer = FromRole::Upstreams {
            question,
            seen,
            next: next.filter(|next| usize::from(next.upstream) < upstreams.len()),
        };
        self.say(&answer).await;
    }

    /// Changes peers. Returns how many.
    fn set_peer(&self, upstream: &str, peer: &str, change: PeerChange) -> Result<usize, String> {
        let upstreams = self.shared.upstreams.all();
        let Some(found) = upstreams.iter().find(|it| it.name == upstream) else {
            let known: Vec<_> = upstreams.iter().map(|it| it.name.as_str()).collect();
            let known = known.join(", ");
            return Err(format!("there is no such upstream; known: {known}"));
        };
        let changed = found.set(peer, change, Clock::shared_now());
        changed.map_err(|error| error.to_string())
    }
}
