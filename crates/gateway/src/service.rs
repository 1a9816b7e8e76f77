//! One session's turn.

use crate::ending::{Left, Onward, act, finish_if_over, go_on_ending};
use crate::groups::Groups;
use crate::input::deliver::forward_kept;
use crate::input::dropped::drop_received;
use crate::input::hello::hear_hello;
use crate::input::proxied::{Announcement, hear_proxy};
use crate::input::read::receive;
use crate::input::request::{FirstRequest, has_left, read_request};
use crate::input::turning_away::turn_away;
use crate::output::flush::flush;
use crate::output::watermarks::tell_watermark;
use crate::placement::place;
use crate::session::{End, Kind, Phase, Session};
use crate::tools::Tools;

/// Does for a session whatever can be done now.
pub(crate) fn service(session: &mut Session, groups: &mut Groups, tools: &mut Tools) -> Left {
    if session.phase == Phase::Announced {
        match hear_proxy(session, tools) {
            Announcement::Whole => {}
            Announcement::Waits => return Left::Session,
            Announcement::Wrong => return Left::Connection(Onward::Closed),
        }
    }
    match session.phase {
        Phase::Announced => return Left::Session,
        Phase::Open | Phase::Ending(_) => {}
        Phase::Preread => return preread(session, groups, tools),
        Phase::Relayed => return Left::Connection(Onward::Relay),
        Phase::Handshake => {
            tools.agenda.await_handshake(session, &tools.cx.shared);
            return Left::Session;
        }
        Phase::Request => match read_request(session, tools) {
            Ok(FirstRequest::Decided) => {}
            Ok(FirstRequest::Waits) => return Left::Session,
            Ok(FirstRequest::Other) => return Left::Connection(Onward::Http),
            Ok(FirstRequest::Left) => return Left::Connection(Onward::Closed),
            Err(end) => {
                act(session, end, groups, tools);
                return Left::Session;
            }
        },
        Phase::TurnedAway(limit) => match turn_away(session, limit, tools) {
            Ok(FirstRequest::Waits) => return Left::Session,
            Ok(FirstRequest::Left) => return Left::Connection(Onward::Closed),
            Ok(_) => {}
            Err(end) => {
                act(session, end, groups, tools);
                return Left::Session;
            }
        },
        Phase::Asking { .. } | Phase::Refused(_) => {}
        Phase::Ended(_) | Phase::Lingering => return go_on_ending(session, tools),
    }
    if matches!(session.phase, Phase::Asking { .. }) {
        if has_left(session) {
            return Left::Connection(Onward::Closed);
        }
        place(session, tools);
        return Left::Session;
    }
    if matches!(session.phase, Phase::Refused(_)) {
        if session.output.goes_on()
            && let Err(end) = flush(session, tools)
        {
            act(session, end, groups, tools);
        }
        finish_if_over(session, groups, tools);
        return Left::Session;
    }
    if let Err(end) = step(session, tools) {
        act(session, end, groups, tools);
    }
    finish_if_over(session, groups, tools);
    Left::Session
}

/// Reads what a TLS client asks for.
fn preread(session: &mut Session, groups: &mut Groups, tools: &mut Tools) -> Left {
    match hear_hello(session, tools) {
        Ok(true) => Left::Connection(Onward::Relay),
        Ok(false) => Left::Session,
        Err(end) => {
            act(session, end, groups, tools);
            Left::Session
        }
    }
}

fn step(session: &mut Session, tools: &mut Tools) -> Result<(), End> {
    if session.output.goes_on() {
        flush(session, tools)?;
    }
    let is_placed = place(session, tools);
    // Told also of one that it is to give up: a handler may wait for nothing else.
    let is_told = tell_watermark(session, tools);
    if is_placed && is_told && forward_kept(session, tools) {
        match session.kind {
            Kind::Events { .. } => drop_received(session, tools)?,
            Kind::Framed | Kind::Resumable => receive(session, tools)?,
        }
    }
    Ok(())
}
