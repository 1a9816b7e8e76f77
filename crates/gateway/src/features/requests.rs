//! Requests of apps for a session, beside messages: to keep a locker or input, to pause it, to keep it from closing, to bind it,
//! to label it.

use crate::groups::{Groups, split_join};
use crate::ids::ProcessKey;
use crate::memory::Class;
use crate::placement::go_home;
use crate::session::{End, Session};
use crate::timeouts::watch_again;
use crate::tools::Tools;
use moorline_protocol::control::LoopCounter;
use moorline_protocol::wire::event::LONGEST_EVENT_ID;
use moorline_protocol::wire::{
    FromProcess, INPUT_PART, LARGEST_STATE, LONGEST_LABEL, LONGEST_NAME,
};

/// The most bytes that a request of this kind may come with.
pub(crate) fn limit(kind: FromProcess) -> usize {
    match kind {
        FromProcess::KeepState => LARGEST_STATE,
        FromProcess::KeepInput => INPUT_PART,
        FromProcess::SetLabel => LONGEST_LABEL,
        FromProcess::JoinAfter => 1 + LONGEST_NAME + LONGEST_EVENT_ID,
        FromProcess::Bind | FromProcess::Join | FromProcess::Leave => LONGEST_NAME,
        _ => 0,
    }
}

/// Does what a process asks for a session.
///
/// # Errors
/// The session ends, because an earlier broadcast could not be sent.
pub(crate) fn handle_request(
    session: &mut Session,
    at: ProcessKey,
    kind: FromProcess,
    bytes: Vec<u8>,
    groups: &mut Groups,
    tools: &mut Tools,
) -> Result<(), End> {
    match kind {
        // Another process has a newer one: the session has moved meanwhile.
        FromProcess::KeepState
        | FromProcess::KeepInput
        | FromProcess::DropInput
        | FromProcess::LoseInput
            if session.placement.process() != Some(at) =>
        {
            tools.cx.count(LoopCounter::Discarded, 1);
        }
        FromProcess::KeepState => {
            let (before, after) = session.app.change(|state| state.locker = bytes);
            tools.memory.change(Class::State, before, after);
        }
        FromProcess::KeepInput | FromProcess::DropInput | FromProcess::LoseInput => {
            let (before, after) = session.app.change(|state| match kind {
                FromProcess::KeepInput => state.keep_input(&bytes),
                FromProcess::DropInput => state.drop_input(),
                _ => state.lose_input(),
            });
            tools.memory.change(Class::State, before, after);
        }
        FromProcess::SetLabel => {
            let (before, after) = session.app.change(|state| state.label = bytes);
            tools.memory.change(Class::State, before, after);
            groups.relabel(session);
        }
        FromProcess::Bind => {
            let (before, after) = session.app.change(|state| state.key = bytes);
            tools.memory.change(Class::State, before, after);
            go_home(session, tools);
        }
        FromProcess::Join => groups.join(session, &bytes, tools),
        FromProcess::JoinAfter => {
            if let Some((group, last_id)) = split_join(&bytes) {
                return groups.join_after(session, group, last_id, tools);
            }
        }
        FromProcess::Leave => {
            // It still gets the earlier broadcasts.
            let caught_up = groups.catch_up(session, tools);
            groups.leave(session, &bytes, &mut tools.memory);
            return caught_up;
        }
        FromProcess::Pause => session.app.is_paused = true,
        FromProcess::Resume => {
            session.app.is_paused = false;
            watch_again(session, tools);
            tools.agenda.schedule(session);
        }
        FromProcess::Keep => session.app.is_kept = true,
        FromProcess::Unkeep => {
            session.app.is_kept = false;
            watch_again(session, tools);
        }
        _ => {}
    }
    Ok(())
}
