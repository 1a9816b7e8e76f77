//! The answer to a client of an HTTP listener that has no room. It costs little, and few clients have it at the same time.

use crate::input::read::receive_from;
use crate::input::request::FirstRequest;
use crate::output::reply;
use crate::session::{End, Session};
use crate::tls::Read;
use crate::tools::Tools;
use moorline_protocol::control::Limit;

/// Answers as soon as something of the request has come: what it asks for makes no difference, and the rest of it is
/// discarded while the connection lingers.
///
/// # Errors
/// It broke.
pub(crate) fn turn_away(
    session: &mut Session,
    limit: Limit,
    tools: &mut Tools,
) -> Result<FirstRequest, End> {
    if !session.input.readable {
        return Ok(FirstRequest::Waits);
    }
    let mut scratch = std::mem::take(&mut tools.scratch.received);
    let (read, answered) = receive_from(session, &mut scratch, tools);
    tools.scratch.received = scratch;
    answered?;
    match read {
        Read::Bytes { bytes, has_more } => {
            session.meters.bytes_in += bytes as u64;
            session.input.readable = has_more;
        }
        Read::Nothing => {
            session.input.readable = false;
            return Ok(FirstRequest::Waits);
        }
        Read::End | Read::Broken(_) => return Ok(FirstRequest::Left),
    }
    reply::turn_away(session, limit, tools);
    Ok(FirstRequest::Decided)
}
