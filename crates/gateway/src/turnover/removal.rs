//! What happens to a process's sessions when it dies.
//!
//! First its ring is emptied: what it published counts. Then the gateway compares its own records with the ring: what
//! the process never took goes to the next one. Only the payloads of messages and posts are read from the ring, and the
//! dead process may have changed them, as it could change any message that it had. Messages that it took and did not
//! finish were in progress, and follow the listener's `on_crash`. A message that was in progress when a process died is
//! a suspect: its next delivery has the worker without other suspects, so that the fatal one is found.

use std::collections::VecDeque;

use hyper::StatusCode;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::commands::Death;
use crate::ending::act;
use crate::event_loop::Loop;
use crate::features::handlers::crashed;
use crate::features::posts::{gather, return_posts};
use crate::ids::{ProcessKey, SlotId};
use crate::memory::Class;
use crate::output::reply::refuse;
use crate::processes::process::Process;
use crate::session::inbound::{Inbound, Kept};
use crate::session::stay::Stay;
use crate::session::{End, Phase, Session};
use crate::suspects::clear_suspect;
use crate::timeouts::watch_when_done;
use crate::tools::Tools;
use crate::transfer::Transfer;
use crate::turnover::activate::rouse_slot;
use moorline_config::OnCrash;
use moorline_protocol::control::{LoopCounter, ProcessId, Role};
use moorline_protocol::flight::{FlightKind, role_detail};
use moorline_protocol::session_id::SessionId;
use moorline_protocol::wire::{ADOPTED, CloseReason, LAST, TEXT, ToProcess, WHOLE};

/// Ends of sessions that wait for a worker in one slot to take them, if workers die before that again and again. Beyond
/// this number the oldest are forgotten.
const MOST_PENDING: usize = 65_536;
/// Processes that may die while they look at one request.
const MOST_DEATHS: u8 = 2;
/// Processes that may die with a message in progress and name another session: they may lie, and messages that kill are
/// delivered one at a time, so that this many by chance are unlikely.
const MOST_OTHERS_NAMED: u8 = 16;

/// The records of one session that a dead process had not taken.
#[derive(Default)]
struct UntakenOfSession {
    /// It had not taken the session's opening; true if that says `adopted`.
    opening: Option<bool>,
    /// It had not taken the request that asks for the session.
    asks: bool,
    /// Messages whose last part it had not taken.
    count: u32,
    /// Messages that lie whole in the ring.
    whole: Vec<Kept>,
}

/// The records that a dead process had not taken.
#[derive(Default)]
struct Untaken {
    sessions: FxHashMap<u64, UntakenOfSession>,
    /// The tasks whose last part it had not taken, by their numbers: it had not begun them.
    tasks: FxHashSet<u64>,
    /// The plain requests of which it had not taken all.
    requests: FxHashSet<u64>,
    posts: Vec<Transfer>,
    /// The posts of which it had taken some parts and not all.
    partly: FxHashSet<(SlotId, u64)>,
}

