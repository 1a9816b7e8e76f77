//! Sessions that scripts write to and close as sockets: those of a gate.

use moorline_lua::ForeignSockets;

use crate::serving::Serving;
use crate::streams::STREAMS;

/// What scripts write to and close by a number.
pub(crate) const SOCKETS: ForeignSockets = ForeignSockets {
    send,
    close,
    streams: STREAMS,
};

fn send(number: u32, bytes: &[u8]) -> bool {
    let Some(serving) = Serving::here() else {
        return false;
    };
    let Some((id, packets)) = serving.gates.packets(number, bytes) else {
        return false;
    };
    let session = serving.session(id);
    packets.iter().all(|packet| session.push(packet).is_ok())
}

fn close(number: u32) {
    let Some(serving) = Serving::here() else {
        return;
    };
    if let Some(id) = serving.gates.session(number) {
        // One that has ended already needs no end.
        let _ = serving.session(id).close();
    }
}
