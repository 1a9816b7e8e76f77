//! From a ring record to what it asks for.

#[cfg(test)]
mod tests;

use moorline_ipc::{Consumer, Corrupt, Header, Record};

use crate::ending::act;
use crate::event_loop::Loop;
use crate::features::datagrams;
use crate::features::files::send_file;
use crate::features::handlers::{Refused, close_at_once, close_for_app, done, opened};
use crate::features::posts::{post, post_done, refuse_post};
use crate::features::queries;
use crate::features::requests::{handle_request, limit};
use crate::features::tasks::{NO_MEMORY, refuse_task};
use crate::features::verdicts::{Unheard, follow, read_verdict};
use crate::groups::{self, Groups, split_join};
use crate::ids::ProcessKey;
use crate::memory::Class;
use crate::output::payload::Payload;
use crate::output::watermarks::{Sender, warn_other_sender};
use crate::output::write::{write, write_event};
use crate::processes::process::Partial;
use crate::session::Session;
use crate::tools::Tools;
use moorline_protocol::control::LoopCounter;
use moorline_protocol::wire::event::{EVENT, EVENT_OVERHEAD, split_event};
use moorline_protocol::wire::{
    DONE, FAILED, FIRST, FromProcess, LARGEST_TRANSFER, LAST, LONGEST_CLOSE_TEXT, PUSHED, TEXT,
    WHOLE,
};

/// Records taken from one process in one turn.
const RECORDS_PER_TURN: usize = 256;
/// Their bytes, at the most and one record more: others wait while these are copied.
const BYTES_PER_TURN: usize = 1024 * 1024;
/// Messages of one process that have begun to arrive: it sends the parts of each in one go, with nothing between them.
const MOST_PARTIALS: usize = 1;

/// What may still be taken.
struct Allowance {
    records: usize,
    /// One record more may pass it.
    bytes: usize,
}

/// How far records were taken.
enum Taken {
    /// There are no more.
    All,
    /// There may be more.
    Some,
    /// Those that are there now may come behind an event that this loop has not taken.
    UpToEvents,
}

impl Loop {
    /// Takes records from one process, as many as one turn may. True: there may be more.
    pub(crate) fn take_records(&mut self, at: ProcessKey) -> bool {
        self.take_some(at, RECORDS_PER_TURN, BYTES_PER_TURN)
    }

    /// Takes all that a process which has died had written by then. A child that it left may go on writing.
    pub(crate) fn take_last_records(&mut self, at: ProcessKey) {
        if let Some(consumer) = &mut self.tools.processes[at].consumer {
            consumer.close();
        }
        self.take_some(at, usize::MAX, usize::MAX);
    }

    fn take_some(&mut self, at: ProcessKey, records: usize, bytes: usize) -> bool {
        let mut left = Allowance { records, bytes };
        loop {
            match self.take_part(at, &mut left) {
                Taken::All => return false,
                Taken::Some => return true,
                Taken::UpToEvents => self.take_coming(),
            }
        }
    }

    /// Takes records up to those that may come behind an event that this loop has not taken.
    fn take_part(&mut self, at: ProcessKey, left: &mut Allowance) -> Taken {
        let process = &mut self.tools.processes[at];
        if !process.is_heard() {
            return Taken::All;
        }
        let Some(mut consumer) = process.consumer.take() else {
            return Taken::All;
        };
        // One that says it has taken what it cannot have makes no room any more.
        let taken = match process.producer.check() {
            Ok(()) => self.take_from(&mut consumer, at, left),
            Err(corrupt) => Err(corrupt.to_string()),
        };
        self.return_consumer(at, consumer);
        taken.unwrap_or_else(|reason| {
            self.tools.processes.break_with(at, reason, &self.tools.cx);
            Taken::All
        })
    }

    fn return_consumer(&mut self, at: ProcessKey, mut consumer: Consumer) {
        let process = &mut self.tools.processes[at];
        if consumer.end_turn() {
            // What a full session means for it must be there before it fills the room that it waited for.
            process.publish();
            process.doorbell.ring();
        }
        process.consumer = Some(consumer);
    }