impl Loop {
    /// A process has died.
    pub(crate) fn remove_process(&mut self, id: ProcessId, death: Death) {
        let Some(at) = self.tools.processes.find(id) else {
            return;
        };
        self.take_last_records(at);
        self.files.drop_of(id);
        let tools = &mut self.tools;
        let mut dead = tools.processes.remove(at);
        let (detail, pid) = (role_detail(dead.role), u64::from(dead.pid));
        let sessions = dead.sessions as u64;
        let flight = &tools.cx.flight;
        flight.note(FlightKind::ProcessLost, detail, sessions, pid);
        self.poller.ignore_process(&dead.chime);
        tools.processes.is_restless = true;
        for (_, message) in dead.partials.drain() {
            tools.memory.release(Class::Parts, message.bytes.len());
        }
        let now = tools.cx.clock.ms;
        for slot in &mut tools.processes.slots {
            if slot.process == Some(at) {
                slot.process = None;
                slot.empty_since = Some(now);
            }
        }
        tools.processes.tell_all_in_hand(&tools.cx);
        let mut untaken = read_untaken(&mut dead);
        let slot = slot_of(&dead, tools);
        hand_down_closes(&mut dead, &untaken, slot, tools);
        hand_down_posts(&mut dead, &mut untaken, slot, tools);
        self.take_sessions_from(at, &dead, untaken.sessions, death);
        let askers = std::mem::take(&mut dead.askers);
        for name in std::mem::take(&mut dead.waiters).into_iter().chain(askers) {
            if let Some(session) = self.sessions.named_mut(name) {
                session.listed.parked = false;
                self.tools.agenda.schedule(session);
            }
        }
        let tools = &mut self.tools;
        return_posts(&mut dead, &mut tools.processes, &mut tools.memory);
        self.tasks
            .reassign(at, &dead, &untaken.tasks, death.forced, tools);
        self.exchanges.reassign(at, &dead, &untaken.requests, tools);
        let unsent = dead.transfers.iter().map(Transfer::held).sum();
        tools.memory.release(Class::Transfers, unsent);
        // Its slot may have another process already. That process is told what the dead one was not told.
        for slot in tools.processes.slot_ids() {
            let here = &tools.processes[slot];
            if !here.transfers.is_empty() || !here.pending.is_empty() {
                rouse_slot(slot, &mut self.sessions, tools);
            }
        }
    }

    /// The sessions of a dead process have none now, and none has told it anything.
    fn take_sessions_from(
        &mut self,
        at: ProcessKey,
        dead: &Process,
        mut untaken: FxHashMap<u64, UntakenOfSession>,
        death: Death,
    ) {
        let (groups, tools) = (&mut self.groups, &mut self.tools);
        for session in self.sessions.iter_mut() {
            if let Some(queue) = &mut session.output.queue {
                // Its place may have another process next, which was told nothing.
                queue.others_told.retain(|told| *told != at);
            }
            if session.placement.process() != Some(at) {
                continue;
            }
            let untaken = untaken.remove(&session.id).unwrap_or_default();
            if let Phase::Asking { deaths } = session.phase {
                ask_again(session, deaths, untaken.asks, death, tools);
                continue;
            }
            if let Err(end) = on_process_lost(session, dead, untaken, death, tools) {
                act(session, end, groups, tools);
            }
        }
    }
}

/// Reads what the dead process had not taken.
fn read_untaken(dead: &mut Process) -> Untaken {
    let mut untaken = Untaken::default();
    let result = dead.producer.untaken(&mut |header, payload: &[u8]| {
        let id = header.session;
        match ToProcess::from_u8(header.kind) {
            Some(ToProcess::Open) => {
                let session = untaken.sessions.entry(id).or_default();
                session.opening = Some(header.aux == ADOPTED);
            }
            Some(ToProcess::Accept) => untaken.sessions.entry(id).or_default().asks = true,
            Some(ToProcess::Message) => {
                let session = untaken.sessions.entry(id).or_default();
                if header.flags & LAST != 0 {
                    session.count += 1;
                }
                if header.flags & WHOLE == WHOLE {
                    session.whole.push(Kept {
                        sequence: header.sequence as u32,
                        time: header.time,
                        text: header.flags & TEXT != 0,
                        deaths: 0,
                        named_others: 0,
                        bytes: payload.to_vec(),
                    });
                }
            }
            // A post of which the first parts were taken is lost with them; its credit returns.
            Some(ToProcess::Post) => {
                gather(&mut untaken.posts, &mut untaken.partly, header, payload);
            }
            Some(ToProcess::Task) if header.flags & LAST != 0 => {
                untaken.tasks.insert(id);
            }
            Some(ToProcess::Request) if header.flags & LAST != 0 => {
                untaken.requests.insert(id);
            }
            _ => {}
        }
    });
    if let Err(corrupt) = result {
        let name = dead.name();
        tracing::error!("the ring of {name}, which has ended, is corrupt: {corrupt}");
    }
    untaken
}

