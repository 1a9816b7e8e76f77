//! The tools of a step on one session: everything of a loop except its other sessions and what several sessions share.

use moorline_protocol::wire::Peer;

use crate::agenda::Agenda;
use crate::arrival::Arrival;
use crate::budget::Budget;
use crate::cx::Cx;
use crate::descriptor_limit::DescriptorLimit;
use crate::ids::ListenerId;
use crate::memory::{Class, Memory, TLS_BYTES};
use crate::processes::Processes;
use crate::refusal_log::RefusalLog;
use crate::scratch::Scratch;
use crate::throttle::Throttle;

/// A loop's tools, each of which owns its state. A step takes the ones that it needs, or all of them to pass them on.
pub(crate) struct Tools {
    pub(crate) cx: Cx,
    pub(crate) agenda: Agenda,
    pub(crate) memory: Memory,
    pub(crate) throttle: Throttle,
    pub(crate) scratch: Scratch,
    pub(crate) budget: Budget,
    pub(crate) processes: Processes,
    pub(crate) refusals: RefusalLog,
    pub(crate) descriptors: DescriptorLimit,
}

impl Tools {
    /// A connection has come this far: it counts for its client's address, and its TLS state counts as memory.
    pub(crate) fn welcome(
        &mut self,
        arrival: &mut Arrival,
        (listener, client): (ListenerId, &Peer),
    ) {
        let counted = &mut arrival.counted;
        self.cx.count_address(listener, client, counted);
        if let Some(tls) = &arrival.tls {
            self.memory.hold(Class::Tls, TLS_BYTES);
            self.memory.hold(Class::Received, tls.unfinished());
        }
    }

    /// Descriptors below this number may be connections now. The rest is kept for new processes: without their descriptors the
    /// gateway could not serve on.
    pub(crate) fn allowed_descriptors(&mut self) -> u64 {
        let Self {
            cx, descriptors, ..
        } = self;
        descriptors.get(cx.clock.ms, || cx.shared.descriptors())
    }
}
