//! Relays that leave their peer for another one, since nothing has passed so far.

use std::sync::Arc;

use crate::event_loop::Loop;
use crate::ids::{RelayKey, RelayRef, Side};
use crate::relay::connecting::{Reached, ask_another, connect};
use crate::relay::pace::set_rates;
use crate::relay::{Cause, Fault, Relay, RelayStage};
use crate::upstreams::{PeerKey, SharedUpstream};

/// Relays that leave in a turn, so that the others have theirs.
const LEAVING_PER_TURN: usize = 64;

impl Loop {
    /// A relay has left its peer for another one.
    pub(super) fn go_to_next_peer(&mut self, key: RelayKey) {
        let (relay, tools) = (&mut self.relays[key], &mut self.tools);
        set_rates(relay, tools);
        match connect(relay, &self.poller, tools) {
            // Not at once: the next peer may do the same.
            Reached::Joined => {
                self.watch_idle_relay(key);
                self.relays.schedule(key);
            }
            reached => self.after_attempt(key, reached),
        }
    }

    /// The checks of a peer have failed: relays for which nothing has passed so far go to another peer, some in each turn. The
    /// others stay, since it may come back.
    pub(crate) fn leave_peer(&mut self, upstream: &Arc<SharedUpstream>, peer: PeerKey) {
        let has_it =
            |relay: &&Relay| Arc::ptr_eq(&relay.upstream, upstream) && has(Some(relay), peer);
        let leaving = self.relays.iter().filter(has_it);
        let leaving = leaving.map(|it| (it.name, peer));
        let leaving: Vec<_> = leaving.collect();
        self.relays.leaving.extend(leaving);
    }

    /// A turn's share of those that leave their peer.
    pub(super) fn leave_peers(&mut self) {
        for _ in 0..self.relays.leaving.len().min(LEAVING_PER_TURN) {
            let Some((name, peer)) = self.relays.leaving.pop_front() else {
                return;
            };
            if has(self.relays.named(name), peer) {
                // What it has sent by now is read first.
                self.go_on_relaying(name.key);
                self.leave_present_peer(name, peer);
            }
        }
    }

    fn leave_present_peer(&mut self, name: RelayRef, peer: PeerKey) {
        // It may have left by itself.
        if !has(self.relays.named(name), peer) {
            return;
        }
        let relay = &mut self.relays[name.key];
        let fault = Fault {
            side: Side::Upstream,
            cause: Cause::TakenOut,
        };
        if ask_another(relay, fault, &mut self.tools) {
            self.go_to_next_peer(name.key);
        }
    }
}

/// Whether a relay has this peer, and could leave it.
fn has(relay: Option<&Relay>, peer: PeerKey) -> bool {
    relay.is_some_and(|relay| {
        let is_it = matches!(&relay.stage, RelayStage::Joined(joined) if joined.peer == peer);
        is_it && relay.is_untouched()
    })
}
