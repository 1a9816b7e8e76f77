//! Other processes serve than before: sessions, posts and tasks move to them.

use std::sync::atomic::Ordering;

use crate::commands::Report;
use crate::ending::{act, close_unfinished};
use crate::event_loop::Loop;
use crate::groups::Groups;
use crate::ids::{ProcessKey, SlotId};
use crate::placement::{change_slot, enter_slot, home_of};
use crate::processes::Processes;
use crate::processes::process::Standing;
use crate::processes::slot::Slot;
use crate::session::table::Table;
use crate::session::{End, Phase, Session};
use crate::tools::Tools;
use crate::transfer::Transfer;
use moorline_protocol::control::{ProcessId, Role};
use moorline_protocol::wire::CloseReason;

/// The size of two records beside their payloads, in bytes, rounded up.
const RECORD_ROOM: usize = 256;

impl Loop {
    /// From now on these processes serve, and the others give up their sessions.
    pub(crate) fn activate(&mut self, workers: u16, serving: &[ProcessId]) {
        let workers = usize::from(workers).max(1);
        let tools = &mut self.tools;
        // Their earlier records rang no bell.
        for at in appoint(workers, serving, tools) {
            tools.processes.poll(at);
        }
        for slot in tools.processes.slot_ids() {
            if tools.processes[slot].process.is_some() {
                tools.processes[slot].empty_since = None;
                rouse_slot(slot, &mut self.sessions, tools);
            } else {
                let now = tools.cx.clock.ms;
                tools.processes[slot].empty_since.get_or_insert(now);
                // Sessions without a slot of their own may go to another one now.
                sweep_waiters(slot, &mut self.sessions, tools);
            }
        }
        sweep_askers(&mut self.sessions, tools);
        if tools.cx.has_no_workers() {
            end_sessions_of_app(&mut self.sessions, &mut self.groups, tools);
        }
        sweep_moved(workers, &mut self.sessions, tools);
        remove_slots(workers, &mut self.sessions, tools);
        tools.processes.note_task_workers();
        self.tasks.give(tools);
        self.exchanges.give(tools);
        // Retiring processes, and empty slots.
        tools.processes.is_restless = true;
        tools.processes.tell_all_in_hand(&tools.cx);
        tools.cx.report(Report::Activated(tools.cx.index));
    }

    /// Does the checks that no record and no event triggers. True: check again soon.
    pub(crate) fn look_after_processes(&mut self) -> bool {
        if std::mem::take(&mut self.tools.processes.is_restless) {
            let again = self.look_after_all();
            self.tools.processes.is_restless |= again;
        }
        let is_emptying = self.look_whether_empty();
        self.tools.processes.is_restless || is_emptying
    }

    /// False: nothing is left to check.
    fn look_after_all(&mut self) -> bool {
        let Tools { cx, processes, .. } = &mut self.tools;
        let mut again = false;
        for (at, process) in processes.iter_mut() {
            if process.standing == Standing::Retiring {
                if process.is_clear() && self.tasks.is_clear_of(at, process.id) {
                    process.standing = Standing::Released;
                    cx.report(Report::Released(process.id));
                } else {
                    again = true;
                }
            }
        }
        for slot in processes.slot_ids() {
            again |= look_after_slot(slot, &mut self.sessions, &mut self.tools);
        }
        again
    }
}

/// Says which processes serve from now on. Returns those that did not before.
fn appoint(workers: usize, serving: &[ProcessId], tools: &mut Tools) -> Vec<ProcessKey> {
    let Tools { cx, processes, .. } = tools;
    let mut slots = std::mem::take(&mut processes.slots);
    while slots.len() < workers {
        slots.push(Slot::default());
    }
    for slot in &mut slots {
        slot.process = None;
    }
    let mut new = Vec::new();
    for (at, process) in processes.iter_mut() {
        if process.standing == Standing::Broken {
            continue;
        }
        if serving.contains(&process.id) {
            if process.standing != Standing::Serving {
                process.serve_by(cx.config.clone());
                new.push(at);
            }
            if let Role::Worker(slot) = process.role
                && let Some(slot) = slots.get_mut(usize::from(slot))
            {
                slot.process = Some(at);
            }
        } else if process.standing == Standing::Serving {
            process.standing = Standing::Retiring;
        }
    }
    processes.slots = slots;
    new
}