/// The slot whose next process is told what the dead one was not told.
fn slot_of(dead: &Process, tools: &Tools) -> SlotId {
    let count = tools.processes.slots.len();
    match dead.role {
        Role::Worker(slot) if usize::from(slot) < count => SlotId(slot),
        _ => SlotId(0),
    }
}

/// The next process gets the closes of sessions that the dead process did not take.
fn hand_down_closes(dead: &mut Process, untaken: &Untaken, slot: SlotId, tools: &mut Tools) {
    let Tools {
        processes, memory, ..
    } = tools;
    let here = &mut processes[slot];
    // Sessions that no process ever knew need no report.
    let was_known = |id: u64| {
        let session = untaken.sessions.get(&id);
        session.is_none_or(|session| session.opening != Some(false))
    };
    memory.release(Class::Transfers, dead.closings_held());
    for pending in dead.pending().filter(|it| was_known(it.id)) {
        memory.hold(Class::Transfers, pending.held());
        here.pending.push_back(pending);
    }
    let beyond = here.pending.len().saturating_sub(MOST_PENDING);
    if beyond > 0 {
        tracing::warn!(
            slot = slot.0,
            sessions = beyond,
            "too many closed sessions wait for a worker: the close hooks of the oldest do not run"
        );
        let forgotten = here.pending.drain(..beyond);
        let bytes = forgotten.map(|pending| pending.held()).sum();
        memory.release(Class::Transfers, bytes);
    }
}

/// The posts that the dead process had not taken are for the next one.
fn hand_down_posts(dead: &mut Process, untaken: &mut Untaken, slot: SlotId, tools: &mut Tools) {
    let Tools {
        processes, memory, ..
    } = tools;
    let here = &mut processes[slot];
    for mut transfer in std::mem::take(&mut untaken.posts) {
        let name = Transfer::post_name(&transfer.header);
        // A partly pushed record is still among the transfers, whole.
        if untaken.partly.contains(&name) {
            continue;
        }
        transfer.post = dead.posts.remove(&name);
        // The end of a done message is not awaited.
        if transfer.post.is_some() {
            memory.hold(Class::Transfers, transfer.held());
            here.transfers.push_back(transfer);
        }
    }
    let is_post = |transfer: &Transfer| transfer.header.kind == ToProcess::Post as u8;
    let (posts, others): (VecDeque<_>, VecDeque<_>) = dead.transfers.drain(..).partition(is_post);
    dead.transfers = others;
    for mut transfer in posts {
        dead.posts.remove(&Transfer::post_name(&transfer.header));
        transfer.offset = 0;
        here.transfers.push_back(transfer);
    }
}

/// A process has died that was asked about a request: the next one is, unless it may be the request that is fatal.
fn ask_again(session: &mut Session, deaths: u8, is_untaken: bool, death: Death, tools: &mut Tools) {
    session.placement.forget();
    let deaths = match death.culprit {
        _ if is_untaken => deaths,
        Some(culprit) if culprit == session.id => MOST_DEATHS,
        Some(_) => deaths,
        None => deaths + 1,
    };
    session.phase = Phase::Asking { deaths };
    if deaths < MOST_DEATHS {
        tools.agenda.schedule(session);
        return;
    }
    let listener = tools.cx.listener(session.listener);
    tracing::warn!(
        listener = %listener.name, peer = %session.peer, reason = %CloseReason::Crash,
        "request refused: its worker died while the app looked at it"
    );
    let answer = (StatusCode::SERVICE_UNAVAILABLE, "the app has failed");
    refuse(session, answer, CloseReason::Crash, tools);
}

