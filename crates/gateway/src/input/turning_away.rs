//! The answer to a client of an HTTP listener that has no room. It costs little, and few clients have it at the same time.

use hyper::StatusCode;

use crate::input::read::receive_from;
use crate::input::request::FirstRequest;
use crate::output::reply::refuse_with;
use crate::session::{End, Session};
use crate::tls::Read;
use crate::tools::Tools;
use moorline_protocol::control::Limit;
use moorline_protocol::wire::CloseReason;

/// When a client should try again, in seconds. Those that were turned away in the same moment return in the course of
/// [`SPREAD`].
const RETRY_AFTER: u64 = 5;
const SPREAD: u64 = 10;

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
    let (status, why) = match limit {
        Limit::SessionsPerAddress => (
            StatusCode::TOO_MANY_REQUESTS,
            "too many connections from this address",
        ),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "no room for now"),
    };
    refuse_with(
        session,
        status,
        &[
            ("Content-Type".into(), "text/plain; charset=utf-8".into()),
            ("Retry-After".into(), retry_after(session.id).to_string()),
        ],
        why.as_bytes(),
        CloseReason::Limit,
        tools,
    );
    Ok(FirstRequest::Decided)
}

fn retry_after(id: u64) -> u64 {
    RETRY_AFTER + id % SPREAD
}