/// Queues the sessions that wait for a process of a slot for a check.
fn sweep_waiters(slot: SlotId, sessions: &mut Table, tools: &mut Tools) {
    for name in std::mem::take(&mut tools.processes[slot].waiters) {
        if let Some(session) = sessions.named_mut(name) {
            session.listed.parked = false;
            tools.agenda.sweep.push_back(name);
        }
    }
}

/// Queues the sessions that wait to ask a process which serves no more for a check: another one is asked.
fn sweep_askers(sessions: &mut Table, tools: &mut Tools) {
    for (_, process) in tools.processes.iter_mut() {
        if process.standing == Standing::Serving {
            continue;
        }
        for name in std::mem::take(&mut process.askers) {
            if let Some(session) = sessions.named_mut(name) {
                session.listed.parked = false;
                tools.agenda.sweep.push_back(name);
            }
        }
    }
}

/// A slot has a process (again): everything that waited for it continues.
pub(crate) fn rouse_slot(slot: SlotId, sessions: &mut Table, tools: &mut Tools) {
    let Some(process) = tools.processes[slot].process else {
        return;
    };
    for transfer in std::mem::take(&mut tools.processes[slot].transfers) {
        let to = &mut tools.processes[process];
        if let Some(post) = transfer.post {
            let name = Transfer::post_name(&transfer.header);
            to.posts.insert(name, post);
        }
        to.transfers.push_back(transfer);
    }
    sweep_waiters(slot, sessions, tools);
    let suspects = &tools.processes[slot].suspects;
    tools.agenda.sweep.extend(suspects);
    if !tools.processes[process].transfers.is_empty() {
        tools.processes.block(process);
    }
    tell_pending(slot, &mut tools.processes);
}

/// Tells the slot's process the closes of sessions that its predecessor did not take.
fn tell_pending(slot: SlotId, processes: &mut Processes) {
    let Some(at) = processes[slot].process else {
        return;
    };
    while let Some(pending) = processes[slot].pending.pop_front() {
        let to = &mut processes[at];
        let room = pending.opening.len() + pending.closing.len() + RECORD_ROOM;
        let has_room = to.producer.fits(room);
        if !has_room
            || to
                .producer
                .push(&pending.open(), &[&pending.opening])
                .is_err()
        {
            processes[slot].pending.push_front(pending);
            return;
        }
        // There was room for both. The bytes stay counted until it has taken them.
        to.push_close(pending);
        processes.note_told(at);
        processes.mark_dirty(at);
    }
}

/// No worker remains. The supervisor has refused that while sessions were open, but others may have begun since: they close,
/// each when no message of it is in progress.
fn end_sessions_of_app(sessions: &mut Table, groups: &mut Groups, tools: &mut Tools) {
    for session in sessions.iter_mut() {
        if !needs_worker(session, tools) {
            continue;
        }
        match session.placement.process() {
            // The worker that is about to end is told.
            Some(_) => act(
                session,
                End::WhenFlushed(CloseReason::Stopped),
                groups,
                tools,
            ),
            None => close_unfinished(session, groups, tools),
        }
        tools.agenda.sweep.push_back(session.name());
    }
}

/// Whether a connection goes on only with a worker.
fn needs_worker(session: &Session, tools: &Tools) -> bool {
    match session.phase {
        Phase::Open | Phase::Asking { .. } => true,
        Phase::Announced | Phase::Preread | Phase::Handshake | Phase::Request => {
            tools.cx.listener(session.listener).needs_app()
        }
        _ => false,
    }
}

