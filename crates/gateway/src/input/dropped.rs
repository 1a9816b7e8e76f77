//! What comes from a client of server-sent events: nothing, but its end.

use crate::input::read::{READS_PER_TURN, receive_from};
use crate::memory::Class;
use crate::session::{Cut, End, Session};
use crate::tls::Read;
use crate::tools::Tools;
use moorline_protocol::wire::CloseReason;

/// Reads what the client has sent, and drops it.
///
/// # Errors
/// The session ends: its client has left.
pub(crate) fn drop_received(session: &mut Session, tools: &mut Tools) -> Result<(), End> {
    let before = std::mem::take(&mut session.input.tail).len();
    tools.memory.change(Class::Received, before, 0);
    session.input.cut = Cut::Exhausted;
    for _ in 0..READS_PER_TURN {
        if !session.input.readable || session.transport.link.is_read() {
            return Ok(());
        }
        let mut scratch = std::mem::take(&mut tools.scratch.received);
        let (read, answered) = receive_from(session, &mut scratch, tools);
        tools.scratch.received = scratch;
        match read {
            Read::Bytes { bytes, has_more } => {
                session.meters.bytes_in += bytes as u64;
                session.meters.received_at = tools.cx.clock.ms;
                session.input.readable = has_more;
            }
            Read::Nothing => session.input.readable = false,
            Read::End => {
                session.transport.link.end_input();
                return Err(End::Now(CloseReason::Peer));
            }
            Read::Broken(error) => {
                session.transport.link.end_input();
                return Err(End::Broken(error));
            }
        }
        answered?;
    }
    tools.agenda.schedule(session);
    Ok(())
}
