//! The end of a service.

use crate::id::ServiceId;
use crate::inbox::Letter;
use crate::local::Local;
use crate::message::{Kind, Message, Payload};

/// Removes a service from its loop: its id ends, its callers and its watchers are told, its code is dropped.
pub(crate) fn remove(local: &Local, index: u32) {
    let Some(cell) = local.cells.borrow_mut().try_remove(index as usize) else {
        return;
    };
    let id = cell.id;
    let shared = &local.shared;
    shared.table.free(id);
    shared.names.forget(id);
    if let Some(launcher) = cell.launcher {
        let payload = cell.failure.map_or(Payload::Empty, Payload::Failure);
        local.fail(id, launcher, payload);
    }
    for caller in cell.owed.into_callers() {
        local.fail(id, caller, Payload::Empty);
    }
    for message in cell.mailbox.into_messages() {
        if message.is_call() {
            local.fail(id, (message.source, message.session), Payload::Empty);
        }
    }
    for watcher in cell.watchers {
        tell_gone(local, id, watcher);
    }
    // Its code may still send while it is dropped, so nothing is borrowed.
    let vitals = &shared.loops[usize::from(local.index)].vitals;
    vitals.drop_code(id, cell.actor);
    shared.leave(local.index, cell.is_daemon);
}

/// Watches a service of this loop.
pub(crate) fn watch(local: &Local, service: ServiceId, watcher: ServiceId) {
    let place = local.shared.table.place(service);
    let cell = place.and_then(|place| place.cell);
    let is_watched = cell.and_then(|index| {
        local.with_cell(service, index, |cell| {
            if !cell.watchers.contains(&watcher) {
                cell.watchers.push(watcher);
            }
        })
    });
    if is_watched.is_none() {
        tell_gone(local, service, watcher);
    }
}

fn tell_gone(local: &Local, service: ServiceId, watcher: ServiceId) {
    let message = Message {
        source: service,
        session: 0,
        kind: Kind::EXITED,
        payload: Payload::Empty,
    };
    // The watcher may be gone, too.
    let _ = local.send(watcher, message);
}

/// Does what a letter from another loop asks for a service here. Launches are the runner's.
pub(crate) fn deliver(local: &Local, letter: Letter<crate::shared::Launch>) {
    match letter {
        Letter::Message(to, message) => deliver_message(local, to, message),
        Letter::Kill(id) => local.end(id),
        Letter::Watch { service, watcher } => watch(local, service, watcher),
        Letter::Launch(_) | Letter::Look => {}
    }
}

fn deliver_message(local: &Local, to: ServiceId, message: Message) {
    let caller = message
        .is_call()
        .then_some((message.source, message.session));
    let place = local.shared.table.place(to);
    let delivered = match place.and_then(|place| place.cell) {
        Some(cell) => local.push(cell, message).is_ok(),
        None => false,
    };
    if let (false, Some(caller)) = (delivered, caller) {
        local.fail(to, caller, Payload::Empty);
    }
}