    /// Takes what a process had written up to this position, as far as it is published.
    pub(crate) fn take_records_until(&mut self, at: ProcessKey, position: u64) {
        let Some(mut consumer) = self.tools.processes[at].consumer.take() else {
            return;
        };
        let position = within_ring(&consumer, position);
        let mut taken = Ok(());
        while taken.is_ok() && consumer.position() < position {
            taken = match consumer.next() {
                Ok(Some(record)) => self.take_record(at, &record),
                Ok(None) => break,
                Err(corrupt) => Err(corrupt.to_string()),
            };
        }
        self.return_consumer(at, consumer);
        if let Err(reason) = taken {
            self.tools.processes.break_with(at, reason, &self.tools.cx);
        }
    }

    fn take_from(
        &mut self,
        consumer: &mut Consumer,
        at: ProcessKey,
        left: &mut Allowance,
    ) -> Result<Taken, String> {
        let mut is_first = true;
        while left.records > 0 {
            if left.bytes == 0 {
                return Ok(Taken::Some);
            }
            if is_first || consumer.is_spent() {
                is_first = false;
                let seen = look(consumer, || self.events_wait());
                match seen.map_err(|corrupt| corrupt.to_string())? {
                    Seen::Nothing => return Ok(Taken::All),
                    Seen::BehindEvents => return Ok(Taken::UpToEvents),
                    Seen::Records => {}
                }
            }
            match consumer.next() {
                Ok(Some(record)) => {
                    left.records -= 1;
                    left.bytes = left.bytes.saturating_sub(record.len());
                    self.take_record(at, &record)?;
                }
                Ok(None) => return Ok(Taken::All),
                Err(corrupt) => return Err(corrupt.to_string()),
            }
        }
        Ok(Taken::Some)
    }

    fn take_record(&mut self, at: ProcessKey, record: &Record<'_>) -> Result<(), String> {
        let header = *record.header();
        let Some(kind) = FromProcess::from_u8(header.kind) else {
            return Err(format!("a record of unknown kind {}", header.kind));
        };
        match kind {
            FromProcess::Send => self.take_send(at, &header, record),
            FromProcess::Done => self.take_done(at, &header),
            FromProcess::Opened => {
                // One that has ended meanwhile is not waited for any more.
                if let Some(session) = self.sessions.find_mut(header.session) {
                    opened(session, at, &mut self.tools);
                }
                Ok(())
            }
            FromProcess::Close => self.take_close(at, &header, record),
            FromProcess::SendTo => datagrams::send(at, record, &self.acceptor.sockets, &self.tools),
            FromProcess::Post
            | FromProcess::Task
            | FromProcess::TaskDone
            | FromProcess::Broadcast => self.take_transfer(at, kind, &header, record),
            FromProcess::PostDone => {
                let tools = &mut self.tools;
                post_done(at, &header, &mut tools.processes, &mut tools.memory);
                Ok(())
            }
            FromProcess::KeepState
            | FromProcess::KeepInput
            | FromProcess::DropInput
            | FromProcess::LoseInput
            | FromProcess::Pause
            | FromProcess::Resume
            | FromProcess::Keep
            | FromProcess::Unkeep
            | FromProcess::Bind
            | FromProcess::SetLabel
            | FromProcess::Join
            | FromProcess::JoinAfter
            | FromProcess::Leave => self.take_request(at, kind, record),
            FromProcess::KeepEvents => self.keep_events(at, record),
            FromProcess::Ask => {
                queries::answer(at, record, &self.sessions, &self.groups, &mut self.tools)
            }
            FromProcess::File => self.take_file_record(at, record),
            FromProcess::Accepted => self.take_verdict(at, record),
            FromProcess::Respond | FromProcess::Body => {
                self.exchanges.answer(at, record, &mut self.tools)
            }
        }
    }

    /// What an app says to a request.
    fn take_verdict(&mut self, at: ProcessKey, record: &Record<'_>) -> Result<(), String> {
        let (groups, tools) = (&mut self.groups, &mut self.tools);
        match read_verdict(at, record, &mut self.sessions, tools) {
            Ok((session, verdict)) => {
                if let Err(end) = follow(session, at, verdict, tools) {
                    act(session, end, groups, tools);
                }
                Ok(())
            }
            Err(Unheard::Late) => Ok(()),
            Err(Unheard::Garbage(reason)) => Err(reason),
        }
    }