/// One session has lost its process.
///
/// # Errors
/// It ends because of that.
fn on_process_lost(
    session: &mut Session,
    dead: &Process,
    untaken: UntakenOfSession,
    death: Death,
    tools: &mut Tools,
) -> Result<(), End> {
    clear_suspect(session, tools);
    let window = &mut session.input.window;
    // It comes from the dead process's ring, so it is compared with what was delivered.
    let never_taken = untaken.count.min(window.in_hand());
    let taken = window.in_hand() - never_taken;
    let is_known = untaken.opening.unwrap_or(true) || window.done > 0;
    window.take_back();
    session.placement.stay = match is_known {
        true => Stay::Between,
        false => Stay::New,
    };
    session.output.told = Default::default();
    if !session.lives() {
        tools.agenda.schedule(session);
        return Ok(());
    }
    // The rules that its messages were delivered by decide whether they are kept.
    let listener = &dead.rules.listeners[session.listener.index()];
    let (on_crash, attempts) = (listener.on_crash, listener.attempts);
    let first_untaken = session.input.window.done.wrapping_add(taken);
    let id = session.id;
    let inbound = session.input.queue();
    let held_before = inbound.bytes();
    requeue(inbound, untaken.whole, first_untaken, taken, on_crash);
    let kills = on_crash == OnCrash::Redeliver && taken > 0 && blame(inbound, id, death, attempts);
    let held_after = inbound.bytes();
    if inbound.queue.is_empty() {
        session.input.kept = None;
    }
    let Tools { cx, memory, .. } = tools;
    memory.change(Class::Received, held_before, held_after);
    if taken > 0 {
        let taken = u64::from(taken);
        if death.forced {
            cx.count(LoopCounter::ReloadForced, taken);
        }
        match on_crash {
            OnCrash::Redeliver if !kills => cx.count(LoopCounter::Redelivered, taken),
            OnCrash::Drop => {
                cx.count(LoopCounter::Dropped, taken);
                tracing::warn!(session = %SessionId::from(id), listener = %listener.name, messages = taken, "messages lost: their worker died while handling them");
            }
            OnCrash::Close | OnCrash::Redeliver => {
                let why = "its worker died while handling its message";
                return Err(crashed(session, why, cx));
            }
        }
    }
    watch_when_done(session, tools);
    tools.agenda.schedule(session);
    Ok(())
}

/// Counts a death against the message that was handled: the first in progress, since a session's messages are handled one
/// after another. True: it has caused as many as it may.
fn blame(inbound: &mut Inbound, session: u64, death: Death, attempts: u32) -> bool {
    // A fault counts against the session whose handler was being polled, any other death against all.
    let counts = death.culprit.is_none_or(|culprit| culprit == session);
    let Some(first) = inbound.queue.front_mut() else {
        return false;
    };
    match counts {
        true => first.deaths += 1,
        false => first.named_others += 1,
    }
    first.deaths >= attempts || first.named_others >= MOST_OTHERS_NAMED
}

/// Puts a session's undone messages back into its queue, in order; those in progress only if they are redelivered.
fn requeue(
    inbound: &mut Inbound,
    whole: Vec<Kept>,
    first_untaken: u32,
    taken: u32,
    on_crash: OnCrash,
) {
    if on_crash == OnCrash::Redeliver {
        // All that is undone is kept here, in order.
    } else {
        // Of the delivered ones only those that travelled in parts are kept here; the one in progress is dropped.
        let delivered: Vec<Kept> = inbound.queue.drain(..inbound.delivered).collect();
        let mut back: Vec<Kept> = delivered
            .into_iter()
            .chain(whole)
            .filter(|kept| {
                taken == 0
                    || kept.sequence.wrapping_sub(first_untaken).wrapping_sub(1) < u32::MAX / 2
            })
            .collect();
        back.sort_by_key(|kept| kept.sequence.wrapping_sub(first_untaken));
        for kept in back.into_iter().rev() {
            inbound.queue.push_front(kept);
        }
    }
    inbound.delivered = 0;
    inbound.offset = 0;
}
