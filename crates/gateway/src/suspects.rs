//! Messages that were in progress when a process died. One at a time is delivered in each slot, over all loops, so that
//! the fatal one is found.

use std::sync::atomic::Ordering;

use crate::session::Session;
use crate::tools::Tools;

/// Whether the session's suspect message may go out now. If not, its turn will come.
pub(crate) fn takes_suspect(session: &Session, tools: &mut Tools) -> bool {
    if session.input.window.in_hand() > 0 {
        return false;
    }
    let Tools { cx, processes, .. } = tools;
    let place = session.placement.slot;
    let slot = &mut processes[place];
    if slot.suspect == Some(session.id) {
        return true;
    }
    let mine = u32::from(cx.index) + 1;
    let free = slot.suspect.is_none()
        && cx.shared.suspects.get(place.index()).is_some_and(|holder| {
            holder
                .compare_exchange(0, mine, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        });
    if free {
        slot.suspect = Some(session.id);
    } else if slot.suspects.insert(session.name()) {
        processes.is_restless = true;
    }
    free
}

/// The session's suspect message has ended, in any way.
#[inline]
pub(crate) fn clear_suspect(session: &Session, tools: &mut Tools) {
    let Tools {
        cx,
        processes,
        agenda,
        ..
    } = tools;
    let place = session.placement.slot;
    let slot = processes.slots.get_mut(place.index());
    let Some(slot) = slot.filter(|slot| slot.suspect == Some(session.id)) else {
        return;
    };
    slot.suspect = None;
    if let Some(holder) = cx.shared.suspects.get(place.index()) {
        holder.store(0, Ordering::Release);
    }
    if let Some(next) = slot.suspects.pop_first() {
        agenda.sweep.push_back(next);
        // That session may not need it any more.
        processes.is_restless = true;
    }
}
