//! A loop's turns.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::task::yield_now;
use tokio::time::sleep_until;

use crate::actor::Actor;
use crate::cell::{Phase, ServiceCell};
use crate::id::ServiceId;
use crate::inbox::Letter;
use crate::local::{Local, Pause};
use crate::mailbox::Mailbox;
use crate::message::{Kind, Message, Payload};
use crate::owed::Owed;
use crate::removal::{deliver, remove};
use crate::report::Report;
use crate::shared::Launch;

/// Messages that one service handles before the next one runs.
const BATCH: usize = 64;
/// Services that run between two looks at the clock.
const SERVICES_PER_LOOK: usize = 64;
/// A turn that has lasted for so long lets sockets and other futures of the loop have a look.
const LONGEST_TURN: Duration = Duration::from_micros(500);
/// For how long a service waits for one of another loop, before it handles a message in any case: that one may wait for this one.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// How soon a paused service looks again, when the loop has nothing else to do.
const PAUSE_LOOK: Duration = Duration::from_millis(1);

/// Runs a loop until the system stops. Then all of its services are dropped.
pub(crate) async fn run(local: Rc<Local>) {
    let shared = local.shared.clone();
    let inbox = &shared.loops[usize::from(local.index)].inbox;
    let mut letters = Vec::new();
    while !shared.is_stopping.load(Ordering::Acquire) {
        local.is_in_turn.set(true);
        inbox.take(&mut letters);
        for letter in letters.drain(..) {
            match letter {
                Letter::Launch(launch) => start(&local, launch),
                letter => deliver(&local, letter),
            }
        }
        // What is due at a moment is told after what was sent before it.
        fire_timers(&local);
        resume_paused(&local);
        run_services(&local);
        local.flush();
        local.is_in_turn.set(false);
        if !local.ready.borrow().is_empty() {
            yield_now().await;
            continue;
        }
        match next_look(&local) {
            None => inbox.sleep().await,
            Some(at) => tokio::select! {
                () = inbox.sleep() => {}
                () = sleep_until(at.into()) => {}
            },
        }
    }
    end_all(&local);
}

/// Makes a service.
fn start(local: &Local, launch: Launch) {
    let id = launch.id;
    let index = local.cells.borrow_mut().insert(ServiceCell {
        id,
        phase: Phase::Running,
        is_daemon: launch.is_daemon,
        mailbox: Mailbox::new(&local.shared.limits),
        owed: Owed::default(),
        launcher: launch.caller,
        failure: None,
        watchers: Vec::new(),
        actor: None,
        handled: 0,
        busy: Duration::ZERO,
    });
    // There are no more cells than slots, which are two million.
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    local.shared.table.set_cell(id, index);
    let vitals = &local.shared.loops[usize::from(local.index)].vitals;
    let source = launch.caller.map_or(ServiceId::NONE, |(source, _)| source);
    vitals.begin(id, source);
    local.running.set(id);
    let made = catch_unwind(AssertUnwindSafe(|| (launch.make)(id)));
    local.running.set(ServiceId::NONE);
    vitals.end();
    let made = made.unwrap_or_else(|panic| {
        let text = panic_text(panic.as_ref());
        let report = Report::Panicked {
            service: id,
            text: text.clone(),
        };
        local.shared.report(&report);
        Err(text)
    });
    match made {
        Ok(actor) => put_back(local, index, actor),
        Err(why) => {
            local.with_cell(id, index, |cell| {
                cell.failure.get_or_insert_with(|| why.into());
            });
            remove(local, index);
        }
    }
}

fn fire_timers(local: &Local) {
    if local.timers.borrow().next().is_none() {
        return;
    }
    let now = Instant::now();
    loop {
        let Some(due) = local.timers.borrow_mut().take(now) else {
            return;
        };
        let message = Message {
            source: ServiceId::NONE,
            session: due.session,
            kind: Kind::RESPONSE,
            payload: Payload::Empty,
        };
        // A service that is gone needs no timer.
        let _ = local.send(due.service, message);
    }
}

fn resume_paused(local: &Local) {
    if local.paused.borrow().is_empty() {
        return;
    }
    let now = Instant::now();
    let goes_on = |pause: &Pause| {
        let place = local.shared.table.place(pause.for_service);
        pause.until.is_some_and(|until| now >= until) || !place.is_some_and(|place| place.is_full)
    };
    let ready: Vec<Pause> = local
        .paused
        .borrow_mut()
        .extract_if(.., |pause| goes_on(pause))
        .collect();
    for pause in ready {
        local.with_cell(pause.service, pause.cell, |cell| {
            if cell.phase == Phase::Paused {
                local.queue(pause.cell, cell);
            }
        });
    }
}

