//! From a message to the ring: into it at once, or kept until there is room, a window and a process for it. Until it has
//! gone the session is not read.

use moorline_ipc::Header;

use crate::cx::Cx;
use crate::ids::ProcessKey;
use crate::input::expect::expect_direct;
use crate::memory::Class;
use crate::placement::{change_slot, place};
use crate::session::Session;
use crate::session::inbound::Kept;
use crate::suspects::takes_suspect;
use crate::tools::Tools;
use moorline_config::{Dispatch, OnCrash};
use moorline_protocol::control::{ListenerCounter, LoopCounter};
use moorline_protocol::wire::{FIRST, LAST, TEXT, ToProcess, WHOLE};

/// Gives one message to the session's process, or keeps it until that is possible.
pub(crate) fn deliver(session: &mut Session, bytes: &[u8], text: bool, tools: &mut Tools) {
    count_message(session, tools);
    let listener = tools.cx.listener(session.listener);
    let keeps = listener.on_crash == OnCrash::Redeliver;
    let dispatch = listener.dispatch;
    if matches!(dispatch, Dispatch::RoundRobin | Dispatch::LeastBusy)
        && session.input.window.in_hand() == 0
    {
        let now = Some(session.placement.slot);
        let slot = tools.processes.choose_slot(dispatch, now, &tools.cx);
        change_slot(session, slot, tools);
    }
    if !session.placement.is_moving()
        && !session.input.waits()
        && session.input.window.takes(bytes.len())
        && let Some(at) = session.placement.process()
    {
        let header = whole_message(session, text, &tools.cx);
        let process = &mut tools.processes[at];
        if process.producer.push(&header, &[bytes]).is_ok() {
            note_in_hand(session, at, bytes.len(), tools);
            if keeps {
                let sequence = session.input.window.sent;
                keep(session, sequence, bytes, text, tools);
                session.input.queue().delivered += 1;
            }
            return;
        }
    }
    keep(session, 0, bytes, text, tools);
    if place(session, tools) {
        forward_kept(session, tools);
    }
}

/// The header of the session's next message, where that is one record.
#[inline]
pub(crate) fn whole_message(session: &Session, text: bool, cx: &Cx) -> Header {
    Header {
        kind: ToProcess::Message as u8,
        flags: WHOLE | if text { TEXT } else { 0 },
        aux: 0,
        session: session.id,
        sequence: u64::from(session.input.window.next()),
        time: cx.clock.ns,
    }
}

/// Counts a message that has come.
#[inline]
pub(crate) fn count_message(session: &mut Session, tools: &Tools) {
    tools.cx.count(LoopCounter::Messages, 1);
    tools
        .cx
        .count_of(session.listener, ListenerCounter::Messages, 1);
    session.meters.messages += 1;
}

/// A whole message of `bytes` bytes is in the ring.
#[inline]
pub(crate) fn note_in_hand(session: &mut Session, at: ProcessKey, bytes: usize, tools: &mut Tools) {
    session.input.window.deliver(bytes);
    session.input.direct = expect_direct(tools.cx.listener(session.listener), bytes);
    tools.processes[at].in_hand += 1;
    tools.processes.mark_dirty(at);
}

/// Puts a message at the end of those that are kept.
fn keep(session: &mut Session, sequence: u32, bytes: &[u8], text: bool, tools: &mut Tools) {
    session.input.queue().queue.push_back(Kept {
        sequence,
        time: tools.cx.clock.ns,
        text,
        deaths: 0,
        named_others: 0,
        bytes: bytes.to_vec(),
    });
    tools.memory.hold(Class::Received, bytes.len());
}

/// Delivers the messages that wait, in order. True: none waits any more.
pub(crate) fn forward_kept(session: &mut Session, tools: &mut Tools) -> bool {
    loop {
        let Some(inbound) = session.input.kept.as_deref() else {
            return true;
        };
        let Some(kept) = inbound.next() else {
            return true;
        };
        let (length, deaths, offset) = (kept.bytes.len(), kept.deaths, inbound.offset);
        // One that has begun goes on, whatever holds back the next.
        if offset == 0 && (session.placement.is_moving() || !session.input.window.takes(length)) {
            return false;
        }
        let Some(at) = session.placement.process() else {
            return false;
        };
        if deaths > 0 && offset == 0 && !takes_suspect(session, tools) {
            return false;
        }
        let Some(form) = push_kept(session, at, tools) else {
            tools.processes.park(session, at);
            return false;
        };
        note_delivered(session, at, length, form, tools);
    }
}

/// The form of a message in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    OneRecord,
    Parts,
}

/// All of the first message that waited is in the ring. It is kept if it may be needed again.
fn note_delivered(
    session: &mut Session,
    at: ProcessKey,
    length: usize,
    form: Form,
    tools: &mut Tools,
) {
    let keeps = tools.cx.listener(session.listener).on_crash == OnCrash::Redeliver;
    session.input.window.deliver(length);
    tools.processes[at].in_hand += 1;
    let Some(inbound) = &mut session.input.kept else {
        return;
    };
    inbound.offset = 0;
    let place = inbound.delivered;
    // What went in parts cannot be found whole in the ring after a death.
    if keeps || form == Form::Parts {
        inbound.queue[place].sequence = session.input.window.sent;
        inbound.delivered += 1;
        return;
    }
    inbound.queue.remove(place);
    if inbound.queue.is_empty() {
        session.input.kept = None;
    }
    tools.memory.release(Class::Received, length);
}

/// Pushes what is left of the first message that waits. `None`: there is no room for all of it yet.
fn push_kept(session: &mut Session, at: ProcessKey, tools: &mut Tools) -> Option<Form> {
    let sequence = u64::from(session.input.window.next());
    let inbound = session.input.kept.as_deref_mut()?;
    let delivered = inbound.delivered;
    let kept = inbound.queue.get(delivered)?;
    let producer = &mut tools.processes[at].producer;
    let mut form = None;
    let mut pushed = false;
    while form.is_none() {
        let part = &kept.bytes[inbound.offset..];
        let part = &part[..producer.next_part(part.len())];
        let first = inbound.offset == 0;
        let last = inbound.offset + part.len() == kept.bytes.len();
        let flags = if first { FIRST } else { 0 }
            | if last { LAST } else { 0 }
            | if kept.text { TEXT } else { 0 };
        let header = Header {
            kind: ToProcess::Message as u8,
            flags,
            aux: 0,
            session: session.id,
            sequence,
            time: kept.time,
        };
        if producer.push(&header, &[part]).is_err() {
            break;
        }
        inbound.offset += part.len();
        pushed = true;
        form = match (first, last) {
            (_, false) => None,
            (true, true) => Some(Form::OneRecord),
            (false, true) => Some(Form::Parts),
        };
    }
    if pushed {
        tools.processes.mark_dirty(at);
    }
    form
}