    /// A message for a session, with which the handler that sends it may end.
    fn take_send(
        &mut self,
        at: ProcessKey,
        header: &Header,
        record: &Record<'_>,
    ) -> Result<(), String> {
        let is_last = header.flags & LAST != 0;
        let is_whole = header.flags & WHOLE == WHOLE;
        let message = match is_whole {
            true => None,
            false => self.assemble(at, record)?,
        };
        // Of a message in parts there is nothing to send before the last, or ever if the first was dropped.
        let is_sent = is_whole || message.is_some();
        if !is_sent && !is_last {
            return Ok(());
        }
        let (groups, tools) = (&mut self.groups, &mut self.tools);
        let Some(session) = self.sessions.find_mut(header.session) else {
            if is_sent {
                tools.processes.discard(at, header.session, &tools.cx);
            }
            return Ok(());
        };
        if is_sent {
            let payload = match &message {
                Some(message) => Payload::Bytes(&message.bytes),
                None => Payload::Ring(record),
            };
            send(session, at, payload, header, groups, tools)?;
        }
        if message.is_some() {
            // To move or to end, it may have waited for this.
            tools.agenda.schedule(session);
        }
        let result = match is_last && header.flags & DONE != 0 {
            true => end_handler(session, at, header, groups, tools),
            false => Ok(()),
        };
        self.relieve_if_asked();
        result
    }

    /// A handler has ended.
    fn take_done(&mut self, at: ProcessKey, header: &Header) -> Result<(), String> {
        // A session that has ended took its messages out of the count.
        let Some(session) = self.sessions.find_mut(header.session) else {
            return Ok(());
        };
        end_handler(session, at, header, &mut self.groups, &mut self.tools)
    }

    /// The app closes a session.
    fn take_close(
        &mut self,
        at: ProcessKey,
        header: &Header,
        record: &Record<'_>,
    ) -> Result<(), String> {
        let text = close_text(record)?;
        let (groups, tools) = (&mut self.groups, &mut self.tools);
        let Some(session) = self.sessions.find_mut(header.session) else {
            tools.processes.discard(at, header.session, &tools.cx);
            return Ok(());
        };
        if let Err(end) = close_at_once(session, header, &tools.cx) {
            act(session, end, groups, tools);
            return Ok(());
        }
        if let Err(end) = groups.catch_up(session, tools) {
            act(session, end, groups, tools);
        }
        if let Err(end) = close_for_app(session, header, &text, tools) {
            act(session, end, groups, tools);
        }
        self.relieve_if_asked();
        Ok(())
    }

    /// Something that travels without a session.
    fn take_transfer(
        &mut self,
        at: ProcessKey,
        kind: FromProcess,
        header: &Header,
        record: &Record<'_>,
    ) -> Result<(), String> {
        let bytes = if header.flags & WHOLE != WHOLE {
            match self.assemble(at, record)? {
                Some(message) if message.is_refused => {
                    return self.refuse_transfer(at, kind, header);
                }
                Some(message) => message.bytes,
                None => return Ok(()),
            }
        } else if kind != FromProcess::TaskDone && !self.has_memory_for(record.len()) {
            return self.refuse_transfer(at, kind, header);
        } else {
            let mut bytes = Vec::with_capacity(record.len());
            record.copy_to(&mut bytes);
            bytes
        };
        match kind {
            FromProcess::Post => {
                let tools = &mut self.tools;
                post(at, header, bytes, &mut tools.processes, &mut tools.memory)
            }
            FromProcess::Task => {
                let has_memory = self.has_memory_for(bytes.len());
                self.tasks
                    .begin(at, header, bytes, has_memory, &mut self.tools)
            }
            FromProcess::Broadcast if header.aux == EVENT => self.take_event(at, header, &bytes),
            FromProcess::Broadcast => self.groups.broadcast(at, header, &bytes, &mut self.tools),
            _ => {
                self.tasks.end(at, header, bytes, &mut self.tools);
                Ok(())
            }
        }
    }

