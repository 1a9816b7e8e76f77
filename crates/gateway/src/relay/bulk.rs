//! The bytes of a relay that moves much: from socket to socket through a pipe, without a copy in this process.

use rustix::io::Errno;

use crate::ids::Side;
use crate::relay::inflow::{Inflow, count, note_activity};
use crate::relay::way::WayPhase;
use crate::relay::{Fault, Relay};
use crate::tools::Tools;

/// Moves what this side has sent, at most this number of bytes, unless a side is encrypted, no pipe is free, or urgent data is in the way. `None`: the caller
/// must read it.
///
/// # Errors
/// One side is gone.
pub(crate) fn splice(
    relay: &mut Relay,
    from: Side,
    most: usize,
    tools: &mut Tools,
) -> Result<Option<Inflow>, Fault> {
    let name = relay.name;
    let (source, way, sink) = relay.parts(from);
    let is_plain = source.tls.is_none() && sink.tls.is_none();
    if !is_plain || source.is_urgent || way.phase != WayPhase::Open {
        return Ok(None);
    }
    let (Some(source_socket), Some(sink_socket)) = (&source.socket, &sink.socket) else {
        return Ok(None);
    };
    let pipes = &mut tools.scratch.pipes;
    let Some(pipe) = pipes.take() else {
        return Ok(None);
    };
    let filled = match pipe.fill(source_socket, most) {
        // Or it is urgent data that holds it up, of which an event tells.
        Err(Errno::AGAIN) => {
            pipes.put_back(pipe);
            source.is_readable = false;
            return Ok(Some(Inflow::Nothing));
        }
        // Its end, or the end behind urgent data: a read tells.
        Ok(0) => {
            pipes.put_back(pipe);
            return Ok(None);
        }
        Ok(bytes) => bytes,
        Err(error) => {
            pipes.put_back(pipe);
            return Err(Fault::broken(from, error));
        }
    };
    way.note_read(filled);
    tools.budget.spend(filled);
    let sent = pipe.empty(sink_socket, filled);
    match sent.map_err(|error| Fault::broken(from.other(), error))? {
        sent if sent == filled => pipes.put_back(pipe),
        sent => {
            pipe.note_borrower(name, from, tools.cx.clock.ms);
            way.keep_pipe(pipe, filled - sent);
        }
    }
    way.bytes += filled as u64;
    count((relay.listener, from), filled, tools);
    note_activity(relay, from, filled, tools);
    Ok(Some(Inflow::Moved))
}
