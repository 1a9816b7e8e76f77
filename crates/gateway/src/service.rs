//! One session's turn.

use super::deliver::forward_kept;
use super::ending::{Left, act, finish_if_over, go_on_ending};
use super::flush::flush;
use super::groups::Groups;
use super::placement::place;
use super::read::receive;
use super::session::{End, Phase, Session};
use super::tools::Tools;
use super::watermarks::tell_watermark;

/// Does for a session whatever can be done now.
pub(crate) fn service(session: &mut Session, groups: &mut Groups, tools: &mut Tools) -> Left {
    match session.phase {
        Phase::Open | Phase::Ending(_) => {}
        Phase::Handshake => {
            tools.agenda.await_handshake(session);
            return Left::Session;
        }
        Phase::Ended(_) | Phase::Lingering => return go_on_ending(session, tools),
    }
    if let Err(end) = step(session, tools) {
        act(session, end, groups, tools);
    }
    finish_if_over(session, groups, tools);
    Left::Session
}

fn step(session: &mut Session, tools: &mut Tools) -> Result<(), End> {
    if session.output.goes_on() {
        flush(session, tools)?;
    }
    let is_placed = place(session, tools);
    // Told also of one that it is to give up: a handler may wait for nothing else.
    let is_told = tell_watermark(session, tools);
    if is_placed && is_told && forward_kept(session, tools) {
        receive(session, tools)?;
    }
    Ok(())
}
