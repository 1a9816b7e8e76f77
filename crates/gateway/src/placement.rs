//! Which process has a session, and how it changes.
//!
//! One rule serves reload, crash, changed worker counts and dispatch by message: a session changes process
//! only when none of its messages is partly in a ring or undone and its open hook has ended there; while it waits for
//! that it is not read.

use moorline_ipc::Header;

use crate::cx::Cx;
use crate::facts::{asking, opening};
use crate::ids::SlotId;
use crate::memory::Class;
use crate::processes::dispatch::home;
use crate::session::stay::Stay;
use crate::session::{Phase, Session};
use crate::suspects::clear_suspect;
use crate::tools::Tools;
use moorline_protocol::flight::FlightKind;
use moorline_protocol::wire::{ADOPTED, ToProcess};

/// Requests that a process may be asked about at a time, from one loop: the others wait for its answers.
const MOST_ASKED: usize = 512;

/// Makes sure that a process has the session and knows of it. False: it waits for a process, or for room.
pub(crate) fn place(session: &mut Session, tools: &mut Tools) -> bool {
    if session.placement.is_moving() && !leave(session, tools) {
        // A message that has begun to go to this process goes there completely, and nothing behind it.
        return session.input.is_mid_message();
    }
    if session.placement.process().is_some() {
        return true;
    }
    let Some(at) = tools.processes[session.placement.slot].process else {
        return place_elsewhere(session, tools);
    };
    let is_asking = matches!(session.phase, Phase::Asking { .. });
    if is_asking && tools.processes[at].asked >= MOST_ASKED {
        if !std::mem::replace(&mut session.listed.parked, true) {
            tools.processes[at].askers.push_back(session.name());
        }
        return false;
    }
    let adopted = session.placement.is_known();
    let (kind, aux, facts) = match is_asking {
        true => (ToProcess::Accept, 0, asking(session)),
        false if adopted => (ToProcess::Open, ADOPTED, opening(session, true)),
        false => (ToProcess::Open, 0, opening(session, false)),
    };
    let header = Header {
        kind: kind as u8,
        aux,
        session: session.id,
        ..Header::default()
    };
    let process = &mut tools.processes[at];
    if process.producer.push(&header, &[&facts]).is_err() {
        tools.processes.park(session, at);
        return false;
    }
    process.sessions += 1;
    process.asked += usize::from(is_asking);
    if adopted {
        let (slot, pid) = (session.placement.slot.0, u64::from(process.pid));
        tools
            .cx
            .flight
            .note(FlightKind::Moved, slot, session.id, pid);
    }
    session.placement.arrive(at);
    session.output.told = session.output.level;
    tools.processes.mark_dirty(at);
    // Of one that has ended nothing is delivered.
    if session.app.state.is_some() && session.lives() {
        give_input(session, tools);
    }
    true
}

/// What its process before had not used is the first message of this one.
fn give_input(session: &mut Session, tools: &mut Tools) {
    let mut input = Vec::new();
    let (before, after) = (session.app).change(|state| input = std::mem::take(&mut state.input));
    tools.memory.change(Class::State, before, after);
    if !input.is_empty() {
        tools.memory.hold(Class::Received, input.len());
        session.input.queue().put_first(input, tools.cx.clock.ns);
        tools.agenda.schedule(session);
    }
}

/// The session's slot has no process. If each message has its own slot, another one is chosen; otherwise the session
/// waits.
fn place_elsewhere(session: &mut Session, tools: &mut Tools) -> bool {
    let dispatch = tools.cx.listener(session.listener).dispatch;
    let now = Some(session.placement.slot);
    let slot = tools.processes.choose_slot(dispatch, now, &tools.cx);
    if tools.processes[slot].process.is_some() {
        enter_slot(session, slot, tools);
        return place(session, tools);
    }
    if !session.listed.parked {
        session.listed.parked = true;
        tools.processes.is_restless = true;
        let slot = &mut tools.processes[session.placement.slot];
        slot.waiters.push_back(session.name());
    }
    false
}

/// Takes the session away from its process, if the process has no message of it. False: not yet.
fn leave(session: &mut Session, tools: &mut Tools) -> bool {
    let Stay::With(at, _) = session.placement.stay else {
        return true;
    };
    let process = &mut tools.processes[at];
    if session.placement.is_opening()
        || session.input.window.in_hand() > 0
        || session.input.is_mid_message()
        || process.is_sending_to(session.id)
    {
        return false;
    }
    if !process.tell(ToProcess::Moved, session.id) {
        tools.processes.park(session, at);
        return false;
    }
    process.sessions -= 1;
    tools.processes.mark_dirty(at);
    session.placement.leave();
    true
}

/// Gives a session another slot. It changes process when it can.
pub(crate) fn change_slot(session: &mut Session, slot: SlotId, tools: &mut Tools) {
    if session.placement.slot == slot {
        return;
    }
    session.placement.must_move();
    enter_slot(session, slot, tools);
    place(session, tools);
}

/// Counts a session to another slot.
pub(crate) fn enter_slot(session: &mut Session, slot: SlotId, tools: &mut Tools) {
    // Its suspect may be out: others there would wait for its end, which is reported in the new slot.
    clear_suspect(session, tools);
    let Tools { cx, processes, .. } = tools;
    let before = &mut processes[session.placement.slot];
    before.leave(&cx.shared.slots[session.placement.slot.index()]);
    // It may be waiting there for a process; the new slot has its own list.
    if session.placement.process().is_none()
        && let Some(place) = before.waiters.iter().position(|it| *it == session.name())
    {
        before.waiters.remove(place);
        session.listed.parked = false;
    }
    if let Some(at) = before.process {
        let askers = &mut processes[at].askers;
        if let Some(place) = askers.iter().position(|it| *it == session.name()) {
            askers.remove(place);
            session.listed.parked = false;
        }
    }
    let before = &mut processes[session.placement.slot];
    // … and its suspect message waits for its turn there.
    before.suspects.remove(&session.name());
    session.placement.slot = slot;
    processes[slot].enter(&cx.shared.slots[slot.index()]);
}

/// The slot, out of this many, that a session belongs to by its address or key.
pub(crate) fn home_of(session: &Session, slots: usize, cx: &Cx) -> Option<SlotId> {
    let dispatch = cx.listener(session.listener).dispatch;
    home(dispatch, &session.peer, session.app.key(), slots)
}

/// The session's address is known now, and no process knows of the session: it begins where its address belongs.
pub(crate) fn go_to_address(session: &mut Session, tools: &mut Tools) {
    let slots = tools.processes.slots.len();
    let home = home_of(session, slots, &tools.cx).filter(|home| !tools.processes.is_silent(*home));
    if let Some(slot) = home
        && slot != session.placement.slot
    {
        enter_slot(session, slot, tools);
    }
}

/// A session was bound to another key: it goes to the key's slot.
pub(crate) fn go_home(session: &mut Session, tools: &mut Tools) {
    if let Some(slot) = home_of(session, tools.processes.slots.len(), &tools.cx) {
        change_slot(session, slot, tools);
        tools.agenda.schedule(session);
    }
}