/// Runs what is ready, for the time of a turn.
fn run_services(local: &Local) {
    let started = Instant::now();
    let mut runs = 0;
    loop {
        let Some(index) = local.ready.borrow_mut().pop_front() else {
            return;
        };
        run_service(local, index);
        runs += 1;
        if runs % SERVICES_PER_LOOK == 0 && started.elapsed() >= LONGEST_TURN {
            return;
        }
    }
}

fn run_service(local: &Local, index: u32) {
    let taken = {
        let mut cells = local.cells.borrow_mut();
        let Some(cell) = cells.get_mut(index as usize) else {
            return;
        };
        match cell.phase {
            Phase::Ending => None,
            _ => {
                cell.phase = Phase::Running;
                cell.actor.take().map(|actor| (cell.id, actor))
            }
        }
    };
    let Some((id, mut actor)) = taken else {
        return remove(local, index);
    };
    local.running.set(id);
    local.full.set(None);
    let is_measuring = local.shared.is_measuring.load(Ordering::Relaxed);
    local.since.set(is_measuring.then(Instant::now));
    let outcome = catch_unwind(AssertUnwindSafe(|| batch(local, (id, index), &mut *actor)));
    local.running.set(ServiceId::NONE);
    let vitals = &local.shared.loops[usize::from(local.index)].vitals;
    vitals.end();
    if let Some(since) = local.since.take() {
        local.with_cell(id, index, |cell| cell.busy += since.elapsed());
    }
    if let Err(panic) = outcome {
        let text = panic_text(panic.as_ref());
        let report = Report::Panicked { service: id, text };
        local.shared.report(&report);
        vitals.drop_code(id, actor);
        return remove(local, index);
    }
    put_back(local, index, actor);
}

/// Hands messages to a service until it has none, or has had enough.
fn batch(local: &Local, (id, index): (ServiceId, u32), actor: &mut dyn Actor) {
    let vitals = &local.shared.loops[usize::from(local.index)].vitals;
    for _ in 0..BATCH {
        let Some(message) = next_message(local, index) else {
            return;
        };
        vitals.begin(id, message.source);
        actor.receive(message);
        if local.full.get().is_some() {
            return;
        }
    }
}

/// The next message of a service that runs and does not end.
fn next_message(local: &Local, index: u32) -> Option<Message> {
    let mut cells = local.cells.borrow_mut();
    let cell = cells.get_mut(index as usize)?;
    if cell.phase != Phase::Running {
        return None;
    }
    let message = cell.mailbox.pop(&local.shared.limits)?;
    cell.handled += 1;
    if message.is_call() {
        cell.owed.add(message.source, message.session);
    }
    if cell.mailbox.is_drained(&local.shared.limits) {
        local.shared.table.set_full(cell.id, false);
    }
    Some(message)
}

/// Puts the code of a service back that has run, and decides when it runs next.
fn put_back(local: &Local, index: u32, actor: Box<dyn Actor>) {
    let mut cells = local.cells.borrow_mut();
    let Some(cell) = cells.get_mut(index as usize) else {
        return;
    };
    cell.actor = Some(actor);
    if cell.phase == Phase::Ending {
        drop(cells);
        return remove(local, index);
    }
    cell.phase = Phase::Idle;
    let full = local.full.take();
    if let Some(pause) = full.and_then(|full| pause(local, index, cell.id, full)) {
        cell.phase = Phase::Paused;
        local.paused.borrow_mut().push(pause);
    } else if !cell.mailbox.is_empty() {
        local.queue(index, cell);
    }
}

/// The pause of a service that has sent to a full mailbox. None if that one waits for this one: both would wait for ever.
fn pause(local: &Local, cell: u32, service: ServiceId, for_service: ServiceId) -> Option<Pause> {
    let paused = local.paused.borrow();
    let mut last = for_service;
    // A service is paused once, so the chain has no more links than the list.
    for _ in 0..paused.len() {
        let next = paused.iter().find(|pause| pause.service == last);
        match next {
            Some(pause) if pause.for_service == service => return None,
            Some(pause) => last = pause.for_service,
            None => break,
        }
    }
    let place = local.shared.table.place(last)?;
    let is_here = place.on == local.index;
    Some(Pause {
        cell,
        service,
        for_service,
        until: (!is_here).then(|| Instant::now() + LONGEST_PAUSE),
    })
}

/// When a loop without messages has something to do.
fn next_look(local: &Local) -> Option<Instant> {
    let timer = local.timers.borrow().next();
    let is_pausing = !local.paused.borrow().is_empty();
    let pause = is_pausing.then(|| Instant::now() + PAUSE_LOOK);
    timer.into_iter().chain(pause).min()
}

fn end_all(local: &Local) {
    let all: Vec<usize> = {
        let cells = local.cells.borrow();
        cells.iter().map(|(index, _)| index).collect()
    };
    for index in all {
        remove(local, u32::try_from(index).unwrap_or(u32::MAX));
    }
}

pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without words").to_owned()
}