/// Marks the sessions that must move, and queues them for a check.
fn sweep_moved(workers: usize, sessions: &mut Table, tools: &mut Tools) {
    for session in sessions.iter_mut() {
        if session.phase == Phase::Lingering {
            continue;
        }
        let retires = session.placement.process().is_some_and(|at| {
            let process = tools.processes.get(at);
            process.is_none_or(|process| process.standing != Standing::Serving)
        });
        let home = home_of(session, workers, &tools.cx);
        let slot = session.placement.slot;
        let goes = home.is_some_and(|home| home != slot) || slot.index() >= workers;
        if !retires && !goes {
            continue;
        }
        if goes {
            let slot = home.unwrap_or_else(|| emptiest(workers, &tools.processes));
            enter_slot(session, slot, tools);
        }
        // Without workers it ends where it is.
        if !tools.cx.has_no_workers() {
            session.placement.must_move();
        }
        tools.agenda.sweep.push_back(session.name());
    }
}

/// Removes the slots that do not exist any more; what waits there goes to others.
fn remove_slots(workers: usize, sessions: &mut Table, tools: &mut Tools) {
    while tools.processes.slots.len() > workers {
        let Some(mut slot) = tools.processes.slots.pop() else {
            break;
        };
        let place = tools.processes.slots.len();
        let shared = &tools.cx.shared;
        slot.tell_in_hand(0, &shared.slots[place]);
        if slot.suspect.is_some()
            && let Some(holder) = shared.suspects.get(place)
        {
            holder.store(0, Ordering::Release);
        }
        let successor = emptiest(workers, &tools.processes);
        let successor = &mut tools.processes[successor];
        successor.transfers.extend(slot.transfers);
        successor.pending.extend(slot.pending);
        for name in slot.waiters {
            if let Some(session) = sessions.named_mut(name) {
                session.listed.parked = false;
                tools.agenda.schedule(session);
            }
        }
        tools.agenda.sweep.extend(slot.suspects);
    }
    for slot in tools.processes.slot_ids() {
        if !tools.processes[slot].transfers.is_empty() {
            rouse_slot(slot, sessions, tools);
        }
    }
}

/// The slot with the fewest sessions, out of this many, if possible one with a process.
fn emptiest(slots: usize, processes: &Processes) -> SlotId {
    let slots = processes.slot_ids().take(slots);
    let least = slots.min_by_key(|slot| {
        let slot = &processes[*slot];
        (slot.process.is_none(), slot.sessions)
    });
    least.unwrap_or(SlotId(0))
}

/// True: look again soon.
fn look_after_slot(slot: SlotId, sessions: &mut Table, tools: &mut Tools) -> bool {
    if !tools.processes[slot].pending.is_empty() && tools.processes[slot].process.is_some() {
        tell_pending(slot, &mut tools.processes);
    }
    let now = tools.cx.clock.ms;
    let here = &mut tools.processes[slot];
    let mut again = !here.pending.is_empty();
    if here.suspect.is_none()
        && let Some(name) = here.suspects.pop_first()
    {
        tools.agenda.sweep.push_back(name);
        again = true;
    }
    let Some(since) = here.empty_since.filter(|_| !here.waiters.is_empty()) else {
        return again;
    };
    let patience = tools.cx.config.workers.start_timeout.as_millis() as u64;
    let other = emptiest(tools.processes.slots.len(), &tools.processes);
    if now.saturating_sub(since) > patience && tools.processes[other].process.is_some() {
        tracing::warn!(
            slot = slot.0,
            "no worker came up in time, its sessions go to slot {}",
            other.0
        );
        for name in std::mem::take(&mut tools.processes[slot].waiters) {
            if let Some(session) = sessions.named_mut(name) {
                session.listed.parked = false;
                // One that only lingers has left its slot already.
                if session.phase != Phase::Lingering {
                    change_slot(session, other, tools);
                    tools.agenda.schedule(session);
                }
            }
        }
    }
    true
}