    /// There was no memory for what a process has asked for: it is told, where it would hear it.
    fn refuse_transfer(
        &mut self,
        at: ProcessKey,
        kind: FromProcess,
        header: &Header,
    ) -> Result<(), String> {
        let tools = &mut self.tools;
        tools.cx.count(LoopCounter::Discarded, 1);
        if self.pressure.tells_of_refusals(tools.cx.clock.ms) {
            let name = tools.processes[at].name();
            tracing::warn!(
                what = ?kind,
                "discarded a message of {name}: memory_limit reached; more of them in the next seconds are only counted"
            );
        }
        match kind {
            FromProcess::Post => refuse_post(at, header, &mut tools.processes, &mut tools.memory),
            FromProcess::Task => refuse_task(at, header, tools),
            FromProcess::TaskDone => {
                let failed = Header {
                    flags: header.flags | FAILED,
                    ..*header
                };
                self.tasks.end(at, &failed, NO_MEMORY.into(), tools);
                Ok(())
            }
            FromProcess::Broadcast if header.aux == EVENT => self.refuse_event(at, header),
            FromProcess::Broadcast => groups::refuse_broadcast(at, header, tools),
            _ => Ok(()),
        }
    }

    /// Something that an app asks for a session.
    fn take_request(
        &mut self,
        at: ProcessKey,
        kind: FromProcess,
        record: &Record<'_>,
    ) -> Result<(), String> {
        if record.len() > limit(kind) {
            return Err(format!("{} bytes with a {kind:?}", record.len()));
        }
        let mut bytes = Vec::with_capacity(record.len());
        record.copy_to(&mut bytes);
        if kind == FromProcess::JoinAfter && split_join(&bytes).is_none() {
            return Err("a session that joins what is no group".to_owned());
        }
        let (groups, tools) = (&mut self.groups, &mut self.tools);
        let id = record.header().session;
        let session = self.sessions.find_mut(id);
        let Some(session) = session.filter(|session| session.lives()) else {
            tools.processes.discard(at, id, &tools.cx);
            return Ok(());
        };
        if let Err(end) = handle_request(session, at, kind, bytes, groups, tools) {
            act(session, end, groups, tools);
        }
        self.relieve_if_asked();
        Ok(())
    }

    /// A file is to be sent, whose descriptor has come before.
    fn take_file_record(&mut self, at: ProcessKey, record: &Record<'_>) -> Result<(), String> {
        let (file, span) = self.files.take(at, record, &self.tools.processes)?;
        let (groups, tools) = (&mut self.groups, &mut self.tools);
        let id = record.header().session;
        let session = self.sessions.find_mut(id);
        let Some(session) = session.filter(|session| session.lives()) else {
            tools.processes.discard(at, id, &tools.cx);
            file.give_up(tools);
            return Ok(());
        };
        if let Err(end) = groups.catch_up(session, tools) {
            act(session, end, groups, tools);
        }
        if let Err(end) = send_file(session, file, &span, tools) {
            act(session, end, groups, tools);
        }
        self.relieve_if_asked();
        Ok(())
    }

