//! Where a relay goes: to the upstream or the address that its text names, or nowhere, with a text as the answer.

use std::sync::Arc;

use crate::connection_facts::ConnectionFacts;
use crate::ids::Side;
use crate::memory::Class;
use crate::relay::flow::{DISCARDED_READS, end, pass};
use crate::relay::way::WayPhase;
use crate::relay::{Fault, Relay, RelayStage};
use crate::tools::Tools;
use crate::upstreams::{NoDestination, SharedUpstream, Targets};
use moorline_config::{Destination, Listener};
use moorline_proxy::Text;

/// Where a relay goes.
pub(crate) enum Aim {
    /// To a peer of this upstream.
    Upstream(Arc<SharedUpstream>),
    /// Its client gets this text.
    Answer(Text),
    /// Nowhere, for this reason.
    Nowhere(String),
}

/// The upstream that a new relay begins with. `None`: this listener relays nothing.
pub(crate) fn first_upstream(
    listener: &Listener,
    at: usize,
    targets: &Targets,
) -> Option<Arc<SharedUpstream>> {
    match listener.destination {
        None => None,
        Some(Destination::Upstream(_)) => targets.of_listener(at).cloned(),
        // It is known when the text is filled in.
        Some(_) => Some(SharedUpstream::nowhere()),
    }
}

/// Where this connection or client goes, if its own text says so.
pub(crate) fn aim(facts: &ConnectionFacts<'_>, targets: &Targets) -> Option<Aim> {
    let (cx, listener) = (facts.cx, facts.cx.listener(facts.listener));
    let (text, like) = match listener.destination.as_ref()? {
        Destination::Upstream(_) => return None,
        Destination::Return(text) => return Some(Aim::Answer(facts.filled(text))),
        Destination::Text { text, like } => (text, like),
    };
    let text = facts.filled(text);
    let Ok(name) = str::from_utf8(text.as_bytes()) else {
        return Some(Aim::Nowhere("the destination is no text".to_owned()));
    };
    if name.is_empty() {
        return Some(Aim::Nowhere("the destination is empty".to_owned()));
    }
    let is_datagram = listener.is_datagram();
    if let Some(upstream) = targets.named(name) {
        return Some(match upstream.is_datagram() == is_datagram {
            true => Aim::Upstream(upstream.clone()),
            false => Aim::Nowhere(format!(
                "the destination {name:?} has no peers for {}",
                if is_datagram {
                    "datagrams"
                } else {
                    "connections"
                }
            )),
        });
    }
    let like = like.as_ref().and_then(|like| cx.config.upstream(like));
    let upstreams = &cx.shared.upstreams;
    let now = cx.clock.shared_ms();
    Some(match upstreams.of_address((name, is_datagram), like, now) {
        Ok(upstream) => Aim::Upstream(upstream),
        Err(NoDestination::Wrong(problem)) => Aim::Nowhere(format!(
            "the destination {name:?} is neither an upstream nor an address: {problem}"
        )),
        Err(NoDestination::Full) => Aim::Nowhere(format!(
            "the destination {name:?} is one too many: there are relays to as many addresses as there may be"
        )),
    })
}

/// Sends the client a text and ends the connection. What the client sends is ignored.
///
/// # Errors
/// The client is gone.
pub(crate) fn answer(relay: &mut Relay, text: &Text, tools: &mut Tools) -> Result<(), Fault> {
    relay.stage = RelayStage::Answered;
    let way = relay.way_mut(Side::Client);
    tools.memory.release(Class::Queued, way.held());
    way.drop_kept();
    way.phase = WayPhase::Discarding(DISCARDED_READS);
    let text = text.as_bytes();
    if !text.is_empty() {
        tools.scratch.received[..text.len()].copy_from_slice(text);
        pass(relay, Side::Upstream, text.len(), tools)?;
    }
    end(relay, Side::Upstream, tools);
    Ok(())
}
