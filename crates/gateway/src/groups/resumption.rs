//! What comes to groups through the hub of all loops, and sessions that join with what they missed.

use std::sync::Arc;

use super::{Broadcast, Groups, Message, Origin};
use crate::history::{Content, Missed, Sent};
use crate::output::write::{append_event, write_appended, write_gap};
use crate::session::{End, Kind, Session};
use crate::shared::hub::{Coming, Receipt};
use crate::tools::Tools;
use moorline_protocol::wire::LONGEST_NAME;
use moorline_protocol::wire::event::{Event, LONGEST_EVENT_ID};

/// What a session gets at once when it joins, as a part of its listener's `hard_limit`: the rest is for what comes then.
const MOST_MISSED: u64 = 2;
/// Bytes of events that are sent by one system call, about.
const TOGETHER: usize = 16 * 1024;

/// What a session that joins after an event has said: the group's name, and the event's id.
pub(crate) fn split_join(bytes: &[u8]) -> Option<(&[u8], &str)> {
    let (&length, rest) = bytes.split_first()?;
    let (group, id) = rest.split_at_checked(usize::from(length))?;
    let is_sound = group.len() <= LONGEST_NAME && id.len() <= LONGEST_EVENT_ID;
    let id = str::from_utf8(id).ok()?;
    is_sound.then_some((group, id))
}

impl Groups {
    /// Whether a group has members here.
    pub(crate) fn exists(&self, name: &[u8]) -> bool {
        self.by_name.contains_key(name)
    }

    /// Something comes from the hub. Returns its receipt if it is over: no loop has members for it.
    pub(crate) fn begin(&mut self, coming: Coming) -> Option<Receipt> {
        let Coming { sent, receipt, .. } = coming;
        let Some(group) = self.by_name.get(sent.group()).copied() else {
            return Arc::into_inner(receipt);
        };
        self.last_broadcast += 1;
        self.under_way.push_back(Broadcast {
            group,
            number: self.last_broadcast,
            event: sent.number(),
            origin: Origin::Hub(receipt),
            message: Message::Shared(sent),
            place: 0,
            frames: Vec::new(),
        });
        None
    }

    /// A session joins a group, and gets the events that it missed. If it is a member it has missed none.
    ///
    /// # Errors
    /// The session ends, because they could not be sent.
    pub(crate) fn join_after(
        &mut self,
        session: &mut Session,
        group: &[u8],
        last_id: &str,
        tools: &mut Tools,
    ) -> Result<(), End> {
        self.catch_up(session, tools)?;
        let missed = tools
            .cx
            .shared
            .hub
            .missed(group, last_id, tools.cx.clock.shared_ms());
        let Some(member) = self.enter(session, group, tools) else {
            return Ok(());
        };
        member.after = missed.until;
        if !session.takes_output() {
            return Ok(());
        }
        send_missed(session, group, missed, tools)
    }
}

/// The bytes that an event has more where a client of this kind sees it: each line has its field, and JSON escapes.
fn shown_bytes(kind: Kind, content: &Content) -> u64 {
    let Content::Event { data, .. } = content else {
        return 0;
    };
    let count = |is_longer: fn(&u8) -> bool| data.bytes().filter(is_longer).count() as u64;
    match kind {
        Kind::Framed => 0,
        Kind::Events { .. } => 6 * count(|byte| matches!(byte, b'\r' | b'\n')),
        Kind::Resumable => 5 * count(|byte| *byte < b' ' || matches!(byte, b'"' | b'\\')),
    }
}

fn send_missed(
    session: &mut Session,
    group: &[u8],
    missed: Missed,
    tools: &mut Tools,
) -> Result<(), End> {
    let listener = tools.cx.listener(session.listener);
    let mut room = listener.hard_limit / MOST_MISSED;
    let kind = session.kind;
    let fits = |sent: &&Arc<Sent>| {
        let shown = shown_bytes(kind, sent.content());
        let rest = room.checked_sub(sent.bytes() as u64 + shown);
        rest.inspect(|rest| room = *rest).is_some()
    };
    let count = missed.events.iter().rev().take_while(fits).count();
    let first = missed.events.len() - count;
    if missed.has_gap || first > 0 {
        write_gap(session, group, tools)?;
    }
    let mut together = Vec::new();
    for sent in &missed.events[first..] {
        let Content::Event { id, name, data } = sent.content() else {
            continue;
        };
        if sent.leaves_out(session.id) {
            continue;
        }
        append_event(session, Event { id, name, data }, &mut together, tools);
        if together.len() >= TOGETHER {
            write_appended(session, &together, tools)?;
            together.clear();
        }
    }
    match together.is_empty() {
        true => Ok(()),
        false => write_appended(session, &together, tools),
    }
}