    /// Puts the parts of a message together. `Some` with the last one.
    fn assemble(&mut self, at: ProcessKey, record: &Record<'_>) -> Result<Option<Partial>, String> {
        let header = record.header();
        let is_first = header.flags & FIRST != 0;
        let is_for_session = header.kind == FromProcess::Send as u8;
        if is_first && is_for_session && self.sessions.find(header.session).is_none() {
            // The other parts find no place, and are dropped like this one.
            let tools = &mut self.tools;
            tools.processes.discard(at, header.session, &tools.cx);
            return Ok(None);
        }
        // A session's own counts as its, and it may be closed for it.
        let is_refused = !is_for_session && !self.has_memory_for(record.len());
        let memory = &mut self.tools.memory;
        let process = &mut self.tools.processes[at];
        let limit = match is_for_session {
            // Not its session's own: what is too large for that one is no reason to give up all others.
            true => process.max_message() + EVENT_OVERHEAD as u64,
            false => LARGEST_TRANSFER,
        };
        let place = (header.kind, header.session);
        if is_first {
            if process.partials.len() >= MOST_PARTIALS {
                return Err("a message begun before the one before it was ended".to_owned());
            }
            process.partials.insert(place, Partial::default());
        }
        let Some(message) = process.partials.get_mut(&place) else {
            // The session closed midway and the first parts were dropped: so are the others.
            return Ok(None);
        };
        if (message.bytes.len() + record.len()) as u64 > limit {
            return Err(format!(
                "a message of over {limit} bytes for {}",
                header.session
            ));
        }
        if is_refused {
            memory.release(Class::Parts, message.refuse());
        } else if !message.is_refused {
            memory.hold(Class::Parts, record.len());
            record.copy_to(&mut message.bytes);
        }
        if header.flags & LAST == 0 {
            return Ok(None);
        }
        let message = process.partials.remove(&place);
        let held = message.as_ref().map_or(0, |message| message.bytes.len());
        memory.release(Class::Parts, held);
        Ok(message)
    }
}

/// What there is to take.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    Records,
    /// Records that may come behind an event that this loop has not taken.
    BehindEvents,
}

/// Sees which records there are, and then whether they may come behind an event. In this order: what is written behind an event
/// is seen only after the event is in the queue.
#[inline]
fn look(consumer: &mut Consumer, events_wait: impl FnOnce() -> bool) -> Result<Seen, Corrupt> {
    if !consumer.see()? {
        return Ok(Seen::Nothing);
    }
    Ok(match events_wait() {
        true => Seen::BehindEvents,
        false => Seen::Records,
    })
}

/// How far a process can have written, if it says that it had written to this position: no further than a ring. One that writes on
/// meanwhile does not keep the loop.
fn within_ring(consumer: &Consumer, position: u64) -> u64 {
    position.min(consumer.position() + consumer.capacity())
}

/// The text with which an app closes a session.
fn close_text(record: &Record<'_>) -> Result<String, String> {
    if record.len() > LONGEST_CLOSE_TEXT {
        return Err(format!("{} bytes with a Close", record.len()));
    }
    let mut text = Vec::new();
    record.copy_to(&mut text);
    String::from_utf8(text).map_err(|_| "the text of a Close is no UTF-8".into())
}

/// Sends a session a message, behind the broadcasts that were before it.
///
/// # Errors
/// What should be an event is none.
#[inline]
fn send(
    session: &mut Session,
    at: ProcessKey,
    payload: Payload<'_, '_>,
    header: &Header,
    groups: &mut Groups,
    tools: &mut Tools,
) -> Result<(), String> {
    if let Err(end) = groups.catch_up(session, tools) {
        act(session, end, groups, tools);
    }
    if !session.takes_output() {
        tools.cx.count(LoopCounter::Discarded, 1);
        return Ok(());
    }
    let is_foreign = session.placement.process() != Some(at);
    let sender = match header.flags & PUSHED {
        0 => Sender::Waits,
        _ => Sender::GoesOn,
    };
    let written = match header.aux {
        EVENT => {
            let mut bytes = Vec::with_capacity(payload.len());
            payload.copy_from(0, &mut bytes);
            let event = split_event(&bytes).ok_or("an event that is none")?;
            write_event(session, event, sender, tools)
        }
        _ => write(session, payload, header.flags & TEXT != 0, sender, tools),
    };
    if let Err(end) = written {
        act(session, end, groups, tools);
    }
    if is_foreign {
        warn_other_sender(session, at, tools);
    }
    Ok(())
}

/// A handler of a session has ended.
#[inline]
fn end_handler(
    session: &mut Session,
    at: ProcessKey,
    header: &Header,
    groups: &mut Groups,
    tools: &mut Tools,
) -> Result<(), String> {
    match done(session, at, header, tools) {
        Ok(()) => Ok(()),
        Err(Refused::Garbage(reason)) => Err(reason),
        Err(Refused::Ends(end)) => {
            act(session, end, groups, tools);
            Ok(())
        }
    }
}
